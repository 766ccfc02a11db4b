"""Adaptive convolution (AdaConv), and the network that predicts its kernels.

Chandran, Zoss, Gotardo, Gross, Bradley: "Adaptive Convolutions for Structure-Aware Style Transfer", CVPR 2021. First the
definition (section 3.1 of the paper), then the kernel predictor (section 3.2.2), then what is ours and not the paper's.

A map x is normalised per sample and channel, x̂ = (x − μ(x)) / sqrt(σ²(x) + ε). Then, with parameters that come from a style,

    AdaIN                    y = scale · x̂ + shift                          equation 1
    AdaConv, depthwise form  y = x̂ ⊛ spatial + bias                        equation 2
    AdaConv, full form       y = (x̂ ⊛ spatial) ⊛ pointwise + bias          equation 3

where ⊛ spatial is a grouped k×k convolution and ⊛ pointwise a grouped 1×1 convolution; each sample has its own kernels.
"""

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from networks.adaconv_fast import centre, compose, convolve
from torch_utils.ops import in_float32

MAX_KERNEL_SIZE = 31


# ---------------------------------------------------------------- the definition: section 3.1, equations 1 to 3


class AdaptiveKernels(NamedTuple):
    """One depthwise-separable convolution for each sample."""

    spatial: torch.Tensor  # [N, C_out, C_in / groups, k, k]
    pointwise: torch.Tensor  # [N, C_out, C_out / groups]
    bias: torch.Tensor  # [N, C_out]

    def composed(self) -> torch.Tensor:
        """The one kernel that does what `spatial` and then `pointwise` do: [N, C_out, C_in / groups, k, k]."""
        return compose(self.spatial, self.pointwise).view(self.spatial.shape)


PARTS = AdaptiveKernels._fields  # spatial, pointwise, bias


