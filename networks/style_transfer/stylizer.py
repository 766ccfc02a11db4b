"""A trained style transfer ready for use: encoder and network together, images in, images out."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from networks.style_transfer.network import (
    LIMITS,
    PAPER_STYLE_SIDE,
    PAPER_STYLE_SIZE,
    StyleTransfer,
)
from networks.style_transfer.regions import Regions, decode_in_regions, own_descriptor
from networks.style_transfer.style_kernels import StyleKernels, with_parts, with_statistics
from networks.style_transfer.tiles import decode_in_tiles, encode_in_tiles, style_features_in_tiles
from networks.style_transfer.vgg import URLS, VGG, cover, load_vgg, style_features
from torch_utils.checkpoint import build, read_snapshot
from torch_utils.files import InputError
from torch_utils.images import as_square, from_uint8, size_with_short_side, to_uint8, with_short_side
from torch_utils.precision import autocast

WHOLE = 2**20  # pixels; up to here, a picture goes through the networks as a whole
TILE = 512  # side of the tiles of larger pictures


class Stylizer:
    """Images are RGB [N, 3, H, W] in [-1, 1], float32 as descriptors are. With bf16, features have sixteen bits.

    Pictures are single images as files have them, uint8 RGB [3, H, W]; `strength`, `statistics`, `parts`, `style_size` and
    `tile` are for these.
    """

    def __init__(
        self,
        network: StyleTransfer,
        encoder: VGG,  # with its weights as they are: it is rescaled here
        precision: str = "fp32",
        strength: float = 1,  # 0: the content's own descriptor, 1: the style's; above 1, beyond it
        style_size: int = PAPER_STYLE_SIDE,  # short side that style pictures are brought to
        tile: int | None = None,  # side of tiles; 0: never; None: TILE for pictures of more than WHOLE pixels
    ):
        self.network, self.encoder, self.precision = network, encoder, precision
        self.strength, self.style_size, self.tile = strength, style_size, tile
        self.statistics: torch.Tensor | None = None  # descriptor that gives each channel's mean and spread; AdaConv only
        self.parts: dict[str, torch.Tensor] = {}  # descriptors that give parts of kernels, one of PARTS each; AdaConv only
        encoder.rescale(network.encoder_means)

    @torch.no_grad()
    def encode(self, images: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """relu4_1 [N, 512, H/8, W/8], rounded up."""
        images = cover(images, self.network.smallest_side)
        with self.autocast():
            return encode_in_tiles(self.encoder, images, tile) if tile else self.encoder(images)[-1]

    @torch.no_grad()
    def encode_style(self, styles: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """Descriptors of style images. `ValueError` for a size that the style encoder does not take."""
        height, width = styles.shape[2:]
        if not self.network.adaptive and (height, width) != (PAPER_STYLE_SIDE, PAPER_STYLE_SIDE):  # `cover` would hide it
            raise ValueError(f"found a style image of {width}×{height} pixels, {PAPER_STYLE_SIZE}")
        styles = cover(styles, self.network.smallest_side)
        with self.autocast():
            found = style_features_in_tiles(self.encoder, styles, tile) if tile else style_features(self.encoder(styles))
            return self.network.encode_style(found)

    @torch.no_grad()
    def decode(
        self,
        features: torch.Tensor,  # of `encode`
        kernels: Sequence[StyleKernels | None],
        size: Sequence[int],  # height and width of the images
        tile: int | None = None,
    ) -> torch.Tensor:
        with self.autocast():
            if tile:
                images = decode_in_tiles(self.network, features, kernels, tile)
            else:
                images = self.network.decode(features, kernels)
        return images[:, :, : size[0], : size[1]]

    def stylize(
        self,
        contents: torch.Tensor,
        kernels: Sequence[StyleKernels | None],  # of `network.kernels(descriptor)`; one style for each content
        tile: int | None = None,  # side of the tiles that go through the networks at once; None: the whole image
    ) -> torch.Tensor:
        return self.decode(self.encode(contents, tile), kernels, contents.shape[2:], tile)

    def encode_style_picture(self, style: torch.Tensor) -> torch.Tensor:
        """Descriptor [1, …] of a picture, brought to `style_size` (and to a square for the paper's style encoder).

        `InputError` where it is not finite: a picture drawn with it would be black.
        """
        resize = with_short_side if self.network.adaptive else as_square
        image = self.to_image(resize(style, self.style_size))
        descriptor = self.encode_style(image, self.tile_for(image))
        if not descriptor.isfinite().all():
            raise InputError("found a descriptor of the style that is not finite, wanted finite numbers")
        return descriptor

    def check_content(self, content: torch.Tensor) -> None:
        """`InputError` where `strength` wants the picture's own descriptor, and it is too long for `style_size`."""
        if self.strength != 1 and self.network.transfer != "adain" and self.network.adaptive:
            size_with_short_side(content.shape[1:], self.style_size)

    def kernels(self, descriptor: torch.Tensor, own: torch.Tensor | None = None) -> list[StyleKernels | None]:
        """Of a style, with `parts` and `statistics` of others; given the content's `own` descriptor, at `strength` from it
        to theirs."""
        predict = lambda style: self.network.kernels(style if own is None else own.lerp(style, self.strength))
        kernels, others = predict(descriptor), {part: predict(style) for part, style in self.parts.items()}
        if others:
            levels = [dict(zip(others, level)) for level in zip(*others.values())]
            kernels = [with_parts(*pair) for pair in zip(kernels, levels)]
        if self.statistics is not None:
            kernels = [with_statistics(*pair) for pair in zip(kernels, predict(self.statistics))]
        return kernels

    def stylize_picture(self, content: torch.Tensor, styles: Sequence[torch.Tensor | Regions]) -> Iterator[torch.Tensor]:
        """The picture `content`, drawn in one style after the other; a style is a descriptor, or one for each region.

        `InputError` for regions that do not fit the picture.
        """
        image = self.to_image(content)
        tile = self.tile_for(image)
        features, own = self.encode(image, tile), None
        if self.strength != 1:
            # AdaIN's descriptor is σ and μ, and features are linear in them. Those of these features, and not of a resized
            # image, make interpolating descriptors the same as interpolating features.
            own = (
                self.network.encode_style(style_features([features]))
                if self.network.transfer == "adain"
                else self.encode_style_picture(content)
            )
        for style in styles:
            if isinstance(style, Regions):
                image = self._decode_in_regions(features, style, own, content.shape[1:], tile)
            else:
                image = self.decode(features, self.kernels(style, own), content.shape[1:], tile)
            yield to_uint8(image)[0]

    def _decode_in_regions(
        self, features: torch.Tensor, regions: Regions, own: torch.Tensor | None, size: Sequence[int], tile: int | None
    ) -> torch.Tensor:
        masks = regions.mask.at(size[0], size[1]).to(features.device)
        masks = cover(masks, self.network.smallest_side)
        owns = [own if own is None else own_descriptor(self.network, own, features, mask) for mask in masks]
        kernels = [self.kernels(*pair) for pair in zip(regions.descriptors.split(1), owns)]
        with self.autocast():
            image = decode_in_regions(self.network, features, kernels, masks, tile)
        return image[:, :, : size[0], : size[1]]

    def stylize_like(self, contents: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        """Each content [N, 3, H, W] in the style of the image beside it."""
        return self.stylize(contents, self.network.kernels(self.encode_style(styles)))

    def to_image(self, picture: torch.Tensor) -> torch.Tensor:
        """uint8 [3, H, W] -> [1, 3, H, W], where the network is."""
        return from_uint8(picture)[None].to(self.network.encoder_means.device)

    def tile_for(self, image: torch.Tensor) -> int | None:
        """Side of the tiles in which an image is drawn; None: as a whole."""
        if self.tile is not None:
            return self.tile or None
        return TILE if image.shape[2] * image.shape[3] > WHOLE else None

    def autocast(self) -> contextlib.AbstractContextManager:
        return autocast(self.precision, self.network.encoder_means.device)


Kind = TypeVar("Kind", bound=Stylizer)


def load_stylizer(
    path: str | Path,
    encoder_weights: Path | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    kind: type[Kind] = Stylizer,  # type: ignore[assignment]
    **options,  # further arguments of `Stylizer`
) -> Kind:
    """From a snapshot of `train_style.py`; the encoder's weights as `load_vgg` finds them."""
    snapshot = read_snapshot(path)
    if snapshot.kind != "style_transfer":
        raise InputError(f"{path}: found a {snapshot.kind or 'network of unknown kind'}, wanted one of train_style.py")
    network = build(snapshot, StyleTransfer, LIMITS, path)
    network.eval().requires_grad_(False).to(device=device, memory_format=torch.channels_last)
    encoder = load_vgg(network.encoder, encoder_weights, network.encoder_padding).to(
        device=device, memory_format=torch.channels_last
    )
    source = encoder_weights or URLS[network.encoder]
    check_encoder(network, encoder, f"{path}: was trained with other weights of {network.encoder} than {source}")
    return kind(network, encoder, precision, **options)


def check_encoder(network: StyleTransfer, encoder: VGG, problem: str) -> None:
    """`InputError` where these are not the weights that the network was trained with; differences by rounding are allowed."""
    trained_with = network.encoder_norms
    if not ((encoder.norms() - trained_with).abs() <= 0.01 * trained_with).all():
        raise InputError(problem)
