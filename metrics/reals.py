"""The real images of a run, in a seeded order, and what a detector makes of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from metrics import cache
from metrics.detector import Detector
from torch_utils.cli import Progress
from torch_utils.files import InputError


@dataclass(frozen=True, eq=False)
class Reals:
    batches: Callable[[], Iterable[torch.Tensor]]  # uint8 [N, C, H, W], the same images in the same order every time
    count: int  # how many in all
    key: str  # changes when the images do
    seed: int = 0  # of the permutation that subsets and floors are cut from

    def order(self) -> np.ndarray:
        """int64 [count]: which image stands at each place of the permuted row."""
        # RandomState and not default_rng: its permutations are promised to stay the same in every NumPy.
        return np.random.RandomState(self.seed).permutation(self.count)

    def identity(self, detector: Detector) -> dict:
        """Everything that features depend on, for a cache's key."""
        return {
            "content": self.key,
            "real_count": self.count,
            "seed": self.seed,
            "detector": detector.name,
            "hash": detector.hash,
            "resizing": detector.resizing,
        }


def measured(reals: Reals, detector: Detector, end: int, progress: bool = True) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Places [N] and features [N, D] of the images at the places 0 .. end - 1, in batches; no other image is looked at.

    Raises `InputError` where there are not as many images as promised.
    """
    places = np.argsort(reals.order())  # image -> place
    bar = Progress(f"real images through {detector.name}", reals.count, "img") if progress else None
    seen = 0
    for images in reals.batches():
        position = places[seen : seen + len(images)]
        seen += len(images)
        if seen > reals.count:
            break
        wanted = np.flatnonzero(position < end)
        if len(wanted):
            yield position[wanted], detector(images[torch.from_numpy(wanted).to(images.device)])
        if bar:
            bar.update(seen)
    if bar:
        bar.close()
    if seen != reals.count:
        raise InputError(f"the data should have {reals.count} images and gave {'more' if seen > reals.count else seen}")


def real_features(reals: Reals, detector: Detector, end: int, progress: bool = True) -> np.ndarray:
    """float32 [end, D] by place, from disk or else measured and kept there."""
    path = cache.cache_path("features", **reals.identity(detector), end=end)
    if kept := cache.load(path, "features"):
        return kept[0]["features"]
    features = np.empty((end, detector.dim), dtype=np.float32)
    for position, found in measured(reals, detector, end, progress):
        features[position] = found.numpy()
    cache.save(path, {"features": features})
    return features
