"""The delete-a-group jackknife: how far a score would move with other generated images."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.special

from metrics.fid import factor, frechet_distance
from metrics.statistics import FeatureStatistics

GROUPS = 10


def jackknife_interval(score: Callable[[Sequence[int]], float], groups: int, level: float = 0.95) -> tuple[float, float]:
    """Offsets (low, high) around the score of all groups; `score` takes the numbers of the groups that it is computed from.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11: the spread of the scores that leave out one
    group each, with Student's distribution. The plain bootstrap would repeat images, which alone raises a Fréchet distance;
    leaving a group out raises all replicates alike, and not their spread.
    """
    replicates = np.array([score([j for j in range(groups) if j != i]) for i in range(groups)])
    error = np.sqrt((groups - 1) / groups * np.square(replicates - replicates.mean()).sum())
    half = float(scipy.special.stdtrit(groups - 1, (1 + level) / 2) * error)
    return -half, half


class FrechetJackknife:
    """Fréchet distances of unions of disjoint groups of generated images to the same real images.

    They need moments only, and the moments of disjoint groups add up.
    """

    def __init__(self, groups: list[FeatureStatistics], real: FeatureStatistics):
        """Two groups or more, of two images or more, equal in size up to one image, in random order; else `ValueError`."""
        if len(groups) < 2 or min(group.count for group in groups) < 2:
            raise ValueError("two groups are needed at least, of two images each")
        self.groups, self.real = groups, real
        self._factor = factor(real.cov)  # half of the work, and the same for all

    def distance(self, chosen: Sequence[int]) -> float:
        """Of the union of the groups with these numbers."""
        union = FeatureStatistics(len(self.real.mean))
        for i in chosen:
            union.merge(self.groups[i])
        return frechet_distance(self.real.mean, self.real.cov, union.mean, union.cov, self._factor, union.centred)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Offsets (low, high) around the distance of all groups. It covers the draw of the generated images only."""
        return jackknife_interval(self.distance, len(self.groups), level)

    def at_infinity(self) -> float:
        """The distance that infinitely many generated images would have, extrapolated along a straight line.

        Chong and Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", 2020, section 3: the bias
        is proportional to 1/N, so a line through distances at several N, over 1/N, meets the axis there. For each number of
        groups there are two unions with as little in common as possible. The real images' own bias stays.
        """
        g = len(self.groups)
        counts, distances = [], []
        for size in range(1, g + 1):
            for start in {0, size % g}:
                chosen = [(start + i) % g for i in range(size)]
                counts.append(sum(self.groups[i].count for i in chosen))
                distances.append(self.distance(chosen))
        _, intercept = np.polyfit(1 / np.array(counts), distances, 1)
        return float(intercept)
