"""The generator: a mapping network from noise to w, and a synthesis network whose layers w modulates."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn as nn

from networks.adaconv import PARTS
from networks.layers import Conv2d, Linear
from networks.modulation import MODULATIONS, STYLED_ONCE, parts_of
from networks.resolutions import channels_at, resolutions
from torch_utils.checkpoint import records_config
from torch_utils.ops import ACTIVATION_GAIN, bias_act, leaky_relu_, upsample2x, widen
from torch_utils.rng import BatchDraws

LIMITS = {  # of what a file may ask for, least and most: it must not ask for a generator that nobody could build
    "c_dim": (0, 2**16),
    "z_dim": (1, 2**14),
    "style_depth": (1, 2**10),
    "mapping_layers": (1, 64),
    "channel_base": (1, 2**30),
    "channel_max": (1, 2**12),
}
MAX_VALUES = 2**30  # of one image's feature map: 4 GB


class MappingNetwork(nn.Module):
    """z [N, z_dim], c [N, c_dim] or None -> ws [N, num_ws, w_dim].

    The last layer is linear, so that at first w is white, as kernel predictors expect a descriptor to be.
    """

    w_avg: torch.Tensor

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_ws: int, num_layers: int, lr_multiplier: float = 0.01):
        super().__init__()
        self.c_dim, self.num_ws = c_dim, num_ws
        self.embed = Linear(c_dim, z_dim) if c_dim > 0 else None
        widths = [z_dim * (2 if c_dim > 0 else 1)] + [w_dim] * num_layers
        self.layers = nn.ModuleList(Linear(i, o, lr_multiplier=lr_multiplier) for i, o in zip(widths, widths[1:]))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,  # one-hot labels
        truncation_psi: float = 1,  # pulls w towards the average w: not at all at 1, entirely at 0
        truncation_cutoff: int | None = None,  # how many of the ws are pulled, from the first; None: all
    ) -> torch.Tensor:
        x = _unit(z)
        if self.embed is not None:
            if c is None:
                raise ValueError(f"this generator is conditional: it needs labels c [N, {self.c_dim}]")
            x = torch.cat([x, _unit(self.embed(c))], dim=1)
        for i, layer in enumerate(self.layers):
            last = i + 1 == len(self.layers)
            x = layer(x) if last else leaky_relu_(layer(x, ACTIVATION_GAIN))
        ws = x.unsqueeze(1).repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            ws[:, :truncation_cutoff] = self.w_avg.lerp(ws[:, :truncation_cutoff], truncation_psi)
        return ws

    def update_w_avg(self, mean: torch.Tensor) -> None:
        """By the mean w [w_dim] of a batch."""
        self.w_avg.lerp_(mean.detach().to(self.w_avg.dtype), 0.002)


class SynthesisLayer(nn.Module):
    """Modulation and convolution, then noise, bias and activation."""

    noise_const: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: tuple[int, int],  # height and width of the result
        up: bool,
        noise: bool,
        modulation: type,
        **options,  # of the modulation
    ):
        super().__init__()
        self.modulation = modulation(in_channels, out_channels, w_dim, up=up, **options)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise = noise
        if noise:
            self.noise_strength = nn.Parameter(torch.zeros([]))
            self.register_buffer("noise_const", torch.randn(resolution))

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, noise_mode: str, draws: BatchDraws | None, **parts: torch.Tensor
    ) -> torch.Tensor:
        x = self.modulation(x, w, **parts)
        if self.noise and noise_mode == "random":
            noise = draws.normal(x, 1, *x.shape[2:]) if draws else torch.randn_like(x[:, :1])
            x = x + noise * self.noise_strength
        elif self.noise and noise_mode == "const":
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        return bias_act(x, self.bias)


class SynthesisNetwork(nn.Module):
    """ws [N, num_ws, w_dim] -> images [N, img_channels, H, W], about [-1, 1]. The image is the sum of all levels' to-RGB.

    There is a w for each layer; but one in all where the style enters once, with the modulation `none`.

    `growth` says how much of the network is in use: 2.3 means that levels 0, 1 and 2 are, and level 3 is faded in by 0.3.
    """

    def __init__(
        self,
        w_dim: int,
        levels: list[tuple[int, int]],  # of `resolutions`
        img_channels: int,
        channel_base: int,
        channel_max: int,
        noise: bool,
        modulation: str,
        modulation_options: dict,
        growth: float | None,
    ):
        super().__init__()
        self.w_dim, self.resolutions = w_dim, levels
        self.growth = growth
        self.modulation = modulation
        self.parts = parts_of(modulation_options.get("parts")) if modulation == "adaconv" else ()  # of kernels: predicted ones
        widths = [channels_at(resolution, channel_base, channel_max) for resolution in levels]
        if max(width * math.prod(resolution) for width, resolution in zip(widths, levels)) > MAX_VALUES:
            raise ValueError(f"{widths[-1]} channels at {levels[-1]} pixels: feature maps would take more than 4 GB")
        layer = dict(noise=noise, modulation=MODULATIONS[modulation], **modulation_options)
        first = layer | dict(modulation=STYLED_ONCE.get(modulation, MODULATIONS[modulation]))
        self.const = nn.Parameter(torch.randn(widths[0], *levels[0]))
        self.layers = nn.ModuleList([SynthesisLayer(widths[0], widths[0], w_dim, levels[0], up=False, **first)])
        for resolution, before, width in zip(levels[1:], widths, widths[1:]):
            self.layers.append(SynthesisLayer(before, width, w_dim, resolution, up=True, **layer))
            self.layers.append(SynthesisLayer(width, width, w_dim, resolution, up=False, **layer))
        kernel_size, (height, width) = modulation_options.get("kernel_size", 3), levels[0]
        if modulation_options.get("padding") == "reflect" and kernel_size // 2 >= min(height, width):
            raise ValueError(f"kernel_size {kernel_size} is too large to reflect the smallest map, {width}×{height}")
        gain = len(widths) ** -0.5  # to-RGB outputs add up to unit variance
        self.to_rgb = nn.ModuleList(Conv2d(width, img_channels, kernel_size=1, gain=gain) for width in widths)
        self.num_ws = 1 if modulation in STYLED_ONCE else len(self.layers)

    def forward(
        self,
        ws: torch.Tensor,
        noise_mode: str = "const",
        full_size: bool = True,
        parts: Mapping[str, torch.Tensor] | None = None,
        draws: BatchDraws | None = None,  # of random noise; None: torch's global generator
    ) -> torch.Tensor:
        """Without `full_size`, images as large as the network has grown: [N, img_channels, *self.resolutions[ceil(growth)]].

        `parts` (AdaConv only): other ws, from which one part of every layer's kernels is predicted: "spatial" (structure),
        "pointwise" (how channels mix) or "bias" (their offsets).
        """
        if not set(parts or ()) <= set(self.parts):
            wanted = ", ".join(self.parts or PARTS)
            raise ValueError(f"found parts {', '.join(parts or ())} of {self.modulation}, wanted {wanted} of adaconv")
        if noise_mode not in ("const", "random", "none"):
            raise ValueError(f"noise_mode {noise_mode!r} must be const, random or none")
        for name, given in {"ws": ws, **(parts or {})}.items():
            if given.shape[1:] != (self.num_ws, self.w_dim):
                raise ValueError(f"{name} {list(given.shape)} must be [N, {self.num_ws}, {self.w_dim}]")
        top = len(self.to_rgb) - 1
        growth = top if self.growth is None else self.growth
        styles = (ws if self.num_ws > 1 else ws.expand(-1, len(self.layers), -1)).unbind(1)
        x = self.const.unsqueeze(0).repeat(styles[0].shape[0], 1, 1, 1).contiguous(memory_format=torch.channels_last)
        of = lambda i: {name: w[:, i] for name, w in (parts or {}).items()}
        layer = lambda i, x: self.layers[i](x, styles[i], noise_mode, draws, **of(i))
        x = layer(0, x)
        img = widen(self.to_rgb[0](x))
        for level in range(1, math.ceil(growth) + 1):
            x = layer(2 * level, layer(2 * level - 1, x))
            fade = min(growth - (level - 1), 1)  # 0 … 1, of the level that is being faded in
            new = self.to_rgb[level](x)
            img = upsample2x(img) + (new if fade == 1 else new * fade)
        for _ in range(top - math.ceil(growth) if full_size else 0):
            img = upsample2x(img)
        return img


class Generator(nn.Module):
    """Noise to images. `G(z)` is `G.synthesis(G.mapping(z))`."""

    config: dict

    @records_config
    def __init__(
        self,
        img_resolution: int | tuple[int, int] = 64,  # side of the images, or (height, width): see `resolutions.resolutions`
        img_channels: int = 3,  # 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA
        c_dim: int = 0,  # number of classes; 0: unconditional
        z_dim: int = 512,  # noise
        modulation: str = "adaconv",  # one of MODULATIONS
        channel_base: int = 16384,  # width at resolution r is min(channel_base / r, channel_max)
        channel_max: int = 512,
        style_depth: int = 64,  # s_d of the descriptor [s_d, 3, 3]; w_dim = 9·s_d
        mapping_layers: int = 2,
        noise: bool = True,  # every layer adds noise of a learned strength
        modulation_options: dict | None = None,  # further arguments of the modulation's constructor
        growth: float | None = None,  # for progressive growing, see `SynthesisNetwork`; None: all levels are in use
    ):
        super().__init__()
        if modulation not in MODULATIONS:
            raise ValueError(f"modulation {modulation!r} must be one of {', '.join(MODULATIONS)}")
        if not 1 <= img_channels <= 4:
            raise ValueError(f"img_channels {img_channels} must be 1 to 4")
        if not 0 <= c_dim <= LIMITS["c_dim"][1]:  # labels come from a dataset's file
            raise ValueError(f"c_dim {c_dim} must be 0 to {LIMITS['c_dim'][1]}")
        if min(z_dim, style_depth, mapping_layers) < 1:
            raise ValueError(f"z_dim {z_dim}, style_depth {style_depth}, mapping_layers {mapping_layers} must be 1 or more")
        levels = resolutions(img_resolution)
        if growth is not None and not 0 <= growth <= len(levels) - 1:
            raise ValueError(f"growth {growth!r} must be 0 to {len(levels) - 1}")
        height, width = levels[-1]
        img_resolution = height if height == width else (height, width)
        options = default_options(modulation) | (modulation_options or {})
        self.config |= dict(img_resolution=img_resolution, modulation_options=options)  # in full: defaults may change
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, 9 * style_depth
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = SynthesisNetwork(
            self.w_dim, levels, img_channels, channel_base, channel_max, noise, modulation, options, growth
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, c_dim, self.w_dim, self.num_ws, mapping_layers)

    @property
    def growth(self) -> float | None:
        return self.synthesis.growth

    @growth.setter
    def growth(self, value: float | None) -> None:
        self.synthesis.growth = self.config["growth"] = value

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
        noise_mode: str = "const",
    ) -> torch.Tensor:
        """z [N, z_dim], one-hot c [N, c_dim] -> images [N, img_channels, H, W]."""
        return self.synthesis(self.mapping(z, c, truncation_psi, truncation_cutoff), noise_mode)


def default_options(modulation: str) -> dict:
    """Those arguments of a modulation's constructor that a generator does not set itself.

    But `parts`: where all are predicted, snapshots do not have it, as from before there was a choice.
    """
    parameters = inspect.signature(MODULATIONS[modulation]).parameters
    return {name: parameters[name].default for name in option_types(modulation) if name != "parts"}


def option_types(modulation: str) -> dict[str, Any]:
    """Name -> type of those arguments that a generator does not set itself."""
    parameters = inspect.signature(MODULATIONS[modulation]).parameters.values()
    return {p.name: p.annotation for p in parameters if p.name not in ("in_channels", "out_channels", "w_dim", "up")}


def _unit(x: torch.Tensor) -> torch.Tensor:
    """Scale each row to unit second moment."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
