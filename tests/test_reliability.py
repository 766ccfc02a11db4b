"""Nothing lost: exact resume after a stop, a crash or a damaged file, and what happens to whom when something goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT

from torch_utils.files import InputError, atomic_write, remove_unfinished
from torch_utils.interrupt import STATUS, StopRequest
from torch_utils.stats import Means, drop_after, read_jsonl
from training import loop
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.state import TrainingState, checksum

CPU = torch.device("cpu")
SHORT = dict(batch=4, channel_base=128, channel_max=16, z_dim=8, style_depth=2, reg_interval=3, tick=0.012, snap=2)
RECIPES = {
    "relativistic": dict(workers=2),
    "logistic, ada, labels": dict(
        loss="logistic", pl_weight=1.0, style_mixing=0.9, aug="ada", target=-0.5, ada_kimg=0.1, cond=True
    ),
    "growing": dict(grow=True, grow_kimg=0.007),
    "fp16": dict(precision="fp16", reg_interval=2),
}


def make(folder, **changes):
    dataset = ImageDataset(str(folder), use_labels=changes.get("cond", False))
    config = TrainingConfig(**SHORT | dict(data=str(folder), kimg=0.032, workers=0) | changes)
    return config, dataset, TrainingState(config, dataset.height, dataset.channels, dataset.c_dim)


def run(config, dataset, state, run_dir):
    run_dir.mkdir(exist_ok=True)
    return loop.train(config, dataset, state, run_dir, None, CPU)


def everything(state) -> dict:
    values = state.state_dict()
    values.pop("seconds")
    return values


class StopAt(StopRequest):
    """As if a signal came during one of the steps."""

    step = 4

    def __enter__(self):
        self.looks = 0
        return self

    @property
    def requested(self):
        self.looks += 1
        self.signal = signal.SIGTERM if self.looks >= self.step else None
        return self.looks >= self.step


@pytest.mark.parametrize("recipe", RECIPES)
def test_stopped_and_resumed_is_uninterrupted(image_folder, tmp_path, recipe, monkeypatch):
    """Eight steps; and four, a stop in the middle of a tick, and four with new objects. Equal in every tensor and number."""
    folder = image_folder(10, 16, labels=3)
    whole, first = make(folder, **RECIPES[recipe]), make(folder, **RECIPES[recipe])
    assert run(*whole, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopRequest", StopAt)
        assert not run(*first, tmp_path / "parts")
    assert first[2].step == 4
    second = make(folder, **RECIPES[recipe])
    second[2].load(tmp_path / "parts")
    assert everything(second[2])["means"]["counts"]  # a tick was under way
    assert run(*second, tmp_path / "parts")
    assert checksum(everything(second[2])) == checksum(everything(whole[2]))
    one, other = (read_jsonl(tmp_path / name / "stats.jsonl") for name in ("whole", "parts"))
    free = ("seconds", "sec_per_kimg", "timestamp", "resident_mb")
    untimed = lambda records: [{k: v for k, v in record.items() if k not in free} for record in records]
    assert untimed(one) == untimed(other)  # each tick once, with the same means
    if "ada" in recipe:
        assert whole[2].strength.p > 0 and whole[2].path_mean > 0


@pytest.mark.parametrize("during", [1, 2])  # the untrained generator's score, which is finished; that of the first snapshot
def test_score_that_was_cut_off_is_made_after_all(image_folder, tmp_path, monkeypatch, during):
    """A stop while images are being scored saves the state at once; the resumed run scores them."""
    metric = "fd1k_full-efficientnet_lite0"
    config, dataset, state = make(image_folder(10), metrics=(metric,))
    calls = []

    def evaluate(fakes):
        calls.append(state.nimg)
        next(fakes(4))
        return [dict(metric=metric, value=1.0, floor=0.5, floor_counts=[1, 1])]

    class During(StopRequest):
        requested = property(lambda self: len(calls) == during)

        def __enter__(self):
            self.signal = signal.SIGTERM
            return self

    (tmp_path / "run").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopRequest", During)
        assert not loop.train(config, dataset, state, tmp_path / "run", evaluate, CPU)
    assert [r["nimg"] for r in read_jsonl(tmp_path / "run" / f"metric-{metric}.jsonl")] == [0]
    state.load(tmp_path / "run")
    assert loop.train(config, dataset, state, tmp_path / "run", evaluate, CPU)
    assert [r["nimg"] for r in read_jsonl(tmp_path / "run" / f"metric-{metric}.jsonl")] == [0, 24, 32]


def test_state_is_saved_by_time(image_folder, tmp_path):
    config, dataset, state = make(image_folder(10), save_every=1e-9, snap=1000)
    saves = []
    state.save = lambda run_dir: saves.append(state.nimg)
    run(config, dataset, state, tmp_path / "run")
    assert sorted(set(saves)) == [4, 8, 12, 16, 20, 24, 28, 32]


# ---------------------------------------------------------------- damaged states


def saved_twice(image_folder, tmp_path):
    config, dataset, state = make(image_folder(8))
    state.save(tmp_path)
    state.step = 7
    state.save(tmp_path)
    return make(image_folder(8, name="again"))[2]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage", "missing", "no checksum"])
def test_a_damaged_state_falls_back_to_the_one_before(image_folder, tmp_path, damage, capsys):
    state = saved_twice(image_folder, tmp_path)
    path = tmp_path / "training-state.pt"
    content = bytearray(path.read_bytes())
    if damage == "flip":  # a bit in the middle of a tensor: PyTorch alone does not see it
        content[len(content) // 2] ^= 1
    if damage == "no checksum":
        torch.save({k: v for k, v in torch.load(path).items() if k != "checksum"}, path)
    elif damage == "missing":
        path.unlink()
    else:
        cut = dict(truncate=bytes(content[: len(content) // 3]), empty=b"", garbage=os.urandom(5000))
        path.write_bytes(cut.get(damage, bytes(content)))
    state.load(tmp_path)
    assert state.step == 0
    assert damage == "missing" or "training-state.pt" in capsys.readouterr().err


def test_both_states_damaged(image_folder, tmp_path):
    state = saved_twice(image_folder, tmp_path)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"?")
    with pytest.raises(InputError, match="cannot be resumed"):
        state.load(tmp_path)


def test_there_is_a_good_state_at_every_moment_of_a_save(image_folder, tmp_path, monkeypatch):
    """Whatever call of the operating system is the last one, the state before or the new one can be read."""
    config, dataset, state = make(image_folder(8))
    state.save(tmp_path)
    for step in range(1, 30):
        calls = 0

        def fail(original, step=step):
            def called(*a, **k):
                nonlocal calls
                calls += 1
                if calls == step:
                    raise KeyboardInterrupt
                return original(*a, **k)

            return called

        state.step += 1
        with monkeypatch.context() as patch:
            for name in ("replace", "link", "fsync", "unlink"):
                patch.setattr(os, name, fail(getattr(os, name)))
            try:
                state.save(tmp_path)
                done = True
            except KeyboardInterrupt:
                done = False
        fresh = make(image_folder(8, name=f"again{step}"))[2]
        fresh.load(tmp_path)
        assert fresh.step in ((state.step,) if done else (state.step - 1, state.step)), step
        state.step = fresh.step
        if done and calls < step:
            break
    assert step > 4  # several moments were tried
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.glob("*")} >= {"training-state.pt", "training-state.previous.pt"}
    assert not list(tmp_path.glob(".*"))


def test_checksum_sees_every_change():
    values = {"a": torch.arange(4.0), "b": [1, (2.5, "x")], "c": {"d": torch.zeros([], dtype=torch.bool)}}
    before = checksum(values)
    assert checksum({"a": torch.arange(4.0), "b": [1, [2.5, "x"]], "c": {"d": torch.zeros([], dtype=torch.bool)}}) == before
    for change in ({"a": torch.arange(4.0).double()}, {"b": [1, (2.5, "y")]}, {"a": torch.arange(4.0).view(2, 2)}, {"c": {}}):
        assert checksum(values | change) != before


def test_means_go_on():
    one, other = Means(), Means()
    for value in (0.1, 0.2):
        one.add(x=torch.tensor(value))
    other.load_state_dict(one.state_dict())
    one.add(x=torch.tensor(0.3))
    other.add(x=torch.tensor(0.3))
    assert one.take() == other.take()


# ---------------------------------------------------------------- processes


@pytest.fixture
def trainer(image_folder, tmp_path):
    """trainer(*more) -> a training that runs, and its run directory; it has begun to make steps."""
    data, processes = image_folder(12), []

    def start(*more, expect="kimg"):
        command = ["train.py", "--outdir", tmp_path / "o", "--data", data, "--cfg", "tiny", "--batch", 4, "--metrics", "none"]
        command += ["--device", "cpu", "--kimg", 1, "--tick", 0.008, "--snap", 1, *more]
        process = subprocess.Popen(
            [sys.executable, *map(str, [ROOT / command[0], *command[1:]])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        processes.append(process)
        for _ in range(2 if expect == "kimg" else 1):  # with the second tick, the state of the first is on disk
            while True:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                if line.startswith(expect):
                    break
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(trainer, tmp_path, number):
    process = trainer()
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == STATUS, err
    assert f"Stopped by {signal.Signals(number).name}" in out and "Traceback" not in err
    (run_dir,) = (tmp_path / "o").iterdir()
    state = torch.load(run_dir / "training-state.pt", weights_only=True)
    assert state["nimg"] == 4 * state["step"] > 0
    again = trainer("--resume", "auto", expect="Resumed")
    again.send_signal(signal.SIGTERM)
    assert again.wait(120) == STATUS
    assert len(list((tmp_path / "o").iterdir())) == 1
    records = [record["nimg"] for record in read_jsonl(run_dir / "stats.jsonl")]
    assert records == sorted(set(records))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_a_signal_reaches_all_processes(trainer, tmp_path):
    process = trainer("--gpus", 2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == STATUS, err
    (run_dir,) = (tmp_path / "o").iterdir()
    assert torch.load(run_dir / "training-state.pt", weights_only=True)["step"] > 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_one_trainer_at_a_time(trainer, run_command, tmp_path):
    trainer()
    (run_dir,) = (tmp_path / "o").iterdir()
    second = run_command("train.py", "--outdir", tmp_path / "o", "--resume", run_dir)
    assert second.returncode == 2 and "another training is writing there" in second.stderr


def test_a_killed_trainer_leaves_no_lock_and_no_rubbish(trainer, tmp_path):
    process = trainer()
    (run_dir,) = (tmp_path / "o").iterdir()
    process.kill()
    process.wait()
    (run_dir / ".training-state.pt.123.writing").write_bytes(b"half")
    again = trainer("--resume", "auto", expect="Resumed")
    assert not list(run_dir.glob("*.writing")) and not list(run_dir.glob(".*.writing"))
    again.kill()


def test_second_signal_ends_at_once():
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the same request, told twice
        assert stop.requested
        stop._at -= 2
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_is_one_line(run_command, image_folder, tmp_path):
    """A disk that is full: simulated by a state file that cannot be written."""
    script = tmp_path / "full.py"
    script.write_text(
        "import builtins, errno, sys, runpy\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import torch\n"
        "def full(*a, **k): raise OSError(errno.ENOSPC, 'No space left on device', 'training-state.pt')\n"
        "torch.save = full\n"
        "sys.argv[0] = 'train.py'\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    arguments = ["--outdir", tmp_path / "o", "--data", image_folder(), "--cfg", "tiny", "--batch", "4", "--kimg", "0.008"]
    finished = run_command(script, *arguments, "--metrics", "none", "--device", "cpu")
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.count("\n") == 1 and "No space left" in finished.stderr
    assert not list(tmp_path.glob("o/*/.*.writing"))


def test_atomic_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_records_after_the_state_are_forgotten(tmp_path):
    path = tmp_path / "stats.jsonl"
    path.write_text("".join(json.dumps({"nimg": n}) + "\n" for n in (4, 8, 12)) + '{"nimg": 1')
    drop_after(path, 8)
    assert [record["nimg"] for record in read_jsonl(path)] == [4, 8]


@pytest.mark.skipif(not os.path.exists("/proc"), reason="finds the worker in /proc")
def test_killed_data_worker_is_one_line(trainer):
    process = trainer("--workers", 1)
    children = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat, open(f"/proc/{name}/cmdline") as command:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == process.pid and "spawn_main" in command.read():
                    children.append(int(name))
        except OSError:
            continue
    os.kill(children[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and err.count("\n") == 1 and "--workers 0" in err, err
