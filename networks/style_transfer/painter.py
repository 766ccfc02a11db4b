"""Images redrawn in styles that stay the same: how far, with what statistics, in tiles or as a whole."""

from collections.abc import Iterator, Sequence

import torch

from networks.adaconv import AdaptiveKernels
from networks.style_transfer.network import PAPER_STYLE_SIDE, with_statistics
from networks.style_transfer.stylizer import Stylizer
from torch_utils.images import as_square, from_uint8, to_uint8, with_short_side

WHOLE = 2**20  # pixels up to which an image goes through the networks as a whole
TILE = 512  # side of the tiles of larger ones


class Painter:
    """Images are uint8 RGB [3, H, W]. Styles are described once, for all contents."""

    def __init__(
        self,
        stylizer: Stylizer,
        strength: float = 1,  # between the content's own descriptor (0) and the style's (1); above 1, beyond it
        statistics: torch.Tensor | None = None,  # descriptor that gives each channel's mean and spread; AdaConv only
        style_size: int = PAPER_STYLE_SIDE,  # short side of style images; all of it where the style encoder takes one size only
        tile: int | None = None,  # side of tiles; 0: always the whole image; None: TILE above WHOLE pixels
    ):
        self.stylizer, self.network = stylizer, stylizer.network
        self.strength, self.statistics, self.style_size, self.tile = strength, statistics, style_size, tile

    def describe(self, style: torch.Tensor) -> torch.Tensor:
        """Descriptor [1, …] of a style image, brought to `style_size`."""
        resize = with_short_side if self.network.adaptive else as_square
        pixels = self._pixels(resize(style, self.style_size))
        return self.stylizer.describe(pixels, self._tile(pixels))

    def kernels(self, descriptor: torch.Tensor, own: torch.Tensor | None = None) -> list[AdaptiveKernels | None]:
        """Of a style; with the content's `own` descriptor, as far from that as `strength` says."""
        blend = lambda style: style if own is None else own.lerp(style, self.strength)
        kernels = self.network.kernels(blend(descriptor))
        if self.statistics is None:
            return kernels
        return [with_statistics(*pair) for pair in zip(kernels, self.network.kernels(blend(self.statistics)))]

    def paint(self, content: torch.Tensor, descriptors: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The content in one style after the other."""
        pixels = self._pixels(content)
        tile = self._tile(pixels)
        features, own = self.stylizer.encode(pixels, tile), None
        if self.strength != 1:
            # AdaIN's descriptor is σ and μ, and what is drawn is linear in them: with those of these features, and not of a
            # resized image, interpolating descriptors is interpolating features.
            own = self.describe(content) if self.network.transfer == "adaconv" else self.network.describe(features)
        for descriptor in descriptors:
            yield to_uint8(self.stylizer.decode(features, self.kernels(descriptor, own), content.shape[1:], tile))[0]

    def _pixels(self, image: torch.Tensor) -> torch.Tensor:
        return from_uint8(image)[None].to(self.network.encoder_means.device)

    def _tile(self, pixels: torch.Tensor) -> int | None:
        if self.tile is not None:
            return self.tile or None
        return TILE if pixels.shape[2] * pixels.shape[3] > WHOLE else None
