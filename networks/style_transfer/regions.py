"""One style a region: kernels that differ from place to place.

SPADE (Park et al. 2019) and SEAN (Zhu et al. 2020) give every place a scale and a shift of its own; here it gets a kernel. With
masks m_r that sum to one at every place, and kernels K_r and biases b_r of region r's style,

    y(p) = Σ_r m_r(p) · ((K_r ∗ x̂_r)(p) + b_r),    x̂_r = (x − μ_r) / σ_r

A convolution is linear in its kernel, so this is one kernel for each place, K(p) = Σ_r m_r(p) K_r / σ_r, and it changes as
softly from one style to the next as the masks do.

μ_r and σ_r are the map's moments weighted by m_r: a sky is normalised by the sky's statistics and not by the picture's, so
that it is given its style's, whatever lies beside it. SPADE and SEAN normalise the whole map; AdaIN's spatial control is as
here (Huang and Belongie 2017, section 7.3), and with AdaIN's kernels, 1×1 and at the first level only, this is it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from networks.adaconv_fast import CACHED
from networks.style_transfer.mask import Mask
from networks.style_transfer.network import LEVELS, Level, StyleTransfer
from networks.style_transfer.style_kernels import MOMENTS_EPS, StyleKernels
from networks.style_transfer.tiles import Tile, cells, level_in_tiles, map_tiles
from networks.style_transfer.vgg import STRIDE
from torch_utils.ops import in_float32, widen


class Regions(NamedTuple):
    """What a picture is drawn in, in place of one style's descriptor."""

    mask: Mask
    descriptors: torch.Tensor  # [R, …], of each region


class RegionKernels(NamedTuple):
    """One region at one level of the decoder."""

    kernels: StyleKernels  # exact statistics are part of them already
    scale: torch.Tensor  # 1/σ_r [N, C, 1, 1]
    mean: torch.Tensor  # μ_r, likewise
    mask: torch.Tensor  # [1, 1, H, W] in the size of the result

    def adapt(self, level: Level, part: torch.Tensor, tile: Tile, noise: torch.Tensor | None) -> torch.Tensor:
        """K_r ∗ x̂_r + b_r around a tile."""
        noise = noise if noise is None else tile.around(noise, part, level.factor)
        return level.adapt(part - self.mean.to(part.dtype), self.scale, self.kernels, noise)


def decode_in_regions(
    network: StyleTransfer,
    features: torch.Tensor,  # relu4_1 of contents [N, 512, H/8, W/8]
    kernels: Sequence[Sequence[StyleKernels | None]],  # `network.kernels(descriptor)` of each region
    masks: torch.Tensor,  # [R, 1, H, W], sums are 1
    tile: int | None = None,  # side of tiles, in pixels; None: the whole
) -> torch.Tensor:
    """Images [N, 3, H, W], RGB about [-1, 1], float32 as of `network.decode`."""
    x, cell = features, cells(tile) if tile else max(features.shape[2:])
    stride = STRIDE
    for level, noise, *own in zip(network.levels, network.noise_maps(features), *kernels):
        stride //= level.factor
        x = level_in_regions(level, x, own, F.avg_pool2d(masks, stride), noise, cell)
        cell *= level.factor
    return widen(x)


def level_in_regions(
    level: Level,
    x: torch.Tensor,
    kernels: Sequence[StyleKernels | None],  # of each region; all or none
    masks: torch.Tensor,  # [R, 1, H, W] in the size of the result
    noise: torch.Tensor | None,
    cell: int,  # side of tiles in cells of x
) -> torch.Tensor:
    """One level of the decoder; moments are those of the whole map, whatever the tiles."""
    given = [own for own in kernels if own]
    if not given:
        return level_in_tiles(level, x, None, noise, cell)
    regions = [region_kernels(level, x, own, mask[None], noise, cell) for own, mask in zip(given, masks)]

    def blend(part: torch.Tensor, tile: Tile) -> torch.Tensor:
        total = None
        for region in regions:
            y = region.adapt(level, part, tile, noise)
            share = tile.around(region.mask, part, level.factor).to(y.dtype)
            total = y * share if total is None else torch.addcmul(total, y, share)
        return level.learned(total)

    return map_tiles(blend, x, cell, level.halo, level.factor)


def region_kernels(
    level: Level, x: torch.Tensor, kernels: StyleKernels, mask: torch.Tensor, noise: torch.Tensor | None, cell: int
) -> RegionKernels:
    """A style's kernels for its region of x, with what `Level.keep` and exact statistics ask for, over the region's places."""
    scale, mean = region_moments(x, F.avg_pool2d(mask, level.factor)[0, 0])  # exact, as ×2 repeats every cell
    region = RegionKernels(kernels.upon(scale, mean) if level.keep else kernels, scale, mean, mask)
    if kernels.std is None or kernels.mean is None:
        return region
    adapted = map_tiles(lambda part, tile: region.adapt(level, part, tile, noise), x, cell, level.halo, level.factor)
    scale, mean = (moment[:, :, 0, 0] for moment in region_moments(adapted, mask[0, 0], MOMENTS_EPS))
    gain = scale * kernels.std
    exact = kernels._replace(
        pointwise=kernels.pointwise * gain[..., None], bias=(kernels.bias - mean) * gain + kernels.mean, std=None, mean=None
    )
    return region._replace(kernels=exact)


def region_moments(x: torch.Tensor, weights: torch.Tensor, eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor]:
    """1 / sqrt(σ² + ε) and μ [N, C, 1, 1] of x [N, C, H, W] with weights [H, W]; all equal, they are those of `centre`.

    A few rows at a time, so that no map is copied.
    """
    rows = max(CACHED // max(x[:, :, :1].numel(), 1), 1)
    bands = list(zip(x.split(rows, dim=2), (weights / weights.sum()).split(rows)))
    mean = sum(weighted_sum(share, band) for band, share in bands)[..., None, None]
    variance = sum(weighted_sum(share, (widen(band) - mean).square()) for band, share in bands)[..., None, None]
    return (variance + eps).rsqrt(), mean


@in_float32
def weighted_sum(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """weights [H, W], x [N, C, H, W] -> [N, C]"""
    return torch.einsum("hw,nchw->nc", weights, x)


def own_descriptor(network: StyleTransfer, own: torch.Tensor, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The content's descriptor `own` [N, …] for a region, `mask` [1, H, W]; `features` are the content's relu4_1.

    Moments in it, if any, change as the features' moments change from the whole content to the region. So with AdaIN, whose
    descriptor is these moments, they become the region's. What a style encoder says remains that of the whole content.
    """
    if network.transfer != "adain" and not network.exact:
        return own
    weights, channels = F.avg_pool2d(mask, STRIDE)[0], LEVELS[0][0]
    scale, mean = (moment.flatten(1) for moment in region_moments(features, weights))
    whole_scale, whole_mean = (moment.flatten(1) for moment in region_moments(features, torch.ones_like(weights)))
    said, own_std, own_mean = own.flatten(1).split([own[0].numel() - 2 * channels, channels, channels], dim=1)
    parts = [said, own_std * whole_scale / scale, own_mean + mean - whole_mean]
    return torch.cat(parts, dim=1).view(own.shape)
