"""Images as tensors, as Pillow images and as PNG files, and their sizes. Nothing here needs torchvision."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torch_utils.files import InputError, atomic_write

MAX_PIXELS = 2**26  # of a resized image
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's name for a number of channels


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] in [-1, 1] -> uint8 of the same shape; values outside are clipped."""
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def from_uint8(images: torch.Tensor) -> torch.Tensor:
    """uint8 -> float32 in [-1, 1]; `to_uint8` undoes it exactly."""
    return images.to(torch.float32) / 127.5 - 1


def to_rgb(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 1|2|3|4, H, W] -> uint8 [N, 3, H, W]; grey is repeated, alpha is laid over white."""
    channels = images.shape[1]
    if channels in (2, 4):
        alpha = images[:, -1:].to(torch.float32) / 255
        images = (images[:, :-1] * alpha + 255 * (1 - alpha)).round().to(torch.uint8)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def to_pil(image: torch.Tensor) -> Image.Image:
    """uint8 [C, H, W] -> Pillow image with 1 to 4 channels."""
    array = image.permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))


def from_pil(image: Image.Image) -> torch.Tensor:
    """Pillow image with 1 to 4 channels of 8 bits -> uint8 [C, H, W]."""
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


def save_png(path: str | Path, image: torch.Tensor) -> None:
    """Write uint8 [C, H, W] as PNG, atomically."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def grid(images: torch.Tensor, columns: int) -> torch.Tensor:
    """uint8 [N, C, H, W] -> [C, rows*H, columns*W], row by row; missing cells of the last row are white."""
    n, c, h, w = images.shape
    rows = -(-n // columns)
    cells = torch.full((rows * columns, c, h, w), 255, dtype=torch.uint8)
    cells[:n] = images.cpu()
    return cells.view(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def enlarge(images: torch.Tensor, factor: int) -> torch.Tensor:
    """[…, H, W] -> […, factor*H, factor*W]: every pixel a square of its own."""
    return images.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def save_grid(path: str | Path, images: torch.Tensor, columns: int) -> None:
    save_png(path, grid(images, columns))


def size_with_short_side(size: Sequence[int], side: int) -> tuple[int, int]:
    """(H, W) -> the same ratio with a short side of `side` pixels, or (W, H) likewise; `InputError` above MAX_PIXELS."""
    factor = side / min(size)
    one, other = (max(round(n * factor), side) for n in size)
    if one * other > MAX_PIXELS:
        raise InputError(f"would have {other}×{one} pixels with a short side of {side}, wanted {MAX_PIXELS} at most")
    return one, other


def with_short_side(image: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [C, H, W] -> the same with min(H, W) = side; `InputError` above MAX_PIXELS."""
    height, width = size_with_short_side(image.shape[1:], side)
    return from_pil(to_pil(image).resize((width, height), Image.Resampling.LANCZOS))


def as_square(image: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [C, H, W] -> [C, side, side], of the square in its middle."""
    height, width = image.shape[1:]
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return from_pil(to_pil(image).resize((side, side), Image.Resampling.LANCZOS, box=box))
