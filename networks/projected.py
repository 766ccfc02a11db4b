"""A discriminator that looks at an image through the feature maps of a frozen network.

Projected GANs (Sauer et al. 2021): maps of four stages of EfficientNet-Lite0 are mixed across channels and across scales by
random projections that never learn, and each of the four has a small discriminator. Beside an ordinary discriminator, which
sees pixels, that is vision-aided training (Kumari et al. 2022). With spectral norm, batch norm and hinge loss it wins outright
here, and the generator collapses; so it has the loss of the other discriminator, and R1 and R2 by the mixed maps.
"""

import contextlib
import functools
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from networks.efficientnet import NAME, WIDTHS, feature_maps, frozen, normalised
from networks.layers import Conv2d, Linear
from networks.logits import minibatch_std, of_label
from torch_utils.ops import ACTIVATION_GAIN, downsample2x, leaky_relu_, widen

SEEN = NAME  # a score on these features says little about a generator that was trained by them
DEVIATIONS = (9.0, 9.0, 7.0, 3.0)  # of the network's maps: of emoji and of photographs, at 96 to 224 pixels
CHANNELS = (32, 64, 128, 128)  # of the mixed maps
MAX_CHANNELS = 128  # of a head
SIDES = (96, 224)  # of images as the network sees them; 224 is what it was trained on
STRIDE = 32  # of its last map
KEPT = 125  # numbers for each pixel that it sees, at least, are kept for the gradient of an image
SHIFTS = 16  # that is, by half as many pixels to each side


def seen_size(img_resolution: tuple[int, int]) -> tuple[int, int]:
    """(height, width) to which images are brought: twice theirs within `SIDES`, in multiples of the network's stride."""
    longer = max(img_resolution)
    scale = min(max(2 * longer, SIDES[0]), SIDES[1]) / longer
    height, width = (max(round(side * scale / STRIDE), 1) * STRIDE for side in img_resolution)
    return height, width


class Projection(nn.Module):
    """A fixed, random 1×1 convolution that keeps the variance of white maps: [N, in, H, W] -> [N, out, H, W]."""

    weight: torch.Tensor

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.register_buffer("weight", torch.randn(out_channels, in_channels, 1, 1) / in_channels**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight)


class Head(nn.Module):
    """Maps [N, C, H, W] of one scale, one-hot c [N, c_dim] -> logits [N, 1]."""

    def __init__(self, channels: int, size: tuple[int, int], c_dim: int, mbstd_group_size: int):
        super().__init__()
        self.mbstd_group_size = mbstd_group_size
        self.down = nn.ModuleList()
        while min(size) > 6 and not any(side % 2 for side in size):
            wider = min(2 * channels, MAX_CHANNELS)
            self.down.append(Conv2d(channels, wider))
            channels, size = wider, (size[0] // 2, size[1] // 2)
        self.conv = Conv2d(channels + 1, channels)
        self.hidden = Linear(channels * math.prod(size), channels)
        self.out = Linear(channels, 1 if c_dim == 0 else channels)
        self.embed = Linear(c_dim, channels) if c_dim > 0 else None

    def forward(self, x: torch.Tensor, c: torch.Tensor | None, batches: int) -> torch.Tensor:
        for conv in self.down:
            x = leaky_relu_(conv(downsample2x(x), ACTIVATION_GAIN))
        x = leaky_relu_(self.conv(minibatch_std(x, self.mbstd_group_size, batches), ACTIVATION_GAIN))
        x = self.out(leaky_relu_(self.hidden(x.flatten(1), ACTIVATION_GAIN)))
        return x if self.embed is None else of_label(x, self.embed, c)


class ProjectedDiscriminator(nn.Module):
    """`features` of images, then their logits [N, 4], one for each scale."""

    def __init__(self, img_resolution: tuple[int, int], c_dim: int, mbstd_group_size: int):
        super().__init__()
        self.size = seen_size(img_resolution)
        sizes = [(self.size[0] // 2**i, self.size[1] // 2**i) for i in range(2, 6)]
        self.across_channels = nn.ModuleList(Projection(of, out) for of, out in zip(WIDTHS, CHANNELS))
        self.across_scales = nn.ModuleList(Projection(of, out) for of, out in zip(CHANNELS[1:], CHANNELS))
        self.heads = nn.ModuleList(Head(width, size, c_dim, mbstd_group_size) for width, size in zip(CHANNELS, sizes))

    def features(self, img: torch.Tensor, shift: tuple[int, int] = (SHIFTS // 2, SHIFTS // 2)) -> list[torch.Tensor]:
        """Images [N, img_channels, H, W] about [-1, 1] -> four mixed maps [N, CHANNELS, h, w], from fine to coarse.

        `shift`: rows and columns, from 0 to `SHIFTS`, by which all enlarged images are moved; half of that is none. A strided
        network sees some places better than others; where those never move, the generator draws a grid of them.
        """
        whole = torch.autocast("cpu", enabled=False) if img.device.type == "cpu" else contextlib.nullcontext()
        with whole:  # depthwise convolutions in sixteen bits are slow on CPUs
            x = F.pad(_resized(_as_rgb(widen(img)), self.size), [SHIFTS // 2] * 4, mode="replicate")
            x = x.narrow(2, shift[0], self.size[0]).narrow(3, shift[1], self.size[1])
            maps = feature_maps(frozen(x.device, x.dtype), normalised((x + 1) * 127.5))
            mixed = [mix(x / size) for mix, x, size in zip(self.across_channels, maps, DEVIATIONS)]
            for i in (2, 1, 0):  # from the coarsest on, each scale receives what the next has
                above = self.across_scales[i](mixed[i + 1])
                above = F.interpolate(above, mixed[i].shape[2:], mode="bilinear", align_corners=False)
                mixed[i] = (mixed[i] + above) * 0.5**0.5
        return mixed

    def forward(self, maps: list[torch.Tensor], c: torch.Tensor | None = None, batches: int = 1) -> torch.Tensor:
        """As in `Discriminator`; each logit depends on the map of its own scale."""
        return torch.cat([head(x, c, batches) for head, x in zip(self.heads, maps)], dim=1)


def _resized(img: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Enlarged by cubic interpolation, or shrunk by averages, which leave no false patterns: one product for each side."""
    rows, columns = (_resizing(old, new, img.device, img.dtype) for old, new in zip(img.shape[2:], size))
    return rows @ img @ columns.T


@functools.cache
def _resizing(old: int, new: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """[new, old], that brings columns of `old` numbers to `new`."""
    with torch.inference_mode(False):  # whoever needs it first
        one_by_one = torch.eye(old)[None, None]
        if new < old:
            return F.interpolate(one_by_one, (new, old), mode="area")[0, 0].to(device, dtype)
        return F.interpolate(one_by_one, (new, old), mode="bicubic", align_corners=False)[0, 0].to(device, dtype)


def _as_rgb(img: torch.Tensor) -> torch.Tensor:
    """[N, 1 to 4, H, W] -> [N, 3, H, W]: grey three times, and what is transparent on a middle grey."""
    colour, alpha = img.tensor_split([1 if img.shape[1] <= 2 else 3], dim=1)
    colour = colour.expand(-1, 3, -1, -1)
    return colour * (alpha + 1) / 2 if alpha.shape[1] else colour
