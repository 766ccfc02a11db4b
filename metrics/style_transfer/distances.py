"""Distances between the feature maps of an output, its content and its style: what style transfers are trained on.

All take maps relu1_1 … relu4_1, each [N, C, H, W], and give [N]: one number for each sample, whatever the batch.
"""

from collections.abc import Sequence

import torch

Maps = Sequence[torch.Tensor]


def content_loss(output: Maps, content: Maps) -> torch.Tensor:
    """Mean squared difference at the deepest layer."""
    return (output[-1] - content[-1]).square().mean(dim=(1, 2, 3))


def style_loss(output: Maps, style: Maps) -> torch.Tensor:
    """Squared differences of the channels' means and deviations, means over channels, summed over the layers.

    Huang and Belongie 2017, equation 13, squared and by channel. The maps may differ in size.
    """
    return sum(
        (a - b).square().mean(dim=1) for one, other in zip(output, style) for a, b in zip(_moments(one), _moments(other))
    )


def gram_distance(output: Maps, style: Maps) -> torch.Tensor:
    """‖G(output) − G(style)‖ / ‖G(style)‖ with Frobenius norms, mean over the layers; G = F Fᵀ / (H·W) (Gatys et al. 2016).

    Relative, so that no layer drowns the others: 0 where all products of channels agree, 1 for an output without features.
    """
    parts = []
    for one, other in zip(output, style):
        found, wanted = gram(one), gram(other)
        norm = wanted.flatten(1).norm(dim=1).clamp(min=1e-12)
        parts.append((found - wanted).flatten(1).norm(dim=1) / norm)
    return torch.stack(parts).mean(dim=0)


def gram(features: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, C]: mean products of channels."""
    flat = features.flatten(2)
    return flat @ flat.mT / flat.shape[2]


def _moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0)
    return mean, (variance + 1e-5).sqrt()
