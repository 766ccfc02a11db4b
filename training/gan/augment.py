"""Adaptive discriminator augmentation: D is shown transformed images, and the more so the more it overfits.

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (arXiv 2006.06676), sections 2 and 3; the
transformations, their order and their spreads are those of its appendix B. Real and generated images are treated alike. What is
drawn does not leak into the generator as long as every transformation is left out often enough (section 2.2), so each one has
a coin of its own per image, with probability p.

Everything is linear in the image but for an offset, and has derivatives of every order. There is no loop over images, and no
shape depends on what was drawn, so a GPU is never waited for.
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F

from torch_utils.ops import in_float32, widen

AUGPIPES = {
    "blit": ("blit",),
    "geom": ("geom",),
    "color": ("color",),
    "filter": ("filter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
}

# Scaling filters of Daubechies' least asymmetric wavelets with 2 and 6 vanishing moments ("Ten Lectures on Wavelets", 1992,
# section 6.4), with sum √2. The first has a closed form; the digits of the second are those of PyWavelets' `sym6`.
SYM2 = tuple((a + b * 3**0.5) / 32**0.5 for a, b in ((1, -1), (3, -1), (3, 1), (1, 1)))
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


@in_float32
def augment(images: torch.Tensor, p: float | torch.Tensor, pipe: str = "bgc") -> torch.Tensor:
    """images [N, C, H, W] about [-1, 1] -> the same shape and type, randomly transformed.

    p in [0, 1] is the probability of every single transformation, a number or a tensor []; with 0 the images come back as they
    are. `pipe` is one of `AUGPIPES`. C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA); alpha is moved and cut out together
    with its image, and never recoloured, filtered or made noisy. Random numbers come from torch's global generator of the
    images' device. Any number of derivatives by the images. `ValueError` for anything else.
    """
    if pipe not in AUGPIPES:
        raise ValueError(f"found pipe {pipe!r}, wanted one of {', '.join(AUGPIPES)}")
    if images.ndim != 4 or not 1 <= images.shape[1] <= 4 or not images.is_floating_point():
        raise ValueError(f"found {images.dtype} images of shape {list(images.shape)}, wanted [N, 1 to 4, H, W] of floats")
    if not isinstance(p, torch.Tensor):
        if not 0 <= p <= 1:
            raise ValueError(f"found p = {p}, wanted a probability")
        if p == 0:
            return images
    groups, dtype, images = AUGPIPES[pipe], images.dtype, widen(images)
    if "blit" in groups:
        images = blit(images, draw_blit(images, p))
    if "geom" in groups:
        images = resample(images, draw_geometry(images, p))
    colour, alpha = images.tensor_split([1 if images.shape[1] <= 2 else 3], dim=1)
    if "color" in groups:
        colour = recolour(colour, draw_colour(colour, p))
    if "filter" in groups:
        colour = amplify(colour, draw_gains(colour, p))
    if "noise" in groups:
        colour = add_noise(colour, draw_noise(colour, p))
    images = torch.cat([colour, alpha], dim=1) if alpha.shape[1] else colour
    if "cutout" in groups:
        images = cut_out(images, *draw_cutout(images, p))
    return images.to(dtype)


# Draws. Each takes images [N, C, H, W] for their number, shape, type and device, and nothing of their content.


def sometimes(p: float | torch.Tensor, value: torch.Tensor, otherwise: float) -> torch.Tensor:
    """value [N, …] where the coin of this image, one of N, comes up, which it does with probability p; else `otherwise`."""
    coin = torch.rand(len(value), device=value.device) < p
    return torch.where(coin.view(-1, *[1] * (value.ndim - 1)), value, otherwise)


def _normal(images: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.randn(len(images), *shape, dtype=images.dtype, device=images.device)


def _uniform(images: torch.Tensor, low: float, high: float, *shape: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(len(images), *shape, dtype=images.dtype, device=images.device)


def _choice(images: torch.Tensor, count: int) -> torch.Tensor:
    """Whole numbers from 0 to count − 1, as floats."""
    return torch.randint(count, (len(images),), device=images.device).to(images.dtype)


def _size(images: torch.Tensor) -> torch.Tensor:
    """Width and height [2]; filled in where the images are, so that no copy waits for a GPU."""
    size = images.new_full((2,), images.shape[3])
    size[1] = images.shape[2]
    return size


# Geometry. Matrices are homogeneous, [N, 3, 3]; coordinates are pixels, x to the right and y down, from the image's centre.


def _matrix(*entries: torch.Tensor | float) -> torch.Tensor:
    """Square matrices [N, k, k], row by row, of tensors [N] and of numbers."""
    like = next(entry for entry in entries if isinstance(entry, torch.Tensor))
    columns = [entry if isinstance(entry, torch.Tensor) else torch.full_like(like, entry) for entry in entries]
    side = math.isqrt(len(entries))
    return torch.stack(columns, dim=1).view(-1, side, side)


def scale2d(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return _matrix(x, 0, 0, 0, y, 0, 0, 0, 1)


def rotate2d(angle: torch.Tensor) -> torch.Tensor:
    """By an angle in radians, clockwise to the eye as y points down."""
    cos, sin = angle.cos(), angle.sin()
    return _matrix(cos, -sin, 0, sin, cos, 0, 0, 0, 1)


def quarter_turns2d(count: torch.Tensor) -> torch.Tensor:
    """Counterclockwise, as `torch.rot90(images, count, (2, 3))`; exact."""
    return rotate2d(count * (-math.pi / 2)).round()


def translate2d(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return _matrix(1, 0, x, 0, 1, y, 0, 0, 1)


def draw_blit(images: torch.Tensor, p: float | torch.Tensor) -> torch.Tensor:
    """x-flip, turns by 90°, shift by whole pixels, in this order: matrices from places in the *result* to those in the image.

    An image that is not square is turned by 180° or not at all, as the result has its shape.
    """
    flip = sometimes(p, _choice(images, 2), 0)
    square = images.shape[2] == images.shape[3]
    turns = sometimes(p, _choice(images, 4) if square else 2 * _choice(images, 2), 0)
    shift = sometimes(p, (_uniform(images, -0.125, 0.125, 2) * _size(images)).round(), 0)
    mirror = scale2d(1 - 2 * flip, torch.ones_like(flip))  # its own inverse
    return mirror @ quarter_turns2d(-turns) @ translate2d(-shift[:, 0], -shift[:, 1])


def draw_geometry(images: torch.Tensor, p: float | torch.Tensor) -> torch.Tensor:
    """Scaling, rotation, stretching, rotation, shift, in this order: matrices from places in the result to those in the image.

    The two rotations have a smaller probability, so that p is that of any rotation.
    """
    p_rotate = 1 - (1 - p) ** 0.5
    scale = sometimes(p, (0.2 * _normal(images)).exp2(), 1)
    before = sometimes(p_rotate, _uniform(images, -math.pi, math.pi), 0)
    stretch = sometimes(p, (0.2 * _normal(images)).exp2(), 1)
    after = sometimes(p_rotate, _uniform(images, -math.pi, math.pi), 0)
    shift = sometimes(p, 0.125 * _normal(images, 2), 0) * _size(images)
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


def _filter_matrix(columns: np.ndarray, taps: np.ndarray, size: int) -> np.ndarray:
    """taps and the columns that they belong to, both [rows, k] -> [rows, size]."""
    matrix = np.zeros((len(columns), size))
    np.add.at(matrix, (np.arange(len(columns))[:, None], columns), taps)
    return matrix


def _tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # what is kept must serve trainings too
        return torch.from_numpy(np.ascontiguousarray(array)).to(dtype).to(device)  # MPS has no float64


@functools.lru_cache(maxsize=64)
def _upsampling(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros between pixels, then the filter; rows are the samples from `_first_sample()` on."""
    rows = np.arange(_first_sample(), math.ceil(2 * (size - 1 + _MARGIN) + _DELAY) + 1)[:, None]
    taps = np.arange(len(SYM6))
    weights = np.where((rows - taps) % 2 == 0, np.sqrt(2) * np.array(SYM6), 0)
    return _tensor(_filter_matrix(fold((rows - taps) // 2, size), weights, size), dtype, device)


@functools.lru_cache(maxsize=64)
def _downsampling(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The reversed filter at every second of the 2·size + 10 samples from sample 0 on."""
    columns = 2 * np.arange(size)[:, None] + np.arange(len(SYM6))
    taps = np.broadcast_to(np.array(SYM6) / np.sqrt(2), columns.shape)
    return _tensor(_filter_matrix(columns, taps, 2 * size + len(SYM6) - 2), dtype, device)


# Colours. Matrices are homogeneous, [N, 4, 4], and act on columns (r, g, b, 1). Greys are the luma axis, (1, 1, 1)/√3.


@functools.lru_cache(maxsize=8)
def _axis(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[4, 4] each: the projection on the luma axis, that on the plane across it, and a quarter turn within this plane."""
    luma, identity = np.full((3, 3), 1 / 3), np.eye(3)
    turn = (np.roll(identity, 1, axis=0) - np.roll(identity, 1, axis=1)) / np.sqrt(3)
    return tuple(_tensor(np.pad(matrix, (0, 1)), dtype, device) for matrix in (luma, identity - luma, turn))


def _identity4(like: torch.Tensor) -> torch.Tensor:
    return torch.eye(4, dtype=like.dtype, device=like.device)


def brighten(amount: torch.Tensor) -> torch.Tensor:
    """amount [N] is added to every colour."""
    return _matrix(1, 0, 0, amount, 0, 1, 0, amount, 0, 0, 1, amount, 0, 0, 0, 1)


def contrast(factor: torch.Tensor) -> torch.Tensor:
    """factor [N] multiplies every colour."""
    return _matrix(factor, 0, 0, 0, 0, factor, 0, 0, 0, 0, factor, 0, 0, 0, 0, 1)


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


def draw_colour(colour: torch.Tensor, p: float | torch.Tensor) -> torch.Tensor:
    """Brightness, contrast, luma flip, and for RGB hue and saturation, in this order: matrices [N, 4, 4]."""
    matrix = brighten(sometimes(p, 0.2 * _normal(colour), 0))
    matrix = contrast(sometimes(p, (0.5 * _normal(colour)).exp2(), 1)) @ matrix
    matrix = flip_luma(sometimes(p, _choice(colour, 2), 0)) @ matrix
    if colour.shape[1] == 3:
        matrix = rotate_hue(sometimes(p, _uniform(colour, -math.pi, math.pi), 0)) @ matrix
        matrix = saturate(sometimes(p, _normal(colour).exp2(), 1)) @ matrix
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
    matrices = [_filter_matrix(columns, np.broadcast_to(taps, columns.shape), size) for taps in filters]
    return _tensor(np.stack(matrices), dtype, device)


def band_gains(amounts: torch.Tensor) -> torch.Tensor:
    """Amounts [N, 4] that the bands are amplified by one after the other -> gains [N, 4] after every one was normalised.

    Natural images have a spectrum of about 1/f, which puts the power 10/13 in the lowest band and 1/13 in each other;
    every amplification is divided by the root of what it makes of that power.
    """
    single = 1 + torch.diag_embed(amounts - 1)  # [N, amplification, band]
    power = (10 * single[:, :, 0].square() + single[:, :, 1:].square().sum(dim=2)) / 13
    return (single / power.sqrt()[:, :, None]).prod(dim=1)


def draw_gains(colour: torch.Tensor, p: float | torch.Tensor) -> torch.Tensor:
    """Gains [N, 4] of the bands; every band has its own coin."""
    return band_gains(torch.stack([sometimes(p, _normal(colour).exp2(), 1) for _ in range(4)], dim=1))


def amplify(colour: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Filter colour [N, C, H, W] along both axes with gains [N, 4]; what lies outside is reflected."""
    rows, columns = (
        torch.einsum("nb, bij -> nij", gains, _band_matrices(side, colour.dtype, colour.device))[:, None]
        for side in colour.shape[2:]
    )
    return torch.where((gains == 1).all(dim=1)[:, None, None, None], colour, rows @ colour @ columns.mT)


# Corruptions.


def draw_noise(colour: torch.Tensor, p: float | torch.Tensor) -> torch.Tensor:
    """White noise [N, C, H, W]; its standard deviation is half-normal with σ = 0.1, or 0."""
    return sometimes(p, 0.1 * _normal(colour).abs(), 0)[:, None, None, None] * torch.randn_like(colour)


def add_noise(colour: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return colour + noise


def draw_cutout(images: torch.Tensor, p: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres [N, 2], x and y, and sides [N] of what is cut out, all as shares of the image's sides."""
    side = sometimes(p, torch.full_like(images[:, 0, 0, 0], 0.5), 0)
    return _uniform(images, 0, 1, 2), side


def cut_out(images: torch.Tensor, centre: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    """Put 0 into a rectangle of each of images [N, C, H, W], whose part beyond the border is lost."""

    def within(pixels: int, middle: torch.Tensor) -> torch.Tensor:
        places = (torch.arange(pixels, dtype=images.dtype, device=images.device) + 0.5) / pixels
        return (places - middle[:, None]).abs() < side[:, None] / 2  # [N, pixels]

    rows, columns = within(images.shape[2], centre[:, 1]), within(images.shape[3], centre[:, 0])
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
