"""What every augmentation draws: a coin for each image, random numbers, and constants on the images' device.

`draws` says where random numbers come from. Images [N, C, H, W] are taken for their number, shape, type and device; none of
their pixels is looked at.
"""

import math

import numpy as np
import torch

from torch_utils.rng import Draws


def sometimes(draws: Draws, p: float | torch.Tensor, value: torch.Tensor, otherwise: float) -> torch.Tensor:
    """value [N, …] where the coin of this image, one of N, comes up, which it does with probability p; else `otherwise`."""
    coin = draws.uniform(value) < p
    return torch.where(coin.view(-1, *[1] * (value.ndim - 1)), value, otherwise)


def uniform(draws: Draws, images: torch.Tensor, low: float, high: float, *shape: int) -> torch.Tensor:
    return low + (high - low) * draws.uniform(images, *shape)


def choice(draws: Draws, images: torch.Tensor, count: int) -> torch.Tensor:
    """Whole numbers from 0 to count − 1, as floats."""
    return draws.integers(images, 0, count).to(images.dtype)


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
