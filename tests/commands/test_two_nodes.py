"""Two launchers of torchrun, as on two machines, are one job: the run and the scores are those of one launcher."""

import json
import os
import subprocess
import sys

import pytest
import torch

from networks.generator import Generator
from tests.commands.test_calc_metrics import folders  # noqa: F401  a fixture
from tests.commands.test_torchrun import OPTIONS, assert_equal_networks, free_port, needs_linux, saved
from tests.conftest import ROOT
from torch_utils.checkpoint import save_snapshot
from torch_utils.run_dir import read_options
from torch_utils.stats import read_jsonl

pytestmark = [pytest.mark.slow, needs_linux]


@pytest.fixture
def on_nodes():
    """on_nodes(nodes, processes, script, …) -> (exit code, stdout, stderr) of each launcher, which has so many processes."""
    started = []

    def start(nodes, processes, script, *options):
        meeting = ["--nnodes", nodes, "--nproc-per-node", processes, "--rdzv-backend", "c10d", "--rdzv-id", "job"]
        meeting += ["--rdzv-endpoint", f"localhost:{free_port()}"]
        command = [sys.executable, "-m", "torch.distributed.run", *meeting, ROOT / script, *options]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        for _ in range(nodes):
            started.append(subprocess.Popen(list(map(str, command)), env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes))
        found = [process.communicate(timeout=200) for process in started[-nodes:]]
        return [(process.returncode, *texts) for process, texts in zip(started[-nodes:], found)]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()  # it ends its processes, too
            process.communicate()


def only_run(outdir):
    (run_dir,) = outdir.iterdir()
    return run_dir


def test_a_run_on_two_nodes_is_that_on_one(on_nodes, image_folder, tmp_path):
    data = ["--data", image_folder(12, labels=3), "--cond", 1, "--aug", "ada", "--target", -0.99, "--ada-kimg", 0.1]
    for nodes, processes, outdir in ((2, 1, "two"), (1, 2, "one")):
        finished = on_nodes(nodes, processes, "train.py", *OPTIONS, *data, "--kimg", 0.032, "--outdir", tmp_path / outdir)
        assert all(code == 0 for code, _, _ in finished), finished
        said = "".join(out for _, out, _ in finished)
        assert said.count("Device:        cpu, 2 processes") == said.count("Done") == 1, "the first process alone speaks"
    two, one = (only_run(tmp_path / name) for name in ("two", "one"))
    assert_equal_networks(saved(two), saved(one))
    assert saved(two)["strength"] == saved(one)["strength"] and saved(two)["strength"]["p"] > 0
    assert sorted(os.listdir(two)) == sorted(os.listdir(one)) and read_options(two)["gpus"] == 2
    assert [record["nimg"] for record in read_jsonl(two / "stats.jsonl")] == [16, 32]


def test_a_run_of_two_nodes_goes_on(on_nodes, image_folder, tmp_path):
    """In the same run directory; a second one would mean that machines had chosen for themselves."""
    command = ["train.py", *OPTIONS, "--data", image_folder(12), "--outdir", tmp_path / "o", "--resume", "auto"]
    for kimg in (0.016, 0.032):
        finished = on_nodes(2, 1, *command, "--kimg", kimg)
        assert all(code == 0 for code, _, _ in finished), finished
    assert saved(only_run(tmp_path / "o"))["nimg"] == 32


def test_a_mistake_ends_both_nodes(on_nodes, tmp_path):
    finished = on_nodes(2, 1, "train.py", "--outdir", tmp_path / "o", "--data", tmp_path / "absent", *OPTIONS)
    assert all(code != 0 for code, _, _ in finished)
    assert "".join(err for _, _, err in finished).count("absent: does not exist") == 1


def test_scores_of_two_nodes_are_those_of_one_process(on_nodes, run_command, folders, monkeypatch):  # noqa: F811
    """60 real images and 1,000 generated ones: shares are uneven."""
    torch.manual_seed(0)
    G = Generator(8, z_dim=8, channel_base=128, channel_max=16, style_depth=2)
    save_snapshot(folders / "g.safetensors", "generator", G)
    names = "fd1k_full,kid1k_full-cells,pr1k_full-cells"
    command = ["calc_metrics.py", "--metrics", names, "--network", folders / "g.safetensors", "--data", folders / "real"]
    command += ["--trust-code", "--detector", folders / "cells.pt", "--device", "cpu"]
    values = []
    for nodes in (1, 2):
        out = folders / f"{nodes}"
        out.mkdir()
        monkeypatch.setenv("ADACONV_CACHE", str(out / "cache"))
        if nodes == 1:
            finished = run_command(*command, "--outdir", out, env={"ADACONV_CACHE": str(out / "cache")})
            assert finished.returncode == 0, finished.stderr
        else:
            finished = on_nodes(2, 1, *command, "--outdir", out)
            assert all(code == 0 for code, _, _ in finished), finished
        lines = {path.name: path.read_text().splitlines() for path in sorted(out.glob("metric-*.jsonl"))}
        assert all(len(found) == 1 for found in lines.values()), "one process writes"
        values.append({name: json.loads(found[0])["value"] for name, found in lines.items()})
    one, two = values
    assert len(one) == 3 and two == {name: pytest.approx(value, rel=1e-8) for name, value in one.items()}
