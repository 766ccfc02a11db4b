"""Style distance: how far the features of an image, as a set without positions, are from those of a style.

Sliced Wasserstein distance (Heitz, Vanhoey, Chambon and Belcour 2021, "A Sliced Wasserstein Loss for Neural Texture
Synthesis"): it compares whole distributions, where the losses that transfers are trained with compare some moments of them. On
layers of VGG-16 that no such loss uses.
"""

import functools
from collections.abc import Sequence

import torch

LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu3_3")  # of VGG-16; training compares relu1_1, relu2_1, relu3_1 and relu4_1
QUANTILES = 1024  # that a map's values in one direction are reduced to, whatever its size
CHUNK = 16  # directions at a time: bounds the memory


@functools.lru_cache(maxsize=8)
def directions(channels: int) -> torch.Tensor:
    """[channels, channels]: a random orthonormal basis, always the same; each column is a direction."""
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(channels, channels, generator=generator)).Q


@torch.no_grad()
def slices(features: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, QUANTILES]: for each direction the quantiles of the projections of all positions.

    The inverse of the empirical distribution, a step function, at the midpoints of QUANTILES equal parts. So repeating a map
    changes nothing, and maps of different sizes compare.
    """
    flat = features.float().flatten(2)
    points = (torch.arange(QUANTILES, device=flat.device) + 0.5) / QUANTILES
    ranks = (points * flat.shape[2]).long()  # of the value whose step a midpoint lies on
    parts = directions(flat.shape[1]).to(flat).T.split(CHUNK)
    return torch.cat([(part @ flat).sort(dim=2).values[:, :, ranks] for part in parts], dim=1)


def between(output: Sequence[torch.Tensor], style: Sequence[torch.Tensor]) -> torch.Tensor:
    """Distance from `slices` of each layer, [N, C, QUANTILES] each, to those of the style -> [N].

    A layer's is √( Σ over directions u of W₂(u·output, u·style)² / Σ of variances of u·style ), and the result is their mean.
    So it has no unit, no layer outweighs the others, and the divisor does not depend on the output. 0: the same distribution.
    1: a map that is the style's mean everywhere.
    """
    layers = []
    for x, y in zip(output, style, strict=True):
        spread = y.var(dim=2, correction=0).sum(dim=1).clamp(min=1e-12)
        layers.append(((x - y).square().mean(dim=2).sum(dim=1) / spread).sqrt())
    return torch.stack(layers).mean(dim=0)


def style_distance(output: Sequence[torch.Tensor], style: Sequence[torch.Tensor]) -> torch.Tensor:
    """Of feature maps [N, C, H, W], one for each of the layers, to the style's, which may have another size -> [N]."""
    return between([slices(x) for x in output], [slices(y) for y in style])
