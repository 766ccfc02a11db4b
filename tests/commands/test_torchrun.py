"""Processes that torchrun has started are those that --gpus starts; one that dies ends them all, or lets them begin again."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.conftest import ROOT
from tests.forked_command import can_fork
from torch_utils.run_dir import STATE, read_options
from torch_utils.stats import read_jsonl

OPTIONS = ["--cfg", "tiny", "--batch", 8, "--metrics", "none", "--device", "cpu", "--tick", 0.016, "--snap", 1]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc, and starts them by fork")


def saved(run_dir) -> dict:
    return torch.load(run_dir / STATE, weights_only=True)


def assert_equal_networks(one: dict, other: dict) -> None:
    for network in ("G", "D", "ema"):
        assert all(torch.equal(one[network][name], value) for name, value in other[network].items())


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("localhost", 0))
        return door.getsockname()[1]


@pytest.fixture
def in_ranks(run_command):
    """in_ranks(world, script, …) -> the finished processes, told who they are as torchrun tells them."""

    def start(world, *command):
        there = dict(MASTER_ADDR="localhost", MASTER_PORT=str(free_port()), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world))
        with ThreadPoolExecutor(world) as pool:
            run = lambda rank: run_command(*command, env=there | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            return list(pool.map(run, range(world)))

    assert can_fork({})
    return start


@needs_linux
def test_a_run_in_ranks_goes_on_in_one_process(in_ranks, run_command, image_folder, tmp_path):
    command = ["train.py", "--outdir", tmp_path / "o", "--data", image_folder(12), *OPTIONS, "--resume", "auto"]
    first, second = in_ranks(2, *command, "--kimg", 0.016)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "Device:        cpu, 2 processes" in first.stdout and "Done" in first.stdout
    assert second.stdout == second.stderr == ""
    (run_dir,) = (tmp_path / "o").iterdir()
    assert read_options(run_dir)["gpus"] == 2 and saved(run_dir)["nimg"] == 16
    alone = run_command(*command, "--kimg", 0.032, "--gpus", 1)
    assert alone.returncode == 0, alone.stderr
    assert list((tmp_path / "o").iterdir()) == [run_dir] and saved(run_dir)["nimg"] == 32
    assert [record["nimg"] for record in read_jsonl(run_dir / "stats.jsonl")] == [16, 32]


@needs_linux
def test_ranks_that_have_nothing_to_do_end(in_ranks):
    for finished in in_ranks(2, "train.py", "--help"):
        assert finished.returncode == 0, finished.stderr


@needs_linux
def test_ranks_do_not_wait_for_a_command_that_cannot_begin(in_ranks, tmp_path):
    """A scheduler that is no torchrun ends nobody."""
    first, second = in_ranks(2, "train.py", "--outdir", tmp_path / "o", "--data", tmp_path / "nothere")
    assert first.returncode == 2 and "nothere" in first.stderr
    assert second.returncode == 0 and second.stderr == ""


@needs_linux
def test_a_style_transfer_is_one_process(in_ranks, tmp_path):
    for finished in in_ranks(2, "train_style.py", "--outdir", tmp_path / "o"):
        assert finished.returncode == 2 and "is one process, and torchrun has started 2" in finished.stderr


# ---------------------------------------------------------------- torchrun itself


@pytest.fixture
def torchrun():
    """torchrun(options, …) -> train.py in two processes, which are running."""
    started = []

    def start(*options, settings=()):
        program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, *settings]
        command = [*program, ROOT / "train.py", *OPTIONS, *options]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True)
        process = subprocess.Popen(list(map(str, command)), env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            for pid in [process.pid, *ranks(process)]:
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def ranks(process) -> list[int]:
    """Process ids, the first rank first."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat, open(f"/proc/{name}/environ") as environment:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == process.pid:
                    entries = environment.read().split("\0")
                    found |= {entry.split("=")[1]: int(name) for entry in entries if entry.startswith("RANK=")}
        except OSError:
            continue
    return [found[rank] for rank in sorted(found)]


def wait_for_line(process, beginning: str, times: int = 1) -> None:
    for _ in range(times):
        while not (line := process.stdout.readline()).startswith(beginning):
            assert line, process.stderr.read()


@pytest.mark.slow
@needs_linux
def test_torchrun_is_gpus_to_the_bit(torchrun, run_command, image_folder, tmp_path):
    data = ["--data", image_folder(12), "--kimg", 0.032, "--aug", "ada", "--target", -0.99, "--ada-kimg", 0.1]
    process = torchrun("--outdir", tmp_path / "a", *data)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0 and out.count("Done") == 1, err
    spawned = run_command("train.py", *OPTIONS, "--outdir", tmp_path / "b", *data, "--gpus", 2)
    assert spawned.returncode == 0, spawned.stderr
    one, other = (saved(next((tmp_path / name).iterdir())) for name in "ab")
    assert_equal_networks(one, other)
    assert one["strength"] == other["strength"] and one["strength"]["p"] > 0


@pytest.mark.slow
@needs_linux
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_others(torchrun, image_folder, tmp_path, rank):
    process = torchrun("--outdir", tmp_path / "o", "--data", image_folder(12), "--kimg", 1)
    wait_for_line(process, "kimg")
    all_ranks = ranks(process)
    os.kill(all_ranks[rank], signal.SIGKILL)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert process.returncode != 0 and f"Signal 9 (SIGKILL) received by PID {all_ranks[rank]}" in err
    assert not any(os.path.exists(f"/proc/{pid}") for pid in all_ranks)


@pytest.mark.slow
@needs_linux
def test_a_job_that_is_restarted_goes_on(torchrun, run_command, image_folder, tmp_path):
    """And comes to where it would have come without."""
    data = ["--data", image_folder(12), "--kimg", 0.192]
    process = torchrun("--outdir", tmp_path / "o", *data, "--resume", "auto", settings=["--max-restarts", 1])
    wait_for_line(process, "kimg", 2)  # with the second tick, the state of the first is on disk
    os.kill(ranks(process)[1], signal.SIGKILL)
    wait_for_line(process, "Resuming:")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0 and "Resumed at" in out and "Done" in out, err
    (run_dir,) = (tmp_path / "o").iterdir()
    whole = run_command("train.py", *OPTIONS, "--outdir", tmp_path / "whole", *data, "--gpus", 2)
    assert whole.returncode == 0, whole.stderr
    one, other = saved(run_dir), saved(next((tmp_path / "whole").iterdir()))
    assert one["nimg"] == other["nimg"] == 192
    assert_equal_networks(one, other)