def normalize(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """x̂ = (x − μ(x)) / sqrt(σ²(x) + ε) per sample and channel, biased variance. Zero on a 1×1 map."""
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return (x - mean) * (variance + eps).rsqrt()


def adaconv_plain(
    x: torch.Tensor,  # [N, C_in, H, W]
    spatial: torch.Tensor,  # [N, C_out, C_in / groups, k, k]
    pointwise: torch.Tensor,  # [N, C_out, C_out / groups]
    bias: torch.Tensor,  # [N, C_out]
    eps: float = 1e-5,
    padding: str = "zeros",  # what lies beyond the borders of the normalised map: zeros, replicate or reflect
) -> torch.Tensor:
    """AdaConv, equation 3 as the paper writes it -> [N, C_out, H, W]. The reference that `adaconv` is tested against.

    With pointwise = 1 and groups = C it is equation 2; with k = 1 as well it is equation 1, AdaIN.
    Samples become groups of one convolution: there is no loop over them.
    """
    n, c_in, height, width = x.shape
    _, c_out, in_per_group, k, _ = spatial.shape
    groups = n * (c_in // in_per_group)
    x = F.pad(normalize(x, eps), [k // 2] * 4, mode="constant" if padding == "zeros" else padding)  # x̂
    x = x.reshape(1, n * c_in, height + k - 1, width + k - 1)
    x = F.conv2d(x, spatial.reshape(n * c_out, in_per_group, k, k), groups=groups)  # ⊛ spatial, equation 2
    x = F.conv2d(x, pointwise.reshape(n * c_out, -1, 1, 1), bias.reshape(n * c_out), groups=groups)  # ⊛ pointwise, equation 3
    return x.reshape(n, c_out, height, width)


def adaconv(
    x: torch.Tensor,
    spatial: torch.Tensor,
    pointwise: torch.Tensor,
    bias: torch.Tensor,
    eps: float = 1e-5,
    padding: str = "zeros",
) -> torch.Tensor:
    """Equation 3 again, in the fast form: `adaconv_plain` to rounding, with the same arguments and result.

    `ValueError` for kernels of other shapes, and for other paddings.
    """
    centred, scale, _ = centre(x, eps)
    return convolve(centred, scale, spatial, pointwise, bias, padding)


# ---------------------------------------------------------------- the kernel predictor: section 3.2.2


class KernelPredictor(nn.Module):
    """Predicts the kernels of one AdaConv layer from a style descriptor W (section 3.2.2 and figure 3 of the paper).

    W [N, s_d, s_h, s_w] -> AdaptiveKernels. `spatial` is a convolution of W with s_h×s_w kernels, padded so that the result is
    k×k; `pointwise` and `bias` are linear maps of W averaged over its s_h×s_w positions.

    At initialisation a white W of unit variance gives kernels that keep the variance of a map; `bias` starts at zero.
    `ValueError` for sizes that do not fit together.
    """

    def __init__(
        self,
        style_shape: tuple[int, int, int],  # (s_d, s_h, s_w) of the descriptor
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,  # k, odd
        groups: int | None = None,  # divides both numbers of channels; None: in_channels / channels_per_group(in_channels)
        lr_multiplier: float = 1.0,  # how fast these weights learn, compared with the other equalised layers
        identity: float = 0.0,  # share of each factor's initial variance in a fixed identity; the rest depends on the style.
        # 1: at first nothing does, and it learns to as fast as at 0
        parts: Collection[str] = PARTS,  # that are predicted, one at least; the others are learned, the same for all styles
    ):
        super().__init__()
        s_d, s_h, s_w = style_shape
        if kernel_size not in range(1, MAX_KERNEL_SIZE + 1, 2) or min(style_shape) < 1:
            sizes = f"kernel_size {kernel_size!r} must be odd and at most {MAX_KERNEL_SIZE}"
            raise ValueError(f"{sizes}, style_shape {tuple(style_shape)} positive")
        if not 0 <= identity <= 1 or not 0 < lr_multiplier < math.inf:
            raise ValueError(f"identity {identity} must be in [0, 1], lr_multiplier {lr_multiplier} above 0")
        if not parts or not set(parts) <= set(PARTS):
            raise ValueError(f"parts {', '.join(map(str, parts)) or 'none'} must be one or more of {', '.join(PARTS)}")
        if s_h % 2 == 0 or s_h != s_w:
            raise ValueError(f"style_shape {tuple(style_shape)}: the descriptor must be square with an odd side")
        groups = in_channels // channels_per_group(in_channels) if groups is None else groups
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        self.style_shape, self.identity = (s_d, s_h, s_w), identity
        self.in_per_group, self.out_per_group = in_channels // groups, out_channels // groups
        self.out_channels, self.kernel_size, self.groups = out_channels, kernel_size, groups

        # Equalised learning rate: weights of variance 1/lr², brought to the variance wanted by a constant factor.
        rows = {"spatial": out_channels * self.in_per_group, "pointwise": out_channels * self.out_per_group}
        initial = torch.randn if identity < 1 else torch.zeros
        weight = lambda part, *of: nn.Parameter(initial(rows[part], *of) / lr_multiplier) if part in parts else None
        self.spatial_weight = weight("spatial", s_d, s_h, s_w)
        shared = F.pad(_eye(out_channels, self.in_per_group)[..., None, None], [kernel_size // 2] * 4)
        self.spatial_bias = nn.Parameter(shared * identity**0.5 / lr_multiplier)
        self.pointwise_weight = weight("pointwise", s_d)
        self.pointwise_bias = nn.Parameter(_eye(out_channels, self.out_per_group).flatten() * identity**0.5 / lr_multiplier)
        self.bias_weight = nn.Parameter(torch.zeros(out_channels, s_d)) if "bias" in parts else None
        self.bias_bias = nn.Parameter(torch.zeros(out_channels))

        # Zero padding starves the outer taps of `spatial`: in each direction only `reach` of k·s_h products are with W.
        pad = kernel_size // 2
        reach = sum(0 <= i + j - pad < s_h for i in range(kernel_size) for j in range(s_h))
        style_std = (1 - identity) ** 0.5 if identity < 1 else 1.0  # of the part that depends on the style
        self.lr_multiplier = lr_multiplier
        self.spatial_gain = style_std * lr_multiplier / (s_d * self.in_per_group) ** 0.5 / reach
        self.pool_gain = (s_h * s_w) ** 0.5  # averaging shrinks the variance of a white W by s_h·s_w
        self.pointwise_gain = style_std * lr_multiplier * self.pool_gain / (s_d * self.out_per_group) ** 0.5
        self.bias_gain = lr_multiplier * self.pool_gain / s_d**0.5
        for part, constant, fan_in in (
            ("spatial", self.spatial_bias, self.in_per_group * kernel_size**2),
            ("pointwise", self.pointwise_bias, self.out_per_group),
        ):
            if part not in parts and identity < 1:  # then it begins as one style would have it
                constant.data += torch.randn_like(constant) * style_std / fan_in**0.5 / lr_multiplier

    @in_float32
    def forward(self, style: torch.Tensor) -> AdaptiveKernels:
        n, k, lr = style.shape[0], self.kernel_size, self.lr_multiplier
        pooled = style.mean(dim=(2, 3))  # [N, s_d]
        spatial = self.spatial_bias * lr
        if self.spatial_weight is not None:  # the gain: W is smaller than the weights
            of_style = F.conv2d(style * self.spatial_gain, self.spatial_weight, padding=k // 2)
            spatial = of_style.reshape(n, self.out_channels, self.in_per_group, k, k) + spatial
        return AdaptiveKernels(
            spatial.expand(n, -1, -1, -1, -1),  # [N, C_out, C_in / groups, k, k]
            _affine(pooled * self.pointwise_gain, self.pointwise_weight, self.pointwise_bias * lr).reshape(
                n, self.out_channels, self.out_per_group
            ),  # [N, C_out, C_out / groups]
            _affine(pooled * self.bias_gain, self.bias_weight, self.bias_bias * lr),  # [N, C_out]
        )


def _affine(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor) -> torch.Tensor:
    """x·weightᵀ + bias [N, C]; without a weight the bias alone, N times."""
    return bias.expand(x.shape[0], -1) if weight is None else F.linear(x, weight, bias)


def _eye(out_channels: int, per_group: int) -> torch.Tensor:
    """[out_channels, per_group]: each output reads one input of its own group."""
    return torch.eye(per_group).repeat(-(-out_channels // per_group), 1)[:out_channels]


def channels_per_group(channels: int) -> int:
    """1, 2, 4, 8 at 512, 256, 128, 64 channels and below as in the paper: every predictor has about the same size.

    At other widths, the largest divisor of the width that is no larger than that.
    """
    return largest_divisor(channels, max(min(512 // channels, 8), 1))


def largest_divisor(n: int, limit: int) -> int:
    """The largest divisor of n that is not above `limit`."""
    return max(d for d in range(1, min(limit, n) + 1) if n % d == 0)


# ---------------------------------------------------------------- not in the paper


def demodulated(kernels: AdaptiveKernels) -> AdaptiveKernels:
    """The kernels, scaled so that each output channel's composed kernel has unit norm: a white map keeps its variance.

    What weight demodulation (Karras et al. 2020, section 2.2) does to a modulated weight.
    """
    composed = compose(kernels.spatial, kernels.pointwise).flatten(1, 2)  # [N, C_out, C_in/groups · k²]
    inverse_norm = (composed.square().sum(dim=2, keepdim=True) + 1e-8).rsqrt()
    return kernels._replace(pointwise=kernels.pointwise * inverse_norm)
