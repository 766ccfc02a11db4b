"""A convolution with kernels of its own for every sample, in whichever exact form is fastest.

It is linear in the map and linear in the kernels, and so are its derivatives. Two operations are enough for derivatives of any
order: the convolution, and the correlation of a map with a gradient, which is the kernels' gradient.
"""

import math

import torch
import torch.nn.functional as F

from networks.conv import no_autocast
from torch_utils.ops import widen
from torch_utils.platform import has_amx

SMALL_MAP = 2**14  # numbers in one sample's map; up to here, calls cost more than a change of memory order
LARGE_MAP = 2**11  # positions; with AMX, 32 channels a group are the fastest from here on, and 16 below

Needed = tuple[bool, bool, bool]  # whether the gradients by map, kernels and bias are needed
Gradients = tuple[torch.Tensor | None, ...]  # by each of the three


def sample_conv(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, padding: int) -> torch.Tensor:
    """x [N, C_in, H, W], kernel [N, C_out, C_in/groups, k, k], bias [N, C_out] or None, of one dtype -> [N, C_out, H', W'].

    Sample n is convolved with kernel n, with `padding` zeros at every border. Has derivatives of any order.
    """
    return _Convolution.apply(x, kernel, bias, padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel, bias, padding):
        ctx.save_for_backward(x, kernel)
        ctx.padding = padding
        with no_autocast(x):
            return _form(x, kernel).convolve(x, kernel, bias, padding)

    @staticmethod
    def backward(ctx, gradient):
        (x, kernel), needed = ctx.saved_tensors, ctx.needs_input_grad[:3]
        if not torch.is_grad_enabled():
            with no_autocast(x):
                return *_form(x, kernel).gradients(x, kernel, gradient, ctx.padding, needed), None
        return (
            _transposed(gradient, kernel, x.shape[1], ctx.padding) if needed[0] else None,
            _Correlation.apply(x, kernel, gradient, ctx.padding) if needed[1] else None,
            gradient.sum(dim=(2, 3)) if needed[2] else None,
            None,
        )


class _Correlation(torch.autograd.Function):
    """x [N, C_in, H, W], y [N, C_out, H', W'] -> the kernels' gradient if y is that of the result, of the shape of `kernel`."""

    @staticmethod
    def forward(ctx, x, kernel, y, padding):
        ctx.save_for_backward(x, y)
        ctx.padding = padding
        with no_autocast(x):
            return _form(x, kernel).gradients(x, kernel, y, padding, (False, True, False))[1]

    @staticmethod
    def backward(ctx, gradient):
        (x, y), needed = ctx.saved_tensors, ctx.needs_input_grad
        return (
            _transposed(y, gradient, x.shape[1], ctx.padding) if needed[0] else None,
            None,
            _Convolution.apply(x, gradient, None, ctx.padding) if needed[2] else None,
            None,
        )


