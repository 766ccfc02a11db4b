"""What every augmentation draws with: a coin for each image, random numbers, and constants on the images' device.

Draws take images [N, C, H, W] for their number, shape, type and device, and look at none of their pixels.
"""

import math

import numpy as np
import torch


def sometimes(p: float | torch.Tensor, value: torch.Tensor, otherwise: float) -> torch.Tensor:
    """value [N, …] where the coin of this image, one of N, comes up, which it does with probability p; else `otherwise`."""
    coin = torch.rand(len(value), device=value.device) < p
    return torch.where(coin.view(-1, *[1] * (value.ndim - 1)), value, otherwise)


def normal(images: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.randn(len(images), *shape, dtype=images.dtype, device=images.device)


def uniform(images: torch.Tensor, low: float, high: float, *shape: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(len(images), *shape, dtype=images.dtype, device=images.device)


def choice(images: torch.Tensor, count: int) -> torch.Tensor:
    """Whole numbers from 0 to count − 1, as floats."""
    return torch.randint(count, (len(images),), device=images.device).to(images.dtype)


def size_of(images: torch.Tensor) -> torch.Tensor:
    """Width and height [2]; filled in where the images are, so that no copy waits for a GPU."""
    size = images.new_full((2,), images.shape[3])
    size[1] = images.shape[2]
    return size


def matrices(*entries: torch.Tensor | float) -> torch.Tensor:
    """Square matrices [N, k, k], row by row, of tensors [N] and of numbers."""
    like = next(entry for entry in entries if isinstance(entry, torch.Tensor))
    columns = [entry if isinstance(entry, torch.Tensor) else torch.full_like(like, entry) for entry in entries]
    side = math.isqrt(len(entries))
    return torch.stack(columns, dim=1).view(-1, side, side)


def constant(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # it is cached, and a training run needs its gradients later
        return torch.from_numpy(np.ascontiguousarray(array)).to(dtype).to(device)  # MPS has no float64
