"""What a training run reads, and how that goes: how long it waits, and how many images were replaced."""

import time
from collections.abc import Generator

import torch

Batch = tuple[torch.Tensor, torch.Tensor]


class ImageStream(Generator[Batch, None, None]):
    """A generator of batches, each (images, labels) or (images, labels, number of images replaced), of which the first two are
    handed on."""

    def __init__(self, source: Generator[tuple, None, None]):
        self._source = source
        self.waited = 0.0  # seconds of the caller
        self.replaced = 0  # images that could not be read

    def send(self, value: None) -> Batch:
        began = time.monotonic()
        try:
            images, labels, *replaced = self._source.send(value)
        finally:
            self.waited += time.monotonic() - began
        self.replaced += sum(replaced)
        return images, labels

    def throw(self, *error):
        return self._source.throw(*error)

    def close(self) -> None:
        self._source.close()
