"""Structural similarity of images (Wang et al. 2004), and of their edges: how much of the content a stylisation keeps."""

import torch
import torch.nn.functional as F

from metrics.style_transfer.structure import luminance
from torch_utils.ops import to_double

SIDE, DEVIATION = 11, 1.5  # of the Gaussian window
K1, K2 = 0.01, 0.03


def ssim(one: torch.Tensor, other: torch.Tensor, data_range: float) -> torch.Tensor:
    """[N, C, H, W] twice -> [N], 1 where they are equal: the mean over channels and all places where the window fits.

    (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂)),   C = (K · data_range)²      equation 13
    """
    if min(one.shape[2:]) < SIDE:
        raise ValueError(f"found images of {one.shape[3]}×{one.shape[2]} pixels, wanted {SIDE} at least on each side")
    device = one.device
    one, other = to_double(one), to_double(other)  # variances are small differences of large squares
    weights = torch.exp(-0.5 * ((torch.arange(SIDE).to(one) - SIDE // 2) / DEVIATION) ** 2)
    weights = (weights / weights.sum()).expand(one.shape[1], 1, 1, -1)

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(x, weights, groups=x.shape[1]), weights.mT, groups=x.shape[1])

    mean_x, mean_y = blur(one), blur(other)
    variance_x, variance_y = blur(one * one) - mean_x**2, blur(other * other) - mean_y**2
    covariance = blur(one * other) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    nearness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (nearness * (2 * covariance + c2) / (variance_x + variance_y + c2)).mean(dim=(1, 2, 3)).float().to(device)


def edges(images: torch.Tensor) -> torch.Tensor:
    """RGB [N, 3, H, W] in [-1, 1] -> [N, 1, H - 2, W - 2]: Sobel's gradient of luminance, 1 at a step from black to white."""
    light = luminance((images + 1) / 2)[:, None]
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(light) / 4
    gradient = F.conv2d(light, torch.stack([across, across.T])[:, None])
    return gradient.square().sum(dim=1, keepdim=True).sqrt()


def edge_ssim(output: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """SSIM of the edges of RGB images [N, 3, H, W] in [-1, 1] -> [N]: 1 where the edges are those of the content."""
    return ssim(edges(output), edges(content), data_range=1)
