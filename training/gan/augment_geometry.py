"""Augmentations that move pixels: whole pixels are copied ("blit"), everything else is resampled ("geom").

Matrices are homogeneous, [N, 3, 3]; coordinates are pixels, x to the right and y down, from the image's centre.
Karras et al. 2020b (arXiv 2006.06676), appendix B.
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F

from torch_utils.rng import GLOBAL, Draws
from training.gan.augment_draws import choice, constant, matrices, size_of, sometimes, uniform

# Scaling filter of Daubechies' least asymmetric wavelet with 6 vanishing moments ("Ten Lectures on Wavelets", 1992, section
# 6.4), with sum √2. The digits are those of PyWavelets' `sym6`.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)


def scale2d(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return matrices(x, 0, 0, 0, y, 0, 0, 0, 1)


def rotate2d(angle: torch.Tensor) -> torch.Tensor:
    """By an angle in radians, clockwise to the eye as y points down."""
    cos, sin = angle.cos(), angle.sin()
    return matrices(cos, -sin, 0, sin, cos, 0, 0, 0, 1)


def quarter_turns2d(count: torch.Tensor) -> torch.Tensor:
    """Counterclockwise, as `torch.rot90(images, count, (2, 3))`; exact."""
    return rotate2d(count * (-math.pi / 2)).round()


def translate2d(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return matrices(1, 0, x, 0, 1, y, 0, 0, 1)


def draw_blit(images: torch.Tensor, p: float | torch.Tensor, draws: Draws = GLOBAL) -> torch.Tensor:
    """x-flip, turns by 90°, shift by whole pixels, in this order: matrices from places in the *result* to those in the image.

    An image that is not square is turned by 180° or not at all, as the result has its shape.
    """
    flip = sometimes(draws, p, choice(draws, images, 2), 0)
    square = images.shape[2] == images.shape[3]
    turns = sometimes(draws, p, choice(draws, images, 4) if square else 2 * choice(draws, images, 2), 0)
    shift = sometimes(draws, p, (uniform(draws, images, -0.125, 0.125, 2) * size_of(images)).round(), 0)
    mirror = scale2d(1 - 2 * flip, torch.ones_like(flip))  # its own inverse
    return mirror @ quarter_turns2d(-turns) @ translate2d(-shift[:, 0], -shift[:, 1])


def draw_geometry(images: torch.Tensor, p: float | torch.Tensor, draws: Draws = GLOBAL) -> torch.Tensor:
    """Scaling, rotation, stretching, rotation, shift, in this order: matrices from places in the result to those in the image.

    The two rotations have a smaller probability, so that p is that of any rotation.
    """
    p_rotate = 1 - (1 - p) ** 0.5
    scale = sometimes(draws, p, (0.2 * draws.normal(images)).exp2(), 1)
    before = sometimes(draws, p_rotate, uniform(draws, images, -math.pi, math.pi), 0)
    stretch = sometimes(draws, p, (0.2 * draws.normal(images)).exp2(), 1)
    after = sometimes(draws, p_rotate, uniform(draws, images, -math.pi, math.pi), 0)
    shift = sometimes(draws, p, 0.125 * draws.normal(images, 2), 0) * size_of(images)
    inverse = scale2d(1 / scale, 1 / scale) @ rotate2d(-before)
    inverse = inverse @ scale2d(1 / stretch, stretch) @ rotate2d(-after)
    return inverse @ translate2d(-shift[:, 0], -shift[:, 1])


def fold(position, size: int):
    """Where a position falls that is reflected at the outermost pixels' centres until it is in [0, size − 1]."""
    if size == 1:
        return position * 0
    return (size - 1) - abs(position % (2 * size - 2) - (size - 1))


