"""Generated images and the real ones most similar to them on a detector: shows what was memorised."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from metrics.detectors.base import Detector
from metrics.evaluation.real_images import RealImages
from metrics.neighbours import as_features, nearest
from torch_utils.images import to_rgb

MAX_COMPARED = 2000  # real images whose own nearest neighbours are looked up


@dataclass(frozen=True, eq=False)
class Neighbours:
    order: np.ndarray  # int64 [N]: the generated images, the one closest to a real image first
    real: np.ndarray  # int64 [N, k]: for each generated image the nearest images of the data, the nearest first
    distances: np.ndarray  # float64 [N, k], to those
    between_real: float  # median distance of a real image to the nearest other one; its mirror image is no other one

    @property
    def closeness(self) -> float:
        """Median distance of a generated image to the nearest real one, over `between_real`; far below 1 means copies."""
        return float(np.median(self.distances[:, 0]) / self.between_real) if self.between_real else float("inf")


def neighbours(images: torch.Tensor, detector: Detector, real: RealImages, k: int) -> Neighbours:
    """For uint8 images [N, C, H, W]. Raises `ValueError` for fewer than k real images, or fewer than two different ones."""
    features = as_features(real.features(detector, real.count))
    indices, distances = nearest(as_features(detector(images)), features, k)
    apart = float(np.median(_to_others(features, real)))
    return Neighbours(np.argsort(distances[:, 0], kind="stable"), real.order()[indices], distances, apart)


def _to_others(features: np.ndarray, real: RealImages) -> np.ndarray:
    """Of [N, D] by position, for the first MAX_COMPARED: the distance to the nearest that is neither the image nor its twin."""
    found, distances = nearest(features[:MAX_COMPARED], features, 3 if real.mirrored else 2)
    same = found % real.different == np.arange(len(found))[:, None] % real.different
    return np.where(same, np.inf, distances).min(1)


def rows(images: torch.Tensor, found: Neighbours, real: Any, count: int) -> torch.Tensor:
    """The `count` of uint8 images [N, C, H, W] that are closest to a real one, each before its neighbours: [M, 3, H, W].

    real[i] is (uint8 [C, H, W], label), as in an `ImageDataset`. In a grid of 1 + k columns each of them has a row.
    """
    cells = []
    for i in found.order[:count]:
        cells += [to_rgb(images[i][None]), *(to_rgb(real[int(j)][0][None]) for j in found.real[i])]
    return torch.cat(cells)
