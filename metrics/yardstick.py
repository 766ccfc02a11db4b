"""Two things to hold a distance against: images that are known to be bad, and the way from an untrained generator."""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F


def blurred(batches: Iterable[torch.Tensor], size: int = 8) -> Iterator[torch.Tensor]:
    """uint8 [N, C, H, W] batches -> the same images with only the detail of `size` x `size` pixels left.

    Averaged down over areas, enlarged bilinearly. A generator that scores no better has learned no detail.
    """
    for images in batches:
        height, width = images.shape[2:]
        small = F.interpolate(images.float(), size=(min(size, height), min(size, width)), mode="area")
        large = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
        yield large.round().clamp(0, 255).to(torch.uint8)


def share_of_way_left(distance: float, floor: float | None, untrained: float) -> float | None:
    """(d - floor) / (d0 - floor): 1 where the untrained generator is, 0 where real images are.

    Below 0 is possible, as the floor's own counts bias it upwards. None where the way is unknown or has no length.
    """
    if floor is None or not untrained > floor:
        return None
    return (distance - floor) / (untrained - floor)
