"""Monge distance: how far samples have to be moved to become others, seen along random directions.

Berthet et al., "MIND: Monge Inception Distance for Generative Models Evaluation", 2026 (arXiv 2605.06797): three times the
dimension times the squared sliced 2-Wasserstein distance. On Inception's features it is called MIND. Along one direction the
best transport keeps the order, so that sorting finds it:

    3d / (nM) · Σ over M random unit directions u and n ranks i of ((u·x)₍ᵢ₎ − (u·y)₍ᵢ₎)²

With different counts, quantile functions take the place of ranks, which is the same where counts are equal.
"""

from collections.abc import Iterator

import numpy as np

from metrics.jackknife import GROUPS, jackknife_interval

DIRECTIONS = 1000  # M; our choice
BLOCK = 2**21  # numbers at a time: 16 MB in float64, of which there are a few
ROWS = 4096  # features that are widened to float64 at a time


def monge_distance(fake, real, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """fake [N, D], real [M, D]. `ValueError` for other shapes, for no images and for values that are not finite.

    Two Gaussians of equal covariance whose means are Δ apart: 3·|Δ|². N(0, a²·I) and N(0, b²·I): 3·D·(a − b)².
    Biased upwards, the more the fewer images there are.
    """
    fake, real = _features(fake, real)
    transport = _Transport(len(fake), len(real))
    total = sum(transport.costs(np.sort(x), y).sum() for x, y in _projections(fake, real, directions, seed))
    return 3 * fake.shape[1] * float(total) / directions


def monge_interval(
    fake, real, level: float = 0.95, directions: int = DIRECTIONS, seed: int = 0, groups: int = GROUPS
) -> tuple[float, float]:
    """Offsets (low, high) around `monge_distance`: a delete-a-group jackknife over generated images, in the order that they
    have. It covers their draw only. `ValueError` for fewer images than groups."""
    fake, real = _features(fake, real)
    if len(fake) < groups:
        raise ValueError(f"{groups} groups need {groups} feature vectors at least, not {len(fake)}")
    group_of = np.arange(len(fake)) * groups // len(fake)
    transports = [_Transport(int((group_of != left_out).sum()), len(real)) for left_out in range(groups)]
    totals = np.zeros(groups)
    for x, y in _projections(fake, real, directions, seed):
        order = np.argsort(x)
        x = np.take_along_axis(x, order, axis=1)
        for left_out, transport in enumerate(transports):  # what is left of a sorted row is sorted
            totals[left_out] += transport.costs(x[group_of[order] != left_out].reshape(len(x), -1), y).sum()
    replicates = 3 * fake.shape[1] * totals / directions
    left_out_of = lambda chosen: (set(range(groups)) - set(chosen)).pop()
    return jackknife_interval(lambda chosen: replicates[left_out_of(chosen)], groups, level)


class _Transport:
    """From n sorted numbers to m: ∫₀¹ (F⁻¹(t) − G⁻¹(t))² dt of their empirical distributions, exactly."""

    def __init__(self, n: int, m: int):
        self.equal = n == m
        ends = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # of the pieces, times n·m
        self.of_x, self.of_y = ends[:-1] // m, ends[:-1] // n
        self.weights = np.diff(ends) / (n * m)

    def costs(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """x [K, n] and y [K, m], every row sorted -> [K]"""
        if self.equal:
            return np.square(x - y).mean(axis=1)
        return np.square(x[:, self.of_x] - y[:, self.of_y]) @ self.weights


def _projections(fake: np.ndarray, real: np.ndarray, directions: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some directions at a time: float64 [K, N] of the generated ones, [K, M] of the real ones, these sorted.

    The directions are those of `RandomState(seed)`, whatever K is. Memory grows with N + M.
    """
    rng = np.random.RandomState(seed)
    step = max(BLOCK // (len(fake) + len(real)), 1)
    for start in range(0, directions, step):
        units = rng.standard_normal((min(step, directions - start), fake.shape[1]))
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        x, y = _project(fake, units), _project(real, units)
        y.sort()
        yield x, y


def _project(features: np.ndarray, units: np.ndarray) -> np.ndarray:
    result = np.empty((len(units), len(features)))
    for start in range(0, len(features), ROWS):
        rows = features[start : start + ROWS].astype(np.float64)
        result[:, start : start + len(rows)] = units @ rows.T
    return result


def _features(fake, real) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as they are, so that large ones are not widened at once."""
    fake, real = np.asarray(fake), np.asarray(real)
    for features in (fake, real):
        if features.ndim != 2 or 0 in features.shape:
            raise ValueError(f"features should be [N, D], not {list(features.shape)}")
        if not all(np.isfinite(features[start : start + ROWS]).all() for start in range(0, len(features), ROWS)):
            raise ValueError("features are not finite")
    if fake.shape[1] != real.shape[1]:
        raise ValueError(f"features have {fake.shape[1]} and {real.shape[1]} dimensions")
    return fake, real
