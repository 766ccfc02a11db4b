"""Artefacts of a decoder, which no style asks for: a pattern locked to the grid that it draws on, and rectangles along borders.

Pure functions of images. Both are to be measured on contents without strokes, flat ones and gradients: there a decoder has no
reason to draw anything that depends on where it is.
"""

import torch
import torch.nn.functional as F

from metrics.style_transfer.structure import luminance
from torch_utils.ops import to_double

GRID = 8  # pixels of a cell of relu4_1: what a decoder repeats has this period, or a half, a quarter of it
BAND = 16  # pixels along the border: two such cells


def grid_pattern(images: torch.Tensor, grid: int = GRID) -> torch.Tensor:
    """Share of an image's fine detail that repeats with the decoder's grid: [N, 3, H, W] -> [N] in about [0, 1].

    Detail is luminance minus its mean over grid×grid pixels. Its mean over all cells of the grid is what repeats; noise, whose
    phase is random, leaves a share of 1 / number of cells, which is subtracted. 0 for an image without detail.
    """
    light = luminance(to_double(images))
    height, width = (side // grid * grid for side in light.shape[1:])
    if min(height, width) < 3 * grid:
        raise ValueError(f"found images of {images.shape[3]}×{images.shape[2]} pixels, wanted {3 * grid} at least on each side")
    light = light[:, :height, :width]
    means = F.avg_pool2d(F.pad(light[:, None], [grid // 2] * 4, mode="reflect"), grid, stride=1)[:, 0]
    detail = light - (means[:, 1:, 1:] + means[:, :-1, :-1]) / 2  # a window of `grid` pixels around each one, on both sides
    detail = detail[:, grid:-grid, grid:-grid]
    cells = detail.unflatten(2, (-1, grid)).unflatten(1, (-1, grid))  # [N, rows, grid, columns, grid]
    repeated = cells.mean(dim=(1, 3)).square().mean(dim=(1, 2))
    total = detail.square().mean(dim=(1, 2))
    chance = 1 / (cells.shape[1] * cells.shape[3])
    share = (repeated / total.clamp(min=1e-12) - chance) / (1 - chance)
    return torch.where(total > 1e-8, share, 0.0)


def border_contrast(images: torch.Tensor, band: int = BAND) -> torch.Tensor:
    """How much colours along the border differ from those in the middle: [N, 3, H, W] in [-1, 1] -> [N] in [0, 2].

    The root mean square, over colours and the four sides, of the difference between a side's mean colour and the middle's.
    """
    if min(images.shape[2:]) < 4 * band:
        raise ValueError(f"found images of {images.shape[3]}×{images.shape[2]} pixels, wanted {4 * band} at least on each side")
    middle = to_double(images[:, :, band:-band, band:-band]).mean(dim=(2, 3))
    turned = (to_double(images), to_double(images).transpose(2, 3))
    sides = [part.mean(dim=(2, 3)) for x in turned for part in (x[:, :, :band], x[:, :, -band:])]
    return torch.stack([(side - middle).square() for side in sides]).mean(dim=(0, 2)).sqrt()
