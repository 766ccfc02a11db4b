"""--hours: the run that follows is the one that --kimg would have made."""

import json

import pytest
import torch

import train
from tests.commands.test_reliability import ALL_ON, assert_equal_states, untimed
from tests.training.gan.test_training import make
from tests.training.run.test_start import call
from torch_utils.files import InputError
from torch_utils.run_dir import LOG, OPTIONS
from training.gan import pace
from training.gan.pace import time_training
from training.run import pace as run_pace
from training.run.pace import kimg_within

CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch):
    """One cycle is timed; -> what each run's length is set to, and the paces that were found."""
    lengths, paces = [], []

    def within(hours, found, config, state):
        paces.append(found)
        assert kimg_within(hours, found, config, state) > state.nimg / 1000
        return lengths.pop(0)

    monkeypatch.setattr(run_pace, "TIMED", 0.0)
    monkeypatch.setattr(train, "kimg_within", within)
    return lengths, paces


@pytest.fixture
def arguments(image_folder, tmp_path):
    words = ["--data", image_folder(10, 16, labels=3), "--cfg", "tiny", "--batch", 4, "--tick", 0.012, "--metrics", "none"]
    at = ALL_ON.index("--grow")
    return ["--outdir", tmp_path / "runs", *words, "--device", "cpu", *ALL_ON[:at], *ALL_ON[at + 4 :]]  # but for growing


@pytest.mark.parametrize("gpus", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_measuring_leaves_no_trace(arguments, tmp_path, quick, gpus):
    """Equal in every bit, with everything random switched on; in a resumed part, too."""
    lengths, paces = quick
    lengths += [0.016, 0.032]
    printed = call(train.main, *arguments, "--gpus", gpus, "--hours", 2)
    call(train.main, *arguments, "--gpus", gpus, "--kimg", 0.016, "--desc", "kimg")
    by_hours, by_kimg = sorted((tmp_path / "runs").iterdir())
    assert "Length:        about 0.016 kimg in 2 hours at " in printed and len(paces) == 1 and paces[0].sec_per_score == 0
    assert printed.count('"kimg": 0.016') == 1 and "Length: " in (by_hours / LOG).read_text(encoding="utf-8")
    assert (by_hours / OPTIONS).read_bytes() == (by_kimg / OPTIONS).read_bytes()
    assert_equal_states(by_hours, by_kimg)

    printed = call(train.main, *arguments, "--resume", by_hours, "--hours", 1)
    call(train.main, *arguments, "--resume", by_kimg, "--kimg", 0.032)
    assert (
        "about 0.016 kimg more, to 0.032, in 1 hour" in printed
        and json.loads((by_hours / OPTIONS).read_text())["kimg"] == 0.032
    )
    assert_equal_states(by_hours, by_kimg)
    assert untimed(by_hours) == untimed(by_kimg)


def test_a_dry_run_says_the_length_and_writes_nothing(arguments, tmp_path, quick):
    quick[0].append(0.04)
    printed = call(train.main, *arguments, "--hours", 2, "-n")
    assert "about 0.04 kimg in 2 hours" in printed and "hours for 0.04 kimg" in printed and not (tmp_path / "runs").exists()


def test_hours_that_make_no_sense(arguments, tmp_path):
    for words, message in (
        (["--hours", 2, "--kimg", 3], "--hours and --kimg both say how long"),
        (["--hours", 0], "--hours 0: wanted a number from 0.01 to 10000"),
        (["--hours", 1e5], "--hours 100000: wanted"),
        (["--hours", 2, "--grow", 1, "--grow-kimg", 1], "--grow 1 the pace changes"),
    ):
        with pytest.raises(InputError, match=message):
            call(train.main, *arguments, *words)
    assert not (tmp_path / "runs").exists()


def test_steps_that_are_timed(image_folder, monkeypatch):
    """Both kinds of penalties in every cycle, images transformed as they will be, and random generators left alone."""
    config, dataset, state = make(image_folder(), reg_interval=2, pl_interval=3, pl_weight=1.0, aug="ada")
    cycles = []
    monkeypatch.setattr(pace, "time_steps", lambda step, config, state, cycle, device: cycles.append(cycle) or step() or 5.0)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert time_training(config, dataset, state, CPU) == 5.0
    assert cycles == [6] and state.strength.p > 0 and state.means.take()["r1"] > 0
    assert torch.equal(torch.get_rng_state(), before)
    config, dataset, state = make(image_folder(name="more"), grow=True, grow_kimg=0.001)
    with pytest.raises(InputError, match="until then the length is --kimg"):
        time_training(config, dataset, state, CPU)
    state.nimg = 10**6  # all sizes are there
    assert time_training(config, dataset, state, CPU) == 5.0


def test_scores_are_timed(arguments, quick):
    """By drawing and looking at images, on the run's own detectors."""
    quick[0].append(0.004)
    scored = [*arguments, "--metrics", "fd1k_full-vgg16", "-n"]
    printed = call(train.main, *scored, "--hours", 2)
    assert quick[1][0].sec_per_score > 0.1 and " s for the scores of a snapshot" in printed
    assert quick[1][0].seconds > quick[1][0].sec_per_kimg * 0.004
