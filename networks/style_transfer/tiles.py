"""Style transfer of images that do not fit in memory as a whole.

Tiles overlap by as much as a result depends on, so cutting changes nothing, with one exception: the mean and the variance in
AdaConv are those of the whole map. So each level of the decoder is a pass of its own over all tiles; the map between two levels
is kept whole, and its mean and variance are computed there.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from networks.style_transfer.network import Level, StyleTransfer
from networks.style_transfer.style_kernels import StyleKernels, with_moments
from networks.style_transfer.vgg import STRIDE, VGG, WIDTHS, StyleFeatures
from torch_utils.ops import to_double, widen


def encode_in_tiles(encoder: VGG, images: torch.Tensor, tile: int) -> torch.Tensor:
    """What `encoder(images)[-1]` gives, to rounding. Sides are multiples of STRIDE; `tile` is one in pixels of the image."""
    return map_tiles(lambda part, tile: encoder(part)[-1], images, cells(tile) * STRIDE, encoder.halo, 1 / STRIDE)


def style_features_in_tiles(encoder: VGG, images: torch.Tensor, tile: int) -> StyleFeatures:
    """What `style_features(encoder(images))` gives, to rounding."""
    sums: list = [0] * len(WIDTHS)  # of each layer: values and their squares, [2, N, C]

    def encode(part: torch.Tensor, own: Tile) -> torch.Tensor:
        maps = encoder(part)
        for level, features in enumerate(maps):
            values = to_double(own.cut(features, 1 / 2**level)).flatten(2)
            sums[level] = sums[level] + torch.stack([values.sum(dim=2), values.square().sum(dim=2)])
        return maps[-1]

    features = map_tiles(encode, images, cells(tile) * STRIDE, encoder.halo, 1 / STRIDE)
    positions = (images[0, 0].numel() / 4**level for level in range(len(sums)))
    mean, square = torch.cat([total / count for total, count in zip(sums, positions)], dim=2)
    std = (square - mean.square()).clamp(min=0).add(1e-5).sqrt()
    kind = widen(features[:0]).dtype
    return StyleFeatures(features, *(values.to(kind).to(features.device) for values in (mean, std)))


def decode_in_tiles(
    network: StyleTransfer,
    features: torch.Tensor,  # [N, 512, H/8, W/8]
    kernels: Sequence[StyleKernels | None],
    tile: int,
) -> torch.Tensor:
    """What `network.decode(features, kernels)` gives, to rounding."""
    x = features.clone()  # what follows works in place, and the features are the caller's
    cell = cells(tile)
    for level, own, noise in zip(network.levels, kernels, network.noise_maps(features)):
        x = level_in_tiles(level, x, own, noise, cell)
        cell *= level.factor
    return widen(x)


def level_in_tiles(
    level: Level, x: torch.Tensor, kernels: StyleKernels | None, noise: torch.Tensor | None, cell: int
) -> torch.Tensor:
    """What `level(x, kernels, noise)` gives, to rounding; x is overwritten."""
    factor, scale = level.factor, None
    if kernels:
        scale, mean = centre_in_place(x)
        kernels = kernels.upon(scale, mean) if level.keep else kernels

    def adapt(part: torch.Tensor, tile: Tile) -> torch.Tensor:
        return level.adapt(part, scale, kernels, noise if noise is None else tile.around(noise, part, factor))

    if not kernels or kernels.std is None:
        return map_tiles(lambda part, tile: level.learned(adapt(part, tile)), x, cell, level.halo, factor)
    adapted = with_moments(map_tiles(adapt, x, cell, level.halo, factor), kernels)  # moments are those of the whole map
    return map_tiles(lambda part, tile: level.learned(part), adapted, cell * factor, level.halo * factor, 1)


def cells(tile: int) -> int:
    """Side of a tile of `tile` pixels in cells of relu4_1, at least one."""
    return max(tile // STRIDE, 1)


class Tile(NamedTuple):
    """A rectangle of a map's cells, and the larger one that its values depend on."""

    top: int
    left: int
    bottom: int
    right: int
    above: int  # where the larger one begins
    before: int

    def cut(self, x: torch.Tensor, factor: float) -> torch.Tensor:
        """The tile's own part of a result for the larger rectangle, which has `factor` times its size."""
        top, left, bottom, right, above, before = (round(n * factor) for n in self)
        return x[:, :, top - above : bottom - above, left - before : right - before]

    def around(self, x: torch.Tensor, part: torch.Tensor, factor: int) -> torch.Tensor:
        """What belongs to the larger rectangle's cells `part` in a map x that has `factor` times the size of the whole."""
        top, left = self.above * factor, self.before * factor
        height, width = (side * factor for side in part.shape[2:])
        return x[:, :, top : top + height, left : left + width]


def map_tiles(
    function: Callable[[torch.Tensor, Tile], torch.Tensor],
    x: torch.Tensor,
    tile: int,
    halo: int,  # cells around a tile that `function` gets as well; its results for them are dropped
    factor: float,  # size of the result / size of x
) -> torch.Tensor:
    """function(x), tile by tile. `tile` and `halo` times `factor` must be whole numbers."""
    height, width = x.shape[2:]
    result = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            own = Tile(top, left, bottom, right, max(top - halo, 0), max(left - halo, 0))
            part = function(x[:, :, own.above : bottom + halo, own.before : right + halo], own)
            if result is None:
                result = part.new_empty(*part.shape[:2], round(height * factor), round(width * factor))
            places = [slice(round(a * factor), round(b * factor)) for a, b in ((top, bottom), (left, right))]
            result[:, :, places[0], places[1]] = own.cut(part, factor)
    return result


def centre_in_place(x: torch.Tensor, eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor]:
    """Subtract each channel's mean from x [N, C, H, W]; -> 1 / sqrt(σ² + ε) and mean [N, C, 1, 1].

    One channel at a time: no copy. A map in sixteen bits is centred in float32 and then rounded.
    """
    scale, mean = widen(x.new_empty(2, *x.shape[:2], 1, 1))
    for sample, scales, means in zip(x, scale, mean):
        for channel, one, average in zip(sample, scales, means):
            wide = widen(channel)
            average.fill_(wide.mean())
            channel.copy_(wide - average)
            one.fill_((widen(channel).square().mean() + eps).rsqrt())
    return scale, mean
