"""Progressive growing (Karras et al. 2018): how much of the networks is in use, by the images seen."""

import torch

from torch_utils.ops import downsample2x, upsample2x
from training.gan.config import TrainingConfig


def growth_at(nimg: int, config: TrainingConfig, grids: list[tuple[int, int]]) -> float | None:
    """2.3: levels 0, 1 and 2 are there, and level 3 is faded in by 0.3. None: everything is, as when nothing grows.

    Begins at the first level whose longer side is `grow_from` or more. Each level is trained for `grow_kimg`, and then the
    next is faded in over as many. A function of the images seen alone: neither resuming nor --kimg changes it.
    """
    if not config.grow:
        return None
    top = len(grids) - 1
    first = next((i for i, grid in enumerate(grids) if max(grid) >= config.grow_from), top)
    phase, into = divmod(nimg / (1000 * config.grow_kimg), 2)  # a phase holds a level, then fades the next in
    growth = first + phase + max(into - 1, 0)
    return None if growth >= top else growth


def shrink(images: torch.Tensor, growth: float | None, levels: int) -> torch.Tensor:
    """Real images [N, C, H, W] as the networks see them at this growth: smaller, and as blurred as the fading level is."""
    if growth is None:
        return images
    whole = int(growth)
    fade = growth - whole
    for _ in range(levels - 1 - whole - (fade > 0)):
        images = downsample2x(images)
    return torch.lerp(upsample2x(downsample2x(images)), images, fade) if fade else images
