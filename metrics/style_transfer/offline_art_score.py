"""Offline art score: content distance and the Fréchet distance of outputs to styles as one product.

The form of ArtFID (Wright and Ommer 2022), (1 + LPIPS) · (1 + FID), but on other networks, so that it compares with no ArtFID:
our content distance, and features of EfficientNet-Lite0, which no style loss uses. Smaller is better.
"""

import torch

from metrics.fid import frechet_distance
from metrics.statistics import FeatureStatistics


def offline_art_score(content_distance: float, outputs: torch.Tensor, styles: torch.Tensor) -> float:
    """(1 + content distance) · (1 + Fréchet distance); features [N, D] of the outputs and [M, D] of the styles.

    N and M of two at least, else `ValueError`. Few pictures bias it upwards: compare it at equal counts only.
    """
    found = [FeatureStatistics(features.shape[1]) for features in (outputs, styles)]
    for statistics, features in zip(found, (outputs, styles)):
        statistics.update(features)
    one, other = found
    distance = frechet_distance(one.mean, one.cov, other.mean, other.cov, one.centred, other.centred)
    return (1 + content_distance) * (1 + distance)
