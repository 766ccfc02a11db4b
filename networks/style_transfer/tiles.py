"""Style transfer of images that do not fit in memory as a whole.

Tiles overlap by as much as a result depends on, so cutting changes nothing, with one exception: the mean and the variance in
AdaConv are those of the whole map. So each level of the decoder is a pass of its own over all tiles; the map between two levels
is kept whole, and its mean and variance are computed there.
"""

import functools
from collections.abc import Callable, Sequence

import torch

from networks.adaconv import AdaptiveKernels
from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.vgg import STRIDE, VGG
from torch_utils.ops import widen


def encode_in_tiles(encoder: VGG, images: torch.Tensor, tile: int) -> torch.Tensor:
    """What `encoder(images)[-1]` gives, to rounding. Sides are multiples of STRIDE; `tile` is one in pixels of the image."""
    return map_tiles(lambda part: encoder(part)[-1], images, cells(tile) * STRIDE, encoder.halo, 1 / STRIDE)


def decode_in_tiles(
    network: StyleTransfer,
    features: torch.Tensor,  # [N, 512, H/8, W/8]
    kernels: Sequence[AdaptiveKernels | None],
    tile: int,
) -> torch.Tensor:
    """What `network.decode(features, kernels)` gives, to rounding."""
    x = features.clone()  # what follows works in place, and the features are the caller's
    cell = cells(tile)
    for level, own in zip(network.levels, kernels):
        scale = centre_in_place(x) if own else None
        factor = 2 if level.up else 1
        decode = functools.partial(level.decode, scale=scale, kernels=own)
        x = map_tiles(decode, x, cell, level.halo, factor)
        cell *= factor
    return widen(x)


def cells(tile: int) -> int:
    """Side of a tile of `tile` pixels in cells of relu4_1, at least one."""
    return max(tile // STRIDE, 1)


def map_tiles(
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    tile: int,
    halo: int,  # cells around a tile that `function` gets as well; its results for them are dropped
    factor: float,  # size of the result / size of x
) -> torch.Tensor:
    """function(x), tile by tile. `tile` and `halo` times `factor` must be whole numbers."""
    height, width = x.shape[2:]
    size = lambda n: round(n * factor)
    result = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            above, before = max(top - halo, 0), max(left - halo, 0)
            part = function(x[:, :, above : bottom + halo, before : right + halo])
            if result is None:
                result = part.new_empty(*part.shape[:2], size(height), size(width))
            cut = part[:, :, size(top - above) :, size(left - before) :]
            core = cut[:, :, : size(bottom - top), : size(right - left)]
            result[:, :, size(top) : size(bottom), size(left) : size(right)] = core
    return result


def centre_in_place(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Subtract each channel's mean from x [N, C, H, W]; -> 1 / sqrt(σ² + ε) [N, C, 1, 1]. One channel at a time: no copy.

    A map in sixteen bits is centred in float32 and then rounded.
    """
    scale = widen(x.new_empty(*x.shape[:2], 1, 1))
    for sample, scales in zip(x, scale):
        for channel, one in zip(sample, scales):
            wide = widen(channel)
            channel.copy_(wide - wide.mean())
            one.fill_((widen(channel).square().mean() + eps).rsqrt())
    return scale
