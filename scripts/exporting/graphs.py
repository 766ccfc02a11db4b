"""What is exported: a network with its inputs by name, as one module of tensors.

The inputs that may be left out come last; a runtime that has no such inputs wants them all.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.utils.parametrize as parametrize

from networks.generator import Generator
from networks.style_transfer.network import PAPER_STYLE_SIDE, StyleTransfer
from networks.style_transfer.vgg import STRIDE, VGG, StyleFeatures, style_features
from torch_utils.images import to_uint8

NOISE_MODES = ("const", "none", "random")
NOISE_SIDE = 256  # pixels of the stored noise of a stylizer, which repeats beyond


@dataclass
class Graph:
    """A module whose `forward` takes `inputs` by name."""

    module: nn.Module
    inputs: dict[str, torch.Tensor]  # examples
    dynamic: dict[str, dict[int, str]]  # input -> dimension -> what it is
    output: str
    notes: dict[str, str]  # for whoever finds the file

    @property
    def optional(self) -> list[str]:
        """Inputs that may be left out: numbers, which are 1 then."""
        return [name for name, value in self.inputs.items() if value.ndim == 0]


# ---------------------------------------------------------------- generator


class Mapping(nn.Module):
    """z [N, z_dim], one-hot c [N, c_dim] of a conditional network, truncation_psi [] -> ws [N, num_ws, w_dim]."""

    def __init__(self, G: Generator):
        super().__init__()
        self.mapping = G.mapping

    def forward(self, z: torch.Tensor, truncation_psi: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        ws = self.mapping(z, c)
        return ws - (ws - self.mapping.w_avg) * (1 - truncation_psi)  # at 1, ws to the last bit


class Synthesis(nn.Module):
    """ws [N, num_ws, w_dim] -> images [N, C, H, W], about [-1, 1], or uint8."""

    def __init__(self, G: Generator, noise_mode: str, uint8: bool = False):
        super().__init__()
        self.synthesis, self.noise_mode, self.uint8 = G.synthesis, noise_mode, uint8

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        images = self.synthesis(ws, self.noise_mode)
        return to_uint8(images) if self.uint8 else images


class Drawing(nn.Module):
    """`Mapping` and `Synthesis`."""

    def __init__(self, G: Generator, noise_mode: str, uint8: bool = False):
        super().__init__()
        self.to_styles, self.draw = Mapping(G), Synthesis(G, noise_mode, uint8)

    def forward(self, z: torch.Tensor, truncation_psi: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.draw(self.to_styles(z, truncation_psi, c))


PARTS = ("all", "mapping", "synthesis")


def generator_graph(G: Generator, part: str = "all", noise_mode: str = "const", uint8: bool = False) -> Graph:
    """`part`: one of PARTS. `noise_mode`: one of NOISE_MODES; none, of a network without noise."""
    noise_mode = noise_mode if G.config["noise"] else "none"
    widths = {"z": G.z_dim} | ({"c": G.c_dim} if G.c_dim else {})
    inputs = {name: torch.randn(2, width) for name, width in widths.items()}
    if part == "synthesis":
        inputs = {"ws": torch.randn(2, G.num_ws, G.w_dim)}
    else:
        inputs["truncation_psi"] = torch.tensor(0.7)
    module = {
        "all": lambda: Drawing(G, noise_mode, uint8),
        "mapping": lambda: Mapping(G),
        "synthesis": lambda: Synthesis(G, noise_mode, uint8),
    }[part]()
    notes = {"kind": "generator", "part": part}
    if part != "mapping":
        notes |= {"noise_mode": noise_mode, "range": "uint8, 0 to 255" if uint8 else "about -1 to 1"}
    dynamic = {name: {0: "batch"} for name in inputs if name != "truncation_psi"}
    return Graph(module.eval(), inputs, dynamic, "ws" if part == "mapping" else "images", notes)


# ---------------------------------------------------------------- stylizer


class Stylizing(nn.Module):
    """content [N, 3, H, W], style [N or 1, 3, h, w] in [-1, 1], strength [] -> images [N, 3, H, W], about [-1, 1], or uint8.

    `strength` goes from the content's own descriptor at 0 to the style's at 1, as `stylize.py --strength`, but the content is
    looked at in its own size. Noise is stored, as no file can draw PyTorch's for every size: see `NoiseTiles`.
    """

    def __init__(self, network: StyleTransfer, encoder: VGG, noise_mode: str, uint8: bool = False):  # encoder: not rescaled
        super().__init__()
        self.network, self.encoder, self.uint8 = network, encoder, uint8
        self.noise = NoiseTiles(network, noise_mode)
        self.means = [mean.clamp(min=0.01 * mean.mean().clamp(min=1e-8).item()) for mean in self._first_means()]

    def _first_means(self) -> list[torch.Tensor]:
        """Mean activations of relu1_1 … relu4_1."""
        widths = [layer.out_channels for layer in self.encoder.convolutions]
        every = self.network.encoder_means.split(widths)
        return [mean for before, mean in zip([None, *every], every) if before is None or len(before) < len(mean)]

    def features(self, images: torch.Tensor) -> StyleFeatures:
        maps = self.encoder(cover(images, self.network.smallest_side))
        return style_features([x / mean.view(1, -1, 1, 1) for x, mean in zip(maps, self.means)])

    def forward(self, content: torch.Tensor, style: torch.Tensor, strength: torch.Tensor | None = None) -> torch.Tensor:
        seen = self.features(content)
        descriptor = self.network.encode_style(self.features(style))
        one_each = torch.arange(content.shape[0]).clamp(max=style.shape[0] - 1)
        descriptor = descriptor[one_each]
        if strength is not None:
            descriptor = descriptor - (descriptor - self.network.encode_style(seen)) * (1 - strength)
        x = seen.relu4_1
        for level, kernels, noise in zip(self.network.levels, self.network.kernels(descriptor), self.noise(x)):
            x = level(x, kernels, noise)
        # Not by slices: torch.export would ask whether they leave anything out.
        rows, columns = (torch.arange(side) for side in content.shape[2:])
        images = x.index_select(2, rows).index_select(3, columns)
        return to_uint8(images) if self.uint8 else images


class NoiseTiles(nn.Module):
    """relu4_1 -> noise [1, 1, H, W] of each level of the decoder, or None.

    `const`: a stored square of NOISE_SIDE, repeated. `random`: new in every run. `none`: none, as where the network has none.
    """

    def __init__(self, network: StyleTransfer, noise_mode: str):
        super().__init__()
        self.noise_mode, self.factors = noise_mode, [level.factor for level in network.levels]
        if not network.config["noise"]:
            self.noise_mode = "none"
        if self.noise_mode == "const":
            generator = torch.Generator().manual_seed(0)
            tiles = torch.randn(len(self.factors), NOISE_SIDE, NOISE_SIDE, generator=generator)
            self.tiles = nn.Parameter(tiles.half().float(), requires_grad=False)

    def forward(self, features: torch.Tensor) -> list[torch.Tensor | None]:
        height, width = features.shape[2:]
        maps: list[torch.Tensor | None] = []
        for i, factor in enumerate(self.factors):
            height, width = height * factor, width * factor
            if self.noise_mode == "const":
                rows, columns = torch.arange(height) % NOISE_SIDE, torch.arange(width) % NOISE_SIDE
                maps.append(self.tiles[i][rows][:, columns][None, None])
            else:
                maps.append(torch.randn(1, 1, height, width) if self.noise_mode == "random" else None)
        return maps


def cover(images: torch.Tensor, least: int) -> torch.Tensor:
    """`vgg.cover`, where sizes are known only when the graph runs."""
    for dim in (2, 3):
        size = images.shape[dim]
        grown = torch.sym_max((size + STRIDE - 1) // STRIDE * STRIDE, least)
        images = images.index_select(dim, torch.arange(grown).clamp(max=size - 1))
    return images


def stylizer_graph(network: StyleTransfer, encoder: VGG, noise_mode: str = "const", uint8: bool = False) -> Graph:
    """`encoder` with its weights as they are."""
    # Sizes are no multiples of 8, and no map has a side of 1: torch.export would take either for granted.
    inputs = {"content": torch.rand(2, 3, 163, 277) * 2 - 1, "style": torch.rand(3, 3, 325, 155) * 2 - 1}
    dynamic = {
        "content": {0: "batch", 2: "height", 3: "width"},
        "style": {0: "styles", 2: "style_height", 3: "style_width"},
    }
    if network.adaptive:
        inputs["strength"] = torch.tensor(0.7)
    else:  # the paper's style encoder takes one size, and contents have others
        inputs["style"], dynamic["style"] = torch.rand(3, 3, PAPER_STYLE_SIDE, PAPER_STYLE_SIDE) * 2 - 1, {0: "styles"}
    notes = {"kind": "style_transfer", "transfer": network.transfer, "noise_mode": noise_mode}
    notes |= {
        "range": "content and style -1 to 1; images " + ("uint8, 0 to 255" if uint8 else "about -1 to 1"),
        "encoder": f"{network.encoder} of Simonyan and Zisserman, CC BY 4.0",
    }
    return Graph(Stylizing(network, encoder, noise_mode, uint8).eval(), inputs, dynamic, "images", notes)


# ---------------------------------------------------------------- weights


class _Widened(nn.Module):
    """float16 -> float32, as a parametrisation."""

    def forward(self, half: torch.Tensor) -> torch.Tensor:
        return half.float()


def keep_halves(module: nn.Module) -> None:
    """Weights that are float16 numbers are kept as such, and widened where they are used: half the file, and exact."""
    for part in list(module.modules()):
        for name, value in list(part.named_parameters(recurse=False)):
            if value.dtype == torch.float32 and value.numel() > 1 and torch.equal(value, value.half().float()):
                setattr(part, name, nn.Parameter(value.detach().half(), requires_grad=False))
                parametrize.register_parametrization(part, name, _Widened(), unsafe=True)


@contextlib.contextmanager
def without_random_noise(module: nn.Module) -> Iterator[None]:
    """Where a graph draws random noise, it has none within the block."""
    random = [part for part in module.modules() if getattr(part, "noise_mode", None) == "random"]
    try:
        for part in random:
            part.noise_mode = "none"  # type: ignore[assignment]  # a string in these modules
        yield
    finally:
        for part in random:
            part.noise_mode = "random"  # type: ignore[assignment]
