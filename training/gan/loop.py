"""One step of a generator's training run: discriminator, generator, moving average."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from torch_utils.images import from_uint8
from torch_utils.precision import prepare
from training.dataset import ImageDataset, batches
from training.gan.config import TrainingConfig
from training.gan.ema import update_ema, update_power_average
from training.gan.ema_profile import WIDTHS
from training.gan.growth import growth_at, shrink
from training.gan.report import Evaluate, GeneratorReporter
from training.gan.schedule import scheduled
from training.gan.state import TrainingState
from training.gan.steps import adapt, discriminator_step, generate, generator_step
from training.image_stream import ImageStream
from training.run.loop import run_steps


def make_step(
    config: TrainingConfig,
    dataset: ImageDataset,
    state: TrainingState,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> tuple[Callable[[], None], ImageStream]:
    """A function that updates everything in `state` but its counters by one batch; and what it reads, to be closed.

    Sets number formats and cuDNN's search for this process.
    """
    torch.backends.cudnn.benchmark = True
    prepare(config.precision)
    if state.nimg:  # what a resumed run draws and scores before its next step is as the last one left it
        state.grow(growth_at(state.nimg - config.batch, config, state.G.synthesis.resolutions))
    pin = device.type == "cuda"
    data = batches(dataset, config.batch // world, config.seed, state.nimg, rank, world, config.workers, pin)

    def step() -> None:
        images, labels = next(data)
        growth = growth_at(state.nimg, config, state.G.synthesis.resolutions)
        state.grow(growth)
        if growth is not None:
            state.means.add(growth=growth)
        real = shrink(from_uint8(images.to(device, non_blocking=True)), growth, len(state.G.synthesis.resolutions))
        real = real.contiguous(memory_format=torch.channels_last)
        c = F.one_hot(labels.to(device), dataset.c_dim).to(real.dtype) if dataset.c_dim else None

        values = scheduled(config, state.nimg)
        now = dataclasses.replace(config, **values)
        state.follow(now)
        state.means.add(**values)
        generated = generate(state, now, real, c)
        r_t_sum = discriminator_step(state, now, real, c, state.means, generated)
        generator_step(state, now, real, c, state.means, generated)
        adapt(state, now, r_t_sum, device)
        seen = state.nimg + config.batch
        update_ema(state.ema, state.G, config.batch, seen, config.ema_kimg * 1000, config.ema_rampup)
        for average, width in zip(state.averages, WIDTHS):
            update_power_average(average, state.G, config.batch, seen, width)

    return step, data


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
    step, data = make_step(config, dataset, state, device, rank, world)
    make_reporter = lambda stop: GeneratorReporter(config, dataset, state, run_dir, evaluate, device, stop)
    return run_steps(step, [data], config, state, run_dir, device, make_reporter if rank == 0 else None)
