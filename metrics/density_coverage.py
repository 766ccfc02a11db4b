"""Density and coverage: precision and recall that an outlier cannot move far.

Naeem, Oh, Uh, Choi and Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models", 2020.
"""

import numpy as np

from metrics.neighbours import BLOCK, as_features, squared_distances, squared_radii

NEIGHBOURS = 5  # k of the paper's experiments


def density_coverage(fake, real, k: int = NEIGHBOURS, block: int = BLOCK) -> tuple[float, float]:
    """Equations 3 and 4, for fake [N, D] and real [M, D].

    Around each real image lies a ball that reaches to its k-th nearest other real image. Density is the number of balls that a
    generated image is in, on average, over k: 1 is expected of real images, more is possible. Coverage is the share of balls
    with a generated image in them, in 0..1. A ball is open, as in the authors' own code. Raises `ValueError` for M <= k.
    """
    fake, real = as_features(fake), as_features(real)
    if fake.shape[1] != real.shape[1]:
        raise ValueError(f"generated features have {fake.shape[1]} dimensions and real ones {real.shape[1]}")
    radii = squared_radii(real, k, block)
    inside, covered = 0, np.zeros(len(real), dtype=bool)
    for _, distances in squared_distances(fake, real, block):
        balls = distances < radii
        inside += int(balls.sum())
        covered |= balls.any(0)
    return inside / (k * len(fake)), float(covered.mean())
