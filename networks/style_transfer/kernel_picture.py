"""A picture of convolution kernels, one panel a layer: blue taps are negative, white is zero, red is positive."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from torch_utils.images import from_pil

MAX_KERNELS = 512  # that are drawn of a layer
COLUMNS = 32  # kernels side by side
SIDE = 12  # pixels of a kernel with no more taps than that
GAP, GREY = 2, 170  # pixels between kernels, and their colour
TITLE = 34  # pixels above the kernels: two lines of text
MARGIN = 12
LOW, HIGH = np.array([33, 102, 172]), np.array([178, 24, 43])
SHARE = 0.99  # of the taps lie within the colours' range: one extreme tap would make all others white


def kernel_picture(layers: Sequence[tuple[str, torch.Tensor]]) -> torch.Tensor:
    """(title, kernels [C_out, C_in / groups, k, k]) of every layer -> a picture, uint8 [3, H, W].

    Kernels are in the order of the output channels; those of one channel are neighbours in a row.
    """
    panels = [draw_panel(title, kernels) for title, kernels in layers]
    columns = int(np.ceil(len(panels) ** 0.5))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    width = max(panel.width for panel in panels) + MARGIN
    heights = [max(panel.height for panel in row) + MARGIN for row in rows]
    picture, y = Image.new("RGB", (width * columns + MARGIN, sum(heights) + MARGIN), "white"), MARGIN
    for row, height in zip(rows, heights):
        for x, panel in enumerate(row):
            picture.paste(panel, (x * width + MARGIN, y))
        y += height
    return from_pil(picture)


def draw_panel(title: str, kernels: torch.Tensor) -> Image.Image:
    count, per_channel, k = kernels.shape[0] * kernels.shape[1], kernels.shape[1], kernels.shape[2]
    taps = kernels.detach().float().cpu().flatten(0, 1)[:MAX_KERNELS].numpy()
    top = max(float(np.quantile(np.abs(taps), SHARE)), 1e-8)
    columns = min(per_channel * max(COLUMNS // per_channel, 1), len(taps))
    scale = max(SIDE // k, 1)  # pixels of a tap
    cell = k * scale + GAP
    rows = -(-len(taps) // columns)

    field = np.full((rows * cell, columns * cell, 3), GREY, dtype=np.uint8)  # so that a white kernel shows
    for i, one in enumerate(taps):
        y, x = i // columns * cell, i % columns * cell
        field[y : y + k * scale, x : x + k * scale] = colours(one / top).repeat(scale, axis=0).repeat(scale, axis=1)

    drawn = f"{count} kernels" if count == len(taps) else f"the first {len(taps)} of {count} kernels"
    lines = [
        f"{title}: {drawn} of {k}x{k}, {per_channel} for an output channel",
        f"{-top:.2g}",
        f"{top:.2g} ({SHARE:.0%} of taps within)",
    ]
    panel = Image.new("RGB", (max(field.shape[1], 420), field.shape[0] + TITLE), "white")
    draw = ImageDraw.Draw(panel)
    draw.text((0, 2), lines[0], fill="black")
    draw.text((0, 17), lines[1], fill="black")
    panel.paste(Image.fromarray(colours(np.linspace(-1, 1, 64)[None].repeat(10, axis=0))), (48, 18))
    draw.text((118, 17), lines[2], fill="black")
    panel.paste(Image.fromarray(field), (0, TITLE))
    return panel


def colours(values: np.ndarray) -> np.ndarray:
    """[-1, 1] of any shape -> uint8 [..., 3]; values outside have the outermost colours."""
    amount = np.abs(values).clip(0, 1)[..., None]
    return (255 + amount * (np.where(values[..., None] < 0, LOW, HIGH) - 255)).round().astype(np.uint8)
