"""Images brought to a size."""

import torch
from PIL import Image

from torch_utils.files import InputError
from torch_utils.images import from_pil, to_pil

MOST_PIXELS = 2**26  # of a result


def with_short_side(image: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [C, H, W] -> the same with min(H, W) = side; `InputError` where the other side becomes absurd."""
    height, width = image.shape[1:]
    factor = side / min(height, width)
    height, width = max(round(height * factor), side), max(round(width * factor), side)
    if height * width > MOST_PIXELS:
        raise InputError(f"would have {width}×{height} pixels with a short side of {side}, wanted {MOST_PIXELS} at most")
    return from_pil(to_pil(image).resize((width, height), Image.Resampling.LANCZOS))


def as_square(image: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [C, H, W] -> [C, side, side], of the square in its middle."""
    height, width = image.shape[1:]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return from_pil(to_pil(image).resize((side, side), Image.Resampling.LANCZOS, box=box))
