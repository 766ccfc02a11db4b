"""A trainer that is killed again and again, inside of saves too, ends with the weights of one that never was."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT

from torch_utils.stats import read_jsonl
from training.state import checksum

# Runs train.py, and kills itself at the n-th call of the operating system that a save is made of.
TREACHEROUS = """
import os, signal, sys
sys.path.insert(0, {root!r})
n = int(sys.argv.pop(1))
def treacherous(original):
    def called(*a, **k):
        global n
        n -= 1
        if n == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*a, **k)
    return called
for name in ("replace", "link", "fsync"):
    setattr(os, name, treacherous(getattr(os, name)))
import runpy
runpy.run_path({train!r}, run_name="__main__")
"""


def survive(tmp_path, data, kills: int, seed: int = 0) -> None:
    random.seed(seed)
    script = tmp_path / "treacherous.py"
    script.write_text(TREACHEROUS.format(root=str(ROOT), train=str(ROOT / "train.py")))
    arguments = ["--data", data, "--cfg", "tiny", "--batch", 4, "--metrics", "none", "--device", "cpu", "--workers", 0]
    arguments += ["--kimg", 0.4, "--tick", 0.008, "--snap", 1, "--loss", "logistic", "--aug", "ada", "--ada-kimg", 0.5]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(*command):
        return subprocess.Popen([sys.executable, *map(str, command)], env=environment, stdout=subprocess.DEVNULL)

    assert start(ROOT / "train.py", "--outdir", tmp_path / "whole", *arguments).wait(1200) == 0
    outdir, killed, last = tmp_path / "killed", 0, -1
    for attempt in range(10 * kills):
        resume = ["--outdir", outdir, "--resume", "auto", *arguments]
        if killed == kills:
            assert start(ROOT / "train.py", *resume).wait(1200) == 0
            break
        if attempt % 2:  # at some moment of a save
            process = start(script, random.randint(1, 40), *resume)
            process.wait(600)
        else:  # at some moment
            process = start(ROOT / "train.py", *resume)
            time.sleep(random.uniform(3, 12))
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL)
        states = list(outdir.glob("*/training-state.pt"))
        if states:  # what was saved is never lost again
            nimg = torch.load(states[0], weights_only=True)["nimg"]
            assert nimg >= last
            last = nimg
    assert killed == kills
    runs = [path for path in outdir.iterdir() if (path / "training-state.pt").exists()]
    assert len(runs) == 1
    (whole,) = (tmp_path / "whole").iterdir()
    one, other = (torch.load(path / "training-state.pt", weights_only=True) for path in (whole, runs[0]))
    for values in (one, other):
        for name in ("seconds", "checksum"):
            values.pop(name)
    assert checksum(one) == checksum(other)
    records = [record["nimg"] for record in read_jsonl(runs[0] / "stats.jsonl")]
    assert records == [record["nimg"] for record in read_jsonl(whole / "stats.jsonl")]
    assert not list(runs[0].glob(".*.writing"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_two_kills(image_folder, tmp_path):
    survive(tmp_path, image_folder(12), kills=2)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_thirty_kills(image_folder, tmp_path):
    survive(tmp_path, image_folder(12), kills=30, seed=1)
