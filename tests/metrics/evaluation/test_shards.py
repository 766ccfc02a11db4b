"""Several processes score as one: the same floats, each having measured its share."""

import json

import pytest
import torch

from metrics.evaluation.evaluator import Evaluator
from metrics.evaluation.shards import Shards
from networks.generator import Generator
from tests.commands.test_calc_metrics import folders  # noqa: F401  a fixture
from tests.metrics.test_perceptual_path_length import StandIn
from torch_utils import distributed
from torch_utils.checkpoint import save_snapshot


def row_worker(rank, world, device, path):
    shards = Shards(rank, world)
    for count in (0, 1, 2, 5, 6):
        drawn = list(shards.gathered(i * i for i in range(rank, count, world)))
        assert drawn == ([i * i for i in range(count)] if rank == 0 else []), (count, rank, drawn)
    assert shards.from_first(f"from {rank}") == "from 0"
    (path / f"done-{rank}").touch()


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_row_in_order(tmp_path, world):
    distributed.launch(row_worker, world, torch.device("cpu"), tmp_path)
    assert len(list(tmp_path.iterdir())) == world


def training_worker(rank, world, device, path):
    if rank == 0:  # as in a training: the other one waits elsewhere
        images = torch.arange(1100 * 192).view(1100, 3, 8, 8).remainder(251).to(torch.uint8)
        evaluator = Evaluator(["fd1k-cells"], lambda: images.split(64), 1100, "", device, detector_file=path / "cells.pt")
        (record,) = evaluator(lambda count: images.split(64))
        (path / "scored").write_text(record["metric"])


def test_an_evaluator_scores_alone_unless_it_is_told_otherwise(folders, monkeypatch):  # noqa: F811
    monkeypatch.setenv("ADACONV_CACHE", str(folders / "cache"))
    distributed.launch(training_worker, 2, torch.device("cpu"), folders)
    assert (folders / "scored").read_text() == "fd1k-cells"


def records(folder):
    found = {}
    for path in sorted(folder.glob("metric-*.jsonl")):
        (record,) = map(json.loads, path.read_text().splitlines())
        found[path.name] = {key: value for key, value in record.items() if key not in ("seconds", "processes")}
    return found


@pytest.mark.parametrize("processes", [2, *(pytest.param(number, marks=pytest.mark.slow) for number in (3, 4))])
@pytest.mark.parametrize("what", ["images", "network"])
def test_several_processes_give_the_scores_of_one(run_command, folders, what, processes):  # noqa: F811
    """Features and moments, an empty cache, a subset of the reals, baselines, and paths. Shares are uneven:
    of two batches of real images a third process has none, 32 batches of generated ones are no multiple of 3.
    """
    names = "fd1k_full,fd1k,kid1k_full-cells,pr1k_full-cells"
    arguments = ["--metrics", names, "--images", folders / "fake"]
    if what == "network":
        torch.manual_seed(0)
        G = Generator(8, z_dim=8, channel_base=128, channel_max=16, style_depth=2)
        save_snapshot(folders / "network.safetensors", "generator", G)
        torch.jit.script(StandIn()).save(str(folders / "mine.pt"))
        arguments = ["--metrics", f"{names},ppl1k-mine", "--trust-code", "--vgg", folders / "mine.pt", "--baselines"]
        arguments += ["--network", folders / "network.safetensors"]
    found = []
    for number in (1, processes):
        out = folders / f"{what}-{number}"
        out.mkdir()
        finished = run_command(
            *("calc_metrics.py", *arguments, "--data", folders / "real", "--trust-code", "--detector", folders / "cells.pt"),
            *("--device", "cpu", "--gpus", number, "--outdir", out),
            env={"ADACONV_CACHE": str(out / "cache")},
        )
        assert finished.returncode == 0, finished.stderr
        found.append((records(out), [line for line in finished.stdout.splitlines() if line]))
    (one, shown), (several, shown_by_several) = found
    assert one == several and len(one) == 4 + (what == "network")
    assert shown == shown_by_several


def test_a_mistake_is_one_line_from_two_processes(run_command, folders):  # noqa: F811
    bad = run_command(
        "calc_metrics.py",
        "--metrics",
        "fd1k",
        "--trust-code",
        "--detector",
        folders / "cells.pt",
        "--gpus",
        2,
        "--device",
        "cpu",
        "--images",
        folders / "real",
        "--data",
        folders / "real",
    )
    assert bad.returncode == 2 and "found 60 of the 1000 images to score" in bad.stderr.strip().splitlines()[-1]
