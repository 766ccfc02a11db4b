"""Kernel distance: the squared maximum mean discrepancy under a cubic kernel.

Bińkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs", 2018, section 4. On Inception's features it is called KID.
"""

import numpy as np
import scipy.special

from metrics.neighbours import as_features

BLOCK = 2048  # rows on either side of a block of the kernel matrix
GROUPS = 10  # disjoint groups, at least, that the interval looks at
MAX_GROUP = 5000  # images of a side in a group, so that an interval never takes minutes


def kernel_distance(fake, real, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of the unbiased MMD² of random subsets; fake [N, D], real [M, D].

    A subset has min(N, M, subset_size) images of either side, drawn without replacement by `RandomState(seed)`, generated ones
    first: torch-fidelity draws the same ones with the same seed, and clean-fid after `numpy.random.seed(seed)` with the real
    images as its first argument. As the estimate is unbiased, the mean can be negative. Raises `ValueError` for fewer than 2.
    """
    fake, real = as_features(fake, 2), as_features(real, 2)
    size = min(len(fake), len(real), subset_size)
    if size == len(fake) == len(real):
        subsets = 1  # all subsets would be the same
    rng = np.random.RandomState(seed)
    distances = []
    for _ in range(subsets):
        mine = fake[rng.choice(len(fake), size, replace=False)]
        theirs = real[rng.choice(len(real), size, replace=False)]
        distances.append(mmd2(mine, theirs))
    return float(np.mean(distances)), float(np.std(distances))


def mmd2(x: np.ndarray, y: np.ndarray, block: int = BLOCK) -> float:
    """Unbiased estimate of MMD² for float64 x [N, D] and y [M, D] (Gretton et al. 2012, equation 3); N and M are 2 or more."""
    n, m = len(x), len(y)
    within = (_kernel_sum(x, x, block) - _diagonal_sum(x)) / (n * (n - 1))
    within += (_kernel_sum(y, y, block) - _diagonal_sum(y)) / (m * (m - 1))
    return float(within - 2 * _kernel_sum(x, y, block) / (n * m))


def kernel_interval(fake, real, level: float = 0.95, seed: int = 0) -> tuple[float, float] | None:
    """Offsets (low, high) around `kernel_distance`; None where there are fewer than two images to a group.

    Each side is cut at random into the same number of disjoint groups, ten or more, about 1000 images of the smaller side to a
    group where there are that many. Their distances are independent, so that their spread is that of the mean; Student's
    distribution does the rest. It covers the draw of both sides.
    """
    fake, real = as_features(fake), as_features(real)
    count = min(len(fake), len(real))
    groups = max(GROUPS, count // 1000)
    if count // groups < 2:
        return None
    rng = np.random.RandomState(seed)
    sizes = [min(len(side) // groups, MAX_GROUP) for side in (fake, real)]
    cut = lambda side, size: rng.permutation(len(side))[: groups * size].reshape(groups, size)
    mine, theirs = (cut(side, size) for side, size in zip((fake, real), sizes))
    values = [mmd2(fake[one], real[other]) for one, other in zip(mine, theirs)]
    half = scipy.special.stdtrit(groups - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(groups)
    return -float(half), float(half)


def _kernel_sum(x: np.ndarray, y: np.ndarray, block: int) -> float:
    """Sum of (x·y / D + 1)^3 over all pairs. In place, as a power and its temporaries would take several times as long."""
    total = 0.0
    for i in range(0, len(x), block):
        rows = x[i : i + block] / x.shape[1]
        for j in range(0, len(y), block):
            k = rows @ y[j : j + block].T
            k += 1
            total += float(np.vdot(k * k, k))
    return total


def _diagonal_sum(x: np.ndarray) -> float:
    return float(((np.square(x).sum(1) / x.shape[1] + 1) ** 3).sum())
