"""Squares cut out of an image at any scale and at any angle, without borders."""

import math

import numpy as np
import torch
from PIL import Image

from torch_utils.images import from_pil, to_pil

# Of an image that is no larger than the squares, the least share of its side. It is what a turn by 45 degrees leaves, so that
# every image can be turned; pixels are enlarged by √2 at most.
MIN_SHARE = math.sqrt(0.5)


def random_square(image: torch.Tensor, side: int, rng: np.random.RandomState, turn: bool = False) -> torch.Tensor:
    """uint8 RGB [3, H, W] -> [3, side, side]: a square of any size, mirrored or not; with `turn`, at any angle.

    Its size is log-uniform between `side` (or MIN_SHARE of the shorter side, if that is less) and what fits into the image.
    """
    height, width = image.shape[1:]
    degrees = rng.uniform(0, 360) if turn else 0.0
    most = min(height, width) / _extent(degrees)
    least = min(side, MIN_SHARE * min(height, width), most)
    size = math.exp(rng.uniform(math.log(least), math.log(most)))
    if not turn:
        size = round(size)  # on whole pixels, what keeps its size stays as it is
    half = size * _extent(degrees) / 2
    x, y = (half + rng.random_sample() * (length - 2 * half) for length in (width, height))
    square = cut(image, x, y, size, degrees, side)
    return square.flip(2) if rng.random_sample() < 0.5 else square


def augment_content(image: torch.Tensor, another: object, side: int, rng: np.random.RandomState) -> torch.Tensor:
    """uint8 RGB [3, H, W] -> [3, side, side], upright. `another` image, which a style may be mixed with, is not used."""
    return random_square(image, side, rng)


def cut(image: torch.Tensor, x: float, y: float, size: float, degrees: float, side: int) -> torch.Tensor:
    """uint8 RGB [3, H, W] -> [3, side, side]: the square of `size` pixels around (x, y), turned counter-clockwise.

    It has to lie within the image. Where it shrinks it is antialiased.
    """
    height, width = image.shape[1:]
    half = size * _extent(degrees) / 2
    if not degrees:
        x, y = half + round(x - half), half + round(y - half)
    left, top = max(math.floor(x - half), 0), max(math.floor(y - half), 0)
    right, bottom = min(math.ceil(x + half), width), min(math.ceil(y + half), height)
    part = to_pil(image[:, top:bottom, left:right])
    if not degrees:
        return from_pil(part if part.width == side else part.resize((side, side), Image.Resampling.BICUBIC)).contiguous()
    step, x, y = size / side, x - left, y - top  # pixels of `part` for one of the square
    if step > 1:
        small = part.resize((math.ceil(part.width / step), math.ceil(part.height / step)), Image.Resampling.BICUBIC)
        x, y, step = x * small.width / part.width, y * small.height / part.height, step * small.width / part.width
        part = small
    cos, sin = step * math.cos(math.radians(degrees)), step * math.sin(math.radians(degrees))
    matrix = (cos, -sin, x - side / 2 * (cos - sin), sin, cos, y - side / 2 * (sin + cos))
    return from_pil(part.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)).contiguous()


def _extent(degrees: float) -> float:
    """Side of the upright square around a turned one of side 1."""
    return abs(math.cos(math.radians(degrees))) + abs(math.sin(math.radians(degrees)))
