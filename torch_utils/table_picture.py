"""A table of pictures of different sizes, whose first row and first column show what the others are made from."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw

from torch_utils.images import from_pil, to_pil

CELL = 256  # pixels, of a square
GAP = 4
MAX_CELLS = 1024  # of a table: 200 MB


def table_picture(table: Sequence[Sequence[Image.Image | str]]) -> torch.Tensor:
    """Rows of cells, as `thumbnail` makes them, or words -> uint8 [3, H, W]."""
    step = CELL + GAP
    picture = Image.new("RGB", (step * len(table[0]) - GAP, step * len(table) - GAP), "white")
    draw = ImageDraw.Draw(picture)
    for y, row in enumerate(table):
        for x, cell in enumerate(row):
            if isinstance(cell, str):
                draw.text((x * step + 8, y * step + CELL // 2), cell[:40], fill="black")
            else:
                left, top = ((CELL - side) // 2 for side in cell.size)
                picture.paste(cell, (x * step + left, y * step + top))
    return from_pil(picture)


def thumbnail(image: torch.Tensor) -> Image.Image:
    """uint8 [3, H, W] -> as large as fits into a cell."""
    picture = to_pil(image)
    factor = CELL / max(picture.size)
    return picture.resize([max(round(side * factor), 1) for side in picture.size], Image.Resampling.LANCZOS)
