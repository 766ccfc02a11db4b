"""The training: discriminator, generator, moving average, and now and then a report."""

import contextlib
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from torch_utils import distributed
from torch_utils.images import from_uint8
from torch_utils.interrupt import StopRequest
from torch_utils.rng import reseed
from training.config import TrainingConfig
from training.dataset import ImageDataset, batches, readers_watched
from training.ema import update_ema
from training.growth import growth_at, shrink
from training.precision import prepare
from training.report import Evaluate, Reporter
from training.state import TrainingState
from training.steps import discriminator_step, generator_step


def train(
    config: TrainingConfig,
    dataset: ImageDataset,
    state: TrainingState,
    run_dir: Path,
    evaluate: Evaluate | None,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> bool:
    """Train `state` until `config.kimg` thousand images are seen. Only rank 0 writes to `run_dir`.

    False where a signal ended it before: then the state is saved as of the last step.
    """
    torch.backends.cudnn.benchmark = True
    prepare(config.precision)
    end = max(round(config.kimg * 1000), 1)
    pin = device.type == "cuda"
    data = batches(dataset, config.batch // world, config.seed, state.nimg, rank, world, config.workers, pin)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stack.enter_context(readers_watched())
        stack.enter_context(contextlib.closing(data))
        reporter = None
        if rank == 0:
            reporter = Reporter(config, dataset, state, run_dir, evaluate, device, stop)
            stack.enter_context(contextlib.closing(reporter))
            reporter.begin()

        saved = time.monotonic()
        while state.nimg < end:
            began = time.monotonic()
            images, labels = next(data)
            reseed(config.seed, rank, state.nimg)
            growth = growth_at(state.nimg, config, state.G.synthesis.grids)
            state.grow(growth)
            if growth is not None:
                state.means.add(growth=growth)
            real = shrink(from_uint8(images.to(device, non_blocking=True)), growth, len(state.G.synthesis.grids))
            real = real.contiguous(memory_format=torch.channels_last)
            c = F.one_hot(labels.to(device), dataset.c_dim).float() if dataset.c_dim else None

            discriminator_step(state, config, real, c, state.means)
            generator_step(state, config, real, c, state.means)
            state.nimg += config.batch
            state.step += 1
            update_ema(state.ema, state.G, config.batch, state.nimg, config.ema_kimg * 1000, config.ema_rampup)
            state.seconds += time.monotonic() - began

            # A tick is done at every multiple of config.tick, so that what a run does never depends on where it will end.
            tick, before = (int(n / (config.tick * 1000)) for n in (state.nimg, state.nimg - config.batch))
            last = state.nimg >= end
            if reporter:
                reporter.progress()
            if tick > before or last:
                values = distributed.average(state.means.take(), device)
                if reporter:
                    reporter.tick(values)
                    if tick // config.snap > before // config.snap or last:
                        reporter.snapshot()
                        saved = time.monotonic()
                distributed.wait_for_all()
            if distributed.any_process(stop.requested, device):
                if reporter:
                    reporter.stop()
                return False
            if reporter and time.monotonic() - saved > 60 * config.save_every:
                state.save(run_dir)
                saved = time.monotonic()
    return True
