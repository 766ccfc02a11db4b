"""AdaConv in its fast form: the same function as `networks.adaconv.adaconv_plain`, to rounding, in a third of its time.

The map is centred in one pass; all that follows is linear, so that the pointwise part, the spatial part and the division by
the standard deviation are composed into one small kernel for each sample, and the map is convolved once.
"""

from collections.abc import Iterator

import torch

from networks.sample_conv import sample_conv
from torch_utils.ops import PADDINGS, as_autocast, in_float32, pad, widen

CACHED = 2**20  # numbers of a map that fit into a processor's cache


def centre(x: torch.Tensor, eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x − μ(x) [N, C, H, W], 1 / sqrt(σ²(x) + ε) and μ(x) [N, C, 1, 1], per sample and channel, biased variance."""
    flat = x.permute(0, 2, 3, 1).flatten(1, 2)  # [N, H·W, C], a view of a channels_last map
    centred, scale, mean = _Centre.apply(flat, eps)
    centred = centred.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
    return centred, scale.transpose(1, 2)[..., None], mean.transpose(1, 2)[..., None]


class _Centre(torch.autograd.Function):
    """[N, H·W, C] -> centred [N, H·W, C], scale and mean [N, 1, C]; reducing the middle is several times faster than
    torch.var_mean.

    Its derivative is written out, of operations that can be differentiated again: it keeps one map instead of three, and makes
    three passes over it instead of seven. Large maps are taken a few samples at a time, which stay in the cache.
    """

    @staticmethod
    def forward(ctx, flat, eps):
        centred = torch.empty_like(flat)
        scale = torch.empty_like(flat[:, :1], dtype=widen(flat[:0]).dtype)
        mean = torch.empty_like(scale)
        for x, result, s, m in _parts(flat, centred, scale, mean):
            torch.mean(x, dim=1, keepdim=True, dtype=m.dtype, out=m)
            torch.sub(x, m.to(x.dtype), out=result)
            wide = widen(result)
            squares = wide.square() if wide is result else wide.square_()  # in place where it is a copy anyway
            torch.mean(squares, dim=1, keepdim=True, out=s)
        scale.add_(eps).rsqrt_()
        ctx.save_for_backward(centred, scale)
        ctx.set_materialize_grads(False)
        return centred, scale, mean

    @staticmethod
    def backward(ctx, gradient, gradient_scale, gradient_mean):
        centred, scale = ctx.saved_tensors
        count, nothing = centred.shape[1], torch.zeros_like(scale)
        slope = nothing if gradient_scale is None else -gradient_scale * scale**3 / count  # dσ⁻¹/dx = −σ⁻³ (x − μ) / (H·W)
        shift = nothing if gradient_mean is None else gradient_mean / count
        slope, shift = slope.to(centred.dtype), shift.to(centred.dtype)
        if gradient is None:
            return torch.addcmul(shift, centred, slope), None
        if gradient_scale is None:
            return gradient - gradient.mean(dim=1, keepdim=True) + shift, None
        gradient = gradient.contiguous()  # one copy, or every pass is a slow one
        if torch.is_grad_enabled():
            gradient = torch.addcmul(gradient, centred, slope)
            return gradient - gradient.mean(dim=1, keepdim=True) + shift, None
        result = torch.empty_like(gradient)
        for g, x, s, m, out in _parts(gradient, centred, slope, shift, result):
            torch.addcmul(g, x, s, out=out)
            out -= out.mean(dim=1, keepdim=True) - m
        return result, None


def _parts(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Each [N, …] in parts of a few samples: as many as have CACHED numbers in the first tensor, and at least one."""
    count = max(CACHED // max(tensors[0][:1].numel(), 1), 1)
    return zip(*(t.split(count) for t in tensors))


def convolve(
    x: torch.Tensor,
    scale: torch.Tensor,
    spatial: torch.Tensor,
    pointwise: torch.Tensor,
    bias: torch.Tensor,
    padding: str = "zeros",
) -> torch.Tensor:
    """Equation 3 for a map that `centre` has split into x − μ(x) [N, C_in, H, W] and 1/σ [N, C_in, 1, 1]."""
    n, c_in = x.shape[:2]
    _, c_out, in_per_group, k, _ = spatial.shape
    if k % 2 == 0 or c_in * pointwise.shape[2] != c_out * in_per_group or padding not in PADDINGS:  # as many groups in both
        shapes = f"spatial {list(spatial.shape)}, pointwise {list(pointwise.shape)}, padding {padding!r}"
        raise ValueError(f"{shapes} do not fit a map of {c_in} channels: see AdaptiveKernels and {', '.join(PADDINGS)}")
    x = as_autocast(x)

    kernel = compose(spatial, pointwise).view(n, c_in // in_per_group, c_out * in_per_group // c_in, in_per_group, k, k)
    kernel = (kernel * scale.view(n, c_in // in_per_group, 1, in_per_group, 1, 1)).view(n, c_out, in_per_group, k, k)
    zeros = k // 2  # the map is centred: zeros beyond its borders are those of the normalised map
    if padding != "zeros":
        x, zeros = pad(x, zeros, padding), 0
    return sample_conv(x, kernel.to(x.dtype), bias.to(x.dtype), zeros)


@in_float32
def compose(spatial: torch.Tensor, pointwise: torch.Tensor) -> torch.Tensor:
    """The one kernel that does what `spatial` and then `pointwise` do: [N, groups, C_out/groups, C_in/groups · k²]."""
    n, c_out, in_per_group, k, _ = spatial.shape
    out_per_group = pointwise.shape[2]
    groups = c_out // out_per_group
    return torch.matmul(
        pointwise.reshape(n, groups, out_per_group, out_per_group),
        spatial.reshape(n, groups, out_per_group, in_per_group * k * k),
    )
