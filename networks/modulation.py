"""How a style w acts on a feature map: AdaConv, the two modulations that it replaces, a bank of kernels, and nothing at all.

All have one signature. Each includes the learned convolution: normalise and modulate at the incoming resolution, antialiased ×2
where the layer upsamples, convolve. forward(x [N, in, H, W], w [N, w_dim]) -> [N, out, H, W], or [N, out, 2H, 2W] with up=True.
"""

import torch
import torch.nn as nn

from networks.adaconv import PARTS, AdaptiveKernels, KernelPredictor, adaconv, demodulated, largest_divisor
from networks.adaconv_fast import centre
from networks.layers import Conv2d, Linear
from networks.sample_conv import sample_conv
from torch_utils.ops import PADDINGS, as_autocast, in_float32, upsample2x

MAX_KERNELS = 2**8  # of a bank: a file must not ask for one that nobody could build


class AdaConv(nn.Module):
    """Predicted kernels (Chandran et al. 2021, equation 3). w, reshaped to [s_d, 3, 3], is the descriptor."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        up: bool = False,
        kernel_size: int = 3,  # of the predicted kernels
        per_group: int | None = None,  # channels per group, at most; None: the paper's schedule
        lr_multiplier: float = 4.0,  # of the kernel predictor
        identity: float = 0.9,  # share of the initial kernels in a fixed identity
        demodulate: bool = False,  # scale the kernels so that a white map keeps its variance
        padding: str = "zeros",  # beyond the borders of the normalised map: one of torch_utils.ops.PADDINGS
        parts: str | None = None,  # that w predicts, as in "spatial+bias"; the rest is learned, one for all w. None: all
    ):
        super().__init__()
        if w_dim % 9:
            raise ValueError(f"w_dim={w_dim} must be 9·s_d: w is the descriptor [s_d, 3, 3] of AdaConv")
        if padding not in PADDINGS:
            raise ValueError(f"padding {padding!r} must be one of {', '.join(PADDINGS)}")
        if per_group is not None and per_group < 1:
            raise ValueError(f"per_group {per_group} must be 1 or more")
        self.style_shape = (w_dim // 9, 3, 3)
        groups = None if per_group is None else in_channels // largest_divisor(in_channels, per_group)
        self.predictor = KernelPredictor(
            self.style_shape, in_channels, in_channels, kernel_size, groups, lr_multiplier, identity, parts_of(parts)
        )
        self.conv = Conv2d(in_channels, out_channels, bias=False)
        self.up, self.demodulate, self.padding = up, demodulate, padding

    def kernels(self, w: torch.Tensor, **parts: torch.Tensor) -> AdaptiveKernels:
        """Those of w [N, w_dim], but for `parts`: spatial, pointwise or bias as another [N, w_dim] has them."""
        predict = lambda w: self.predictor(w.unflatten(1, self.style_shape))
        kernels = predict(w)._replace(**{part: getattr(predict(other), part) for part, other in parts.items()})
        return demodulated(kernels) if self.demodulate else kernels

    def forward(self, x: torch.Tensor, w: torch.Tensor, **parts: torch.Tensor) -> torch.Tensor:
        x = adaconv(x, *self.kernels(w, **parts), padding=self.padding)
        return self.conv(upsample2x(x) if self.up else x)


class AdaIN(nn.Module):
    """A scale and a shift per channel of the normalised map (equation 1; Huang and Belongie 2017; Karras et al. 2019)."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, up: bool = False, lr_multiplier: float = 1.0):
        super().__init__()
        self.scale = Linear(w_dim, in_channels, bias_init=1, lr_multiplier=lr_multiplier)
        self.shift = Linear(w_dim, in_channels, lr_multiplier=lr_multiplier)
        self.conv = Conv2d(in_channels, out_channels, bias=False)
        self.up = up

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x, inverse_std, _ = centre(x)
        scale, shift = inverse_std * self.scale(w)[:, :, None, None], self.shift(w)[:, :, None, None]
        x = torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))
        return self.conv(upsample2x(x) if self.up else x)


