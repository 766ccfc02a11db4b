"""Improved precision and recall.

Kynkäänniemi, Karras, Laine, Lehtinen and Aila, "Improved Precision and Recall Metric for Assessing Generative Models", 2019.
"""

import numpy as np

from metrics.neighbours import BLOCK, as_features, squared_distances, squared_radii

NEIGHBOURS = 3  # k of the paper's section 3


def precision_recall(fake, real, k: int = NEIGHBOURS, block: int = BLOCK) -> tuple[float, float]:
    """Equations 1 to 3, for fake [N, D] and real [M, D]; both in 0..1.

    A set's manifold is the union of balls around its members, each reaching to the member's k-th nearest other member.
    Precision is the share of generated images in the manifold of the real ones, recall the share of real images in the
    manifold of the generated ones. Raises `ValueError` where either has k images or fewer.
    """
    fake, real = as_features(fake), as_features(real)
    if fake.shape[1] != real.shape[1]:
        raise ValueError(f"generated features have {fake.shape[1]} dimensions and real ones {real.shape[1]}")
    real_radii, fake_radii = squared_radii(real, k, block), squared_radii(fake, k, block)
    precise, recalled = np.zeros(len(fake), dtype=bool), np.zeros(len(real), dtype=bool)
    for rows, distances in squared_distances(fake, real, block):
        precise[rows] = (distances <= real_radii).any(1)
        recalled |= (distances <= fake_radii[rows, None]).any(0)
    return float(precise.mean()), float(recalled.mean())
