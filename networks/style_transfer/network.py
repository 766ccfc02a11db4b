"""Arbitrary style transfer with AdaConv (Chandran et al. 2021, section 3.2), and AdaIN's (Huang and Belongie 2017) beside it.

A frozen VGG (`vgg.py`) turns both images into features. The style encoder E_S turns the style's features into a descriptor W,
kernel predictors turn W into kernels at four scales, and a decoder, the mirror image of VGG, convolves the content's features
with them. AdaIN is the same decoder with a scale and a shift for each channel in front of it.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F

from networks.adaconv import KernelPredictor
from networks.adaconv_fast import centre, convolve
from networks.layers import Conv2d, Linear
from networks.style_transfer.style_kernels import StyleKernels, with_moments
from networks.style_transfer.vgg import CONVOLUTIONS, STRIDE, WIDTHS, StyleFeatures
from torch_utils.checkpoint import records_config
from torch_utils.ops import PADDINGS, average_to, pad, widen

LEVELS = ((512, 1), (256, 4), (128, 2), (64, 2))  # of the decoder: channels of the map that comes in, learned convolutions
PAPER_STYLE_SIDE = 256  # of style images, where the style encoder takes one size only
PAPER_STYLE_SIZE = f"wanted {PAPER_STYLE_SIDE}×{PAPER_STYLE_SIDE} for the paper's style encoder (the adaptive one takes any)"
TRANSFERS = ("adaconv", "adain", "predicted-adain")  # the last: a scale and a shift, but from AdaConv's style encoder
STATISTICS = ("learned", "exact")  # of the map that a style modulates first: as predicted, or the style's own
HIDDEN = 256  # units for the style's statistics
LIMITS = {"style_depth": (1, 2**12), "style_width": (1, 2**12), "kernel_size": (1, 5)}  # of what a file may ask for
KERNEL_SIZES = (1, 3, 5)


class StyleEncoder(nn.Module):
    """E_S (section 3.2.1 of the paper): relu4_1 of the style image [N, 512, h, w] -> W [N, s_d, 3, 3].

    Three blocks of 3×3 convolution, average pooling and LeakyReLU, then a fully connected layer. The paper's form takes
    images of 256×256, which leave 4×4 cells; the adaptive one averages whatever is left to 4×4, and takes any size.

    Ours: with `statistics`, means and deviations of relu1_1 … relu4_1 are seen beside relu4_1, so that colours and contrasts
    need not be guessed from it.
    """

    def __init__(self, style_depth: int, width: int, adaptive: bool, statistics: bool):
        super().__init__()
        self.convs = nn.ModuleList(Conv2d(LEVELS[0][0] if i == 0 else width, width, gain=2**0.5) for i in range(3))
        self.statistics = Linear(2 * sum(WIDTHS), HIDDEN, gain=2**0.5) if statistics else None
        self.linear = Linear(width * 16 + (HIDDEN if statistics else 0), style_depth * 9)
        self.style_depth, self.adaptive = style_depth, adaptive

    def forward(self, style: StyleFeatures) -> torch.Tensor:
        features, side = style.relu4_1, PAPER_STYLE_SIDE // STRIDE
        if not self.adaptive and features.shape[2:] != (side, side):
            height, width = (STRIDE * n for n in features.shape[2:])
            raise ValueError(f"found a style image of about {width}×{height} pixels, {PAPER_STYLE_SIZE}")
        x = features - 1  # the encoder's channels have unit mean
        for conv in self.convs:
            x = F.leaky_relu(F.avg_pool2d(conv(x), 2, ceil_mode=True), 0.2)
        x = average_to(x, 4).flatten(1)
        if self.statistics:
            moments = torch.stack([style.mean, style.std], dim=1).flatten(1)
            moments = moments.clamp(min=0).sqrt() - 1  # of the order of 1, as x is; rounding can bring a mean below zero
            x = torch.cat([widen(x), F.leaky_relu(self.statistics(moments), 0.2)], dim=1)
        return self.linear(x).unflatten(1, (self.style_depth, 3, 3))


class Level(nn.Module):
    """One scale of the decoder: nearest-neighbour ×2 (but for the first), predicted kernels, learned convolutions."""

    convs: Sequence[Conv2d]

    def __init__(
        self,
        channels: int,
        out_channels: int,
        convolutions: int,
        up: bool,
        last: bool,
        padding: str = "replicate",
        noise: bool = False,
        keep: bool = False,
    ):
        super().__init__()
        widths = [channels] * convolutions + [out_channels]
        self.convs = nn.ModuleList(  # type: ignore[assignment]  # ModuleList does not say of what
            Conv2d(n_in, n_out, gain=1 if last and i == convolutions - 1 else 2**0.5)
            for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]))
        )
        self.up, self.last, self.padding = up, last, padding
        self.keep = keep  # what the incoming map's statistics say; kernels change it, but need not say it again
        self.noise = nn.Parameter(torch.zeros(channels)) if noise else None  # how much of it each channel of x̂ gets

    def forward(self, x: torch.Tensor, kernels: StyleKernels | None = None, noise: torch.Tensor | None = None) -> torch.Tensor:
        return self.learned(self.modulate(x, kernels, noise))

    def modulate(self, x: torch.Tensor, kernels: StyleKernels | None, noise: torch.Tensor | None = None) -> torch.Tensor:
        """×2, noise, predicted kernels, and exact statistics where they are asked for."""
        if not kernels:
            return self.adapt(x, None, None, noise)
        centred, scale, mean = centre(x)
        kernels = kernels.upon(scale, mean) if self.keep else kernels
        return with_moments(self.adapt(centred, scale, kernels, noise), kernels)

    def adapt(
        self,
        x: torch.Tensor,
        scale: torch.Tensor | None,
        kernels: StyleKernels | None,
        noise: torch.Tensor | None,  # [N or 1, 1, H, W] in the size of the result
    ) -> torch.Tensor:
        """×2, noise and predicted kernels, for a map that `centre` has split; without kernels, for the map itself."""
        # Repetition leaves mean and variance as they are.
        x = F.interpolate(x, scale_factor=2, mode="nearest") if self.up else x
        if self.noise is not None and noise is not None:
            amount = self.noise.view(1, -1, 1, 1)
            x = torch.addcmul(x, noise.to(x.dtype), (amount if scale is None else amount / scale).to(x.dtype))
        return convolve(x, scale, *kernels[:3], self.padding) if kernels else x

    def learned(self, x: torch.Tensor) -> torch.Tensor:
        """The learned convolutions."""
        for layer in self.convs:
            x = self.activate(self.conv(x, layer), layer)
        return x

    def conv(self, x: torch.Tensor, layer: Conv2d) -> torch.Tensor:
        return F.conv2d(pad(x, 1, self.padding), layer.scaled_weight().to(x.dtype), layer.bias.to(x.dtype))

    def activate(self, x: torch.Tensor, layer: Conv2d) -> torch.Tensor:
        return x if self.last and layer is self.convs[-1] else F.relu(x)

    @property
    def factor(self) -> int:
        """Size of the result / size of the incoming map."""
        return 2 if self.up else 1

    @property
    def halo(self) -> int:
        """How many cells beyond its own, at most, the result of a cell of the incoming map depends on."""
        reach = len(self.convs) + max(KERNEL_SIZES) // 2
        return -(-reach // self.factor)


class StyleTransfer(nn.Module):
    """relu4_1 of a content image, and a style's descriptor -> an image, RGB about [-1, 1].

    The encoder is not part of it, so that a snapshot can be used with VGG's weights from elsewhere; its mean activations are.
    """

    config: dict
    levels: Sequence[Level]
    encoder_means: torch.Tensor
    encoder_norms: torch.Tensor

    @records_config
    def __init__(
        self,
        transfer: str = "adaconv",  # one of TRANSFERS
        encoder: str = "vgg19",  # one of networks.style_transfer.vgg.CONVOLUTIONS
        style_depth: int = 512,  # s_d of the descriptor [s_d, 3, 3]
        style_width: int = 512,  # channels of the style encoder
        adaptive: bool = True,  # style images of any size; False: 256×256, as in the paper
        kernel_size: int = 3,  # of the predicted kernels: 1, 3 or 5
        identity: float = 0.9,  # share of the initial kernels in a fixed identity
        lr_multiplier: float = 1.0,  # of the kernel predictors
        padding: str = "replicate",  # beyond the borders of the decoder's maps: one of torch_utils.ops.PADDINGS
        statistics: str = "learned",  # one of STATISTICS
        encoder_padding: str = "zeros",  # beyond the borders of the encoder's maps; VGG was trained with zeros
        noise: bool = False,  # beside the normalised maps: where a content is flat, kernels have something to make strokes of
    ):
        super().__init__()
        if transfer not in TRANSFERS or encoder not in CONVOLUTIONS:
            raise ValueError(f"found transfer {transfer!r} and encoder {encoder!r}, wanted {TRANSFERS}, {tuple(CONVOLUTIONS)}")
        if type(kernel_size) is not int or kernel_size not in KERNEL_SIZES:
            raise ValueError(f"kernel_size {kernel_size!r} must be one of {KERNEL_SIZES}")
        for name, value in (("padding", padding), ("encoder_padding", encoder_padding)):
            if value not in PADDINGS:
                raise ValueError(f"{name} {value!r} must be one of {', '.join(PADDINGS)}")
        if statistics not in STATISTICS:
            raise ValueError(f"statistics {statistics!r} must be one of {', '.join(STATISTICS)}")
        for name, flag in (("adaptive", adaptive), ("noise", noise)):
            if type(flag) is not bool:
                raise ValueError(f"{name} {flag!r} must be true or false")
        if not 0 <= identity <= 1 or not 0 < lr_multiplier < math.inf:  # AdaIN has no predictor that would refuse them
            raise ValueError(f"identity {identity} must be in [0, 1], lr_multiplier {lr_multiplier} above 0")
        self.transfer, self.encoder, self.encoder_padding = transfer, encoder, encoder_padding
        self.adaptive = adaptive or transfer == "adain"  # which has no style encoder
        self.exact = statistics == "exact" and transfer != "adain"  # whose statistics are exact anyway
        convolutions = CONVOLUTIONS[encoder]
        self.register_buffer("encoder_means", torch.ones(sum(n * c for n, (c, _) in zip(convolutions, reversed(LEVELS)))))
        self.register_buffer(
            "encoder_norms", torch.ones(sum(convolutions))
        )  # of its weights: says which weights these means are of
        if transfer != "adain":
            self.style_encoder = StyleEncoder(style_depth, style_width, adaptive, self.exact)
            self.predictors = nn.ModuleList(
                KernelPredictor(
                    (style_depth, 3, 3),
                    channels,
                    channels,
                    kernel_size if transfer == "adaconv" else 1,
                    groups=None if transfer == "adaconv" else channels,
                    lr_multiplier=lr_multiplier,
                    identity=identity,
                )
                for channels, _ in LEVELS
            )
        outs = [channels for channels, _ in LEVELS[1:]] + [3]
        self.levels = nn.ModuleList(  # type: ignore[assignment]  # likewise
            Level(channels, out, count, i > 0, i == len(LEVELS) - 1, padding, noise, keep=i > 0 and self.exact)
            for i, ((channels, count), out) in enumerate(zip(LEVELS, outs))
        )

    @property
    def descriptor_shape(self) -> tuple[int, ...]:
        depth = self.config["style_depth"]
        if self.transfer == "adain":
            return 2, LEVELS[0][0], 1
        return (9 * depth + 2 * LEVELS[0][0],) if self.exact else (depth, 3, 3)

    @property
    def smallest_side(self) -> int:
        """Pixels of an image: reflected borders need a cell of relu4_1 more than they reflect."""
        reflects = "reflect" in (self.config["padding"], self.encoder_padding)
        return STRIDE * (1 + max(self.config["kernel_size"] // 2, 1)) if reflects else STRIDE

    def encode_style(self, style: StyleFeatures) -> torch.Tensor:
        """Features of style images -> descriptors: W [N, s_d, 3, 3]; with AdaIN σ and μ of relu4_1 [N, 2, 512, 1]; with exact
        statistics all of these numbers in a row [N, 9 s_d + 1024]."""
        channels = LEVELS[0][0]
        moments = torch.stack([style.std[:, -channels:], style.mean[:, -channels:]], dim=1)
        if self.transfer == "adain":
            return moments[..., None]
        w = self.style_encoder(style)
        return torch.cat([w.flatten(1), moments.flatten(1)], dim=1) if self.exact else w

    def kernels(self, descriptor: torch.Tensor) -> list[StyleKernels | None]:
        """The kernels of each level of the decoder. AdaIN is AdaConv with 1×1 kernels and a group for every channel."""
        if self.transfer == "adain":
            std, mean = descriptor[..., 0].unbind(1)
            one = torch.ones_like(std)
            return [StyleKernels(std[:, :, None, None, None], one[:, :, None], mean), *[None] * (len(LEVELS) - 1)]
        if not self.exact:
            return [StyleKernels(*predictor(descriptor)) for predictor in self.predictors]
        channels = LEVELS[0][0]
        w, std, mean = descriptor.split([descriptor.shape[1] - 2 * channels, channels, channels], dim=1)
        first, *rest = (StyleKernels(*predictor(w.unflatten(1, (-1, 3, 3)))) for predictor in self.predictors)
        return [first._replace(std=std, mean=mean), *rest]

    def decode(self, features: torch.Tensor, kernels: Sequence[StyleKernels | None]) -> torch.Tensor:
        """relu4_1 of content images [N, 512, h, w] -> images [N, 3, 8h, 8w], float32 also under autocast."""
        for level, own, noise in zip(self.levels, kernels, self.noise_maps(features)):
            features = level(features, own, noise)
        return widen(features)

    def noise_maps(self, features: torch.Tensor) -> list[torch.Tensor | None]:
        """For each level of the decoder. In training one for each sample, from PyTorch's generator; in use always the same one,
        so that a picture can be made again and the frames of a video do not flicker."""
        n, _, height, width = features.shape
        maps: list[torch.Tensor | None] = []
        for i, level in enumerate(self.levels):
            height, width = (level.factor * side for side in (height, width))
            if level.noise is None:
                maps.append(None)
            elif self.training:
                maps.append(torch.randn(n, 1, height, width, device=features.device))
            else:
                generator = torch.Generator().manual_seed(i)  # of the CPU: the same on every device
                maps.append(torch.randn(1, 1, height, width, generator=generator).to(features.device))
        return maps

    def forward(self, features: torch.Tensor, descriptor: torch.Tensor) -> torch.Tensor:
        return self.decode(features, self.kernels(descriptor))
