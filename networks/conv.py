"""The convolution of a map with learned weights, whose derivatives of any order are as fast as the first ones.

A convolution, the gradient of its input and the gradient of its weight are linear in each of two arguments, and the derivatives
of each of the three are the other two. PyTorch's own second derivative, which R1 needs, transposes whole batches instead.
"""

import contextlib

import torch
import torch.nn.functional as F

from torch_utils.ops import in_autocast

SMALL_MAP = 16  # positions; up to here the library's gradient of a weight takes five times as long in sixteen bits as a product


def conv2d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x [N, C_in, H, W], weight [C_out, C_in, k, k] with odd k, bias [C_out] -> [N, C_out, H, W], zeros beyond the borders.

    `F.conv2d(x, weight, bias, padding=k // 2)`, under autocast as well.
    """
    device = x.device.type
    if in_autocast(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype)
    return _Convolution.apply(x, weight, bias)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        with no_autocast(x):
            return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    @staticmethod
    def backward(ctx, y):
        (x, weight), needed = ctx.saved_tensors, ctx.needs_input_grad
        if not torch.is_grad_enabled():
            return _gradients(x, weight, y, needed)
        return (
            _InputGradient.apply(x, weight, y) if needed[0] else None,
            _WeightGradient.apply(x, weight, y) if needed[1] else None,
            y.sum(dim=(0, 2, 3)) if needed[2] else None,
        )


class _InputGradient(torch.autograd.Function):
    """By weight and y, the gradient of the result; of x only the shape counts."""

    @staticmethod
    def forward(ctx, x, weight, y):
        ctx.save_for_backward(x, weight, y)
        return _gradients(x, weight, y, (True, False, False))[0]

    @staticmethod
    def backward(ctx, gradient):
        (_, weight, y), needed = ctx.saved_tensors, ctx.needs_input_grad
        return (
            None,
            _WeightGradient.apply(gradient, weight, y) if needed[1] else None,
            _Convolution.apply(gradient, weight, None) if needed[2] else None,
        )


class _WeightGradient(torch.autograd.Function):
    """By x and y, the gradient of the result; of the weight only the shape counts."""

    @staticmethod
    def forward(ctx, x, weight, y):
        ctx.save_for_backward(x, weight, y)
        return _gradients(x, weight, y, (False, True, False))[1]

    @staticmethod
    def backward(ctx, gradient):
        (x, _, y), needed = ctx.saved_tensors, ctx.needs_input_grad
        return (
            _InputGradient.apply(x, gradient, y) if needed[0] else None,
            None,
            _Convolution.apply(x, gradient, None) if needed[2] else None,
        )


def _gradients(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, needed: tuple[bool, bool, bool]):
    """By input, weight and bias, if y is the gradient of the result; None where not needed."""
    k, ones = weight.shape[-1], [1, 1]
    y = y.contiguous(memory_format=torch.channels_last)
    product = x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.shape[2] * x.shape[3] <= SMALL_MAP
    library = (needed[0], needed[1] and not product, needed[2])
    found: list[torch.Tensor | None] = [None, None, None]
    if any(library):
        with no_autocast(x):
            border = [k // 2, k // 2]
            arguments = ([weight.shape[0]], ones, border, ones, False, [0, 0], 1, library)
            found = list(torch.ops.aten.convolution_backward(y, x, weight, *arguments))
    if needed[1] and product:
        found[1] = _weight_gradient(x, y, k)
    return tuple(gradient if need else None for gradient, need in zip(found, needed))


def _weight_gradient(x: torch.Tensor, y: torch.Tensor, k: int) -> torch.Tensor:
    """As one matrix product of y with all k×k neighbourhoods of x -> [C_out, C_in, k, k] in channels_last."""
    n, c, h, w = x.shape
    r = k // 2
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, r, r, r, r))  # [N, H + 2r, W + 2r, C]
    near = padded.unfold(1, k, 1).unfold(2, k, 1).permute(0, 1, 2, 4, 5, 3).reshape(n * h * w, k * k * c)
    rows = y.permute(0, 2, 3, 1).reshape(n * h * w, -1)
    with no_autocast(x):
        return (rows.t() @ near).view(-1, k, k, c).permute(0, 3, 1, 2)


def no_autocast(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """Without autocast, which would change types that have been chosen."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if in_autocast(device) else contextlib.nullcontext()
