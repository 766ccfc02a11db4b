"""Pillow's bicubic resizing as two matrix products."""

import functools

import numpy as np
import torch
from PIL import Image


@functools.lru_cache(maxsize=8)
def resize_matrix(old: int, new: int) -> torch.Tensor:
    """[new, old]: Pillow's bicubic filter along one axis. It is linear, so its matrix is what it makes of the identity."""
    identity = Image.fromarray(np.eye(old, dtype=np.float32))
    return torch.from_numpy(np.array(identity.resize((new, old), resample=Image.Resampling.BICUBIC)).T.copy())


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """uint8 [N, C, H, W] -> float32 [N, C, size, size] in 0..255, equal to Pillow's bicubic on floats up to rounding.

    Two matrix products are several times faster than Pillow on small images, and run where the network does.
    """
    rows, columns = (resize_matrix(side, size).to(images.device) for side in images.shape[2:])
    return (rows @ images.to(torch.float32) @ columns.mT).clamp(0, 255)
