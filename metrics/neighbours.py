"""Nearest neighbours among feature vectors, in blocks: memory grows with N, never with N²."""

from collections.abc import Iterator

import numpy as np

BLOCK = 1 << 23  # distances at a time: 64 MB in float64
SAME = 1e-12  # of |x|² + |y|²: what rounding leaves of a distance between equal vectors; float32 features are no finer


def as_features(features, least: int = 1) -> np.ndarray:
    """float64 [N, D]. Raises `ValueError` for another shape, fewer than `least` rows and values that are not finite."""
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2:
        raise ValueError(f"features should be [N, D], not {list(features.shape)}")
    if len(features) < least:
        raise ValueError(f"{least} feature vectors are needed at least, not {len(features)}")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    return features


def squared_distances(x: np.ndarray, y: np.ndarray, block: int = BLOCK) -> Iterator[tuple[slice, np.ndarray]]:
    """Some rows of x [N, D] at a time: (rows, squared Euclidean distances [rows, M] to all of y [M, D]).

    |x|² + |y|² - 2 x·y is one matrix product. In float64 it errs by 1e-15 of |x|² + |y|² or so, and what is below `SAME` of
    that becomes zero, so that an image and its copy are at no distance.
    """
    x_norms, y_norms = np.square(x).sum(1), np.square(y).sum(1)
    step = max(block // max(len(y), 1), 1)
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        scale = x_norms[rows, None] + y_norms
        squared = scale - 2 * (x[rows] @ y.T)
        squared[squared < SAME * scale] = 0
        yield rows, squared


def squared_radii(x: np.ndarray, k: int, block: int = BLOCK) -> np.ndarray:
    """[N]: squared distance of each row of x [N, D] to its k-th nearest other row. Raises `ValueError` where N <= k."""
    if not 1 <= k < len(x):
        raise ValueError(f"{k} neighbours take more than {k} feature vectors, not {len(x)}")
    radii = np.empty(len(x))
    for rows, distances in squared_distances(x, x, block):
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf  # an image is not its own neighbour
        radii[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii


def nearest(x: np.ndarray, y: np.ndarray, k: int, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """For each row of x [N, D] its k nearest rows of y [M, D], the nearest first: indices and distances, both [N, k]."""
    if not 1 <= k <= len(y):
        raise ValueError(f"{k} neighbours take {k} feature vectors at least, not {len(y)}")
    indices, lengths = np.empty((len(x), k), dtype=np.int64), np.empty((len(x), k))
    for rows, distances in squared_distances(x, y, block):
        chosen = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
        squared = np.take_along_axis(distances, chosen, axis=1)
        order = np.argsort(squared, axis=1, kind="stable")
        indices[rows], lengths[rows] = (np.take_along_axis(values, order, axis=1) for values in (chosen, np.sqrt(squared)))
    return indices, lengths
