"""The training: a discriminator step, a generator step, the moving average, and now and then a report."""

import contextlib
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from torch_utils import distributed
from torch_utils.images import from_uint8
from torch_utils.rng import reseed
from torch_utils.stats import Means
from training.config import TrainingConfig
from training.dataset import ImageDataset, batches
from training.ema import update_ema
from training.losses import gradient_penalty, relativistic_paired
from training.report import Evaluate, Reporter
from training.state import TrainingState


def train(
    config: TrainingConfig,
    dataset: ImageDataset,
    state: TrainingState,
    run_dir: Path,
    evaluate: Evaluate | None,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> None:
    """Train `state` until `config.kimg` thousand images are seen. Only rank 0 writes to `run_dir`."""
    torch.backends.cudnn.benchmark = True
    means, end = Means(), max(round(config.kimg * 1000), 1)
    pin = device.type == "cuda"
    data = batches(dataset, config.batch // world, config.seed, state.nimg, rank, world, config.workers, pin)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(data))
        reporter = None
        if rank == 0:
            reporter = stack.enter_context(contextlib.closing(Reporter(config, dataset, state, run_dir, evaluate, device)))
            reporter.begin()

        while state.nimg < end:
            began = time.monotonic()
            images, labels = next(data)
            reseed(config.seed, rank, state.nimg)
            real = from_uint8(images.to(device, non_blocking=True)).contiguous(memory_format=torch.channels_last)
            c = F.one_hot(labels.to(device), dataset.c_dim).float() if dataset.c_dim else None

            discriminator_step(state, config, real, c, means)
            generator_step(state, config, real, c, means)
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
                values = distributed.average(means.take(), device)
                if reporter:
                    reporter.tick(values)
                    if tick // config.snap > before // config.snap or last:
                        reporter.snapshot()
                distributed.wait_for_all()


def discriminator_step(state: TrainingState, config: TrainingConfig, real: torch.Tensor, c: torch.Tensor | None, means: Means):
    """Rate real above generated images; at every `reg_interval`-th step also flatten D around both (R1 and R2)."""
    penalise = state.step % config.reg_interval == 0
    with torch.no_grad():
        ws = state.G.mapping(_noise(state.G, real), c, update_w_avg=True)
        fake = state.G.synthesis(ws, noise_mode="random")
    real, fake = real.detach().requires_grad_(penalise), fake.requires_grad_(penalise)
    state.D.requires_grad_(True)
    state.opt_D.zero_grad(set_to_none=True)

    real_logits, fake_logits = state.D(real, c), state.D(fake, c)
    loss = adversarial = relativistic_paired(real_logits, fake_logits)
    if penalise:
        r1, r2 = gradient_penalty(real_logits, real), gradient_penalty(fake_logits, fake)
        loss = adversarial + config.gamma / 2 * config.reg_interval * (r1 + r2)
        means.add(r1=r1, r2=r2)
    loss.backward()
    distributed.average_gradients(state.D.parameters())
    state.opt_D.step()
    means.add(loss_D=adversarial, real_logits=real_logits, fake_logits=fake_logits)


def generator_step(state: TrainingState, config: TrainingConfig, real: torch.Tensor, c: torch.Tensor | None, means: Means):
    """Make D rate generated images above the real ones."""
    state.D.requires_grad_(False)
    state.opt_G.zero_grad(set_to_none=True)
    with torch.no_grad():
        real_logits = state.D(real, c)
    fake = state.G.synthesis(state.G.mapping(_noise(state.G, real), c), noise_mode="random")
    loss = relativistic_paired(state.D(fake, c), real_logits)
    loss.backward()
    distributed.average_gradients(state.G.parameters())
    state.opt_G.step()
    means.add(loss_G=loss)


def _noise(G: torch.nn.Module, like: torch.Tensor) -> torch.Tensor:
    return torch.randn(len(like), G.z_dim, device=like.device)
