"""Nothing lost: exact resume after a stop, a crash or a damaged file, and what happens to whom when something goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.conftest import ROOT
from torch_utils.files import InputError, atomic_write, remove_unfinished, write_json
from torch_utils.interrupt import STATUS, StopRequest
from torch_utils.run_dir import CHECKED
from torch_utils.stats import Means, Records, drop_after, read_jsonl
from train import check_images
from training.dataset import ImageDataset
from training.gan import loop
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState
from training.run import loop as run_loop
from training.run.saved_state import checksum

CPU = torch.device("cpu")
needs_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch, and no limits")
SHORT = dict(batch=4, channel_base=128, channel_max=16, z_dim=8, style_depth=2, reg_interval=3, tick=0.012, snap=2)
RECIPES = {
    "relativistic": dict(workers=2),
    "logistic, ada, labels": dict(
        loss="logistic", pl_weight=1.0, style_mixing=0.9, aug="ada", target=-1.0, ada_kimg=0.1, cond=True
    ),
    "growing": dict(grow=True, grow_kimg=0.007),
    "bf16": dict(precision="bf16", reg_interval=2),
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


def untimed(run_dir) -> list[dict]:
    free = ("seconds", "sec_per_kimg", "data_share", "timestamp", "resident_mb")
    return [{k: v for k, v in record.items() if k not in free} for record in read_jsonl(run_dir / "stats.jsonl")]


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
        patch.setattr(run_loop, "StopRequest", StopAt)
        assert not run(*first, tmp_path / "parts")
    assert first[2].step == 4
    second = make(folder, **RECIPES[recipe])
    second[2].load(tmp_path / "parts")
    assert everything(second[2])["means"]["counts"]  # a tick was under way
    assert run(*second, tmp_path / "parts")
    assert checksum(everything(second[2])) == checksum(everything(whole[2]))
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "parts")  # each tick once, with the same means
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
        patch.setattr(run_loop, "StopRequest", During)
        assert not loop.train(config, dataset, state, tmp_path / "run", evaluate, CPU)
    assert [r["nimg"] for r in read_jsonl(tmp_path / "run" / f"metric-{metric}.jsonl")] == [0]
    state.load(tmp_path / "run")
    assert loop.train(config, dataset, state, tmp_path / "run", evaluate, CPU)
    assert [r["nimg"] for r in read_jsonl(tmp_path / "run" / f"metric-{metric}.jsonl")] == [0, 24, 32]


def test_score_of_the_untrained_generator_is_never_made_twice(image_folder, tmp_path):
    """It may take an hour. A run that is killed after it goes on from zero images; one that is killed in it has no state."""
    metric = "fd1k_full-efficientnet_lite0"
    config, dataset, state = make(image_folder(10), metrics=(metric,), kimg=0.004)
    folder, calls = tmp_path / "run", []

    def evaluate(fakes):
        calls.append(state.nimg)
        return [dict(metric=metric, value=2.0 - len(calls), floor=0.5, floor_counts=[1, 1])]

    class Killed(Exception):
        pass

    def die():
        raise Killed

    folder.mkdir()
    state.grow = lambda growth: die()
    with pytest.raises(Killed):
        loop.train(config, dataset, state, folder, evaluate, CPU)
    config, dataset, state = make(image_folder(10, name="again"), metrics=(metric,), kimg=0.004)
    state.load(folder)
    assert loop.train(config, dataset, state, folder, evaluate, CPU)
    records = read_jsonl(folder / f"metric-{metric}.jsonl")
    assert calls == [0, 4] and [record["nimg"] for record in records] == [0, 4] and state.first_scores == {metric: 1.0}


def test_state_is_saved_by_time(image_folder, tmp_path):
    config, dataset, state = make(image_folder(10), save_every=1e-9, snap=1000)
    saves = []
    state.save = lambda run_dir: saves.append(state.nimg)
    run(config, dataset, state, tmp_path / "run")
    assert sorted(set(saves)) == [0, 4, 8, 12, 16, 20, 24, 28, 32]


def test_soak_knows_what_grew(capsys):
    soak = pytest.importorskip("scripts.soak", reason="needs psutil", exc_type=ImportError)
    samples = [{"step": i, "memory": 100 + i % 2, "open files": 9, "threads": 3, "disk": 5.0, "kept": i} for i in range(100)]
    assert soak.report(samples)
    for name, rate in (("memory", 0.1), ("open files", 0.1), ("threads", 0.1), ("disk", 0.01)):
        assert not soak.report([sample | {name: sample[name] + rate * sample["step"]} for sample in samples])
    assert "it grew" in capsys.readouterr().out


@pytest.mark.slow
def test_a_soak_is_flat(run_command, tmp_path):
    pytest.importorskip("psutil")
    finished = run_command("scripts/soak.py", "--outdir", tmp_path / "soak", "--steps", 2000, timeout=3600)
    assert finished.returncode == 0 and finished.stdout.endswith("flat\n"), finished.stdout + finished.stderr


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


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(nimg="4"),
        lambda values: values.update(nimg=-4),
        lambda values: values.update(seconds=float("nan")),
        lambda values: values.update(path_mean=float("inf")),
        lambda values: values.update(first_scores={"fd1k": "low"}),
        lambda values: values["ema"]["synthesis.const"].view(-1)[3:4].fill_(float("nan")),
        lambda values: values.update(run="of another run"),
        lambda values: values.update(first_scores=None),
        lambda values: values["strength"].update(p="1"),
        lambda values: values["opt_G"]["state"][0].update(exp_avg=torch.zeros(1)),
        lambda values: values["opt_D"]["state"].pop(0) and values["opt_D"]["state"].update({0: 1}),
        lambda values: values["G"].popitem(),
    ],
)
def test_a_whole_file_with_another_state_is_refused(image_folder, tmp_path, change):
    """Its checksum is right: somebody made it so."""
    config, dataset, state = make(image_folder(8), kimg=0.004, run="this run")
    run(config, dataset, state, tmp_path / "run")
    values = state.state_dict()
    state.load_state_dict(values)
    change(values)
    for name in ("training-state.pt", "training-state.previous.pt"):
        torch.save(values | {"checksum": checksum(values)}, tmp_path / "run" / name)
    with pytest.raises(InputError, match="cannot be resumed"):
        make(image_folder(8, name="again"), run="this run")[2].load(tmp_path / "run")


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

    def start(*more, expect="kimg", script=ROOT / "train.py"):
        command = [script, "--outdir", tmp_path / "o", "--data", data, "--cfg", "tiny", "--batch", 4, "--metrics", "none"]
        command += ["--device", "cpu", "--kimg", 1, "--tick", 0.008, "--snap", 1, *more]
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
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


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_goes_on(trainer, tmp_path, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("these tests were started by nohup, which has it ignored, also by what they start")
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


@needs_posix
def test_a_closed_pipe_saves(trainer, tmp_path):
    """`train.py | head`: whoever reads goes away, and the run is stopped as by SIGTERM."""
    process = trainer()
    process.stdout.close()
    assert process.wait(120) == STATUS
    assert "Traceback" not in process.stderr.read()
    (run_dir,) = (tmp_path / "o").iterdir()
    state = torch.load(run_dir / "training-state.pt", weights_only=True)
    assert state["nimg"] == 4 * state["step"] > 0
    process.stdout = None


@needs_posix
def test_a_signal_reaches_all_processes(trainer, tmp_path):
    process = trainer("--gpus", 2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == STATUS, err
    (run_dir,) = (tmp_path / "o").iterdir()
    assert torch.load(run_dir / "training-state.pt", weights_only=True)["step"] > 0


def test_a_run_that_ended_before_its_first_save_is_begun_anew_in_its_place(run_command, image_folder, tmp_path):
    """So that trainings that are started again and again leave no row of dead folders, nor their half-written files."""
    arguments = ["train.py", "--outdir", tmp_path / "o", "--data", image_folder(), "--cfg", "tiny", "--batch", 4, "--metrics"]
    arguments += ["none", "--device", "cpu", "--kimg", "0.004"]
    assert run_command(*arguments).returncode == 0
    (run_dir,) = (tmp_path / "o").iterdir()
    for path in [*run_dir.glob("*.pt"), *run_dir.glob("network-*"), *run_dir.glob("*.jsonl")]:
        path.unlink()
    (run_dir / ".training-state.pt.123.writing").write_bytes(b"half")
    assert run_command(*arguments, "--resume", "auto").returncode == 0
    assert list((tmp_path / "o").iterdir()) == [run_dir] and not list(run_dir.glob(".*.writing"))
    for path in run_dir.glob("*.pt"):  # by somebody who wants to keep the network
        path.unlink()
    before = [path.stat().st_mtime_ns for path in run_dir.glob("network-*")]
    assert run_command(*arguments, "--resume", "auto").returncode == 0
    assert len(list((tmp_path / "o").iterdir())) == 2
    assert [path.stat().st_mtime_ns for path in run_dir.glob("network-*")] == before


@needs_posix
def test_one_trainer_at_a_time(trainer, run_command, tmp_path):
    trainer()
    (run_dir,) = (tmp_path / "o").iterdir()
    second = run_command("train.py", "--outdir", tmp_path / "o", "--resume", run_dir)
    assert second.returncode == 2 and "another training run is writing there" in second.stderr


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


# Runs train.py where no file may be longer than so many bytes: what a full disk does, half-way through a write.
CRAMPED = """
import resource, runpy, signal, sys
sys.path.insert(0, {root!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
runpy.run_path({train!r}, run_name="__main__")
"""


@pytest.fixture
def scripted(tmp_path):
    """scripted(text, …) -> a script made from it, which runs train.py in its own way."""

    def write(text: str, **values):
        path = tmp_path / "scripted.py"
        path.write_text(text.format(root=str(ROOT), train=str(ROOT / "train.py"), **values))
        return path

    return write


@needs_posix
@pytest.mark.parametrize("gpus", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_full_disk_is_one_line(run_command, scripted, image_folder, tmp_path, gpus):
    """The state is the longest file, so it is the one that does not fit; what a run had before stays."""
    arguments = ["--outdir", tmp_path / "o", "--data", image_folder(), "--cfg", "tiny", "--batch", "4", "--metrics", "none"]
    arguments += ["--device", "cpu", "--gpus", gpus]
    finished = run_command(scripted(CRAMPED), 1_000_000, *arguments, "--kimg", "0.008")
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.count("\n") == 1 and "training-state.pt: File too large; what was saved before" in finished.stderr
    assert not list((tmp_path / "o").iterdir())  # nothing was learned yet
    assert run_command("train.py", *arguments, "--kimg", "0.008").returncode == 0
    (run_dir,) = (tmp_path / "o").iterdir()
    before = (run_dir / "training-state.pt").read_bytes()
    finished = run_command(scripted(CRAMPED), 1_000_000, *arguments, "--kimg", "0.016", "--resume", "auto")
    assert finished.returncode == 2 and finished.stderr.count("\n") == 1, finished.stderr
    assert (run_dir / "training-state.pt").read_bytes() == before and not list(run_dir.glob(".*.writing"))


@needs_posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_directory_made_read_only_is_one_line(trainer, tmp_path):
    process = trainer()
    (run_dir,) = (tmp_path / "o").iterdir()
    run_dir.chmod(0o500)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        run_dir.chmod(0o700)
    assert process.returncode == 2 and err.count("\n") == 1 and "Permission denied; what was saved before" in err, err
    assert torch.load(run_dir / "training-state.pt", weights_only=True)["step"] > 0


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


def test_curves_after_the_state_are_forgotten(tmp_path):
    """TensorBoard shows what a killed run had drawn beyond its last save no longer."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for seen, points in ((-1, (4, 8, 12)), (8, (12, 16))):
        records = Records(tmp_path, seen)
        for nimg in points:
            records.write("stats.jsonl", dict(nimg=nimg, loss_D=float(nimg + seen)))
        records.close()
        time.sleep(1.1)  # the names of its files have whole seconds
    assert [record["nimg"] for record in read_jsonl(tmp_path / "stats.jsonl")] == [4, 8, 12, 16]
    curves = EventAccumulator(str(tmp_path))
    curves.Reload()
    assert [(e.step, e.value) for e in curves.Scalars("stats/loss_D")] == [(4, 3.0), (8, 7.0), (12, 20.0), (16, 24.0)]


def test_images_are_decoded_once_a_run(image_folder, tmp_path):
    """A resumed run takes the first one's word for it, unless a file has changed; a million images take minutes."""
    folder = image_folder(6)
    (folder / "003.png").write_bytes(b"no image")
    first = ImageDataset(folder, skip_bad=True)
    assert not first.trust(first.findings())
    first.check()
    second = ImageDataset(folder, skip_bad=True)
    assert second.trust(json.loads(json.dumps(first.findings())))
    assert len(second) == 5 and second.skipped == first.skipped and second.content_hash() == first.content_hash()
    found = first.findings()
    for wrong in (
        None,
        [],
        {},
        found | {"skipped": None},
        found | {"skipped": {"x": "y"}},
        found | {"skipped": {"003.png": 1}},
    ):
        assert not ImageDataset(folder, skip_bad=True).trust(wrong)
    assert not ImageDataset(folder, skip_bad=True, subset=3).trust(found)
    assert not ImageDataset(folder).trust(found)
    os.utime(folder / "004.png", ns=(1, 1))
    assert not ImageDataset(folder, skip_bad=True).trust(found)


def test_resumed_run_does_not_decode_again(image_folder, tmp_path):
    folder = image_folder(4)
    first = ImageDataset(folder)
    check_images(first, None, False)
    write_json(tmp_path / CHECKED, first.findings())
    content, status = (folder / "003.png").read_bytes(), (folder / "003.png").stat()
    (folder / "003.png").write_bytes(content[:100].ljust(len(content), b"x"))
    os.utime(folder / "003.png", ns=(status.st_atime_ns, status.st_mtime_ns))  # as if it had not been touched
    check_images(ImageDataset(folder), tmp_path, False)
    os.utime(folder / "003.png")
    with pytest.raises(InputError, match="003.png"):
        check_images(ImageDataset(folder), tmp_path, False)


def children(process) -> list[int]:
    """Process ids of what it has spawned, the oldest first."""
    found = []
    for name in sorted(filter(str.isdecimal, os.listdir("/proc")), key=int):
        try:
            with open(f"/proc/{name}/stat") as stat, open(f"/proc/{name}/cmdline") as command:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == process.pid and "spawn_main" in command.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="finds processes in /proc")


# Runs train.py as if no data set were small enough to be kept in memory: only then are there data workers.
UNKEPT = """
import runpy, sys
sys.path.insert(0, {root!r})
import training.image_memory
training.image_memory.KEPT_BYTES = 0
if __name__ == "__main__":  # and not in a data worker
    runpy.run_path({train!r}, run_name="__main__")
"""


@needs_proc
def test_killed_data_worker_is_one_line(trainer, scripted):
    process = trainer("--workers", 1, script=scripted(UNKEPT))
    os.kill(children(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    ours = [line for line in err.splitlines() if "resource_tracker" not in line and not line.startswith("  ")]
    assert process.returncode == 2 and len(ours) == 1 and "--workers 0" in ours[0], err  # Python may miss a semaphore by itself


@pytest.mark.slow
@needs_proc
def test_killed_process_of_several_is_one_line(trainer):
    process = trainer("--gpus", 2)
    os.kill(children(process)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in err and "one of the 2 processes was ended from outside" in err, err


@pytest.mark.slow
@needs_proc
def test_processes_that_outlive_their_parent_keep_the_lock(trainer, run_command, tmp_path):
    process = trainer("--gpus", 2)
    (run_dir,) = (tmp_path / "o").iterdir()
    orphans = children(process)
    for orphan in orphans:
        os.kill(orphan, signal.SIGSTOP)
    process.kill()
    try:
        second = run_command("train.py", "--outdir", tmp_path / "o", "--resume", run_dir)
        assert second.returncode == 2 and "another training run is writing there" in second.stderr
    finally:
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)


@needs_posix
def test_a_signal_to_the_whole_group_spares_the_data_workers(trainer, scripted):
    """As `timeout`, job schedulers and service managers send it."""
    process = trainer("--workers", 1, script=scripted(UNKEPT))
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == STATUS and not err, err


# Runs train.py, which sends itself real SIGTERMs in the middle of its fourth step.
INTERRUPTED = """
import os, runpy, signal, sys, time
sys.path.insert(0, {root!r})
import training.image_memory, training.gan.loop
training.image_memory.KEPT_BYTES = 0  # so that there are data workers
step = training.gan.loop.generator_step
def interrupted(state, *rest):
    if state.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
        if {twice}:
            time.sleep(1.1)
            os.kill(os.getpid(), signal.SIGTERM)
    step(state, *rest)
if __name__ == "__main__":  # and not in a data worker
    training.gan.loop.generator_step = interrupted
    runpy.run_path({train!r}, run_name="__main__")
"""


@pytest.mark.slow
@needs_posix
def test_second_sigterm_ends_a_training_at_once_and_damages_nothing(run_command, scripted, image_folder, tmp_path):
    arguments = ["--outdir", tmp_path / "o", "--data", image_folder(), "--cfg", "tiny", "--batch", 4, "--metrics", "none"]
    arguments += ["--device", "cpu", "--kimg", 0.024, "--tick", 0.008, "--snap", 1]
    finished = run_command(scripted(INTERRUPTED, twice=True), *arguments)
    assert finished.returncode == 130 and finished.stderr.strip() == "interrupted", finished.stderr
    (run_dir,) = (tmp_path / "o").iterdir()
    values = torch.load(run_dir / "training-state.pt", weights_only=True)
    assert values.pop("checksum") == checksum(values) and values["step"] == 2  # of the last snapshot


ALL_ON = "--aug ada --ada-kimg 0.1 --target -0.9 --grow 1 --grow-kimg 0.007 --cond 1 --workers 2".split()


@needs_posix
@pytest.mark.parametrize("loss", ["relativistic", pytest.param("logistic", marks=pytest.mark.slow)])
def test_eight_steps_are_four_a_sigterm_and_four_in_a_new_process(run_command, scripted, image_folder, tmp_path, loss):
    arguments = ["--data", image_folder(10, 16, labels=3), "--cfg", "tiny", "--batch", 4, "--kimg", 0.032, "--tick", 0.012]
    arguments += ["--metrics", "none", "--device", "cpu", "--loss", loss, *ALL_ON]
    assert run_command("train.py", "--outdir", tmp_path / "whole", *arguments).returncode == 0
    first = run_command(scripted(INTERRUPTED, twice=False), "--outdir", tmp_path / "parts", *arguments)
    assert first.returncode == STATUS, first.stderr
    whole, run_dir = (next((tmp_path / name).iterdir()) for name in ("whole", "parts"))
    assert torch.load(run_dir / "training-state.pt", weights_only=True)["step"] == 4
    second = run_command("train.py", "--outdir", tmp_path / "parts", "--resume", run_dir)
    assert second.returncode == 0, second.stderr

    one = assert_equal_states(whole, run_dir)
    assert one["step"] == 8 and one["strength"]["p"] > 0
    assert untimed(whole) == untimed(run_dir)


@pytest.mark.slow
@needs_posix
def test_two_processes_go_on_as_if_never_interrupted(trainer, run_command, tmp_path):
    """Wherever the signal found them."""
    options = ["--gpus", 2, "--kimg", 0.16, "--aug", "ada", "--target", -0.5, "--ada-kimg", 0.1]
    process = trainer(*options)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == STATUS
    (run_dir,) = (tmp_path / "o").iterdir()
    assert torch.load(run_dir / "training-state.pt", weights_only=True)["nimg"] < 160
    assert run_command("train.py", "--outdir", tmp_path / "o", "--resume", run_dir).returncode == 0
    whole = trainer(*options, expect="Done")
    assert whole.wait(120) == 0
    assert_equal_states(*sorted((tmp_path / "o").iterdir()))


def assert_equal_states(*run_dirs) -> dict:
    one, other = (torch.load(path / "training-state.pt", weights_only=True) for path in run_dirs)
    for values in (one, other):
        assert values.pop("checksum") and values.pop("seconds")
    assert compare(one, other) > 200
    return one


def compare(one, other, name: str = "state") -> int:
    """Of how many tensors both consist, each equal to the other's."""
    assert type(one) is type(other), name
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
        return 1
    if isinstance(one, (list, tuple)):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict):
        assert list(one) == list(other), name
        return sum(compare(one[key], other[key], f"{name}.{key}") for key in one)
    assert one == other, name
    return 0