def _transposed(y: torch.Tensor, kernel: torch.Tensor, channels: int, padding: int) -> torch.Tensor:
    """The transposed convolution, which is a convolution with the kernels flipped and their channels exchanged."""
    n, c_out, in_per_group, k, _ = kernel.shape
    out_per_group = c_out * in_per_group // channels
    kernel = kernel.view(n, channels // in_per_group, out_per_group, in_per_group, k, k).transpose(2, 3).flip(4, 5)
    return _Convolution.apply(y, kernel.reshape(n, channels, out_per_group, k, k), None, k - 1 - padding)


def _form(x: torch.Tensor, kernel: torch.Tensor):
    """Chosen by shape, type and device alone, so that a run can be repeated."""
    (n, channels, height, width), (_, c_out, in_per_group, _, _) = x.shape, kernel.shape
    if n == 0:
        return Each(1)  # a loop over no samples; one convolution for all would need a group at least
    if x.device.type != "cpu":
        return Together()
    groups = channels // in_per_group
    wide = lambda channels: math.gcd(groups, max(channels // in_per_group, 1)) if in_per_group > 1 else 1  # groups to merge
    if channels * height * width <= SMALL_MAP:
        return Together(wide(8))
    with_amx = x.dtype == torch.bfloat16 and has_amx()
    if in_per_group <= (1 if with_amx else 2) and c_out == channels:
        return Diagonals()
    if with_amx:
        return Each(wide(32 if height * width >= LARGE_MAP else 16))
    return Each(wide(8))  # the library is fast at 8 channels a group


class Together:
    """All samples as groups of one convolution, for which a map in channels_last has to change its memory order.

    CPUs do it in float32: in sixteen bits they are slow at groups of 8, with AMX more than ten times slower. `merged` groups
    are made into one, with zeros between them.
    """

    def __init__(self, merged: int = 1):
        self.merged = merged

    def convolve(self, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, padding: int) -> torch.Tensor:
        kernel = _merge(kernel, x.shape[1], self.merged)
        n, c_out, in_per_group, k, _ = kernel.shape
        bias = None if bias is None else _wide(bias).flatten()
        y = F.conv2d(_one(x), _wide(kernel).flatten(0, 1), bias, padding=padding, groups=n * x.shape[1] // in_per_group)
        return y.view(n, c_out, *y.shape[2:]).to(x.dtype, memory_format=_memory_format(x))

    def gradients(self, x: torch.Tensor, kernel: torch.Tensor, y: torch.Tensor, padding: int, needed: Needed) -> Gradients:
        kernel = _merge(kernel, x.shape[1], self.merged)
        groups = x.shape[0] * x.shape[1] // kernel.shape[2]
        gradients = _conv_gradients(_one(x), _wide(kernel).flatten(0, 1), _one(y), groups, padding, needed)
        shapes = (x.shape, kernel.shape, kernel.shape[:2])
        by_x, by_kernel, by_bias = (g if g is None else g.view(shape).to(x.dtype) for g, shape in zip(gradients, shapes))
        return (
            by_x if by_x is None else by_x.contiguous(memory_format=_memory_format(x)),
            by_kernel if by_kernel is None else _split(by_kernel, x.shape[1], self.merged),
            by_bias,
        )


class Each:
    """A convolution for each sample, in channels_last: no map changes its memory order. `merged` as in `Together`."""

    def __init__(self, merged: int):
        self.merged = merged

    def convolve(self, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, padding: int) -> torch.Tensor:
        x, kernel, result = _channels_last(x), _merge(kernel, x.shape[1], self.merged), _result(x, kernel, padding)
        for i in range(len(x)):
            own = None if bias is None else bias[i]
            groups = x.shape[1] // kernel.shape[2]
            result[i : i + 1] = F.conv2d(x[i : i + 1], kernel[i], own, padding=padding, groups=groups)
        return result

    def gradients(self, x: torch.Tensor, kernel: torch.Tensor, y: torch.Tensor, padding: int, needed: Needed) -> Gradients:
        x, kernel, y = _channels_last(x), _merge(kernel, x.shape[1], self.merged), _channels_last(y)
        gradients = _empty_gradients(x, kernel, needed)
        for i in range(len(x)):
            groups = x.shape[1] // kernel.shape[2]
            own = _conv_gradients(x[i : i + 1], kernel[i], y[i : i + 1], groups, padding, needed)
            for whole, part in zip(gradients, own):
                if whole is not None:
                    whole[i] = part
        by_x, by_kernel, by_bias = gradients
        return by_x, by_kernel if by_kernel is None else _split(by_kernel, x.shape[1], self.merged), by_bias


class Diagonals:
    """For groups of few channels: the g×g matrix that mixes g channels is the sum of g cyclic diagonals.

    Each diagonal is a depthwise convolution of channels that have changed places; at these, CPUs are many times faster.
    """

    def convolve(self, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, padding: int) -> torch.Tensor:
        x, result, diagonals = _channels_last(x), _result(x, kernel, padding), _diagonals(kernel)
        for i in range(len(x)):
            own = None if bias is None else bias[i]
            y = F.conv2d(x[i : i + 1], diagonals[0, i], own, padding=padding, groups=x.shape[1])
            for shift in range(1, len(diagonals)):
                rotated = _rotate(x[i : i + 1], shift, len(diagonals))
                y += F.conv2d(rotated, diagonals[shift, i], padding=padding, groups=x.shape[1])
            result[i : i + 1] = y
        return result

    def gradients(self, x: torch.Tensor, kernel: torch.Tensor, y: torch.Tensor, padding: int, needed: Needed) -> Gradients:
        x, y, diagonals = _channels_last(x), _channels_last(y), _diagonals(kernel)
        by_x, _, by_bias = _empty_gradients(x, kernel, needed)
        by_diagonals = torch.empty_like(diagonals)
        for i in range(len(x)):
            for shift, diagonal in enumerate(diagonals[:, i]):
                rotated = _rotate(x[i : i + 1], shift, len(diagonals))
                of_x, of_diagonal, of_bias = _conv_gradients(
                    rotated, diagonal, y[i : i + 1], x.shape[1], padding, (needed[0], needed[1], needed[2] and shift == 0)
                )
                if needed[0] and shift == 0:
                    by_x[i : i + 1] = of_x
                elif needed[0]:
                    by_x[i : i + 1] += _rotate(of_x, -shift, len(diagonals))
                if needed[1]:
                    by_diagonals[shift, i] = of_diagonal
                if needed[2] and shift == 0:
                    by_bias[i] = of_bias
        return by_x, _from_diagonals(by_diagonals) if needed[1] else None, by_bias


def _conv_gradients(
    x: torch.Tensor, kernel: torch.Tensor, y: torch.Tensor, groups: int, padding: int, needed: Needed
) -> Gradients:
    one, none, border = [1, 1], [0, 0], [padding, padding]
    arguments = ([kernel.shape[0]], one, border, one, False, none, groups, needed)
    gradients = torch.ops.aten.convolution_backward(y, x, kernel, *arguments)
    return tuple(gradient if need else None for gradient, need in zip(gradients, needed))


def _empty_gradients(x: torch.Tensor, kernel: torch.Tensor, needed: Needed) -> Gradients:
    shapes = (x, kernel, kernel[:, :, 0, 0, 0])
    return tuple(torch.empty_like(like) if need else None for like, need in zip(shapes, needed))


def _result(x: torch.Tensor, kernel: torch.Tensor, padding: int) -> torch.Tensor:
    height, width = (side + 2 * padding - kernel.shape[3] + 1 for side in x.shape[2:])
    size = (len(x), kernel.shape[1], height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _memory_format(x: torch.Tensor) -> torch.memory_format:
    only = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if only else torch.contiguous_format


def _one(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [1, N·C, H, W]"""
    return _wide(x).flatten().view(1, -1, *x.shape[2:])  # by way of one dimension, as the strides of a 1×1 map may be anything


def _wide(x: torch.Tensor) -> torch.Tensor:
    return widen(x) if x.device.type == "cpu" else x


def _merge(kernel: torch.Tensor, channels: int, merged: int) -> torch.Tensor:
    """[N, C_out, c, k, k] -> [N, C_out, merged·c, k, k]."""
    if merged == 1:
        return kernel
    n, c_out, in_per_group, k, _ = kernel.shape
    parts = kernel.view(n, channels // in_per_group // merged, merged, -1, in_per_group, k, k)
    result = kernel.new_zeros(*parts.shape[:4], merged, in_per_group, k, k)
    for i in range(merged):
        result[:, :, i, :, i] = parts[:, :, i]
    return result.view(n, c_out, -1, k, k)


def _split(kernel: torch.Tensor, channels: int, merged: int) -> torch.Tensor:
    """The inverse of `_merge`: what stands between the groups is dropped."""
    if merged == 1:
        return kernel
    n, c_out, in_merged, k, _ = kernel.shape
    parts = kernel.view(n, channels // in_merged, merged, -1, merged, in_merged // merged, k, k)
    return torch.stack([parts[:, :, i, :, i] for i in range(merged)], dim=2).view(n, c_out, -1, k, k)


def _rotate(x: torch.Tensor, shift: int, g: int) -> torch.Tensor:
    """Channel c + shift of each group of g moves to place c, cyclically."""
    flat = x.permute(0, 2, 3, 1).unflatten(3, (-1, g))
    return flat.roll(-shift, 4).flatten(3).permute(0, 3, 1, 2) if shift else x


def _diagonals(kernel: torch.Tensor) -> torch.Tensor:
    """[N, C, g, k, k] -> [g, N, C, 1, k, k]: diagonal s has the kernels from input c + s to output c of each group."""
    g = kernel.shape[2]
    rows = torch.arange(g, device=kernel.device)
    blocks = kernel.unflatten(1, (-1, g))  # [N, C/g, g, g, k, k]
    return torch.stack([blocks[:, :, rows, (rows + shift) % g].flatten(1, 2).unsqueeze(2) for shift in range(g)])


def _from_diagonals(diagonals: torch.Tensor) -> torch.Tensor:
    """The inverse of `_diagonals`."""
    g = len(diagonals)
    rows = torch.arange(g, device=diagonals.device)
    shift = (rows - rows[:, None]) % g  # [output, input]
    blocks = diagonals.squeeze(3).unflatten(2, (-1, g))  # [g, N, C/g, g, k, k]
    return blocks[shift, :, :, rows[:, None]].permute(2, 3, 0, 1, 4, 5).flatten(1, 2)
