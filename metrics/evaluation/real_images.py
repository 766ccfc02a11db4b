"""The real images of a run, in a seeded order, and what a detector makes of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from metrics.detectors.base import Detector
from metrics.evaluation.shards import ALONE, Shards
from torch_utils import array_file
from torch_utils.cli import Progress
from torch_utils.files import InputError
from torch_utils.prefetch import one_ahead, threads


@dataclass(frozen=True, eq=False)
class Reals:
    batches: Callable[[], Iterable[torch.Tensor]]  # uint8 [N, C, H, W], the same in the same order every time; a process's own
    count: int  # how many in all
    key: str  # changes when the images do
    seed: int = 0  # of the permutation that subsets and floors are cut from
    workers: int = 0  # threads that prepare images while the network runs
    shards: Shards = ALONE  # processes that measure them together

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

    In several processes each measures its batches, and the first is given all. Raises `InputError` where there are not as many
    images as promised.
    """
    places = np.argsort(reals.order())  # image -> place
    bar = Progress(f"real images through {detector.name}", reals.count, "img") if progress and reals.shards.first else None
    with threads(reals.workers) as pool:

        def begun():
            drawn = 0
            for images in reals.batches():
                wanted = np.arange(len(images))
                if reals.shards.world == 1:  # else only the first process knows where they stand
                    wanted = np.flatnonzero(places[drawn : drawn + len(images)] < end)
                drawn += len(images)
                yield len(images), wanted, detector.start(images[torch.from_numpy(wanted).to(images.device)], pool)

        seen = 0
        for count, wanted, features in reals.shards.gathered((n, w, finish()) for n, w, finish in one_ahead(begun())):
            seen += count
            if seen > reals.count:
                break
            position = places[seen - count : seen][wanted]
            inside = position < end
            if inside.any():
                yield position[inside], features[torch.from_numpy(inside)]
            if bar:
                bar.update(seen)
    if bar:
        bar.close()
    if not reals.shards.first:
        return
    if seen != reals.count:
        raise InputError(f"the data should have {reals.count} images and gave {'more' if seen > reals.count else seen}")


def real_features(reals: Reals, detector: Detector, end: int, progress: bool = True) -> np.ndarray:
    """float32 [end, D] by place, from disk or else measured and kept there; of no meaning but in the first process."""
    path = array_file.cache_path("features", **reals.identity(detector), end=end)

    def understand(arrays: dict[str, np.ndarray], header: dict) -> np.ndarray:
        features = arrays["features"]
        if features.shape != (end, detector.dim) or features.dtype != np.float32 or not np.isfinite(features).all():
            raise ValueError("its features are not those of these images")
        return features

    kept = array_file.load(path, "features", understand=understand) if reals.shards.first else None
    features = np.empty((end, detector.dim), dtype=np.float32) if kept is None else kept
    if reals.shards.from_first(kept is None):
        for position, found in measured(reals, detector, end, progress):
            features[position] = found.numpy()
        if reals.shards.first:
            array_file.save(path, {"features": features})
    return features
