"""The length of a run from hours and a pace."""

import pytest
import torch

from torch_utils.files import InputError
from training.gan.config import TrainingConfig
from training.run import loop, pace
from training.run.pace import Pace, in_words, kimg_within, time_steps
from training.run.saved_state import SavedState

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("plain, cycles", [(100.0, 1), (0.05, 29)])
def test_whole_cycles_are_timed(clock, plain, cycles):
    """The first step takes a hundred times as long; every fourth has a penalty that takes four times as long as the rest."""
    config, state = TrainingConfig(data="", batch=8), SavedState()

    def step():
        clock[0] += plain * (100 if not state.step else 4 if state.step % 4 == 0 else 1)

    assert time_steps(step, config, state, 4, CPU) == pytest.approx(plain * 7 / 4 / 8 * 1000)
    assert state.step == 1 + 4 * cycles and state.nimg == 8 * state.step  # 28 cycles of 0.35 s are short of ten seconds
    assert pace.TIMED == 10


def test_hours_are_used_up_and_not_exceeded():
    config, found = (
        TrainingConfig(data="", batch=32, tick=4, snap=10, kimg=7),
        Pace(sec_per_kimg=14, sec_per_score=20, seconds=30),
    )
    state = SavedState()

    def takes(kimg):
        """Of a run: measuring, steps, a score of the untrained network, one at each snapshot and one at the end."""
        new = not state.first_scores
        return 30 + 14 * (kimg - state.nimg / 1000) + 20 * (new + int((kimg - state.nimg / 1000) / 40) + 1)

    kimg = kimg_within(2, found, config, state)
    assert kimg * 1000 % 32 == 0 and 7200 - 35 < takes(kimg) <= 7200
    state.first_scores, state.nimg = dict(fd=1.0), 100_000
    more = kimg_within(2, found, config, state)
    assert 7200 - 35 < takes(more) <= 7200 and 0 < more - 100 - kimg < 2  # the untrained network is not scored again
    assert kimg_within(2, Pace(14, 0, 0), config, SavedState()) == pytest.approx(7200 / 14, abs=0.033)


def test_too_few_hours():
    found, config, state = Pace(100, 300, 60), TrainingConfig(data="", batch=100), SavedState()
    with pytest.raises(InputError, match="--hours 0.1: one step, .* takes about 0.19 hours here"):
        kimg_within(0.1, found, config, state)
    assert kimg_within(0.1875, found, config, state) == 0.1


def test_words():
    state, found = SavedState(), Pace(14.12, 19.3, 30)
    words = lambda hours, kimg: in_words(hours, found, TrainingConfig(data="", kimg=kimg), state)
    assert words(2, 512) == "about 512 kimg in 2 hours at 14.1 s/kimg, and 19.3 s for the scores of a snapshot"
    state.nimg = 400_000
    assert words(1, 912).startswith("about 512 kimg more, to 912, in 1 hour at 14.1 s/kimg")
