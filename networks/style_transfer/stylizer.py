"""A trained style transfer ready for use: encoder and network together, images in, images out."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from networks.adaconv import AdaptiveKernels
from networks.style_transfer.network import PAPER_STYLE_SIDE, PAPER_STYLE_SIZE, StyleTransfer
from networks.style_transfer.tiles import decode_in_tiles, encode_in_tiles
from networks.style_transfer.vgg import URLS, VGG, cover, load_vgg
from torch_utils.checkpoint import build, read_snapshot
from torch_utils.files import InputError
from torch_utils.precision import autocast


class Stylizer:
    """Images are RGB [N, 3, H, W] in [-1, 1], float32 as descriptors are. With bf16, features have sixteen bits."""

    def __init__(self, network: StyleTransfer, encoder: VGG, precision: str = "fp32"):
        """`encoder` with its weights as they are: it is rescaled here."""
        self.network, self.encoder, self.precision = network, encoder, precision
        encoder.rescale(network.encoder_means)

    @torch.no_grad()
    def encode(self, images: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """relu4_1 [N, 512, H/8, W/8], rounded up."""
        images = cover(images)
        with self._autocast():
            return encode_in_tiles(self.encoder, images, tile) if tile else self.encoder(images)[-1]

    @torch.no_grad()
    def describe(self, styles: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """Descriptors of style images. `ValueError` for a size that the style encoder does not take."""
        height, width = styles.shape[2:]
        if not self.network.adaptive and (height, width) != (PAPER_STYLE_SIDE, PAPER_STYLE_SIDE):  # `cover` would hide it
            raise ValueError(f"found a style image of {width}×{height} pixels, {PAPER_STYLE_SIZE}")
        with self._autocast():
            return self.network.describe(self.encode(styles, tile))

    @torch.no_grad()
    def decode(
        self,
        features: torch.Tensor,  # of `encode`
        kernels: Sequence[AdaptiveKernels | None],
        size: Sequence[int],  # height and width of the images
        tile: int | None = None,
    ) -> torch.Tensor:
        with self._autocast():
            if tile:
                images = decode_in_tiles(self.network, features, kernels, tile)
            else:
                images = self.network.decode(features, kernels)
        return images[:, :, : size[0], : size[1]]

    def stylize(
        self,
        contents: torch.Tensor,
        kernels: Sequence[AdaptiveKernels | None],  # of `network.kernels(descriptor)`; one style for each content
        tile: int | None = None,  # side of the tiles that go through the networks at once; None: the whole image
    ) -> torch.Tensor:
        return self.decode(self.encode(contents, tile), kernels, contents.shape[2:], tile)

    def _autocast(self) -> contextlib.AbstractContextManager:
        return autocast(self.precision, self.network.encoder_means.device)


def load_stylizer(
    path: str | Path, encoder_weights: Path | None = None, device: torch.device | str = "cpu", precision: str = "fp32"
) -> Stylizer:
    """From a snapshot of `train_style.py`; the encoder's weights from a file, or fetched once."""
    snapshot = read_snapshot(path)
    if snapshot.kind != "style_transfer":
        raise InputError(f"{path}: found a {snapshot.kind or 'network of unknown kind'}, wanted one of train_style.py")
    halves = {name: tensor.float() for name, tensor in snapshot.tensors.items() if tensor.dtype == torch.float16}
    network = build(dataclasses.replace(snapshot, tensors=snapshot.tensors | halves), StyleTransfer, path)
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} is not finite")
    network.eval().requires_grad_(False).to(device=device, memory_format=torch.channels_last)
    encoder = load_vgg(network.encoder, encoder_weights).to(device=device, memory_format=torch.channels_last)
    where = encoder_weights or URLS[network.encoder]
    check_encoder(network, encoder, f"{path}: was trained with other weights of {network.encoder} than {where}")
    return Stylizer(network, encoder, precision)


def check_encoder(network: StyleTransfer, encoder: VGG, problem: str) -> None:
    """`InputError` where these are not the weights that the network was trained with; roundings do not count."""
    found, wanted = encoder.norms(), network.encoder_norms
    if not ((found - wanted).abs() <= 0.01 * wanted).all():
        raise InputError(problem)
