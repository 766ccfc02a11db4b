"""What a stylised image is trained for: the content's features, and the style's statistics of features.

Features are lists of [N, C, H, W], as `vgg.VGG` gives them, in sixteen bits or more; statistics and losses are in float32 or
more. Losses are means over samples.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from networks.adaconv_fast import centre
from torch_utils.ops import in_float32, widen

Features = Sequence[torch.Tensor]


def content_loss(found: Features, content: Features) -> torch.Tensor:
    """Mean squared difference at relu4_1 (Gatys et al. 2016, equation 1, averaged)."""
    return F.mse_loss(widen(found[-1]), widen(content[-1]))


def moments_loss(found: Features, style: Features) -> torch.Tensor:
    """Means and standard deviations of every channel, at relu1_1 … relu4_1 (Huang and Belongie 2017, equation 13)."""
    return sum(F.mse_loss(a, b) for x, y in zip(found, style) for a, b in zip(_moments(x), _moments(y)))


def gram_loss(found: Features, style: Features) -> torch.Tensor:
    """Gram matrices (Gatys et al. 2016, equation 4), per position, so that images of different sizes compare."""
    return sum(F.mse_loss(gram(x), gram(y)) for x, y in zip(found, style))


def cmd_loss(found: Features, style: Features, order: int = 5) -> torch.Tensor:
    """Central moment discrepancy (Kalischek et al. 2021, equation 8) of features that a sigmoid has bounded to (0, 1)."""
    total = 0
    for x, y in zip(found, style):
        x, y = (torch.sigmoid(widen(f)).flatten(2) for f in (x, y))  # [N, C, H·W]
        mean_x, mean_y = x.mean(dim=2, keepdim=True), y.mean(dim=2, keepdim=True)
        total = total + _norm(mean_x - mean_y)
        x, y = x - mean_x, y - mean_y
        for k in range(2, order + 1):
            total = total + _norm((x**k).mean(dim=2) - (y**k).mean(dim=2))
    return total.mean()


STYLE_LOSSES = {"moments": moments_loss, "gram": gram_loss, "cmd": cmd_loss}


@in_float32  # products of matrices are what autocast would compute in sixteen bits
def gram(features: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, C], the mean over positions of f fᵀ."""
    flat = widen(features).flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def _moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of every channel, [N, C] each."""
    features = widen(features)
    mean = features.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)  # the order of channels_last, at which torch.var_mean is slow
    _, inverse_std = centre(features, 1e-5)
    return mean, 1 / inverse_std[:, :, 0, 0]


def _norm(difference: torch.Tensor) -> torch.Tensor:
    """Euclidean, [N, …] -> [N]; the small number keeps its derivative finite where two styles agree."""
    return (difference.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
