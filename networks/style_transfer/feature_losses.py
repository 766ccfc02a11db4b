"""What a style transfer is trained for and judged by: distances of VGG's features to those of the content and of the style.

Features are lists of [N, C, H, W], relu1_1 … relu4_1 as `vgg.VGG` gives them, in sixteen bits or more. Output and style may
differ in size. Statistics and results are in float32 or more, but for the products of covariances. Results are means over the
samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from networks.style_transfer.moments import covariance, moments
from torch_utils.ops import in_float32, widen

Features = Sequence[torch.Tensor]
COVARIANCE_WEIGHT = 8  # beside the moments, which are about 3 in training where covariances are about 1.5


def content_loss(output: Features, content: Features) -> torch.Tensor:
    """Mean squared difference at relu4_1 (Gatys et al. 2016, equation 1, averaged)."""
    return F.mse_loss(widen(output[-1]), widen(content[-1]))


def normalized_content_loss(output: Features, content: Features) -> torch.Tensor:
    """Likewise, of channels brought to mean 0 and deviation 1 in both: these are the style's to choose, and content and style
    then do not pull against each other (Huang, Liu, Belongie and Kautz 2018; Park and Lee 2019, equation 5)."""
    return F.mse_loss(_normalized(output[-1]), _normalized(content[-1]))


CONTENT_LOSSES = {"plain": content_loss, "normalized": normalized_content_loss}


def moments_loss(output: Features, style: Features) -> torch.Tensor:
    """Squared differences of each channel's mean and standard deviation, averaged over channels, summed over the layers.

    Huang and Belongie 2017, equation 13, but with squares in place of norms.
    """
    pairs = (pair for x, y in zip(output, style) for pair in zip(moments(x), moments(y)))
    return sum(F.mse_loss(a, b) for a, b in pairs)  # type: ignore[return-value]  # 0 of no layers, but there is one


def gram_loss(output: Features, style: Features) -> torch.Tensor:
    """Squared differences of Gram matrices (Gatys et al. 2016, equation 4), averaged over entries, summed over the layers."""
    return sum(F.mse_loss(gram(x), gram(y)) for x, y in zip(output, style))  # type: ignore[return-value]  # likewise


def cmd_loss(output: Features, style: Features, order: int = 5) -> torch.Tensor:
    """Central moment discrepancy (Kalischek et al. 2021, equation 8) of features that a sigmoid has bounded to (0, 1)."""
    total: torch.Tensor | int = 0
    for x, y in zip(output, style):
        x, y = (torch.sigmoid(widen(f)).flatten(2) for f in (x, y))  # [N, C, H·W]
        mean_x, mean_y = x.mean(dim=2, keepdim=True), y.mean(dim=2, keepdim=True)
        total = total + _norm(mean_x - mean_y)
        x, y = x - mean_x, y - mean_y
        for k in range(2, order + 1):
            total = total + _norm((x**k).mean(dim=2) - (y**k).mean(dim=2))
    return total.mean()  # type: ignore[union-attr]  # a tensor by now


class LayerStatistics(NamedTuple):
    """What `structure_loss` compares of a layer."""

    mean: torch.Tensor  # [N, C]
    std: torch.Tensor  # [N, C]
    covariance: torch.Tensor  # [N, C, C]


def structure_loss(output: Features, style: Features) -> torch.Tensor:
    """`moments_loss`, and what no scale and shift of channels can change at will: which of them go together.

    Of the covariances Σ of a layer's channels, ‖Σ(output) − Σ(style)‖² / (‖Σ(output)‖² + ‖Σ(style)‖²) with Frobenius norms, in
    [0, 1], averaged over samples, summed over the layers. Divided by the style's norm alone, styles that are nearly flat
    outweigh all others.
    """
    return statistics_loss(*([layer_statistics(maps) for maps in features] for features in (output, style)))


def layer_statistics(features: torch.Tensor) -> LayerStatistics:
    """Of a layer [N, C, H, W]."""
    mean, std = moments(features)
    return LayerStatistics(mean, std, covariance(features, mean.detach()))


def statistics_loss(output: Sequence[LayerStatistics], style: Sequence[LayerStatistics]) -> torch.Tensor:
    """`structure_loss` from what it needs to know of each layer."""
    total: torch.Tensor | int = 0
    for x, y in zip(output, style, strict=True):
        sizes = sum(z.covariance.flatten(1).square().sum(dim=1) for z in (x, y))
        apart = (x.covariance - y.covariance).flatten(1).square().sum(dim=1) / sizes.clamp(min=1e-8)  # type: ignore[union-attr]
        total = total + F.mse_loss(x.mean, y.mean) + F.mse_loss(x.std, y.std) + COVARIANCE_WEIGHT * apart.mean()
    return total  # type: ignore[return-value]  # 0 of no layers, but there is one


STYLE_LOSSES = {"moments": moments_loss, "structure": structure_loss, "gram": gram_loss, "cmd": cmd_loss}


def gram_distance(output: Features, style: Features) -> torch.Tensor:
    """‖G(output) − G(style)‖ / ‖G(style)‖ with Frobenius norms, mean over the layers. A score, and not a loss.

    Relative, so that no layer outweighs the others: 0 for equal Gram matrices, 1 for an output without features.
    """
    distances = []
    for x, y in zip(output, style):
        gram_x, gram_y = gram(x), gram(y)
        norm = gram_y.flatten(1).norm(dim=1).clamp(min=1e-12)
        distances.append((gram_x - gram_y).flatten(1).norm(dim=1) / norm)
    return torch.stack(distances).mean()


@in_float32  # autocast would compute products of matrices in sixteen bits
def gram(features: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, C]: f fᵀ averaged over positions, so that images of different sizes compare."""
    flat = widen(features).flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def _normalized(x: torch.Tensor) -> torch.Tensor:
    mean, std = (values[:, :, None, None] for values in moments(x))
    return (widen(x) - mean) / std


def _norm(difference: torch.Tensor) -> torch.Tensor:
    """Euclidean, [N, …] -> [N]; the small number keeps its derivative finite where two styles agree."""
    return (difference.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
