"""Whitening and colouring (Li et al. 2017, "Universal Style Transfer via Feature Transforms"), at one level: relu4_1.

The paper goes through five levels, from coarse to fine, with a decoder for each; here is the one that our decoder has.
"""

import torch

from networks.style_transfer.peers.peer import FeaturePeer
from torch_utils.ops import to_double

DROPPED = 1e-5  # eigenvalues below this share of the mean one; the authors' program drops those below 1e-5


class WCT(FeaturePeer):
    name = "wct"

    @torch.no_grad()
    def encode_style(self, styles: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """[N, C, C + 1] in float64: the square root of the covariance of relu4_1, and its mean as the last column."""
        return torch.stack([describe(features) for features in self.encode(styles, tile)])

    def transform(self, features: torch.Tensor, descriptor: torch.Tensor) -> torch.Tensor:
        return torch.stack([whiten_and_colour(*pair) for pair in zip(features, descriptor)])


def describe(features: torch.Tensor) -> torch.Tensor:
    """[C, h, w] -> [C, C + 1]: E_s D_s^½ E_sᵀ, and the mean. Where `centre` puts them."""
    centred, mean = centre(features)
    return torch.cat([power(covariance(centred), 0.5), mean], dim=1)


def whiten_and_colour(features: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """[C, h, w] and `describe(style)` -> [C, h, w] with the style's mean and covariance, where the features' has full rank.

    Whitening, equation 2: f̂_c = E_c D_c^−½ E_cᵀ (f_c − m_c). Colouring, equation 3: f̂_cs = E_s D_s^½ E_sᵀ f̂_c + m_s.
    Directions in which the features do not vary are left out: nothing can be made of them.
    """
    centred, _ = centre(features)
    root, mean = style.to(centred.device).split([len(features), 1], dim=1)
    whitened = power(covariance(centred), -0.5) @ centred
    return (root @ whitened + mean).view(features.shape).to(features)


def centre(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[C, h, w] -> float64 [C, h·w] of mean zero, and the mean [C, 1]. On the CPU, where the device has no float64."""
    flat = to_double(features).flatten(1)
    mean = flat.mean(dim=1, keepdim=True)
    return flat - mean, mean


def covariance(centred: torch.Tensor) -> torch.Tensor:
    """[C, positions] -> [C, C]. Divided by the number of positions, so that images of different sizes compare."""
    return centred @ centred.mT / centred.shape[1]


def power(symmetric: torch.Tensor, exponent: float) -> torch.Tensor:
    """E D^exponent Eᵀ of a covariance E D Eᵀ [C, C], without the eigenvalues that are nearly 0 (DROPPED)."""
    values, vectors = torch.linalg.eigh(symmetric)
    kept = values > DROPPED * values.mean()
    vectors = vectors[:, kept]
    return vectors * values[kept] ** exponent @ vectors.mT
