"""Optimisation of the image itself (Gatys, Ecker and Bethge 2016, "Image Style Transfer Using Convolutional Neural Networks").

Slow, and without a decoder: what the others approximate. As in the paper but for what its other peers here share: max pooling,
relu4_1 for the content (relu4_2 there), relu1_1 … relu4_1 for the style (relu5_1, too, there).
"""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from networks.style_transfer.feature_losses import content_loss, gram
from networks.style_transfer.peers.peer import Peer
from networks.style_transfer.vgg import WIDTHS, cover

STYLE_WEIGHT = 30.0  # β / α of equation 7, for losses that are means; chosen by eye
HISTORY = 20  # of L-BFGS, in steps: two images each


class Gatys(Peer):
    """In float32. `strength` multiplies the weight of the style. Content and optimisation are at the size of the picture: there
    are no tiles."""

    name, default_steps = "gatys", 300  # of L-BFGS

    @torch.no_grad()
    def encode_style(self, styles: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """The Gram matrices of relu1_1 … relu4_1, in a row [N, Σ C²].

        Image by image: a search magnifies what rounding does, and a picture should not depend on its neighbours in a batch.
        """
        grams = ([gram(features).flatten(1) for features in self.maps(style)] for style in styles.split(1))
        return torch.cat([torch.cat(layers, dim=1) for layers in grams])

    def draw(
        self, contents: torch.Tensor, descriptors: Sequence[torch.Tensor], tile: int | None = None
    ) -> Iterator[torch.Tensor]:
        for descriptor in descriptors:  # image by image likewise
            yield torch.cat([self.optimise(content[None], own[None]) for content, own in zip(contents, descriptor)])

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.encoder(cover(images, self.network.smallest_side))

    def loss(self, content: torch.Tensor, descriptor: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Of an image [1, 3, H, W], for a content [1, 3, H, W] and a style: L = L_content + β L_style (equation 7)."""
        with torch.no_grad():
            target = self.maps(content)
        grams = [one.unflatten(1, (width, width)) for one, width in zip(descriptor.split([w * w for w in WIDTHS], 1), WIDTHS)]
        weight = STYLE_WEIGHT * self.stylizer.strength
        return lambda image: total_loss(self.maps(image), target, grams, weight)

    def optimise(self, content: torch.Tensor, descriptor: torch.Tensor) -> torch.Tensor:
        """L-BFGS from the content [1, 3, H, W]."""
        loss, image = self.loss(content, descriptor), content.clone().requires_grad_()
        # No tolerances: gradients of a pixel are small, as losses are means.
        limits = dict(max_iter=self.steps, max_eval=4 * self.steps, tolerance_grad=0, tolerance_change=0)
        search = torch.optim.LBFGS([image], history_size=HISTORY, line_search_fn="strong_wolfe", **limits)

        def closure() -> torch.Tensor:
            with torch.enable_grad():
                value = loss(image)
            (image.grad,) = torch.autograd.grad(value, [image])
            self.on_step(search.state[image].get("n_iter", 0) / limits["max_iter"])  # several looks at one step's line
            return value

        search.step(closure)
        return image.detach()


def total_loss(
    maps: Sequence[torch.Tensor], content: Sequence[torch.Tensor], grams: Sequence[torch.Tensor], style_weight: float
) -> torch.Tensor:
    """Maps of the image and of the content, relu1_1 … relu4_1 [1, C, H, W]; Gram matrices of the style [1, C, C].

    Content, equation 1: mean of (F − P)² at relu4_1. Style, equations 3 to 5: G = F Fᵀ averaged over positions, E_l the mean
    of (G − A)², L_style the mean of E_l over the layers, w_l = 1/4. Means in place of the paper's sums: the weight is of the
    same use for pictures of any size.
    """
    layers = [F.mse_loss(gram(features), wanted) for features, wanted in zip(maps, grams, strict=True)]
    return content_loss(maps, content) + style_weight * torch.stack(layers).mean()
