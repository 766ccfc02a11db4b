"""A trained style transfer ready for use: encoder and network together, images in, images out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from networks.adaconv import AdaptiveKernels
from networks.style_transfer import StyleTransfer
from networks.tiles import stylize_in_tiles
from networks.vgg import VGG, cover, load_vgg
from torch_utils.checkpoint import build, read_snapshot
from torch_utils.files import InputError


class Stylizer:
    """Images are RGB [N, 3, H, W] in [-1, 1]."""

    def __init__(self, network: StyleTransfer, encoder: VGG):
        """`encoder` with its weights as they are: it is rescaled here."""
        self.network, self.encoder = network, encoder
        encoder.rescale(network.encoder_means)

    @torch.no_grad()
    def describe(self, styles: torch.Tensor) -> torch.Tensor:
        """Descriptors of style images. `ValueError` for a size that the style encoder does not take."""
        return self.network.describe(self.encoder(cover(styles))[-1])

    @torch.no_grad()
    def stylize(
        self,
        contents: torch.Tensor,
        kernels: Sequence[AdaptiveKernels | None],  # of `network.kernels(descriptor)`; one style for each content
        tile: int | None = None,  # side of the tiles that go through the networks at once; None: the whole image
    ) -> torch.Tensor:
        height, width = contents.shape[2:]
        contents = cover(contents)
        if tile:
            images = stylize_in_tiles(self.encoder, self.network, contents, kernels, tile)
        else:
            images = self.network.decode(self.encoder(contents)[-1], kernels)
        return images[:, :, :height, :width]


def load_stylizer(path: str | Path, encoder_weights: Path | None = None, device: torch.device | str = "cpu") -> Stylizer:
    """From a snapshot of `train_style.py`; the encoder's weights from a file, or fetched once."""
    snapshot = read_snapshot(path)
    if snapshot.kind != "style_transfer":
        raise InputError(f"{path}: found a {snapshot.kind or 'network of unknown kind'}, wanted one of train_style.py")
    halves = {name: tensor.float() for name, tensor in snapshot.tensors.items() if tensor.dtype == torch.float16}
    network = build(dataclasses.replace(snapshot, tensors=snapshot.tensors | halves), StyleTransfer, path)
    network.eval().requires_grad_(False).to(device=device, memory_format=torch.channels_last)
    encoder = load_vgg(network.encoder, encoder_weights).to(device=device, memory_format=torch.channels_last)
    check_encoder(network, encoder, f"{path}: was trained with other weights of {network.encoder} than {encoder_weights}")
    return Stylizer(network, encoder)


def check_encoder(network: StyleTransfer, encoder: VGG, problem: str) -> None:
    """`InputError` where these are not the weights that the network was trained with; roundings do not count."""
    found, wanted = encoder.norms(), network.encoder_norms
    if not ((found - wanted).abs() <= 0.01 * wanted).all():
        raise InputError(problem)
