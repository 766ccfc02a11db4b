"""The discriminator: residual blocks down to the smallest resolution, minibatch standard deviation, and label projection."""

import math
from typing import Any

import torch
import torch.nn as nn

from networks.layers import Conv2d, Linear
from networks.logits import GROUP, minibatch_std, of_label
from networks.projected import ProjectedDiscriminator
from networks.resolutions import channels_at, resolutions
from torch_utils.ops import ACTIVATION_GAIN, downsample2x, leaky_relu_


class Block(nn.Module):
    """[N, in, H, W] -> [N, out, H/2, W/2]: two convolutions beside a 1×1 shortcut, their sum divided by √2."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv0 = Conv2d(in_channels, in_channels)
        self.conv1 = Conv2d(in_channels, out_channels)
        self.skip = Conv2d(in_channels, out_channels, kernel_size=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = leaky_relu_(self.conv0(x, ACTIVATION_GAIN))
        y = leaky_relu_(self.conv1(downsample2x(y)))  # ACTIVATION_GAIN / √2 is 1
        return self.skip(downsample2x(x), 0.5**0.5).add_(y)


class Discriminator(nn.Module):
    """Images [N, img_channels, H, W], one-hot c [N, c_dim] -> logits [N, 1]."""

    def __init__(
        self,
        img_resolution: int | tuple[int, int] = 64,  # side of the images, or (height, width)
        img_channels: int = 3,
        c_dim: int = 0,  # number of classes; the logit is then a product with the label's embedding
        channel_base: int = 16384,  # width at resolution r is min(channel_base / r, channel_max)
        channel_max: int = 512,
        mbstd_group_size: int = GROUP,  # all of the batch share one where this does not divide it
        growing: bool = False,  # whether smaller images are accepted too, as `growth` says: for progressive growing
        projected: bool = False,  # has a second discriminator, `.projected`, which is asked by itself
    ):
        super().__init__()
        levels = resolutions(img_resolution)[::-1]
        widths = [channels_at(level, channel_base, channel_max) for level in levels]
        self.c_dim, self.mbstd_group_size = c_dim, mbstd_group_size
        self.growth: float | None = None  # as in the generator's synthesis network
        self.from_rgb = nn.ModuleList(Conv2d(img_channels, width, kernel_size=1) for width in widths[: None if growing else 1])
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip(widths, widths[1:]))
        self.conv = Conv2d(widths[-1] + 1, widths[-1])
        self.hidden = Linear(widths[-1] * math.prod(levels[-1]), widths[-1])
        self.out = Linear(widths[-1], 1 if c_dim == 0 else widths[-1])
        self.embed = Linear(c_dim, widths[-1]) if c_dim > 0 else None
        self.projected = ProjectedDiscriminator(levels[0], c_dim, mbstd_group_size) if projected else None

    def freeze(self, count: int) -> None:
        """Let the first `count` blocks, and from-RGB before them, learn nothing (FreezeD: Mo, Cho and Shin 2020)."""
        for module in [self.from_rgb, *self.blocks][: count + 1] if count else []:
            module.requires_grad_(False)

    def last_layers(self) -> list[nn.Module]:
        """Those that give logits."""
        heads: Any = self.projected.heads if self.projected else ()
        return [self.out, *(head.out for head in heads)]

    def forward(self, img: torch.Tensor, c: torch.Tensor | None = None, batches: int = 1) -> torch.Tensor:
        """`batches`: how many batches img consists of, one behind the other; each is rated as if it were alone."""
        growth = len(self.blocks) if self.growth is None else self.growth
        start = len(self.blocks) - math.ceil(growth)  # blocks before it are not in use yet
        fade = growth - (math.ceil(growth) - 1)  # 0 … 1, of the block that is being faded in
        img = img.contiguous(memory_format=torch.channels_last)
        x = leaky_relu_(self.from_rgb[start](img, ACTIVATION_GAIN))
        for i, block in enumerate(self.blocks[start:], start):
            x = block(x)
            if i == start and fade < 1:
                small = leaky_relu_(self.from_rgb[start + 1](downsample2x(img), ACTIVATION_GAIN))
                x = torch.lerp(small, x, fade)
        x = leaky_relu_(self.conv(minibatch_std(x, self.mbstd_group_size, batches), ACTIVATION_GAIN))
        x = self.out(leaky_relu_(self.hidden(x.flatten(1), ACTIVATION_GAIN)))
        return x if self.embed is None else of_label(x, self.embed, c)
