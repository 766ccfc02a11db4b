"""Mean and covariance of features that come in batches."""

from collections.abc import Iterable

import numpy as np
import torch


class FeatureStatistics:
    """Count, mean and covariance in float64; memory does not grow with the count.

    While there are fewer samples than dimensions they are kept as well, as the shortest form of the covariance: see `centred`.

    Batches are merged by their deviations from the mean (Chan, Golub and LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979): sums of raw squares would cancel where a mean is far from zero.
    """

    def __init__(self, dim: int):
        self.count = 0
        self.mean = np.zeros(dim)
        self.scatter = np.zeros((dim, dim))  # sum of (x - mean)(x - mean)^T
        self.samples: list[np.ndarray] | None = []  # [N, dim] each; None from as many samples as dimensions on

    def update(self, features: torch.Tensor | np.ndarray) -> None:
        """Take in [N, dim]. Raises `ValueError` for another shape and for values that are not finite."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features should be [N, {len(self.mean)}], not {list(features.shape)}")
        if not np.isfinite(features).all():
            raise ValueError("features are not finite")
        if len(features):
            mean = features.mean(0)
            centred = features - mean
            self._add(len(features), mean, centred.T @ centred, [features])

    def merge(self, other: "FeatureStatistics") -> None:
        """Take in all that `other` has seen; `other` stays as it is."""
        if other.count:
            self._add(other.count, other.mean, other.scatter, other.samples)

    def _add(self, count: int, mean: np.ndarray, scatter: np.ndarray, samples: list[np.ndarray] | None) -> None:
        total = self.count + count
        keep = total < len(self.mean) and self.samples is not None and samples is not None
        self.samples = self.samples + samples if keep else None
        step = mean - self.mean
        self.scatter += scatter
        if self.count:
            self.scatter += np.outer(step, step * (self.count * count / total))
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def cov(self) -> np.ndarray:
        """[dim, dim], unbiased (divided by count - 1), as `numpy.cov` has it."""
        if self.count < 2:
            raise ValueError(f"a covariance takes two samples at least, not {self.count}")
        return self.scatter / (self.count - 1)

    @property
    def centred(self) -> np.ndarray | None:
        """F [dim, N] with F F^T = cov: the samples less their mean; None where they have not been kept."""
        if self.samples is None or self.count < 2:
            return None
        return (np.concatenate(self.samples) - self.mean).T / np.sqrt(self.count - 1)

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"count": np.array([self.count], dtype=np.int64), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_state_dict(cls, state: dict[str, np.ndarray]) -> "FeatureStatistics":
        """Raises `ValueError` where the arrays do not fit together."""
        mean, scatter = (np.array(state[name], dtype=np.float64) for name in ("mean", "scatter"))
        if mean.ndim != 1 or scatter.shape != (len(mean), len(mean)) or state["count"].shape != (1,):
            raise ValueError("mean, scatter and count do not fit together")
        statistics = cls(0)
        statistics.count, statistics.mean, statistics.scatter = int(state["count"][0]), mean, scatter
        statistics.samples = None
        return statistics


class PrefixStatistics:
    """Statistics of a row of samples, for every part between two of the given splits, without keeping a sample.

    Samples may come in any order; each brings its position in the row.
    """

    def __init__(self, dim: int, splits: Iterable[int]):
        self.splits = np.unique([0, *splits])
        self.parts = [FeatureStatistics(dim) for _ in self.splits[1:]]  # between one split and the next
        self.dim = dim

    @property
    def end(self) -> int:
        """The last split; samples from there on are in no part."""
        return int(self.splits[-1])

    def update(self, positions: np.ndarray, features: torch.Tensor | np.ndarray) -> None:
        """Take in features [N, dim] of the samples at positions [N], each in 0 .. end - 1."""
        part = np.searchsorted(self.splits, positions, side="right") - 1
        features = np.asarray(features)
        for index in np.unique(part):
            self.parts[index].update(features[part == index])

    def between(self, start: int, stop: int) -> FeatureStatistics:
        """Statistics of the samples start .. stop - 1; both must be splits."""
        return self.of([(start, stop)])

    def of(self, ranges: Iterable[tuple[int, int]]) -> FeatureStatistics:
        """Statistics of the samples in all of these (start, stop), each of which `between` could be asked for."""
        statistics = FeatureStatistics(self.dim)
        for ends in ranges:
            first, last = (int(np.flatnonzero(self.splits == split)[0]) for split in ends)
            for part in self.parts[first:last]:
                statistics.merge(part)
        return statistics
