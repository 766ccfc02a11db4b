"""Antialiased resampling, and bias with activation. Every operation has a second derivative."""

import functools

import torch
import torch.nn.functional as F


def upsample2x(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W] with the binomial filter [1, 3, 3, 1], which for a factor of two is bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample2x(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] with even H, W -> [N, C, H/2, W/2]: the filter [1, 3, 3, 1], then every second sample."""
    return _Binomial.apply(F.pad(x, (1, 1, 1, 1), mode="replicate"))


def _binomial_kernel(x: torch.Tensor) -> torch.Tensor:
    taps = (2 - (torch.arange(4, dtype=x.dtype, device=x.device) - 1.5).abs()) / 4  # [1, 3, 3, 1] / 8, made where x is
    return taps.outer(taps).expand(x.shape[1], 1, 4, 4).contiguous()


class _Binomial(torch.autograd.Function):
    """The filter with stride 2, as a linear map that knows its adjoint.

    Autograd's second derivative of a grouped convolution runs group by group, a hundred times slower, to find the
    derivative of a kernel that here is constant; and it would keep x for it.
    """

    @staticmethod
    def forward(ctx, x):
        return F.conv2d(x, _binomial_kernel(x), stride=2, groups=x.shape[1])

    @staticmethod
    def backward(ctx, gradient):
        return _BinomialAdjoint.apply(gradient)


class _BinomialAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return F.conv_transpose2d(x, _binomial_kernel(x), stride=2, groups=x.shape[1])

    @staticmethod
    def backward(ctx, gradient):
        return _Binomial.apply(gradient)


def leaky_relu(x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Add a bias per channel (dimension 1), then leaky ReLU with slope 0.2 and a gain of √2 that keeps a unit second moment."""
    if bias is not None:
        x = x + bias.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(x, 0.2) * 2**0.5


def widen(x: torch.Tensor) -> torch.Tensor:
    """Sixteen bits become float32; wider tensors stay as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def in_float32(function):
    """Decorator: where autocast would compute in sixteen bits, this function computes in float32 all the same.

    For functions of tensors, and for methods whose first argument after `self` is one.
    """

    @functools.wraps(function)
    def wrapped(*arguments, **named):
        device = next(a.device.type for a in arguments if isinstance(a, torch.Tensor))
        if not torch.is_autocast_enabled(device):
            return function(*arguments, **named)
        widened = [widen(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        with torch.autocast(device, enabled=False):
            return function(*widened, **named)

    return wrapped
