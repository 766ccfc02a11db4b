"""Mean and standard deviation of every channel of a feature map, which AdaIN transfers, and the covariances of its channels."""

import torch

from networks.conv import no_autocast
from torch_utils.ops import widen

CACHED = 2**17  # numbers of a map that are summed at a time: they stay in a processor's cache
EPS = 1e-5


def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[N, C, H, W] -> mean and standard deviation √(σ² + 1e-5) of every channel, [N, C] each, in float32 or more."""
    return _Moments.apply(features.permute(0, 2, 3, 1).flatten(1, 2))  # a view of a channels_last map


class _Moments(torch.autograd.Function):
    """[N, H·W, C] -> mean, std [N, C]. One pass over the map, in its own format, forwards and backwards.

    Both are sums of differences to the first position's values, so that a constant channel has a variance of 0 to the last bit.
    """

    @staticmethod
    def forward(ctx, flat):
        first = widen(flat[:, :1])
        total, squares = torch.zeros_like(first), torch.zeros_like(first)
        for x, origin, t, s in zip(flat, first, total, squares):
            for part in _parts(x):
                part = part - origin
                t += part.sum(dim=0)
                s += part.square_().sum(dim=0)
        total, squares = total[:, 0] / flat.shape[1], squares[:, 0] / flat.shape[1]
        mean, std = first[:, 0] + total, (squares - total.square()).clamp_(min=0).add_(EPS).sqrt_()
        ctx.save_for_backward(flat, mean, std)
        return mean, std

    @staticmethod
    def backward(ctx, gradient_mean, gradient_std):
        flat, mean, std = ctx.saved_tensors
        count = flat.shape[1]
        slope = gradient_std / (std * count)  # dσ/dx = (x − μ) / (σ · H·W)
        shift = gradient_mean / count - mean * slope
        slope, shift = slope[:, None], shift[:, None]
        if torch.is_grad_enabled():
            return torch.addcmul(shift, flat, slope).to(flat.dtype)
        result = torch.empty_like(flat)
        for x, a, b, out in zip(flat, slope, shift, result):
            for part, out_part in zip(_parts(x), _parts(out)):
                out_part.copy_(torch.addcmul(b, part, a))
        return result


def covariance(features: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] and its channels' means [N, C] -> covariances over positions [N, C, C], in float32 or more.

    The product is in the features' own format, and rounded to it: in bf16, covariances are off by 0.2 %. The means' derivative
    is not needed: it is zero.
    """
    return _Covariance.apply(features.permute(0, 2, 3, 1).flatten(1, 2), mean)


class _Covariance(torch.autograd.Function):
    """[N, H·W, C], [N, C] -> [N, C, C]. PyTorch's derivative would take two products, and one is enough."""

    @staticmethod
    def forward(ctx, flat, mean):
        ctx.save_for_backward(flat, mean)
        centred = flat - mean[:, None].to(flat.dtype)
        with no_autocast(flat):
            return widen(centred.transpose(1, 2) @ centred) / flat.shape[1]

    @staticmethod
    def backward(ctx, gradient):
        flat, mean = ctx.saved_tensors
        if torch.is_grad_enabled():
            mean = flat.mean(dim=1)  # again, as its derivative counts in the second one
        both = ((gradient + gradient.transpose(1, 2)) / flat.shape[1]).to(flat.dtype)
        with no_autocast(flat):
            return (flat - mean[:, None].to(flat.dtype)) @ both, None


def _parts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[H·W, C] in parts of a few positions."""
    return x.split(max(CACHED // x.shape[1], 1))
