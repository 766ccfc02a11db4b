"""Something to hold a distance against: images that are known to be bad."""

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
