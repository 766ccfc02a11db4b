"""What a projected discriminator adds to both updates: losses by what a frozen network sees, see `networks.projected`."""

import torch

from networks.projected import SHIFTS
from torch_utils.ops import widen
from torch_utils.precision import autocast
from torch_utils.rng import BatchDraws, mix
from torch_utils.stats import Means
from training.gan.augment import augment
from training.gan.config import TrainingConfig
from training.gan.losses import discriminator_loss, generator_loss, gradient_penalty
from training.gan.state import TrainingState

Maps = list[torch.Tensor]  # [N, C, h, w] of each scale


def look_at(state: TrainingState, config: TrainingConfig, images: torch.Tensor, draws: BatchDraws) -> Maps:
    """Of images [N, C, H, W], augmented as often as those that the other discriminator sees.

    Both updates look at the same maps, which cost more than all else: so draws are the same for both, and a real image and
    the generated one that it is paired with are augmented by the same transformations.
    """
    images = augment(images, state.strength.p, config.augpipe, draws) if config.aug != "noaug" else images
    generator = torch.Generator().manual_seed(mix("shift", config.seed, state.nimg))  # one shift for all images of a step
    down, right = torch.randint(SHIFTS + 1, [2], generator=generator).tolist()
    return state.D.projected.features(images, (down, right))


def projected_discriminator_loss(
    state: TrainingState, config: TrainingConfig, real: Maps, fake: Maps, c: torch.Tensor | None, penalise: bool, means: Means
) -> torch.Tensor:
    """[], weighted; with `penalise`, R1 and R2 by the maps in it."""
    maps = [widen(torch.cat([x, y.detach()])).requires_grad_(penalise) for x, y in zip(real, fake)]  # penalties are in float32
    with autocast(config.precision, maps[0].device, twice=penalise):
        logits = state.D.projected(maps, None if c is None else c.repeat(2, 1), batches=2)
    loss = discriminator_loss(config.loss, *logits.chunk(2))
    means.add(loss_D_projected=loss)
    if penalise:
        r1, r2 = gradient_penalty(logits, *maps).chunk(2)
        loss = loss + config.projected_gamma / 2 * config.reg_interval * (r1.mean() + r2.mean())
        means.add(r1_projected=r1, r2_projected=r2)
    return config.projected * loss


def projected_generator_loss(
    state: TrainingState, config: TrainingConfig, real: Maps, fake: Maps, c: torch.Tensor | None, means: Means
) -> torch.Tensor:
    """[], weighted."""
    with autocast(config.precision, fake[0].device):
        with torch.no_grad():
            real_logits = state.D.projected(real, c)
        loss = generator_loss(config.loss, state.D.projected(fake, c), real_logits)
    means.add(loss_G_projected=loss)
    return config.projected * loss
