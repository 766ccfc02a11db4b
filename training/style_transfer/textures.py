"""Synthetic stripes and dots with the same mean and variance in every image and channel, so that these say nothing."""

import math
from typing import NamedTuple

import numpy as np
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
    phase = torch.rand(2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy()
    across, along = turned_axes(size, math.radians(degrees))
    values = pattern(kind, across / period + phase[0], along / period + phase[1])
    values = (values - values.mean()) / values.std()
    mean, deviation = (np.array(v).reshape(3, 1, 1) for v in (MEAN, DEVIATION))
    return torch.from_numpy(mean + deviation * values).float()


def turned_axes(size: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays [size, size] of pixels: across lines that rise by `angle` above the horizontal, and along them."""
    y, x = np.arange(size)[:, None], np.arange(size)
    return x * math.sin(angle) + y * math.cos(angle), x * math.cos(angle) - y * math.sin(angle)


def pattern(kind: str, across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Stripes in [-0.91, 0.91] or dots in [0.04, 1] of period 1, of the coordinates' shape; `ValueError` for another kind."""
    if kind == "stripes":
        return np.tanh(1.5 * np.sin(2 * math.pi * across))
    if kind == "dots":
        return np.exp(0.8 * (np.cos(2 * math.pi * across) + np.cos(2 * math.pi * along) - 2))
    raise ValueError(f"found kind {kind!r}, wanted one of {KINDS}")


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
