"""Operations on maps: antialiased resampling, padding, bias with activation. Each has a second derivative."""

import functools

import torch
import torch.nn.functional as F

MPS = "mps"  # the GPU of Macs, which has no float64; tests put another device in its place


def upsample2x(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W] with the binomial filter [1, 3, 3, 1], which for a factor of two is bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample2x(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] with even H, W -> [N, C, H/2, W/2]: the filter [1, 3, 3, 1] over replicated borders, every second sample.

    It is the transpose of `upsample2x` divided by 4, for which PyTorch has a kernel that is fast in sixteen bits, too.
    """
    n, c, h, w = x.shape
    return torch.ops.aten.upsample_bilinear2d_backward(x, [h, w], [n, c, h // 2, w // 2], False) / 4


def average_to(x: torch.Tensor, side: int) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, side, side]: means over that many parts of the map, which overlap where they have to."""
    if x.device.type == MPS:  # whose pooling wants parts that do not overlap
        return average_by_matrices(x, side)
    return F.adaptive_avg_pool2d(x, side)


def average_by_matrices(x: torch.Tensor, side: int) -> torch.Tensor:
    """`average_to`, as products with matrices."""

    def means(size: int) -> torch.Tensor:
        places, parts = torch.arange(size, device=x.device), torch.arange(side, device=x.device)[:, None]
        length = places[-1:] + 1  # `size` as a tensor, for who traces it
        begin, end = parts * length // side, ((parts + 1) * length + side - 1) // side
        return ((places >= begin) & (places < end)).to(x.dtype) / (end - begin)  # [side, size]

    return means(x.shape[2]) @ x @ means(x.shape[3]).t()


PADDINGS = ("zeros", "replicate", "reflect")


def pad(x: torch.Tensor, amount: int, padding: str) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, H + 2·amount, W + 2·amount]. `ValueError` for a map too small to reflect, or another padding."""
    if padding not in PADDINGS:
        raise ValueError(f"padding {padding!r} must be one of {', '.join(PADDINGS)}")
    if padding == "reflect" and min(x.shape[2:]) <= amount:
        raise ValueError(f"a map of {x.shape[3]}×{x.shape[2]} is too small for reflected borders of {amount}")
    return _Pad.apply(x, amount, padding) if amount else x


class _Pad(torch.autograd.Function):
    """One pass over a channels_last map, forward and backward; PyTorch's own padding takes several."""

    @staticmethod
    def forward(ctx, x, amount, padding):
        ctx.amount, ctx.padding = amount, padding
        n, c, h, w = x.shape
        size = (n, c, h + 2 * amount, w + 2 * amount)
        result = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        rows = result[..., amount : amount + w]
        rows[:, :, amount : amount + h] = x
        _fill_borders(rows, 2, amount, padding)
        _fill_borders(result, 3, amount, padding)
        return result

    @staticmethod
    def backward(ctx, gradient):
        return _Fold.apply(gradient, ctx.amount, ctx.padding), None, None


class _Fold(torch.autograd.Function):
    """The transpose of `pad`: values beyond the borders are added to the places that they were copied from."""

    @staticmethod
    def forward(ctx, x, amount, padding):
        ctx.amount, ctx.padding = amount, padding
        middle, before, after = (_fold(part, 2, amount, padding) for part in _split(x, 3, amount))
        return _add_borders(middle, before, after, 3, amount, padding)

    @staticmethod
    def backward(ctx, gradient):
        return _Pad.apply(gradient, ctx.amount, ctx.padding), None, None


def _fill_borders(x: torch.Tensor, dim: int, amount: int, padding: str) -> None:
    """Write the borders of x [N, C, H, W], before and after its middle along a dimension."""
    middle, before, after = _split(x, dim, amount)
    size = middle.shape[dim]
    if padding == "zeros":
        before.zero_(), after.zero_()
    elif padding == "replicate":
        before.copy_(middle.narrow(dim, 0, 1).expand_as(before))
        after.copy_(middle.narrow(dim, size - 1, 1).expand_as(after))
    else:
        before.copy_(middle.narrow(dim, 1, amount).flip(dim))
        after.copy_(middle.narrow(dim, size - 1 - amount, amount).flip(dim))


def _fold(x: torch.Tensor, dim: int, amount: int, padding: str) -> torch.Tensor:
    middle, before, after = _split(x, dim, amount)
    return _add_borders(middle.clone(memory_format=torch.channels_last), before, after, dim, amount, padding)


def _add_borders(middle: torch.Tensor, before: torch.Tensor, after: torch.Tensor, dim: int, amount: int, padding: str):
    size = middle.shape[dim]
    if padding == "replicate":
        middle.narrow(dim, 0, 1).add_(before.sum(dim, keepdim=True))
        middle.narrow(dim, size - 1, 1).add_(after.sum(dim, keepdim=True))
    elif padding == "reflect":
        middle.narrow(dim, 1, amount).add_(before.flip(dim))
        middle.narrow(dim, size - 1 - amount, amount).add_(after.flip(dim))
    return middle


def _split(x: torch.Tensor, dim: int, amount: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(middle, before, after)"""
    size = x.shape[dim] - 2 * amount
    before, middle, after = x.split([amount, size, amount], dim)
    return middle, before, after


ACTIVATION_GAIN = 2**0.5  # before a leaky ReLU: keeps a unit second moment


def leaky_relu_(x: torch.Tensor) -> torch.Tensor:
    """With slope 0.2, in place: the result of a convolution need not be kept beside it.

    ACTIVATION_GAIN is applied before, to weights and biases, which are smaller than maps.
    """
    return F.leaky_relu_(x, 0.2)


def bias_act(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W], bias [C] -> leaky_relu(√2·(x + bias))"""
    bias = (bias * ACTIVATION_GAIN).to(x.dtype).view(1, -1, 1, 1)
    return leaky_relu_(torch.add(bias, x, alpha=ACTIVATION_GAIN))


def widen(x: torch.Tensor) -> torch.Tensor:
    """Sixteen bits become float32; wider tensors stay as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def to_double(x: torch.Tensor) -> torch.Tensor:
    """float64; on the CPU where the device has none (MPS)."""
    return (x.cpu() if x.device.type == MPS else x).double()


def in_float32(function):
    """Decorator: under autocast, too, the function computes in float32; tensors in sixteen bits are widened first.

    For functions of tensors, and for methods whose first argument after `self` is one.
    """

    @functools.wraps(function)
    def wrapped(*arguments, **named):
        device = next(a.device.type for a in (*arguments, *named.values()) if isinstance(a, torch.Tensor))
        if not in_autocast(device):
            return function(*arguments, **named)
        wide = lambda a: widen(a) if isinstance(a, torch.Tensor) else a
        with torch.autocast(device, enabled=False):
            return function(*map(wide, arguments), **{name: wide(a) for name, a in named.items()})

    return wrapped


def in_autocast(device: str) -> bool:
    """On this type of device. On `meta`, where only shapes are computed, there is none."""
    return device != "meta" and torch.is_autocast_enabled(device)


def as_autocast(x: torch.Tensor) -> torch.Tensor:
    """In the number format of the autocast that is on, if any."""
    return x.to(torch.get_autocast_dtype(x.device.type)) if in_autocast(x.device.type) else x
