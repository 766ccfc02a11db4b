"""The networks' operations in forms that every runtime has, for networks that leave this project (scripts/export.py).

`adaconv_fast`, `sample_conv`, `conv` and their like choose among forms by size and processor, and have derivatives of their
own: neither can be written into a file. Here are the same functions as plain, shape-independent formulas, and a context in
which the networks use these instead. `adaconv_plain` remains the definition; these are tested against it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from networks import adaconv_fast, conv, sample_conv
from networks.style_transfer import moments
from torch_utils import ops


def convolve_by_shifts(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, padding: int) -> torch.Tensor:
    """`sample_conv.sample_conv`: x [N, C_in, H, W], kernel [N, C_out, C_in/groups, k, k], bias [N, C_out] or None.

    Most runtimes have no convolution whose weights are computed: they want them in the file. A k×k convolution is the sum of k²
    shifted copies of the map, each times one tap of the kernel, which is a small matrix for each group of channels. Rows lie
    one after the other, so that a shift in two dimensions is one slice; what it carries from a row's end into the next row's
    beginning is cut off at the end.
    """
    _, c_out, in_per_group, k, _ = kernel.shape
    groups = x.shape[1] // in_per_group
    x = F.pad(x, [padding] * 4)
    height, width = x.shape[2] - (k - 1), x.shape[3] - (k - 1)
    stride = width + k - 1
    rows = F.pad(x.reshape(-1, groups, in_per_group, (height + k - 1) * stride), [0, k - 1])
    taps = kernel.reshape(-1, groups, c_out // groups, in_per_group, k * k).permute(4, 0, 1, 2, 3).unbind(0)
    bias = kernel.new_zeros(1, c_out) if bias is None else bias
    y = bias.reshape(-1, groups, c_out // groups, 1)
    for i, tap in enumerate(taps):  # tap [N, groups, C_out/groups, C_in/groups]
        begin = i // k * stride + i % k
        shifted = rows[..., begin : begin + height * stride]
        y = y + (tap * shifted if in_per_group == 1 else tap @ shifted)
    return y.reshape(-1, c_out, height, stride)[..., :width]


def centre(x: torch.Tensor, eps: float = 1e-5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`adaconv_fast.centre`."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    centred = x - mean
    return centred, (centred.square().mean(dim=(2, 3), keepdim=True) + eps).rsqrt(), mean


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`conv.conv2d`."""
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def pad(x: torch.Tensor, amount: int, padding: str) -> torch.Tensor:
    """`ops.pad`."""
    return F.pad(x, [amount] * 4, mode="constant" if padding == "zeros" else padding)


def mean_and_deviation(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`moments.moments`."""
    centred, inverse, mean = centre(features, moments.EPS)
    return mean[:, :, 0, 0], 1 / inverse[:, :, 0, 0]


PORTABLE: dict[Callable, Callable] = {
    sample_conv.sample_conv: convolve_by_shifts,
    adaconv_fast.centre: centre,
    conv.conv2d: convolve,
    ops.pad: pad,
    ops.average_to: ops.average_by_matrices,  # what is traced otherwise knows the size of the example only
    moments.moments: mean_and_deviation,
}


@contextlib.contextmanager
def portable_operations() -> Iterator[None]:
    """Within the block, whatever in `networks` and `torch_utils` calls a function of PORTABLE gets its portable form.

    For tracing, in one thread: other threads that use networks meanwhile get these forms, too.
    """
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("networks", "torch_utils")]
    places = [
        (module, name, function)
        for module in modules
        for name, value in list(vars(module).items())
        for function in PORTABLE
        if value is function
    ]
    try:
        for module, name, function in places:
            setattr(module, name, PORTABLE[function])
        yield
    finally:
        for module, name, function in places:
            setattr(module, name, function)
