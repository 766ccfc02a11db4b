"""Generated images beside the real ones that a detector finds most like them: what was memorised shows."""

from dataclasses import dataclass

import numpy as np
import torch

from metrics.detectors.base import Detector
from metrics.evaluation.real_images import Reals, real_features
from metrics.neighbours import as_features, nearest

YARDSTICKS = 2000  # real images, at most, that tell how far apart real images are


@dataclass(frozen=True, eq=False)
class Neighbours:
    order: np.ndarray  # int64 [N]: the generated images, the one closest to a real image first
    reals: np.ndarray  # int64 [N, k]: for each generated image the nearest images of the data, the nearest first
    distances: np.ndarray  # float64 [N, k], theirs
    usual: float  # median distance of a real image to the nearest other one

    @property
    def closeness(self) -> float:
        """Median distance of generated images to their nearest real one, over that of real images; far below 1 is copying."""
        return float(np.median(self.distances[:, 0]) / self.usual) if self.usual else float("inf")


def neighbours(images: torch.Tensor, detector: Detector, reals: Reals, k: int, progress: bool = True) -> Neighbours:
    """For uint8 images [N, C, H, W]. Raises `ValueError` for fewer than k real images, or fewer than two."""
    features = as_features(real_features(reals, detector, reals.count, progress))
    found, distances = nearest(as_features(detector(images)), features, k)
    _, apart = nearest(features[:YARDSTICKS], features, 2)  # the first of the two is the image itself
    return Neighbours(
        np.argsort(distances[:, 0], kind="stable"), reals.order()[found], distances, float(np.median(apart[:, 1]))
    )