class Demodulation(nn.Module):
    """Weight demodulation (Karras et al. 2020, section 2.2), as scales on the activations before and after the convolution.

    Convolving with weights w'_ijk = s_i·w_ijk, then dividing by sqrt(Σ_ik w'_ijk² + ε), is the same as scaling the input
    by s and the output by d_j = rsqrt(Σ_i s_i² Σ_k w_ijk² + ε): no kernel per sample is ever made.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, up: bool = False, lr_multiplier: float = 1.0):
        super().__init__()
        self.scale = Linear(w_dim, in_channels, bias_init=1, lr_multiplier=lr_multiplier)
        self.conv = Conv2d(in_channels, out_channels, bias=False)
        self.up = up

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        scale = self.scale(w)  # [N, in]
        demodulation = inverse_norm(scale, self.conv.scaled_weight())  # [N, out]
        x = x * scale[:, :, None, None].to(x.dtype)
        x = self.conv(upsample2x(x) if self.up else x)
        return x * demodulation[:, :, None, None].to(x.dtype)


@in_float32
def inverse_norm(scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """rsqrt(Σ_i s_i² Σ_k w_ijk² + ε), by one small matrix product. scale [N, in], weight [out, in, k, k] -> [N, out]."""
    return (scale.square() @ weight.square().sum(dim=(2, 3)).t() + 1e-8).rsqrt()


class KernelBank(nn.Module):
    """Sample-adaptive kernel selection (GigaGAN: Kang et al. 2023, section 3.1), then weight demodulation.

    A softmax of an affine map of w weighs the stored kernels K_n; their sum is modulated and demodulated as in `Demodulation`,
    which a bank of one kernel is. Each sample is convolved with a kernel of its own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        up: bool = False,
        kernels: int = 4,  # stored ones: N of the paper
        lr_multiplier: float = 1.0,  # of both affine maps
    ):
        super().__init__()
        if type(kernels) is not int or not 1 <= kernels <= MAX_KERNELS:
            raise ValueError(f"kernels {kernels!r} must be a whole number from 1 to {MAX_KERNELS}")
        self.scale = Linear(w_dim, in_channels, bias_init=1, lr_multiplier=lr_multiplier)
        self.conv = Conv2d(in_channels, kernels * out_channels, bias=False)  # holds all of them, one below the other
        self.selection = Linear(w_dim, kernels, lr_multiplier=lr_multiplier)
        self.kernel_count, self.up = kernels, up

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        bank = self.conv.scaled_weight().unflatten(0, (self.kernel_count, -1))
        kernel = selected_kernels(self.selection(w), self.scale(w), bank)
        x = upsample2x(x) if self.up else x
        x = as_autocast(x)
        return sample_conv(x, kernel.to(x.dtype), None, padding=1)


@in_float32
def selected_kernels(logits: torch.Tensor, scale: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """logits [N, K], scale [N, in], bank [K, out, in, k, k] -> [N, out, in, k, k], each output's kernel of unit norm."""
    kernel = (logits.softmax(dim=1) @ bank.flatten(1)).unflatten(1, bank.shape[1:]) * scale[:, None, :, None, None]
    return kernel * (kernel.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()


class Unmodulated(nn.Module):
    """The convolution alone; w and `lr_multiplier` have no say. Of the modulation `none`, all layers but the first."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, up: bool = False, lr_multiplier: float = 1.0):
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, bias=False)
        self.up = up

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return self.conv(upsample2x(x) if self.up else x)


class StyledConstant(Unmodulated):
    """The first layer of `none`: each channel of the learned constant is scaled by an affine map of w, and then convolved.

    So the noise enters R3GAN's generator (Huang et al. 2024), which has no modulation either. At first the scale is white for
    a white w, with a mean of 0: the map keeps the constant's variance, and all of it depends on the style.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, up: bool = False, lr_multiplier: float = 1.0):
        super().__init__(in_channels, out_channels, w_dim, up)
        self.scale = Linear(w_dim, in_channels, lr_multiplier=lr_multiplier)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return super().forward(x * self.scale(w)[:, :, None, None].to(x.dtype), w)


MODULATIONS = {"adaconv": AdaConv, "adain": AdaIN, "demod": Demodulation, "bank": KernelBank, "none": Unmodulated}
STYLED_ONCE = {"none": StyledConstant}  # where the style enters at the learned constant alone: the first layer


def parts_of(joined: str | None) -> tuple[str, ...]:
    """Of an AdaConv layer's `parts`, in their usual order. `ValueError` for others and for none."""
    chosen = set(PARTS) if joined is None else set(joined.split("+")) if isinstance(joined, str) else {repr(joined)}
    if not chosen <= set(PARTS):
        raise ValueError(f"parts {joined!r} must be some of {', '.join(PARTS)}, joined by +")
    return tuple(part for part in PARTS if part in chosen)
