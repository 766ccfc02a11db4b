"""A trainer that is killed again and again, inside of saves too, ends with the weights of one that never was."""

import io
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from torch_utils.checkpoint import read_snapshot
from torch_utils.files import TEMPORARY
from torch_utils.stats import read_jsonl
from training.gan.state import TrainingState
from training.run.saved_state import checksum

POINTS = ("in its bytes", "fsync", "link", "replace the one before", "replace")  # moments of a save, in this order


def die(*ignored) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(arguments: list[str], saves: int, point: int) -> None:
    """A trainer, in a process of its own. It kills itself in its `saves`-th save, or in none if that is 0."""
    from train import main, run

    original, write = TrainingState.save, torch.save

    def half(values, file):
        whole = io.BytesIO()
        write(values, whole)
        file.write(whole.getvalue()[: random.randrange(len(whole.getvalue()))])
        file.flush()
        die()

    def save(state, run_dir):
        nonlocal saves
        saves -= 1
        if saves:
            return original(state, run_dir)
        if point == 0:
            torch.save = half
        for name in ("fsync", "link", "replace"):
            setattr(os, name, treacherous(getattr(os, name)))
        original(state, run_dir)
        die()  # the first save has fewer moments: there is no state before it

    def treacherous(call):
        def called(*a, **k):
            nonlocal point
            point -= 1
            return die() if point == 0 else call(*a, **k)

        return called

    TrainingState.save = save
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["train.py", *arguments]
    run(main)


def half_written(outdir: Path) -> list[Path]:
    return list(outdir.glob(f"*/.*{TEMPORARY}"))


def results(run_dir: Path) -> tuple:
    """The state apart from wall-clock times, the records, the snapshots and the pictures."""
    state = torch.load(run_dir / "training-state.pt", weights_only=True)
    assert state.pop("checksum") == checksum(state)
    state.pop("seconds")
    snapshots = {path.name: checksum(vars(read_snapshot(path))) for path in sorted(run_dir.glob("network-snapshot-*"))}
    pictures = {path.name: hash(path.read_bytes()) for path in run_dir.glob("*.png")}
    return checksum(state), [record["nimg"] for record in read_jsonl(run_dir / "stats.jsonl")], snapshots, pictures


def survive(tmp_path, data, kills: int, kimg: float, monkeypatch, seed: int = 0) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    processes = multiprocessing.get_context("forkserver")  # new processes, but PyTorch is read from the disk only once
    processes.set_forkserver_preload(["train", "torch._dynamo", "pytest"])
    outdir, last, where, chance = tmp_path / "killed", 0, Counter(), random.Random(seed)
    arguments = f"--cfg tiny --batch 4 --metrics none --device cpu --workers 0 --kimg {kimg} --tick 0.008 --snap 1"
    arguments = [*arguments.split(), *"--loss logistic --aug ada --ada-kimg 0.5 --data".split(), str(data)]

    def start(outdir: Path, saves: int = 0, point: int = 0):
        process = processes.Process(target=train, args=(["--outdir", str(outdir), *arguments], saves, point))
        process.start()
        return process

    def end(process) -> int:
        process.join(600)
        return process.exitcode

    assert end(start(tmp_path / "first, which reads PyTorch", 1)) == -signal.SIGKILL
    began = time.time()
    assert end(start(tmp_path / "whole")) == 0
    (whole,) = (tmp_path / "whole").iterdir()
    times = [record["timestamp"] - began for record in read_jsonl(whole / "stats.jsonl")]

    arguments += ["--resume", "auto"]
    while where.total() < kills:
        if where.total() % 2 == 0:
            saves, point = chance.randint(1, 4), where.total() // 2 % len(POINTS)
            before = {path.name for path in half_written(outdir)}
            process = start(outdir, saves, point)
            assert end(process) == -signal.SIGKILL, "it came to its end too early"
            left = [path.name.startswith(".training-state.pt.") for path in half_written(outdir)]
            assert len(left) <= 2 and not any(path.name in before for path in half_written(outdir))  # no older ones
            where[f"in a save: {POINTS[point]}" if any(left) else "right after a save"] += 1
        else:
            process = start(outdir)
            time.sleep(chance.uniform(0, times[0] + (times[-1] - times[0]) / 20))
            process.kill()
            assert end(process) == -signal.SIGKILL
            where["at a random moment"] += 1
        for path in outdir.glob("*/training-state.pt"):
            state = torch.load(path, weights_only=True)
            assert state.pop("checksum") == checksum(state)
            assert state["nimg"] >= last  # what was saved is never lost again
            last = state["nimg"]
    print(f"{dict(where)}; {last} of {1000 * kimg:.0f} images after the last kill; {time.time() - began:.0f} s")
    assert 0 < last < 1000 * kimg
    assert end(start(outdir)) == 0
    (run_dir,) = [path.parent for path in outdir.glob("*/training-state.pt")]
    assert results(run_dir) == results(whole)
    assert not half_written(outdir)


needs_sigkill = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")


@needs_sigkill
def test_four_kills(image_folder, tmp_path, monkeypatch):
    survive(tmp_path, image_folder(12), 4, 0.08, monkeypatch)


@pytest.mark.slow
@needs_sigkill
def test_thirty_kills(image_folder, tmp_path, monkeypatch):
    survive(tmp_path, image_folder(12), 30, 0.4, monkeypatch, seed=1)
