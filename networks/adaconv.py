"""Adaptive convolution and the network that predicts its kernels.

Chandran, Zoss, Gotardo, Gross, Bradley: "Adaptive Convolutions for Structure-Aware Style Transfer", CVPR 2021.
AdaIN gives every channel of a feature map a scale and a shift; AdaConv gives it a kernel, predicted from the style.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from networks.sample_conv import sample_conv
from torch_utils.ops import in_float32, pad, widen

LARGEST_KERNEL = 31
CACHED = 2**20  # numbers of a map that caches hold


class AdaptiveKernels(NamedTuple):
    """One depthwise-separable convolution per sample."""

    spatial: torch.Tensor  # [N, C_out, C_in / groups, k, k]
    pointwise: torch.Tensor  # [N, C_out, C_out / groups]
    bias: torch.Tensor  # [N, C_out]

    def composed(self) -> torch.Tensor:
        """`spatial` and `pointwise` as the one kernel that they amount to: [N, C_out, C_in / groups, k, k]."""
        return compose(self.spatial, self.pointwise).view(self.spatial.shape)


def centre(x: torch.Tensor, eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor]:
    """x − μ(x) [N, C, H, W] and 1 / sqrt(σ²(x) + ε) [N, C, 1, 1], per sample and channel, biased variance."""
    flat = x.permute(0, 2, 3, 1).flatten(1, 2)  # [N, H·W, C], a view of a channels_last map
    centred, scale = _Centre.apply(flat, eps)
    return centred.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2), scale.transpose(1, 2)[..., None]


class _Centre(torch.autograd.Function):
    """[N, H·W, C] -> centred [N, H·W, C], scale [N, 1, C]; reducing the middle is several times faster than torch.var_mean.

    With a derivative of its own, made of operations that can be differentiated again: it keeps one map instead of three, and
    makes three passes over it instead of seven. Of large maps it takes a few samples at a time, which stay in the cache.
    """

    @staticmethod
    def forward(ctx, flat, eps):
        centred = torch.empty_like(flat)
        scale = torch.empty_like(flat[:, :1], dtype=widen(flat[:0]).dtype)
        for x, result, s in _parts(flat, centred, scale):
            torch.sub(x, x.mean(dim=1, keepdim=True), out=result)
            torch.mean(widen(result).square(), dim=1, keepdim=True, out=s)
        scale.add_(eps).rsqrt_()
        ctx.save_for_backward(centred, scale)
        ctx.set_materialize_grads(False)
        return centred, scale

    @staticmethod
    def backward(ctx, gradient, gradient_scale):
        centred, scale = ctx.saved_tensors
        if gradient_scale is None:
            return gradient if gradient is None else gradient - gradient.mean(dim=1, keepdim=True), None
        slope = -gradient_scale * scale**3 / centred.shape[1]  # dσ⁻¹/dx = −σ⁻³ (x − μ) / (H·W)
        if gradient is None:
            return centred * slope.to(centred.dtype), None
        gradient, slope = gradient.contiguous(), slope.to(centred.dtype)  # one copy, or every pass is a slow one
        if torch.is_grad_enabled():
            gradient = torch.addcmul(gradient, centred, slope)
            return gradient - gradient.mean(dim=1, keepdim=True), None
        result = torch.empty_like(gradient)
        for g, x, s, out in _parts(gradient, centred, slope, result):
            torch.addcmul(g, x, s, out=out)
            out -= out.mean(dim=1, keepdim=True)
        return result, None


def _parts(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """As many samples of each [N, …] at a time as have CACHED numbers in the first one, and at least one."""
    count = max(CACHED // max(tensors[0][:1].numel(), 1), 1)
    return zip(*(t.split(count) for t in tensors))


def normalize(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """x̂ = (x − μ(x)) / sqrt(σ²(x) + ε). Zero on a 1×1 map."""
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return (x - mean) * (variance + eps).rsqrt()


def adaconv_plain(
    x: torch.Tensor,
    spatial: torch.Tensor,
    pointwise: torch.Tensor,
    bias: torch.Tensor,
    eps: float = 1e-5,
    padding: str = "zeros",
) -> torch.Tensor:
    """AdaConv as the paper writes it (section 3.1): what `adaconv` is tested against.

        x̂  = (x − μ(x)) / sqrt(σ²(x) + ε)
        y₁ = x̂ ⊛ spatial                    grouped k×k
        y₂ = y₁ ⊛ pointwise + bias           grouped 1×1

    Samples become groups of one convolution: there is no loop over them.
    """
    n, c_in, height, width = x.shape
    _, c_out, in_per_group, k, _ = spatial.shape
    groups = n * (c_in // in_per_group)
    x = F.pad(normalize(x, eps), [k // 2] * 4, mode="constant" if padding == "zeros" else padding)
    x = x.reshape(1, n * c_in, height + k - 1, width + k - 1)
    x = F.conv2d(x, spatial.reshape(n * c_out, in_per_group, k, k), groups=groups)
    x = F.conv2d(x, pointwise.reshape(n * c_out, -1, 1, 1), bias.reshape(n * c_out), groups=groups)
    return x.reshape(n, c_out, height, width)


def adaconv(
    x: torch.Tensor,
    spatial: torch.Tensor,
    pointwise: torch.Tensor,
    bias: torch.Tensor,
    eps: float = 1e-5,
    padding: str = "zeros",  # what lies beyond the borders of the normalised map: zeros, replicate or reflect
) -> torch.Tensor:
    """The adaptive part of AdaConv: `adaconv_plain`, to rounding, in a third of its time.

    x [N, C_in, H, W], spatial [N, C_out, C_in/groups, k, k], pointwise [N, C_out, C_out/groups], bias [N, C_out]
    -> [N, C_out, H, W]. With k = 1, groups = C and pointwise = 1 this is AdaIN.
    """
    return convolve(*centre(x, eps), spatial, pointwise, bias, padding)


def convolve(
    x: torch.Tensor,
    scale: torch.Tensor,
    spatial: torch.Tensor,
    pointwise: torch.Tensor,
    bias: torch.Tensor,
    padding: str = "zeros",
) -> torch.Tensor:
    """`adaconv` of a map that `centre` has split into x − μ(x) [N, C_in, H, W] and 1/σ [N, C_in, 1, 1]."""
    n, c_in = x.shape[:2]
    _, c_out, in_per_group, k, _ = spatial.shape
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))

    # All that follows is linear, so pointwise, spatial and the division by σ compose into one small kernel per sample.
    kernel = compose(spatial, pointwise).view(n, c_in // in_per_group, -1, in_per_group, k, k)
    kernel = (kernel * scale.view(n, -1, 1, in_per_group, 1, 1)).view(n, c_out, in_per_group, k, k)
    beyond = k // 2
    if padding != "zeros":  # the map is centred: zeros are what lies beyond it anyway
        x, beyond = pad(x, beyond, padding), 0
    return sample_conv(x, kernel.to(x.dtype), bias.to(x.dtype), beyond)


@in_float32
def compose(spatial: torch.Tensor, pointwise: torch.Tensor) -> torch.Tensor:
    """One kernel that does what `spatial` and then `pointwise` do: [N, groups, C_out/groups, C_in/groups · k²]."""
    n, c_out, in_per_group, k, _ = spatial.shape
    out_per_group = pointwise.shape[2]
    groups = c_out // out_per_group
    return torch.matmul(
        pointwise.reshape(n, groups, out_per_group, out_per_group),
        spatial.reshape(n, groups, out_per_group, in_per_group * k * k),
    )


def demodulated(kernels: AdaptiveKernels) -> AdaptiveKernels:
    """Scaled so that the composed kernel of each output channel has unit norm: a white map keeps its variance.

    What weight demodulation (Karras et al. 2020, section 2.2) is to a modulated weight. The paper has no such step.
    """
    composed = compose(kernels.spatial, kernels.pointwise).flatten(1, 2)  # [N, C_out, C_in/groups · k²]
    inverse_norm = (composed.square().sum(dim=2, keepdim=True) + 1e-8).rsqrt()
    return kernels._replace(pointwise=kernels.pointwise * inverse_norm)


def channels_per_group(channels: int) -> int:
    """1, 2, 4, 8 at 512, 256, 128, 64 channels and below (paper, section 4.1): every predictor has about the same size.

    At other widths, the largest divisor of the width that is not above the schedule.
    """
    return largest_divisor(channels, max(min(512 // channels, 8), 1))


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is not above `most`."""
    return max(d for d in range(1, min(most, n) + 1) if n % d == 0)


