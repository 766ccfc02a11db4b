"""Adaptive discriminator augmentation: the more D overfits, the more often it is shown transformed images.

Karras et al. 2020b, "Training Generative Adversarial Networks with Limited Data" (arXiv 2006.06676), sections 2 and 3; the
transformations, their order and their spreads are those of its appendix B. Real and generated images are treated alike. Nothing
that is drawn leaks into the generator as long as every transformation is left out often enough (section 2.2), so each one has
a coin of its own per image, with probability p.

Every transformation is linear in the image but for an offset, and has derivatives of every order. There is no loop over images,
and no shape depends on what was drawn, so a GPU is never waited for.
"""

import torch

from torch_utils.ops import in_float32, widen
from torch_utils.rng import GLOBAL, Draws
from training.gan.augment_colour import amplify, draw_colour, draw_gains, recolour
from training.gan.augment_draws import sometimes, uniform
from training.gan.augment_geometry import blit, draw_blit, draw_geometry, resample

AUGPIPES = {
    "blit": ("blit",),
    "geom": ("geom",),
    "color": ("color",),
    "filter": ("filter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
}


@in_float32
def augment(images: torch.Tensor, p: float | torch.Tensor, pipe: str = "bgc", draws: Draws = GLOBAL) -> torch.Tensor:
    """images [N, C, H, W] about [-1, 1] -> the same shape and type, randomly transformed.

    p in [0, 1] is the probability of every single transformation, a number or a tensor []; with 0 the images come back as they
    are. `pipe` is one of `AUGPIPES`. C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA); alpha is moved and cut out together
    with its image, and never recoloured, filtered or made noisy. Random numbers come from `draws`. Any number of derivatives by
    the images. `ValueError` for anything else.
    """
    if pipe not in AUGPIPES:
        raise ValueError(f"found pipe {pipe!r}, wanted one of {', '.join(AUGPIPES)}")
    if images.ndim != 4 or not 1 <= images.shape[1] <= 4 or not images.is_floating_point():
        raise ValueError(f"found {images.dtype} images of shape {list(images.shape)}, wanted [N, 1 to 4, H, W] of floats")
    if not isinstance(p, torch.Tensor):
        if not 0 <= p <= 1:
            raise ValueError(f"found p = {p}, wanted a probability")
        if p == 0:
            return images
    groups, dtype, images = AUGPIPES[pipe], images.dtype, widen(images)
    if "blit" in groups:
        images = blit(images, draw_blit(images, p, draws))
    if "geom" in groups:
        images = resample(images, draw_geometry(images, p, draws))
    colour, alpha = images.tensor_split([1 if images.shape[1] <= 2 else 3], dim=1)
    if "color" in groups:
        colour = recolour(colour, draw_colour(colour, p, draws))
    if "filter" in groups:
        colour = amplify(colour, draw_gains(colour, p, draws))
    if "noise" in groups:
        colour = add_noise(colour, draw_noise(colour, p, draws))
    images = torch.cat([colour, alpha], dim=1) if alpha.shape[1] else colour
    if "cutout" in groups:
        images = cut_out(images, *draw_cutout(images, p, draws))
    return images.to(dtype)


def draw_noise(colour: torch.Tensor, p: float | torch.Tensor, draws: Draws = GLOBAL) -> torch.Tensor:
    """White noise [N, C, H, W]; its standard deviation is half-normal with σ = 0.1, or 0."""
    deviation = sometimes(draws, p, 0.1 * draws.normal(colour).abs(), 0)
    return deviation[:, None, None, None] * draws.normal(colour, *colour.shape[1:])


def add_noise(colour: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return colour + noise


def draw_cutout(images: torch.Tensor, p: float | torch.Tensor, draws: Draws = GLOBAL) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres [N, 2], x and y, and sides [N] of what is cut out, all as shares of the image's sides."""
    side = sometimes(draws, p, torch.full_like(images[:, 0, 0, 0], 0.5), 0)
    return uniform(draws, images, 0, 1, 2), side


def cut_out(images: torch.Tensor, centre: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    """Put 0 into a rectangle of each of images [N, C, H, W], whose part beyond the border is lost."""

    def within(pixels: int, middle: torch.Tensor) -> torch.Tensor:
        places = (torch.arange(pixels, dtype=images.dtype, device=images.device) + 0.5) / pixels
        return (places - middle[:, None]).abs() < side[:, None] / 2  # [N, pixels]

    rows, columns = within(images.shape[2], centre[:, 1]), within(images.shape[3], centre[:, 0])
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
