"""The discriminator: residual blocks down to 4×4, minibatch standard deviation, and label projection."""

import torch
import torch.nn as nn

from networks.generator import START, channels_at, resolutions
from networks.layers import Conv2d, Linear
from torch_utils.ops import downsample2x, leaky_relu


class Block(nn.Module):
    """[N, in, H, W] -> [N, out, H/2, W/2]: two convolutions beside a 1×1 shortcut, their sum divided by √2."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv0 = Conv2d(in_channels, in_channels)
        self.conv1 = Conv2d(in_channels, out_channels)
        self.skip = Conv2d(in_channels, out_channels, kernel_size=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = leaky_relu(self.conv0(x))
        y = leaky_relu(self.conv1(downsample2x(y)))
        return (y + self.skip(downsample2x(x))) * 0.5**0.5


class Discriminator(nn.Module):
    """Images [N, img_channels, H, W], one-hot c [N, c_dim] -> logits [N, 1]."""

    def __init__(
        self,
        img_resolution: int = 64,
        img_channels: int = 3,
        c_dim: int = 0,  # number of classes; the logit is then a product with the label's embedding
        channel_base: int = 16384,  # width at resolution r is min(channel_base / r, channel_max)
        channel_max: int = 512,
        mbstd_group_size: int = 4,  # samples whose standard deviation is taken together; the batch where it does not divide it
    ):
        super().__init__()
        widths = [channels_at(side, channel_base, channel_max) for side in reversed(resolutions(img_resolution))]
        self.c_dim, self.mbstd_group_size = c_dim, mbstd_group_size
        self.from_rgb = Conv2d(img_channels, widths[0], kernel_size=1)
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip(widths, widths[1:]))
        self.conv = Conv2d(widths[-1] + 1, widths[-1])
        self.hidden = Linear(widths[-1] * START**2, widths[-1])
        self.out = Linear(widths[-1], 1 if c_dim == 0 else widths[-1])
        self.embed = Linear(c_dim, widths[-1]) if c_dim > 0 else None

    def forward(self, img: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        x = leaky_relu(self.from_rgb(img.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            x = block(x)
        x = leaky_relu(self.conv(minibatch_std(x, self.mbstd_group_size)))
        x = self.out(leaky_relu(self.hidden(x.flatten(1))))
        if self.embed is not None:
            if c is None:
                raise ValueError(f"this discriminator is conditional: it needs labels c [N, {self.c_dim}]")
            embedding = self.embed(c)
            embedding = embedding * (embedding.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
            x = (x * embedding).sum(dim=1, keepdim=True) * x.shape[1] ** -0.5  # projection (Miyato and Koyama 2018)
        return x


def minibatch_std(x: torch.Tensor, group_size: int) -> torch.Tensor:
    """Append one channel: the standard deviation over a group of samples, averaged over everything else.

    Karras et al. 2018, section 3. Sample i is grouped with i + N/group, i + 2N/group, …
    """
    n, c, h, w = x.shape
    group = group_size if n % group_size == 0 else n
    y = x.reshape(group, n // group, c, h, w)
    y = (y - y.mean(dim=0)).square().mean(dim=0)  # [N/group, C, H, W]
    y = (y + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [N/group]
    return torch.cat([x, y.repeat(group)[:, None, None, None].expand(n, 1, h, w)], dim=1)
