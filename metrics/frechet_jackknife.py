"""What parts of the generated images say about their Fréchet distance: how sure it is, and where it goes with more of them.

A distance needs nothing but moments, and moments of disjoint groups add up, so that neither takes the features again.
"""

import numpy as np
import scipy.special

from metrics.fid import factor, frechet_distance
from metrics.statistics import FeatureStatistics

GROUPS = 10


class FrechetParts:
    """Fréchet distances of unions of disjoint groups of generated images to the same real images."""

    def __init__(self, groups: list[FeatureStatistics], real: FeatureStatistics):
        """The groups are of equal size, up to one image, in no particular order, and two or more of at least two images."""
        if len(groups) < 2 or min(group.count for group in groups) < 2:
            raise ValueError("two groups are needed at least, of two images each")
        self.groups, self.real = groups, real
        self._factor = factor(real.cov)  # half of the work, and the same for all

    def distance(self, chosen) -> float:
        """Of the union of the groups with the given numbers."""
        union = FeatureStatistics(len(self.real.mean))
        for i in chosen:
            union.merge(self.groups[i])
        return frechet_distance(self.real.mean, self.real.cov, union.mean, union.cov, self._factor, union.centred)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Offsets (low, high) around the distance of all groups, by the delete-a-group jackknife.

        Resampling with replacement, the plain bootstrap, would repeat images, and that alone raises a Fréchet distance; leaving
        one group out raises all replicates alike, and their spread is not touched (Efron and Tibshirani, "An Introduction to
        the Bootstrap", 1993, chapter 11). It covers the draw of the generated images; the real ones are taken as they are.
        """
        g = len(self.groups)
        replicates = np.array([self.distance([j for j in range(g) if j != i]) for i in range(g)])
        error = np.sqrt((g - 1) / g * np.square(replicates - replicates.mean()).sum())
        half = float(scipy.special.stdtrit(g - 1, (1 + level) / 2) * error)
        return -half, half

    def at_infinity(self) -> float:
        """The distance that infinitely many generated images would have, as far as a straight line tells.

        Chong and Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", 2020, section 3: the bias
        goes with 1/N, so a line through distances at several N, against 1/N, meets the axis there. For each number of groups
        there are two unions, apart from each other as far as they can be. The real images' own bias stays.
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
