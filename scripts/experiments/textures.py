"""Synthetic stripes and dots with the same mean and variance in every image and channel, so that these say nothing."""

import math
from typing import NamedTuple

import torch

MEAN, DEVIATION = (0.05, -0.05, -0.15), (0.28, 0.24, 0.20)  # of R, G, B in [-1, 1], in every texture
KINDS = ("stripes", "dots")


class Texture(NamedTuple):
    kind: str  # one of KINDS
    period: float  # pixels from one stripe or dot to the next
    degrees: float  # of the lines above the horizontal, or of the dots' square lattice


def texture(kind: str, period: float, degrees: float, size: int, seed: int) -> torch.Tensor:
    """[3, size, size] in [-1, 1]; `seed` draws the phases.

    All three channels have the same pattern. Their mean and variance do not depend on it: in float32 to rounding, in 8 bits to
    2e-3. `ValueError` for another kind.
    """
    phase = torch.rand(2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64)] * 2, indexing="ij")
    angle = math.radians(degrees)
    across = 2 * math.pi * ((x * math.sin(angle) + y * math.cos(angle)) / period + phase[0])
    along = 2 * math.pi * ((x * math.cos(angle) - y * math.sin(angle)) / period + phase[1])
    if kind == "stripes":
        pattern = torch.tanh(1.5 * across.sin())
    elif kind == "dots":
        pattern = torch.exp(0.8 * (across.cos() + along.cos() - 2))
    else:
        raise ValueError(f"found kind {kind!r}, wanted one of {KINDS}")
    pattern = (pattern - pattern.mean()) / pattern.std(correction=0)
    mean, deviation = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, DEVIATION))
    return (mean + deviation * pattern).float()


def smooth_field(size: int, seed: int, cells: int = 4) -> torch.Tensor:
    """[3, size, size] in [-1, 1]: a grey content without strokes, random values on a coarse grid, interpolated smoothly."""
    values = torch.rand(1, 1, cells, cells, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    field = torch.nn.functional.interpolate(values, size=size, mode="bicubic", align_corners=False)
    return field.clamp(-1, 1)[0].expand(3, -1, -1)


def texture_batch(textures: list[Texture], size: int, seed: int) -> torch.Tensor:
    """[N, 3, size, size]; each with phases of its own."""
    return torch.stack([texture(*one, size=size, seed=seed * 1000 + i) for i, one in enumerate(textures)])


def field_batch(count: int, size: int, seed: int) -> torch.Tensor:
    """[N, 3, size, size], each field another one."""
    return torch.stack([smooth_field(size, seed * 1000 + i) for i in range(count)])
