"""Drawn styles: stripes, dots and brush strokes of any period, direction, bend and palette."""

import math

import numpy as np
import torch
from PIL import Image

from training.style_transfer.textures import KINDS, pattern, turned_axes

BRUSH = "brush"  # strokes that end, each in a colour of its own
PERIODS = 1 / 40, 1 / 8  # of the side; below the first, bent lines come so close that they give moiré
MAX_BEND = 0.08  # of the side, by which lines leave the straight: about 30 degrees; more would tear them
COLOURS = 6  # of a palette, at most
CELLS = 64  # after which a brush's colours come again


def strokes(side: int, rng: np.random.RandomState) -> torch.Tensor:
    """uint8 RGB [3, side, side]"""
    kind = (*KINDS, BRUSH, BRUSH)[rng.randint(4)]  # as painted as not
    period = side * math.exp(rng.uniform(*np.log(PERIODS)))
    across, along = (axis.astype(np.float32) for axis in turned_axes(side, rng.uniform(0, 2 * math.pi)))
    across += rng.uniform(0, MAX_BEND) * side * smooth_noise(side, 4, rng)
    across, along = across / period + CELLS * rng.random_sample(), along / period + CELLS * rng.random_sample()
    colours = palette(rng)
    if kind == BRUSH:
        pixels = brush(across, along, rng.uniform(2, 8), colours, rng)
    else:
        values = pattern(kind, across, along)
        values = (values - values.min()) / (values.max() - values.min())
        pixels = ramp(colours)[(255 * values).astype(np.uint8)]
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def palette(rng: np.random.RandomState) -> np.ndarray:
    """float [2 to COLOURS, 3] in [0, 255]: as in paintings, colours differ more in lightness than in hue."""
    count = rng.randint(2, COLOURS + 1)
    middle, light = rng.uniform(70, 185) + rng.normal(0, 30, 3), rng.uniform(20, 60) * rng.standard_normal((count, 1))
    return np.clip(middle + light + rng.normal(0, 25, (count, 3)), 0, 255)


def ramp(colours: np.ndarray) -> np.ndarray:
    """uint8 [256, 3]: from the first colour to the last, through all of them."""
    places = np.linspace(0, 255, len(colours))
    return np.stack([np.interp(np.arange(256), places, channel) for channel in colours.T], axis=1).astype(np.uint8)


def smooth_noise(side: int, cells: int, rng: np.random.RandomState) -> np.ndarray:
    """float32 [side, side], about [-1, 1]: random values on a coarse grid, interpolated smoothly."""
    values = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(values.resize((side, side), Image.Resampling.BICUBIC))


def brush(across: np.ndarray, along: np.ndarray, length: float, colours: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """uint8 [side, side, 3]: strokes of width 1 with round ends, rows of them shifted at random, darker at their rims."""
    row = np.floor(across)
    lines, middle = row.astype(np.intp) % CELLS, np.abs(2 * (across - row) - 1)
    along = (along + middle**2 / 2) / length + rng.random_sample(CELLS).astype(np.float32)[lines]
    column = np.floor(along)
    of_stroke = colours[rng.randint(len(colours), size=(CELLS, CELLS))]
    of_stroke = np.clip(of_stroke + rng.normal(0, 12, (CELLS, CELLS, 1)), 0, 255).astype(np.float32)  # paint is never even
    rim = np.maximum(middle, np.abs(2 * (along - column) - 1) ** length)
    light = 1 - rng.uniform(0.1, 0.6) * rim**3
    return (of_stroke[lines, column.astype(np.intp) % CELLS] * light[..., None]).astype(np.uint8)
