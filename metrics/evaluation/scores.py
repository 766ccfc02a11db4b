"""The score of each kind of metric, from features of generated and of real images."""

from dataclasses import dataclass

import numpy as np

from metrics.density_coverage import density_coverage
from metrics.fid import frechet_distance
from metrics.inception_score import inception_score
from metrics.kid import kernel_distance
from metrics.mind import monge_distance
from metrics.precision_recall import precision_recall
from metrics.statistics import FeatureStatistics

BY_MOMENTS = ("fid", "fd")  # these need only mean and covariance of the features
AGAINST_REAL = ("fid", "fd", "kid", "mind", "pr", "dc")
MIN_IMAGES = {"kid": 2, "mind": 2, "pr": 4, "dc": 6}  # on either side; for pr and dc one more than their k


@dataclass(frozen=True, eq=False)
class Sample:
    """One side of a comparison: its moments or its features, whichever the metric needs."""

    statistics: FeatureStatistics | None = None
    features: np.ndarray | None = None  # float32 [N, D]; [N, K] class logits for the inception score

    @property
    def count(self) -> int:
        return self.statistics.count if self.features is None else len(self.features)


def score(kind: str, fake: Sample, real: Sample | None = None, seed: int = 0) -> dict[str, float]:
    """All numbers of a metric by name, its main one first; `seed` draws the subsets of a kernel distance, and the directions
    of a Monge distance.

    The main number of precision and recall is their harmonic mean, as in torch-fidelity; of density and coverage, coverage.
    """
    if kind in BY_MOMENTS:
        one, other = real.statistics, fake.statistics  # the cache has no samples of the real images, only moments
        return {"distance": frechet_distance(one.mean, one.cov, other.mean, other.cov, factor2=other.centred)}
    if kind == "kid":
        mean, std = kernel_distance(fake.features, real.features, seed=seed)
        return {"distance": mean, "std": std}
    if kind == "mind":
        return {"distance": monge_distance(fake.features, real.features, seed=seed)}
    if kind == "pr":
        precision, recall = precision_recall(fake.features, real.features)
        f_score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return {"f_score": f_score, "precision": precision, "recall": recall}
    if kind == "dc":
        density, coverage = density_coverage(fake.features, real.features)
        return {"coverage": coverage, "density": density}
    if kind == "is":
        mean, std = inception_score(fake.features)
        return {"score": mean, "std": std}
    raise ValueError(f"there is no metric {kind!r}")
