"""The real images of a run: in a seeded order, and their features on a detector, measured once and kept in the cache."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from metrics.detectors.base import Detector
from metrics.evaluation.shards import ALONE, Shards
from torch_utils import array_file
from torch_utils.cli import Progress
from torch_utils.files import InputError
from torch_utils.prefetch import prefetch_one, threads


@dataclass(frozen=True, eq=False)
class RealImages:
    batches: Callable[[], Iterable[torch.Tensor]]  # uint8 [N, C, H, W], always in the same order; a process's own share
    count: int  # of all processes together
    key: str  # changes when the images do
    seed: int = 0  # of the permutation that subsets are cut from
    workers: int = 0  # threads that prepare images while the network runs
    shards: Shards = ALONE  # processes that measure them together
    mirrored: bool = False  # the second half of the images are the first half, flipped from left to right: their twins

    @property
    def different(self) -> int:
        """Number of images that are not another one's twin."""
        return self.count // 2 if self.mirrored else self.count

    def order(self) -> np.ndarray:
        """int64 [count]: the image at each position of the permuted row.

        Of mirrored images the first half of the row are different ones, each flipped or not; position i + count / 2 has the
        twin of the one at i.
        """
        # RandomState and not default_rng: its numbers are promised to stay the same in every NumPy.
        random = np.random.RandomState(self.seed)
        images = random.permutation(self.different)
        if not self.mirrored:
            return images
        flipped = random.randint(2, size=self.different)
        return np.concatenate([images + self.different * flipped, images + self.different * (1 - flipped)])

    def cache_path(self, folder: str, detector: Detector, **key) -> Path:
        """A file whose name changes with everything that features depend on, and with `key`."""
        images = dict(content=self.key, real_count=self.count, seed=self.seed)
        if self.mirrored:  # files without this are of rows in which twins were strangers
            images["order"] = "twins"
        measured_by = dict(detector=detector.name, hash=detector.hash, resizing=detector.resizing)
        return array_file.cache_path(folder, **images, **measured_by, **key)

    def measure(self, detector: Detector, end: int) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Positions [N] and features [N, D] of the images at the positions 0 .. end - 1, in batches; looks at no other image.

        Each process measures its own batches, and the first is given all of them. Raises `InputError` where there are more or
        fewer images than `count`.
        """
        positions = np.argsort(self.order())  # of each image
        bar = Progress(f"real images through {detector.name}", self.count, "img", shown=self.shards.first)
        with threads(self.workers) as pool:

            def started():
                seen = 0
                for images in self.batches():
                    used = np.arange(len(images))
                    if self.shards.world == 1:  # of several processes only the first knows the positions of a batch
                        used = np.flatnonzero(positions[seen : seen + len(images)] < end)
                    seen += len(images)
                    yield len(images), used, detector.start(images[torch.from_numpy(used).to(images.device)], pool)

            seen = 0
            finished = ((count, used, finish()) for count, used, finish in prefetch_one(started()))
            for count, used, features in self.shards.gathered(finished):
                seen += count
                if seen > self.count:
                    break
                position = positions[seen - count : seen][used]
                inside = position < end
                if inside.any():
                    yield position[inside], features[torch.from_numpy(inside)]
                bar.update(seen)
        bar.close()
        if self.shards.first and seen != self.count:
            raise InputError(f"the data should have {self.count} images and gave {'more' if seen > self.count else seen}")

    def features(self, detector: Detector, end: int) -> np.ndarray | None:
        """float32 [end, D] by position, from the cache or else measured; of several processes only the first gets them."""
        kept = self.kept_features(detector, end) if self.shards.first else None
        if self.shards.from_first(kept is not None):
            return kept
        features = np.empty((end, detector.dim), dtype=np.float32)
        for position, batch in self.measure(detector, end):
            features[position] = batch.numpy()
        if not self.shards.first:
            return None
        array_file.save(self.cache_path("features", detector, end=end), {"features": features})
        return features

    def kept_features(self, detector: Detector, end: int) -> np.ndarray | None:
        """Those in the cache, of these or of all images; None where there are none, or (with a note) damaged ones."""

        def parse(arrays: dict[str, np.ndarray], header: dict) -> np.ndarray:
            features = arrays["features"]
            if features.shape != (stored, detector.dim) or features.dtype != np.float32 or not np.isfinite(features).all():
                raise ValueError("its features are not those of these images")
            return features[:end]

        for stored in dict.fromkeys((end, self.count)):
            features = array_file.load(self.cache_path("features", detector, end=stored), parse)
            if features is not None:
                return features
        return None
