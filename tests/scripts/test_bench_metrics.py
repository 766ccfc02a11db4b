"""The comparison with clean-fid: what it counts, and that both sides compute the same."""

import json

import numpy as np
import pytest
import torch

from scripts.benchmarks import metrics as script
from scripts.benchmarks import sides
from tests.metrics.test_fid import reference_package


def test_the_distances_agree():
    reference_package("cleanfid.fid")
    result = script.distances(dim=24, samples=200, rounds=2)
    assert result["apart"] < 1e-6 and [len(times) for times in result["seconds"].values()] == [2, 2]


def test_turns_and_ratios():
    order, times = [], {script.OURS: [9, 1, 3, 2], "a": [9, 4, 4, 8], "b": [9, 2, 6, 8]}  # the first ones warm up
    left = {name: iter(seconds) for name, seconds in times.items()}
    jobs = {name: lambda name=name: order.append(name) or next(left[name]) for name in times}
    found = script.turns(jobs, 3)
    assert found == {name: seconds[1:] for name, seconds in times.items()}
    assert order[3:6] == order[2::-1] and len(order) == 12
    assert script.ratio_to_best(found) == pytest.approx(0.5)  # of 1/2, 3/4 and 2/8
    shown = script.table([dict(what="w", goal=0.7, seconds=found, ratio=0.5, apart=0.0)])
    assert "| w | 2.00 | 4.00 | 0.50 | ≤ 0.7 | 0e+00 |" in shown


@pytest.mark.parametrize("workers", [0, 2])
def test_both_sides_extract_the_same_features(tmp_path, workers, monkeypatch):
    reference_package("cleanfid.fid")
    monkeypatch.setattr(sides.multiprocessing, "set_start_method", lambda *_, **__: None)
    (tmp_path / "images").mkdir()
    script.make_images(tmp_path / "images", 40, 24)
    torch.manual_seed(0)
    network = tmp_path / script.inception.FILE
    torch.jit.script(script.Network(tiny=True).eval()).save(str(network))
    both = []
    for side in (sides.our_features, sides.clean_fid_features):
        result = str(tmp_path / "features.npy")
        jobs, _ = side(str(tmp_path / "images"), str(network), workers, result, torch.device("cpu"))
        jobs["extract"]()
        jobs["save"]()
        both.append(np.load(result))
    assert both[0].shape == (40, 2048)
    torch.testing.assert_close(torch.from_numpy(both[0]), torch.from_numpy(both[1]), rtol=1e-5, atol=1e-6)


def test_features_are_timed_in_processes_of_their_own(run_command, tmp_path):
    reference_package("cleanfid.fid")
    options = ["--images", 20, "--size", 24, "--rounds", 1, "--tiny", "--device", "cpu", "--out", tmp_path / "times.json"]
    finished = run_command("scripts/bench.py", "metrics", "features", *options)
    assert finished.returncode == 0, finished.stderr
    (result,) = json.loads((tmp_path / "times.json").read_text())["results"]
    assert result["apart"] < 1e-5 and {"ours", "clean-fid, 12 workers"} <= set(result["seconds"])
    assert all(len(times) == 1 and times[0] > 0 for times in result["seconds"].values())
    assert "ours: " in finished.stderr and script.table([result]) in finished.stdout
