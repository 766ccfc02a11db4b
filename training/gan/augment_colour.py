"""Augmentations that change colours ("color") and the strength of bands of frequencies ("filter"), and move nothing.

Karras et al. 2020b (arXiv 2006.06676), appendix B.
"""

import functools
import math

import numpy as np
import torch

from torch_utils.rng import GLOBAL, Draws
from training.gan.augment_draws import choice, constant, matrices, sometimes, uniform
from training.gan.augment_geometry import filter_matrix, fold

# Scaling filter of Daubechies' least asymmetric wavelet with 2 vanishing moments, with sum √2.
SYM2 = tuple((a + b * 3**0.5) / 32**0.5 for a, b in ((1, -1), (3, -1), (3, 1), (1, 1)))

# Colours. Matrices are homogeneous, [N, 4, 4], and act on columns (r, g, b, 1). Greys are the luma axis, (1, 1, 1)/√3.


@functools.lru_cache(maxsize=8)
def _axis(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, ...]:
    """[4, 4] each: the projection on the luma axis, that on the plane across it, and a quarter turn within this plane."""
    luma, identity = np.full((3, 3), 1 / 3), np.eye(3)
    turn = (np.roll(identity, 1, axis=0) - np.roll(identity, 1, axis=1)) / np.sqrt(3)
    return tuple(constant(np.pad(matrix, (0, 1)), dtype, device) for matrix in (luma, identity - luma, turn))


def _identity4(like: torch.Tensor) -> torch.Tensor:
    return torch.eye(4, dtype=like.dtype, device=like.device)


def brighten(amount: torch.Tensor) -> torch.Tensor:
    """amount [N] is added to every colour."""
    return matrices(1, 0, 0, amount, 0, 1, 0, amount, 0, 0, 1, amount, 0, 0, 0, 1)


def contrast(factor: torch.Tensor) -> torch.Tensor:
    """factor [N] multiplies every colour."""
    return matrices(factor, 0, 0, 0, 0, factor, 0, 0, 0, 0, factor, 0, 0, 0, 0, 1)


def flip_luma(flip: torch.Tensor) -> torch.Tensor:
    """Where flip [N] is 1 and not 0, dark and bright change places; hue and saturation stay."""
    luma, _, _ = _axis(flip.dtype, flip.device)
    return _identity4(flip) - 2 * flip[:, None, None] * luma


def rotate_hue(angle: torch.Tensor) -> torch.Tensor:
    """By angle [N] in radians around the luma axis (Rodrigues' formula); from red towards green."""
    _, chroma, turn = _axis(angle.dtype, angle.device)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return _identity4(angle) + (cos - 1) * chroma + sin * turn


def saturate(factor: torch.Tensor) -> torch.Tensor:
    """factor [N] multiplies the distance from the luma axis."""
    _, chroma, _ = _axis(factor.dtype, factor.device)
    return _identity4(factor) + (factor[:, None, None] - 1) * chroma


def draw_colour(colour: torch.Tensor, p: float | torch.Tensor, draws: Draws = GLOBAL) -> torch.Tensor:
    """Brightness, contrast, luma flip, and for RGB hue and saturation, in this order: matrices [N, 4, 4]."""
    matrix = brighten(sometimes(draws, p, 0.2 * draws.normal(colour), 0))
    matrix = contrast(sometimes(draws, p, (0.5 * draws.normal(colour)).exp2(), 1)) @ matrix
    matrix = flip_luma(sometimes(draws, p, choice(draws, colour, 2), 0)) @ matrix
    if colour.shape[1] == 3:
        matrix = rotate_hue(sometimes(draws, p, uniform(draws, colour, -math.pi, math.pi), 0)) @ matrix
        matrix = saturate(sometimes(draws, p, draws.normal(colour).exp2(), 1)) @ matrix
    return matrix


def recolour(colour: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """colour [N, 3, H, W], or grey [N, 1, H, W], which moves along the luma axis; matrices [N, 4, 4]."""
    if colour.shape[1] == 1:
        return colour * matrix[:, 0, :3].sum(dim=1).view(-1, 1, 1, 1) + matrix[:, 0, 3].view(-1, 1, 1, 1)
    return torch.baddbmm(matrix[:, :3, 3:], matrix[:, :3, :3], colour.flatten(2)).view(colour.shape)


# Bands of frequencies: [0, π/8], [π/8, π/4], [π/4, π/2], [π/2, π].


def band_filters() -> np.ndarray:
    """Symmetric filters of the four bands, [4, 43]; their sum passes everything unchanged.

    The halves of the spectrum are H(z)·H(1/z)/2 and H(−z)·H(−1/z)/2 with H of sym2, which add up to 1. The lower half is
    halved twice more by the same filters with zeros put between their taps.
    """
    taps = np.array(SYM2)
    low = np.convolve(taps, taps[::-1]) / 2  # [7]
    high = low * (-1.0) ** np.arange(-3, 4)
    bands, rest = [], np.ones(1)
    for level in range(3):
        low_here, high_here = (np.zeros(6 * 2**level + 1) for _ in range(2))
        low_here[:: 2**level], high_here[:: 2**level] = low, high
        bands.append(np.convolve(rest, high_here))
        rest = np.convolve(rest, low_here)
    bands = [rest, *bands[::-1]]
    return np.stack([np.pad(band, (len(rest) - len(band)) // 2) for band in bands])


@functools.lru_cache(maxsize=64)
def _band_matrices(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """[4, size, size]"""
    filters = band_filters()
    columns = fold(np.arange(size)[:, None] + np.arange(filters.shape[1]) - filters.shape[1] // 2, size)
    matrices = [filter_matrix(columns, np.broadcast_to(taps, columns.shape), size) for taps in filters]
    return constant(np.stack(matrices), dtype, device)


def band_gains(amounts: torch.Tensor) -> torch.Tensor:
    """Amounts [N, 4] that the bands are amplified by one after the other -> gains [N, 4] after every one was normalised.

    Natural images have a spectrum of about 1/f, which puts the power 10/13 in the lowest band and 1/13 in each other;
    every amplification is divided by the root of what it makes of that power.
    """
    single = 1 + torch.diag_embed(amounts - 1)  # [N, amplification, band]
    power = (10 * single[:, :, 0].square() + single[:, :, 1:].square().sum(dim=2)) / 13
    return (single / power.sqrt()[:, :, None]).prod(dim=1)


def draw_gains(colour: torch.Tensor, p: float | torch.Tensor, draws: Draws = GLOBAL) -> torch.Tensor:
    """Gains [N, 4] of the bands; every band has its own coin."""
    return band_gains(torch.stack([sometimes(draws, p, draws.normal(colour).exp2(), 1) for _ in range(4)], dim=1))


def amplify(colour: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Filter colour [N, C, H, W] along both axes with gains [N, 4]; what lies outside is reflected."""
    rows, columns = (
        torch.einsum("nb, bij -> nij", gains, _band_matrices(side, colour.dtype, colour.device))[:, None]
        for side in colour.shape[2:]
    )
    return torch.where((gains == 1).all(dim=1)[:, None, None, None], colour, rows @ colour @ columns.mT)