def _sources(inverse: torch.Tensor, x: torch.Tensor, y: torch.Tensor, size: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns and rows of the image, each [N, h, w], for columns x [w] and rows y [h] of the result; `size` ends in H, W."""
    centre_y, centre_x = ((side - 1) / 2 for side in size[-2:])
    rows = inverse[:, :2, :, None, None]  # [N, 2, 3, 1, 1]
    found = rows[:, :, 0] * (x - centre_x) + rows[:, :, 1] * (y - centre_y)[:, None] + rows[:, :, 2]
    return found[:, 0] + centre_x, found[:, 1] + centre_y


def blit(images: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Copy pixels of images [N, C, H, W] by matrices [N, 3, 3] of `draw_blit`; what comes from outside is reflected. Exact."""
    height, width = images.shape[2:]
    x, y = (torch.arange(side, dtype=images.dtype, device=images.device) for side in (width, height))
    x, y = _sources(inverse, x, y, images.shape)
    index = fold(y.round().long(), height) * width + fold(x.round().long(), width)
    return images.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def resample(images: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Move images [N, C, H, W] by matrices [N, 3, 3] of `draw_geometry`, antialiased; what comes from outside is reflected.

    As in the paper: twice the size by the filter sym6, bilinear lookup, half the size by the same filter reversed. The two
    passes of an orthogonal filter cancel, so an image that is not moved keeps its high frequencies; it is even the same, to
    the bit. Two things are done otherwise. The paper pads by as much as the matrices need, up to a bound; here places
    outside are reflected when they are looked up, which has no bound, and a constant size. And the filter is not quite
    symmetric: it moves an image by `_DELAY`, which is where the centre is put, so that turned images stay in place.
    """
    height, width = images.shape[2:]
    constants = dict(dtype=images.dtype, device=images.device)
    fine = _upsampling(height, **constants) @ images @ _upsampling(width, **constants).mT
    x, y = (torch.arange(2 * side + len(SYM6) - 2, **constants) for side in (width, height))
    x, y = _sources(inverse, (x - _DELAY) / 2, (y - _DELAY) / 2, images.shape)
    fine = _Lookup.apply(fine, _fine_position(x, width), _fine_position(y, height))
    moved = _downsampling(height, **constants) @ fine @ _downsampling(width, **constants).mT
    still = (inverse == torch.eye(3, **constants)).flatten(1).all(dim=1)
    return torch.where(still[:, None, None, None], images, moved)


_DELAY = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)  # of the upsampled image, in its pixels
_MARGIN = 3  # pixels around the image that are upsampled too; an image that is not moved is looked up within them


def _fine_position(position: torch.Tensor, size: int) -> torch.Tensor:
    """The place in the upsampled image, margin included, of a place in the image; of its reflection where that is too far."""
    outside = (position < -_MARGIN) | (position > size - 1 + _MARGIN)
    return 2 * torch.where(outside, fold(position, size), position) + (_DELAY - _first_sample())


def _first_sample() -> int:
    """The upsampled image without margin would begin at sample 0."""
    return math.floor(_DELAY - 2 * _MARGIN)


class _Lookup(torch.autograd.Function):
    """Bilinear, of images [N, C, H, W] at columns x and rows y [N, h, w] within the image -> [N, C, h, w].

    As a linear map that knows its adjoint: `grid_sample` has no second derivative, and on MPS before PyTorch 2.11 not even a
    first. It is several times as fast as four gathers all the same.
    """

    @staticmethod
    def forward(ctx, images, x, y):
        ctx.save_for_backward(x, y)
        ctx.sides = height, width = images.shape[2:]
        grid = torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], dim=3)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)

    @staticmethod
    def backward(ctx, gradient):
        return _LookupAdjoint.apply(gradient, *ctx.saved_tensors, *ctx.sides), None, None


class _LookupAdjoint(torch.autograd.Function):
    """Adds every value [N, C, h, w] to the four pixels [N, C, height, width] that it would be made of."""

    @staticmethod
    def forward(ctx, values, x, y, height, width):
        ctx.save_for_backward(x, y)
        left, top = x.floor().clamp(0, width - 2), y.floor().clamp(0, height - 2)
        x, y = x - left, y - top
        corner = top.long() * width + left.long()
        result = values.new_zeros(*values.shape[:2], height * width)
        for offset, share in ((0, (1 - x) * (1 - y)), (1, x * (1 - y)), (width, (1 - x) * y), (width + 1, x * y)):
            index = (corner + offset).flatten(1)[:, None].expand(-1, values.shape[1], -1)
            result.scatter_add_(2, index, (values * share[:, None]).flatten(2))
        return result.unflatten(2, (height, width))

    @staticmethod
    def backward(ctx, gradient):
        return _Lookup.apply(gradient, *ctx.saved_tensors), None, None, None, None


# Filters as matrices [rows, size] that multiply a column of pixels; what lies beyond its ends is reflected, however much it is.


def filter_matrix(columns: np.ndarray, taps: np.ndarray, size: int) -> np.ndarray:
    """taps and the columns that they belong to, both [rows, k] -> [rows, size]."""
    matrix = np.zeros((len(columns), size))
    np.add.at(matrix, (np.arange(len(columns))[:, None], columns), taps)
    return matrix


@functools.lru_cache(maxsize=64)
def _upsampling(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros between pixels, then the filter; rows are the samples from `_first_sample()` on."""
    rows = np.arange(_first_sample(), math.ceil(2 * (size - 1 + _MARGIN) + _DELAY) + 1)[:, None]
    taps = np.arange(len(SYM6))
    weights = np.where((rows - taps) % 2 == 0, np.sqrt(2) * np.array(SYM6), 0)
    return constant(filter_matrix(fold((rows - taps) // 2, size), weights, size), dtype, device)


@functools.lru_cache(maxsize=64)
def _downsampling(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The reversed filter at every second of the 2·size + 10 samples from sample 0 on."""
    columns = 2 * np.arange(size)[:, None] + np.arange(len(SYM6))
    taps = np.broadcast_to(np.array(SYM6) / np.sqrt(2), columns.shape)
    return constant(filter_matrix(columns, taps, 2 * size + len(SYM6) - 2), dtype, device)
