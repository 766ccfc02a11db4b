"""Pictures of one size in a table, with words above its columns, beside its rows, and below its cells."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont

from torch_utils.files import InputError
from torch_utils.images import MAX_PIXELS, from_pil, to_pil, to_rgb

CELL, GAP, FONT = 96, 4, 14  # pixels: least side of a cell, between cells, height of letters
LINE = FONT + 8  # pixels: height of a line of words


def labelled_grid(
    table: Sequence[Sequence[torch.Tensor]],  # rows of uint8 [C, H, W], all of one size
    heads: Sequence[str],  # of the columns
    names: Sequence[str],  # of the rows
    captions: Sequence[Sequence[str]] | None = None,  # of each cell
    group: int = 1,  # rows between which there is no gap
) -> torch.Tensor:
    """uint8 [3, H, W]. Small pictures are enlarged by a whole number. `InputError` where it would be too large."""
    height, width = table[0][0].shape[1:]
    factor = max(-(-CELL // max(height, width)), 1)
    height, width = height * factor, width * factor
    font = ImageFont.load_default(FONT)
    left = max([round(font.getlength(name)) for name in names if name], default=-4 * GAP) + 4 * GAP
    below = LINE if captions else 0
    tops = [LINE + row * (height + below) + row // group * GAP for row in range(len(table))]
    size = (left + len(heads) * (width + GAP), tops[-1] + height + below)
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"the picture would have {size[0]}×{size[1]} pixels, wanted {MAX_PIXELS} at most: fewer rows or columns"
        )
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    middle = lambda column: left + column * (width + GAP) + width / 2
    for column, head in enumerate(heads):
        draw.text((middle(column), LINE / 2), head, "black", font, anchor="mm")
    for row, (top, cells, name) in enumerate(zip(tops, table, names)):
        draw.text((left - 2 * GAP, top + height / 2), name, "black", font, anchor="rm")
        for column, cell in enumerate(cells):
            image = to_pil(to_rgb(cell[None].cpu())[0]).resize((width, height), Image.Resampling.NEAREST)
            picture.paste(image, (left + column * (width + GAP), top))
            if captions:
                draw.text((middle(column), top + height + LINE / 2), captions[row][column], "black", font, anchor="mm")
    return from_pil(picture)
