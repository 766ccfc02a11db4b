"""Images that are decoded once and then kept in memory."""

from collections.abc import Callable, Hashable

import numpy as np
import torch

KEPT_BYTES = 1 << 30  # of one data set, in each process


def fits(nbytes: int) -> bool:
    return nbytes <= KEPT_BYTES


def in_words(nbytes: int, partly: bool = False) -> str:
    """`, kept in memory (11 MB)` for a data set of this size, or "" where it is not kept."""
    megabytes = f"{max(nbytes / 2**20, 1):,.0f} MB"
    if fits(nbytes):
        return f", kept in memory ({megabytes})"
    return f", as many as fit kept in memory ({KEPT_BYTES / 2**20:,.0f} of {megabytes})" if partly else ""


class KeptImages:
    """All images of a data set, of one shape, in one block: uint8 [n, C, H, W].

    Threads may put and take at once. Pickled for another process, it is empty.
    """

    def __init__(self, count: int, shape: tuple[int, int, int]):
        self._pixels = torch.empty(count, *shape, dtype=torch.uint8)  # the system gives the memory as it is filled
        self._there = np.zeros(count, bool)

    def __reduce__(self):
        return KeptImages, (len(self._pixels), tuple(self._pixels.shape[1:]))

    def put(self, index: int, pixels: torch.Tensor) -> None:
        self._pixels[index] = pixels
        self._there[index] = True

    def missing(self, indices: np.ndarray) -> list[int]:
        """Which of them have not been put yet, each once."""
        return list(dict.fromkeys(indices[~self._there[indices]].tolist()))

    def take(self, indices: np.ndarray) -> torch.Tensor:
        """A copy of these images, uint8 [B, C, H, W], all of which have been put."""
        return self._pixels.index_select(0, torch.from_numpy(indices))


class KeptTensors:
    """Images of any shapes: the first ones that are asked for, until `room` bytes are full.

    Pickled for another process, it is empty and has no room: several readers would each fill their own.
    """

    def __init__(self, room: int | None = None):
        self._room = KEPT_BYTES if room is None else room
        self._tensors: dict[Hashable, torch.Tensor] = {}

    def __reduce__(self):
        return KeptTensors, (0,)

    def take(self, key: Hashable, decode: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Not a copy: do not write to it."""
        tensor = self._tensors.get(key)
        if tensor is None:
            tensor = decode()
            if tensor.nbytes <= self._room:
                self._tensors[key] = tensor
                self._room -= tensor.nbytes
        return tensor
