"""The loop of a training run: steps, ticks, snapshots and saved states, until the end or a signal."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from torch_utils import distributed
from torch_utils.interrupt import StopRequest
from training.data_order import readers_watched
from training.image_stream import ImageStream
from training.run.options import RunConfig
from training.run.report import Reporter
from training.run.saved_state import SavedState


def run_steps(
    step: Callable[[], None],
    data: Sequence[ImageStream],  # what `step` reads; closed at the end
    config: RunConfig,
    state: SavedState,
    run_dir: Path,
    device: torch.device,
    make_reporter: Callable[[StopRequest], Reporter] | None,  # of the one process that writes
) -> bool:
    """Call `step` until `config.kimg` thousand images are seen, and report.

    False where a signal ended it before: then the state is saved as of the last step.
    """
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stack.enter_context(readers_watched())
        for source in data:
            stack.enter_context(contextlib.closing(source))
        distributed.check_equal(state.shared_values(), device)
        reporter = None
        if make_reporter:
            reporter = stack.enter_context(contextlib.closing(make_reporter(stop)))
            reporter.begin()
        return _run(step, data, config, state, run_dir, device, reporter, stop)


def advance(step: Callable[[], None], config: RunConfig, state: SavedState) -> None:
    """One step, counted and timed."""
    began = time.monotonic()
    step()
    state.nimg += config.batch
    state.step += 1
    state.seconds += time.monotonic() - began


def _run(
    step,
    data: Sequence[ImageStream],
    config: RunConfig,
    state: SavedState,
    run_dir: Path,
    device,
    reporter: Reporter | None,
    stop,
) -> bool:
    end = max(round(config.kimg * 1000), 1)
    saved_at = time.monotonic()
    while state.nimg < end:
        advance(step, config, state)

        # A tick is done at every multiple of config.tick, so that what a run does never depends on where it will end.
        tick, before = (int(n / (config.tick * 1000)) for n in (state.nimg, state.nimg - config.batch))
        last = state.nimg >= end
        if reporter:
            reporter.progress()
        if tick > before or last:
            replaced = dict(replaced=float(sum(source.replaced for source in data)))
            values = distributed.average(state.means.take() | replaced, device)
            if reporter:
                everywhere = round(values.pop("replaced") * distributed.place()[1])
                reporter.tick(values, sum(source.waited for source in data), everywhere)
                if tick // config.snap > before // config.snap or last:
                    reporter.snapshot()
                    saved_at = time.monotonic()
            distributed.check_equal(state.shared_values(), device)
        due = reporter is not None and time.monotonic() - saved_at > 60 * config.save_every
        stopping, saving = distributed.any_process(device, stop.requested, due)
        if stopping or saving:
            state.means.share(device)
        if stopping:
            if reporter:
                reporter.stop()
            return False
        if saving:
            if reporter:
                state.save(run_dir)
            saved_at = time.monotonic()
    return True
