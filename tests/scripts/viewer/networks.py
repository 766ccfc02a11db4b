"""Small networks in files, for the viewer."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from networks.generator import Generator
from tests.style_fixtures import random_network, random_vgg
from torch_utils.checkpoint import save_snapshot

SIZES = dict(channel_base=256, channel_max=16, z_dim=8, style_depth=2)


def save_generator(path: Path, seed: int = 0, side: int = 16, names: list[str] | None = None, **options) -> Path:
    torch.manual_seed(seed)
    G = Generator(side, **SIZES | options).eval()
    for parameter in G.synthesis.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for layer in G.synthesis.layers:
        layer.noise_strength.data.fill_(0.3)
    save_snapshot(path, "generator", G, **({"label_names": names} if names else {}))
    return path


def save_stylizer(folder: Path) -> tuple[Path, Path]:
    """The network, and its encoder's weights."""
    weights, network = folder / "vgg.safetensors", folder / "style.safetensors"
    save_file({name: value.contiguous() for name, value in random_vgg().state_dict().items()}, weights)
    save_snapshot(network, "style_transfer", random_network())
    return network, weights
