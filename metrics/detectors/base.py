"""The interface of a detector: uint8 images in, one feature vector per image out."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import torch

from torch_utils.images import to_rgb
from torch_utils.prefetch import submit


@dataclass(frozen=True, eq=False)
class Detector:
    """A frozen network with its own resizing, and what tells it from another."""

    name: str  # as in a metric's name
    dim: int  # length of a feature vector
    hash: str  # sha256 of the weights file, in hex
    resizing: str  # in words; the same weights after another resizing are another detector
    device: torch.device  # where `compute` runs
    compute: Callable[[torch.Tensor], torch.Tensor]  # uint8 [N, 3, H, W], or the output of `prepare`, on `device` -> [N, dim]
    batch_size: int = 32  # images at a time
    logits: Callable[[torch.Tensor], torch.Tensor] | None = None  # features [N, dim] -> class logits [N, K], on the CPU
    prepare: Callable[[torch.Tensor], torch.Tensor] | None = None  # on the CPU: uint8 [3, H, W] -> [3, h, w]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [N, 1|2|3|4, H, W] on any device -> float32 [N, dim] on the CPU.

        An image's features do not depend on its neighbours, except in the last bits, where a library sums in another order.
        Raises `ValueError` for anything but uint8 images.
        """
        return self.start(images)()

    def start(self, images: torch.Tensor, pool: Executor | None = None) -> Callable[[], torch.Tensor]:
        """Let the threads of `pool` prepare the images; the function returned runs the network and gives the features.

        The number of threads changes no bit.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or not 1 <= images.shape[1] <= 4:
            raise ValueError(f"a detector takes uint8 [N, 1 to 4, H, W], not {images.dtype} {list(images.shape)}")
        chunks = images.split(self.batch_size) if len(images) else ()
        if self.prepare is not None:
            chunks = [[submit(pool, self.prepare, image) for image in to_rgb(chunk.cpu())] for chunk in chunks]
        return lambda: self._finish(chunks)

    def _finish(self, chunks) -> torch.Tensor:
        features = []
        # TF32 keeps 10 bits of mantissa, enough to move a distance's third digit; a metric wants all 23.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            for chunk in chunks:
                if self.prepare is None:
                    images = to_rgb(chunk.to(self.device))
                else:
                    images = torch.stack([prepared() for prepared in chunk]).to(self.device)
                batch = self.compute(images).to(torch.float32).cpu()
                if batch.shape != (len(chunk), self.dim):
                    raise ValueError(f"{self.name} gave features {list(batch.shape)}, not {[len(chunk), self.dim]}")
                features.append(batch)
        return torch.cat(features) if features else torch.empty(0, self.dim)
