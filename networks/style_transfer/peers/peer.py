"""What the peers have in common: descriptors of styles, and the methods of `Stylizer` that commands call."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch

from networks.style_transfer.stylizer import Stylizer
from networks.style_transfer.vgg import cover, style_features
from torch_utils.files import InputError
from torch_utils.images import to_uint8, with_short_side


class Peer:
    """A method on the encoder, and for some on the decoder, of a stylizer, whose strength, style size and tiles it takes over.

    Images are RGB [N, 3, H, W] in [-1, 1]; pictures are uint8 RGB [3, H, W].
    """

    name: ClassVar[str]
    default_steps: ClassVar[int | None] = None  # of a method that searches for each picture

    def __init__(self, stylizer: Stylizer, steps: int | None = None):
        self.stylizer, self.network, self.encoder = stylizer, stylizer.network, stylizer.encoder
        self.steps = steps or self.default_steps
        self.on_step: Callable[[float], object] = lambda done: None  # of a search: `done` of the picture, in [0, 1]

    def encode_style(self, styles: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """Style images -> descriptors [N, …]: all that the method wants to know of them."""
        raise NotImplementedError

    def draw(
        self, contents: torch.Tensor, descriptors: Sequence[torch.Tensor], tile: int | None = None
    ) -> Iterator[torch.Tensor]:
        """The images `contents` in one style after the other; a descriptor has one style for each of them."""
        raise NotImplementedError

    def encode_style_picture(self, style: torch.Tensor) -> torch.Tensor:
        """Descriptor [1, …] of a picture, brought to the stylizer's `style_size`."""
        image = self.stylizer.to_image(with_short_side(style, self.stylizer.style_size))
        return self.encode_style(image, self.stylizer.tile_for(image))

    def stylize_picture(self, content: torch.Tensor, descriptors: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The picture `content`, drawn in one style after the other."""
        image = self.stylizer.to_image(content)
        for drawn in self.draw(image, descriptors, self.stylizer.tile_for(image)):
            yield to_uint8(drawn)[0]

    def stylize_like(self, contents: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        """Each content in the style of the image beside it."""
        (images,) = self.draw(contents, [self.encode_style(styles)])
        return images


class FeaturePeer(Peer):
    """A method that changes relu4_1 of the content; the decoder of an AdaIN network makes pictures of it.

    That decoder was trained on features with the moments of a style, whichever way they came about. No other will do: those of
    AdaConv and of predicted scales want more of a style than relu4_1, at each of their levels.
    """

    least = 1  # pixels; smaller images are extended by their last row and column

    def __init__(self, stylizer: Stylizer, steps: int | None = None):
        super().__init__(stylizer, steps)
        if self.network.transfer != "adain":
            raise InputError(
                f"--transfer {self.name}: found a network of {self.network.transfer}, wanted one of train_style.py --transfer "
                "adain: other decoders do not make pictures of relu4_1 alone, they need predicted kernels, too"
            )

    def transform(self, features: torch.Tensor, descriptor: torch.Tensor) -> torch.Tensor:
        """relu4_1 of contents [N, C, h, w] -> what is to be decoded, of the same shape, at full strength."""
        raise NotImplementedError

    def encode(self, images: torch.Tensor, tile: int | None) -> torch.Tensor:
        return self.stylizer.encode(cover(images, self.least), tile)

    @torch.no_grad()
    def draw(
        self, contents: torch.Tensor, descriptors: Sequence[torch.Tensor], tile: int | None = None
    ) -> Iterator[torch.Tensor]:
        features = self.encode(contents, tile)
        for descriptor in descriptors:
            changed = self.transform(features, descriptor).to(features.dtype)
            yield self.decode(blended(features, changed, self.stylizer.strength), contents.shape[2:], tile)

    def decode(self, features: torch.Tensor, size: Sequence[int], tile: int | None) -> torch.Tensor:
        """relu4_1 -> images. AdaIN towards the features' own moments: it changes nothing, and a decoder that was trained with
        noise gets it in the units of the normalised map, as in training."""
        kernels = self.network.kernels(self.network.encode_style(style_features([features])))
        return self.stylizer.decode(features, kernels, size, tile)


def blended(features: torch.Tensor, changed: torch.Tensor, strength: float) -> torch.Tensor:
    """α · changed + (1 − α) · features, with α = `strength` (Li et al. 2017, equation 4)."""
    return changed if strength == 1 else features.lerp(changed, strength)
