"""Optimisation of the kernels: a network's own prediction for a style, and then as many steps as there is patience for.

Gatys' method with kernels in the place of pixels. It shows what kernels could say, where the predictor limits what they do say;
on an AdaIN network, whose kernels are a scale and a shift for each channel of relu4_1, what these could.
"""

import math
from collections.abc import Iterator, Sequence

import torch

from networks.style_transfer.feature_losses import (
    LayerStatistics,
    layer_statistics,
    normalized_content_loss,
    statistics_loss,
)
from networks.style_transfer.peers.peer import Peer
from networks.style_transfer.style_kernels import StyleKernels
from networks.style_transfer.vgg import WIDTHS, cover, style_features
from torch_utils.images import as_square, with_short_side

SIDE = 256  # of the square that a step looks at; smaller pictures are looked at as a whole
CONTENT_WEIGHT, STYLE_WEIGHT = 10.0, 2.0  # as in train_style.py --cfg small
LEARNING_RATE = 0.01  # of Adam, falling along half a cosine
BETAS = (0.9, 0.99)

Kernels = list[StyleKernels | None]  # of the levels of the decoder


class Fitted(Peer):
    """`strength` multiplies the weight of the style. Kernels are fitted to each pair of a content and a style."""

    name, default_steps = "fitted", 100

    @torch.no_grad()
    def encode_style(self, styles: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """The statistics of relu1_1 … relu4_1 and the network's descriptor, in a row [N, Σ (2C + C²) + …].

        Image by image, as Gatys' method and for its reason.
        """
        rows = []
        for style in styles.split(1):
            with self.stylizer.autocast():
                maps = self.maps(style)
                own = self.network.encode_style(style_features(maps))
            statistics = [values.flatten(1) for layer in map(layer_statistics, maps) for values in layer]
            rows.append(torch.cat([*statistics, own.flatten(1)], dim=1))
        return torch.cat(rows)

    def draw(
        self, contents: torch.Tensor, descriptors: Sequence[torch.Tensor], tile: int | None = None
    ) -> Iterator[torch.Tensor]:
        features = [self.stylizer.encode(content, tile) for content in contents.split(1)]
        for descriptor in descriptors:
            drawn = []
            for content, own, row in zip(contents.split(1), features, descriptor.split(1)):
                kernels = self.fit(content, row)
                drawn.append(self.stylizer.decode(own, kernels, contents.shape[2:], tile))
            yield torch.cat(drawn)

    def encode_style_picture(self, style: torch.Tensor) -> torch.Tensor:
        resize = with_short_side if self.network.adaptive else as_square  # as `Stylizer` does
        return self.encode_style(self.stylizer.to_image(resize(style, self.stylizer.style_size)))

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.encoder(cover(images, self.network.smallest_side))

    def fit(self, content: torch.Tensor, descriptor: torch.Tensor) -> Kernels:
        """Kernels for a content [1, 3, H, W] and a style, a row of `encode_style`."""
        style, own = split_row(descriptor)
        kernels = [k and freed(k) for k in self.network.kernels(own.unflatten(1, self.network.descriptor_shape))]
        parameters = [values for level in kernels if level for values in level[:3]]
        adam = torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=BETAS)
        generator = torch.Generator().manual_seed(0)  # the same picture each time
        steps: int = self.steps  # type: ignore[assignment]  # as it has a default
        of_content: list[torch.Tensor] = []
        for step in range(steps):
            square = random_square(content, generator)
            if square is not content or not of_content:
                with torch.no_grad(), self.stylizer.autocast():
                    of_content = self.maps(square)
            with torch.enable_grad():
                with self.stylizer.autocast():
                    of_result = self.encoder(self.network.decode(of_content[-1], kernels))
                style_loss = statistics_loss([layer_statistics(x) for x in of_result], style)
                loss = CONTENT_WEIGHT * normalized_content_loss(of_result, of_content)
                loss = loss + STYLE_WEIGHT * self.stylizer.strength * style_loss
                gradients = torch.autograd.grad(loss, parameters)
            for values, gradient in zip(parameters, gradients):
                values.grad = gradient
            adam.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
            adam.step()
            self.on_step((step + 1) / steps)
        return [k and k._replace(**{name: value.detach() for name, value in zip(k._fields, k[:3])}) for k in kernels]


def freed(kernels: StyleKernels) -> StyleKernels:
    """Copies that can be optimised; exact statistics remain the style's."""
    spatial, pointwise, bias = (values.detach().clone().requires_grad_() for values in kernels[:3])
    return kernels._replace(spatial=spatial, pointwise=pointwise, bias=bias)


def split_row(row: torch.Tensor) -> tuple[list[LayerStatistics], torch.Tensor]:
    """A row of `Fitted.encode_style` -> statistics of each layer, and the network's descriptor [1, …]."""
    sizes = [size for width in WIDTHS for size in (width, width, width**2)]
    *statistics, own = row.split([*sizes, row.shape[1] - sum(sizes)], dim=1)
    layers = zip(WIDTHS, *(statistics[part::3] for part in range(3)))
    return [LayerStatistics(mean, std, both.unflatten(1, (width, width))) for width, mean, std, both in layers], own


def random_square(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """[1, 3, H, W] -> at most SIDE by SIDE of it, anywhere."""
    for dim in (2, 3):
        room = image.shape[dim] - SIDE
        if room > 0:
            image = image.narrow(dim, int(torch.randint(room + 1, (), generator=generator)), SIDE)
    return image
