"""Styles without end: what is cut from an image is turned, scaled, coloured and mixed anew, and now and then drawn.

Styles are few, and a style encoder that knows twelve of them describes a thirteenth as a mixture of these. All functions depend
on their arguments alone.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from torch_utils.images import from_pil, to_pil
from training.style_transfer.squares import random_square
from training.style_transfer.strokes import smooth_noise, strokes

STROKES = 0.1  # are drawn: known structure in any palette, but flatter than what people paint
TURNED = 0.5  # the others stay upright, as the styles of use are
MIXED = 0.15  # descriptors between those of two styles; more would hide the styles themselves
PERMUTED = 0.25  # other palettes of the same harmony
HUE_TURNED = 0.25  # other palettes that stay as light as they were
SHIFTED = 0.5  # lighting, scanners and faded paint
INVERTED = 0.05  # light strokes on dark where there was dark on light: rare among pictures, and here


def augment_style(
    image: torch.Tensor, another: Callable[[np.random.RandomState], torch.Tensor], side: int, rng: np.random.RandomState
) -> torch.Tensor:
    """uint8 RGB [3, H, W] -> [3, side, side]; `another` gives the image to mix it with."""
    rng = np.random.RandomState(rng.randint(2**31, dtype=np.int64))  # the content of this position is cut by the same numbers
    chance = lambda probability: rng.random_sample() < probability
    if chance(STROKES):
        return strokes(side, rng)
    square = random_square(image, side, rng, turn=chance(TURNED))
    if chance(MIXED):
        square = mixed(square, random_square(another(rng), side, rng, turn=chance(TURNED)), rng)
    return coloured(square, random_colours(rng))


def random_colours(rng: np.random.RandomState) -> np.ndarray:
    """float [4, 4] that maps (R, G, B, 1) in [0, 255] to other colours."""
    matrix = np.eye(4)
    for probability, change in (
        (PERMUTED, lambda: permutation(rng.permutation(3))),
        (HUE_TURNED, lambda: hue_turn(rng.uniform(0, 2 * math.pi))),
        (SHIFTED, lambda: shift(np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.1, 3)), rng.normal(0, 15) + rng.normal(0, 8, 3))),
        (INVERTED, lambda: shift(np.full(3, -1.0), np.zeros(3))),
    ):
        if rng.random_sample() < probability:
            matrix = change() @ matrix
    return matrix


def permutation(order: np.ndarray) -> np.ndarray:
    """[4, 4]: channel i becomes what channel `order[i]` was."""
    return np.eye(4)[[*order, 3]]


def hue_turn(angle: float) -> np.ndarray:
    """[4, 4]: a turn about the grey axis, so that R + G + B stays."""
    matrix, cross = np.eye(4), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    matrix[:3, :3] = math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) / 3
    return matrix


def shift(gain: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """[4, 4]: each channel's gain, about mid-grey, and offset; a gain of -1 inverts."""
    matrix = np.diag([*gain, 1.0])
    matrix[:3, 3] = 127.5 * (1 - gain) + offset
    return matrix


def coloured(image: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    """uint8 RGB [3, H, W] -> the same, each pixel by a matrix as above; what leaves [0, 255] is clipped."""
    if np.array_equal(matrix, np.eye(4)):
        return image
    return from_pil(to_pil(image).convert("RGB", tuple(matrix[:3].ravel()))).contiguous()


def mixed(a: torch.Tensor, b: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
    """uint8 RGB [3, side, side], two of them -> one: laid over each other, or side by side with a soft and winding border."""
    if rng.random_sample() < 0.5:
        return from_pil(Image.blend(to_pil(a), to_pil(b), rng.uniform(0.3, 0.7))).contiguous()
    field = smooth_noise(a.shape[1], 4, rng)
    mask = np.clip(127.5 + 127.5 * 4 * (field - np.median(field)), 0, 255).astype(np.uint8)
    return from_pil(Image.composite(to_pil(a), to_pil(b), Image.fromarray(mask))).contiguous()
