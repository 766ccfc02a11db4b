"""Length by the clock: how many images fit into some hours, by the pace of real steps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from torch_utils import distributed
from torch_utils.files import InputError
from training.run.loop import advance
from training.run.options import RunConfig
from training.run.saved_state import SavedState

MIN_HOURS, MAX_HOURS = 0.01, 10_000
TIMED = 10.0  # seconds of steps, at least: until then, kernels that are new to the library count for little


@dataclass(frozen=True)
class Pace:
    sec_per_kimg: float  # of steps, as the log has it
    sec_per_score: float  # of all scores of one snapshot; 0 where there are none
    seconds: float  # that it took to find out


def check_hours(hours: float | None, kimg: float | None) -> None:
    """Both as they are on the command line."""
    if hours is not None and kimg is not None:
        raise InputError("--hours and --kimg both say how long the run is: give one of them")
    if hours is not None and not MIN_HOURS <= hours <= MAX_HOURS:  # nan is neither
        raise InputError(f"--hours {hours:g}: wanted a number from {MIN_HOURS:g} to {MAX_HOURS}")


def time_steps(step: Callable[[], None], config: RunConfig, state: SavedState, cycle: int, device: torch.device) -> float:
    """Seconds per kimg of whole cycles of `cycle` steps, after a step that warms up. `state` is spent by that.

    One cycle at least, and as many as take `TIMED` seconds; of several processes, all time the same number of them.
    """
    advance(step, config, state)
    nimg, seconds = state.nimg, state.seconds
    more = True
    while more:
        for _ in range(cycle):
            advance(step, config, state)
        (more,) = distributed.any_process(device, state.seconds - seconds < TIMED)
    return (state.seconds - seconds) / (state.nimg - nimg) * 1000


def kimg_within(hours: float, pace: Pace, config: RunConfig, state: SavedState) -> float:
    """The --kimg of a run that goes on from `state` for so many hours, measuring and scores counted: whole batches.

    `InputError` where there is no time for one.
    """
    scores = 1 if state.first_scores else 2  # of the end; and of a new run's untrained network
    before = pace.seconds + pace.sec_per_score * scores
    each = (pace.sec_per_kimg + pace.sec_per_score / (config.tick * config.snap)) * config.batch / 1000
    batches = int((3600 * hours - before) / each)
    if batches < 1:
        least = (before + each) / 3600
        raise InputError(f"--hours {hours:g}: one step, and what comes with it, takes about {least:.2g} hours here")
    return (state.nimg + batches * config.batch) / 1000


def in_words(hours: float, pace: Pace, config: RunConfig, state: SavedState) -> str:
    """Of a `config` that has the kimg of `kimg_within`."""
    done = state.nimg / 1000
    length = f"{config.kimg - done:.5g} kimg more, to {config.kimg:.5g}," if done else f"{config.kimg:.5g} kimg"
    scores = f", and {pace.sec_per_score:.3g} s for the scores of a snapshot" if pace.sec_per_score else ""
    return f"about {length} in {hours:g} hour{'' if hours == 1 else 's'} at {pace.sec_per_kimg:.3g} s/kimg{scores}"
