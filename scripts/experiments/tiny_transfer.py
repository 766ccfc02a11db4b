"""A style transfer small enough to be trained from scratch in a minute: AdaConv, and AdaIN beside it, on pixels.

For tests of what a transfer can know of a style; to redraw photographs, use `StyleTransfer`.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from metrics.style_transfer.structure import luminance
from networks.adaconv import AdaptiveKernels, KernelPredictor, adaconv
from networks.layers import Conv2d, Linear
from networks.style_transfer.network import Level
from networks.style_transfer.style_kernels import StyleKernels
from torch_utils.cli import Progress
from torch_utils.ops import downsample2x
from training.style_transfer.textures import Texture, field_batch, texture_batch

TRANSFERS = ("adaconv", "adain", "predicted adain")


def lift(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Images [N, 3, H, W] and noise [N, C - 3, H/4, W/4] -> [N, C, H, W], the map that both transfers act on.

    The image's own channels, and noise that the decoder can make strokes of.
    """
    return torch.cat([images, F.interpolate(noise, scale_factor=4, mode="nearest")], dim=1)


class PixelStyleEncoder(nn.Module):
    """Images [N, 3, H, W] -> descriptors [N, depth, 3, 3]: three convolutions, means over all positions, a linear map.

    The means are of all three maps: the last one alone samples every eighth pixel, so it depends on a stripe's phase.
    """

    convs: Sequence[Conv2d]

    def __init__(self, depth: int, width: int):
        super().__init__()
        sizes = ((3, width, 7), (width, width, 5), (width, width, 3))
        convs = (Conv2d(n_in, n_out, side, gain=2**0.5) for n_in, n_out, side in sizes)
        self.convs = nn.ModuleList(convs)  # type: ignore[assignment]  # ModuleList does not say of what
        self.linear = Linear(3 * width, depth * 9)
        self.depth = depth

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x, means = images, []
        for conv in self.convs:
            x = F.leaky_relu(F.conv2d(x, conv.scaled_weight(), conv.bias, stride=2), 0.2)
            means.append(x.mean(dim=(2, 3)))
        pooled = torch.cat(means, dim=1)
        pooled = pooled * (pooled.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        return self.linear(pooled).unflatten(1, (self.depth, 3, 3))


class TinyTransfer(nn.Module):
    """Content and style images -> an image, all [N, 3, H, W] with sides that 4 divides.

    The decoder is the same for all: it works at a quarter of the size, at half of it, and at the full size. AdaIN acts on the
    lifted image. AdaConv acts there and before each level of the decoder, as in `StyleTransfer`. "predicted adain" is AdaConv
    with 1×1 kernels of single channels: a predicted scale and shift.
    """

    def __init__(self, transfer: str, channels: int = 24, depth: int = 16, width: int = 32):
        super().__init__()
        self.transfer, self.channels = transfer, channels
        self.levels = nn.ModuleList(
            [
                Level(channels, channels, 2, up=False, last=False),
                Level(channels, channels, 2, up=True, last=False),
                Level(channels, 3, 1, up=True, last=True),
            ]
        )
        if transfer != "adain":
            form: dict[str, Any] = {} if transfer == "adaconv" else dict(kernel_size=1, groups=channels)
            self.style_encoder = PixelStyleEncoder(depth, width)
            self.predictors = nn.ModuleList(
                KernelPredictor((depth, 3, 3), channels, channels, identity=0.5, **form) for _ in range(4)
            )

    def kernels(self, styles: torch.Tensor, noise: torch.Tensor) -> list[AdaptiveKernels | None]:
        if self.transfer != "adain":
            descriptor = self.style_encoder(styles)
            return [predictor(descriptor) for predictor in self.predictors]
        variance, mean = torch.var_mean(lift(styles, noise), dim=(2, 3), correction=0)
        one = torch.ones_like(mean)[:, :, None]
        return [AdaptiveKernels((variance + 1e-5).sqrt()[:, :, None, None, None], one, mean), None, None, None]

    def forward(self, contents: torch.Tensor, styles: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        first, *rest = self.kernels(styles, noise)
        x = F.avg_pool2d(adaconv(lift(contents, noise), *first), 4)
        for level, own in zip(self.levels, rest):
            x = level(x, StyleKernels(*own) if own else None)
        return 0.25 * x  # about a texture's standard deviation: large first gradients would spoil Adam's averages

    def noise(self, count: int, size: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(count, self.channels - 3, size // 4, size // 4, generator=generator)


class TextureLoss(nn.Module):
    """Gram matrices of fixed random filters at two scales (Ustyuzhaninov et al. 2016); colours' means and covariance.

    These are not the filters of the structure score, so that the loss is not the score.
    """

    bank: torch.Tensor

    def __init__(self, filters: int = 48, side: int = 9):
        super().__init__()
        bank = torch.randn(filters, 1, side, side, generator=torch.Generator().manual_seed(1))
        bank = bank - bank.mean(dim=(2, 3), keepdim=True)
        self.register_buffer("bank", bank / bank.flatten(1).norm(dim=1).view(-1, 1, 1, 1))

    def forward(self, output: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        loss = F.mse_loss(output.mean(dim=(2, 3)), style.mean(dim=(2, 3)))
        loss = loss + relative(covariance(output.flatten(2)), covariance(style.flatten(2)))
        one, other = luminance(output)[:, None], luminance(style)[:, None]
        for scale in range(2):
            loss = loss + relative(self.gram(one), self.gram(other))
            one, other = (one, other) if scale else (downsample2x(one), downsample2x(other))
        return loss

    def gram(self, light: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(light, self.bank, stride=2).relu().flatten(2)  # every second position is enough for a mean
        return x @ x.mT / x.shape[2]


def covariance(x: torch.Tensor) -> torch.Tensor:
    """[N, C, P] -> [N, C, C]"""
    x = x - x.mean(dim=2, keepdim=True)
    return x @ x.mT / x.shape[2]


def relative(output: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Squared distance of matrices [N, C, C] over the squared norm of the style's, mean over samples."""
    return ((output - style).square().sum(dim=(1, 2)) / style.square().sum(dim=(1, 2))).mean()


def content_loss(output: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Keeps large light and dark areas in place: luminance in cells of 16×16, with the content's at less contrast."""
    return F.mse_loss(F.avg_pool2d(luminance(output), 16), 0.3 * F.avg_pool2d(luminance(content), 16))


def train(
    transfer: str,
    steps: int,
    textures: dict[str, list[Texture]],  # by kind; a batch takes the kinds in turn
    size: int = 64,
    batch: int = 8,
    channels: int = 24,
    lr: float = 0.01,
    seed: int = 0,
) -> TinyTransfer:
    """Train a transfer from scratch; images and their order are the same for every transfer."""
    torch.manual_seed(seed)
    network, criterion = TinyTransfer(transfer, channels), TextureLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    choices, bar = list(textures.values()), Progress(transfer, steps, "step")
    for step in range(steps):
        pick = torch.randint(0, 10**6, (batch,), generator=generator).tolist()
        kinds = [choices[i % len(choices)] for i in range(batch)]
        styles = texture_batch([kind[n % len(kind)] for kind, n in zip(kinds, pick)], size, seed=step + 1)
        contents = field_batch(batch, size, seed=step + 1)
        output = network(contents, styles, network.noise(batch, size, generator))
        loss = criterion(output, styles) + 0.5 * content_loss(output, contents)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.update(step + 1)
    bar.close()
    return network.eval().requires_grad_(False)