class KernelPredictor(nn.Module):
    """Predicts the kernels of one AdaConv layer from a style descriptor W (paper, section 3.2 and figure 3).

    [N, s_d, s_h, s_w] -> AdaptiveKernels. `spatial` is a convolution of W with s_h×s_w kernels, padded so that k×k comes out;
    `pointwise` and `bias` are linear in W averaged over its s_h×s_w positions.

    At initialisation a white W of unit variance gives kernels that keep the variance of a map (`bias` starts at zero).
    """

    def __init__(
        self,
        style_shape: tuple[int, int, int],  # (s_d, s_h, s_w) of the descriptor
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,  # k: 1, 3 or 5
        groups: int | None = None,  # divides both channel counts; by default in_channels / channels_per_group(in_channels)
        lr_multiplier: float = 1.0,  # how fast these weights learn, compared with the other equalised layers
        identity: float = 0.0,  # share of each factor's initial variance in a fixed identity; the rest depends on the style
    ):
        super().__init__()
        s_d, s_h, s_w = style_shape
        if kernel_size not in range(1, LARGEST_KERNEL + 1, 2) or min(style_shape) < 1:
            found = f"kernel_size {kernel_size!r} must be odd and at most {LARGEST_KERNEL}"
            raise ValueError(f"{found}, style_shape {tuple(style_shape)} positive")
        if not 0 <= identity <= 1 or not 0 < lr_multiplier < math.inf:
            raise ValueError(f"identity {identity} must be in [0, 1], lr_multiplier {lr_multiplier} above 0")
        if s_h % 2 == 0 or s_h != s_w:
            raise ValueError(f"style_shape {tuple(style_shape)}: the descriptor must be square with an odd side")
        groups = in_channels // channels_per_group(in_channels) if groups is None else groups
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        self.style_shape = (s_d, s_h, s_w)
        self.in_per_group, self.out_per_group = in_channels // groups, out_channels // groups
        self.out_channels, self.kernel_size, self.groups = out_channels, kernel_size, groups

        # Equalised learning rate: weights of variance 1/lr², brought to the variance wanted by a constant factor.
        spatial, pointwise = out_channels * self.in_per_group, out_channels * self.out_per_group
        self.spatial_weight = nn.Parameter(torch.randn(spatial, s_d, s_h, s_w) / lr_multiplier)
        shared = F.pad(_eye(out_channels, self.in_per_group)[..., None, None], [kernel_size // 2] * 4)
        self.spatial_bias = nn.Parameter(shared * identity**0.5 / lr_multiplier)
        self.pointwise_weight = nn.Parameter(torch.randn(pointwise, s_d) / lr_multiplier)
        self.pointwise_bias = nn.Parameter(_eye(out_channels, self.out_per_group).flatten() * identity**0.5 / lr_multiplier)
        self.bias_weight = nn.Parameter(torch.zeros(out_channels, s_d))
        self.bias_bias = nn.Parameter(torch.zeros(out_channels))

        # Zero padding starves the outer taps of `spatial`: in each direction only `reach` of the k·s_h products are with W.
        pad = kernel_size // 2
        reach = sum(0 <= i + j - pad < s_h for i in range(kernel_size) for j in range(s_h))
        styled = (1 - identity) ** 0.5  # standard deviation of the part that depends on the style
        self.lr_multiplier = lr_multiplier
        self.spatial_gain = styled * lr_multiplier / (s_d * self.in_per_group) ** 0.5 / reach
        self.pool_gain = (s_h * s_w) ** 0.5  # averaging shrinks the variance of a white W by s_h·s_w
        self.pointwise_gain = styled * lr_multiplier * self.pool_gain / (s_d * self.out_per_group) ** 0.5
        self.bias_gain = lr_multiplier * self.pool_gain / s_d**0.5

    @in_float32
    def forward(self, style: torch.Tensor) -> AdaptiveKernels:
        n, k, lr = style.shape[0], self.kernel_size, self.lr_multiplier
        spatial = F.conv2d(style * self.spatial_gain, self.spatial_weight, padding=k // 2)  # the style is smaller than weights
        pooled = style.mean(dim=(2, 3))  # [N, s_d]
        pointwise = F.linear(pooled * self.pointwise_gain, self.pointwise_weight, self.pointwise_bias * lr)
        bias = F.linear(pooled * self.bias_gain, self.bias_weight, self.bias_bias * lr)
        return AdaptiveKernels(
            spatial.reshape(n, self.out_channels, self.in_per_group, k, k) + self.spatial_bias * lr,
            pointwise.reshape(n, self.out_channels, self.out_per_group),
            bias,
        )


def _eye(out_channels: int, per_group: int) -> torch.Tensor:
    """[out_channels, per_group]: each output reads one input of its own group."""
    return torch.eye(per_group).repeat(-(-out_channels // per_group), 1)[:out_channels]
