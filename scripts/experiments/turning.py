"""The turning test: does a transfer draw strokes in the direction that the strokes of the style have?

A style is turned step by step and drawn on the same contents. What changes is what the direction of the style has done, so
strokes are looked for in the differences from the mean over all turns, where the content's own edges are not. For
`python -m scripts.eval_style --turning`.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from metrics.style_transfer.structure import luminance
from scripts.output import markdown, save_figure
from torch_utils.cli import Progress
from torch_utils.files import InputError
from torch_utils.images import from_pil, from_uint8, save_grid, to_uint8
from training.style_transfer.textures import texture

TURNS = tuple(range(0, 180, 15))  # degrees; an orientation is the same after 180
PERIOD = 12  # pixels from stripe to stripe
DEVIATION = 1.5  # pixels, of the Gaussian whose derivatives are the gradient: isotropic, unlike Sobel's
SLOPES = np.arange(-200, 201) / 100
STRIPES = "stripes"
ENDS = {"content": lambda content, style: content, "style": lambda content, style: style}  # rows that need no network

Transfer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # content and style [1, 3, H, W] in [-1, 1] -> image


class Turning(NamedTuple):
    """The strokes that one transfer drew in one style, for every content and turn."""

    degrees: list[list[float]]  # [contents][TURNS], of the strokes drawn
    slope: float  # degrees that the drawn strokes turn for each degree of the style; 1 is ideal, 0 a fixed direction
    correlation: float  # 1: every angle is the style's; 0: by chance, or always the same; -1: across them
    strength: float  # deviation of what changes, in that of the turned style
    clearness: float  # coherence of what changes: 1, parallel strokes; 0, no direction


def stripes(degrees: float, size: int) -> torch.Tensor:
    """[3, size, size] in [-1, 1]: stripes `degrees` above the horizontal."""
    return texture("stripes", PERIOD, degrees, size, seed=0)


def turned_square(image: Image.Image, degrees: float, size: int) -> Image.Image:
    """RGB picture, turned anticlockwise -> size×size: the square inside the circle inside it, so that no border shows."""
    side = math.floor(min(image.size) / 2**0.5) - 4  # a few pixels for the interpolation at its corners
    left, top = (image.width - side) // 2, (image.height - side) // 2
    turned = image.rotate(degrees, Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    return turned.resize((size, size), Image.Resampling.LANCZOS)


def stroke_vectors(images: torch.Tensor) -> torch.Tensor:
    """RGB [N, 3, H, W] -> complex [N]: c · exp(2iθ) of the strokes' dominant angle θ above the horizontal.

    The structure tensor of luminance (Bigün and Granlund 1987), averaged over the image: c is its coherence, from 0 to 1. 0
    where nothing changes from pixel to pixel.
    """
    reach = math.ceil(4 * DEVIATION)
    x = torch.arange(-reach, reach + 1).double()
    bell = torch.exp(-0.5 * (x / DEVIATION) ** 2)
    bell = (bell / bell.sum()).view(1, 1, 1, -1)
    slope = bell * x / DEVIATION**2  # with conv2d, which does not flip, a derivative
    light = luminance(images.double())[:, None].cpu()
    along_x, along_y = (F.conv2d(F.conv2d(light, one), other.mT) for one, other in ((slope, bell), (bell, slope)))
    gradient = torch.complex(along_x, -along_y)  # pictures count y downwards
    energy = gradient.abs().square().sum(dim=(1, 2, 3))
    # A stroke is at a right angle to its gradient: doubled, the opposite direction.
    return -gradient.square().sum(dim=(1, 2, 3)) / energy.clamp(min=1e-12)


def degrees_of(vectors: torch.Tensor) -> torch.Tensor:
    """`stroke_vectors` -> degrees in [0, 180)."""
    return torch.rad2deg(vectors.angle() / 2) % 180


def clearness(picture: Image.Image, size: int) -> float:
    """How much of one direction there is in the square that is turned."""
    return float(stroke_vectors(as_tensor(turned_square(picture, 0, size))[None]).abs())


def changes(images: torch.Tensor) -> torch.Tensor:
    """[TURNS, 3, H, W] -> their differences from the mean over all turns; exactly 0 for equal images."""
    images = images.double()  # the mean of equal images is rounded in float32
    return images - images.mean(dim=0, keepdim=True)


def turning(drawn: torch.Tensor, styles: torch.Tensor) -> Turning:
    """What a transfer drew, [contents, TURNS, 3, H, W], and the turned styles [TURNS, 3, H, W], in [-1, 1].

    The style's angle is its turn and one angle more: that of the unturned style, as all its turns together tell it.
    """
    turns = torch.tensor(TURNS).double().deg2rad()
    style_change = changes(styles)
    own = (stroke_vectors(style_change) * torch.exp(-2j * turns)).sum().angle()
    differences = [changes(images) for images in drawn]
    vectors = torch.stack([stroke_vectors(difference) for difference in differences])
    phases = vectors.angle()  # doubled angles; 0 for all turns where nothing changes, which does not correlate
    # A slope and a free offset by the largest mean resultant (Kempter et al. 2012, "Quantifying circular-linear associations").
    resultants = [float(torch.exp(1j * (phases - 2 * slope * turns)).mean().abs()) for slope in SLOPES]
    return Turning(
        degrees=degrees_of(vectors).tolist(),
        slope=float(SLOPES[int(np.argmax(resultants))]),
        correlation=float(torch.cos(phases - 2 * turns - own).mean()),
        strength=float(torch.stack(differences).std() / style_change.std()),
        clearness=float(vectors.abs().mean()),
    )


def run_turning(
    transfers: Mapping[str, Transfer],
    contents: list[torch.Tensor],  # [1, 3, H, W] each, in [-1, 1]
    picture: Image.Image | None,  # a style with strokes, to be turned beside the stripes
    size: int,  # of the turned styles
    device: torch.device,
) -> tuple[dict[str, dict[str, Turning]], dict[str, torch.Tensor]]:
    """{style: {transfer: what it drew}}, with the content and the style themselves; and {style: images for `save_images`}."""
    styles = {STRIPES: torch.stack([stripes(turn, size) for turn in TURNS])}
    if picture is not None:
        styles["picture"] = torch.stack([as_tensor(turned_square(picture, turn, size)) for turn in TURNS])
    bar = Progress("turning", len(styles) * len(transfers) * len(contents), "content")
    found: dict[str, dict[str, Turning]] = {}
    shown, done = {}, 0
    for name, turns in styles.items():
        found[name], rows, turns = {}, [to_uint8(turns)], turns.to(device)
        for transfer, draw in (dict(transfers) | ENDS).items():
            drawn = []
            for content in contents:
                images = [from_uint8(to_uint8(draw(content, style[None]))) for style in turns]  # as files have them
                drawn.append(torch.cat(images).cpu())
                done += transfer in transfers
                bar.update(done)
            found[name][transfer] = turning(torch.stack(drawn), turns.cpu())
            rows += [to_uint8(drawn[0])] if transfer in transfers else []
        shown[name] = torch.cat(rows)
    bar.close()
    return found, shown


def as_tensor(picture: Image.Image) -> torch.Tensor:
    """RGB picture -> [3, H, W] in [-1, 1]."""
    return from_uint8(from_pil(picture))


def table(found: dict[str, dict[str, Turning]]) -> str:
    """Markdown"""
    keys = ("correlation", "slope", "strength", "clearness")
    rows = [
        [style, transfer, *(f"{round(getattr(one, key), 2) + 0.0:.2f}" for key in keys)]  # and not -0.00
        for style, transfers in found.items()
        for transfer, one in transfers.items()
    ]
    return markdown(["style", "", *keys], rows)


def record(found: dict[str, dict[str, Turning]]) -> dict:
    """For a JSON file."""
    return dict(turns=TURNS, styles={name: {t: one._asdict() for t, one in group.items()} for name, group in found.items()})


def require_matplotlib() -> None:
    """`InputError` where it is missing: an error now, and not when everything has been drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("--turning draws curves with matplotlib, which is not here: pip install -e .[dev]") from None


def plot(found: dict[str, dict[str, Turning]], path: Path) -> None:
    """One panel for each style: the angle drawn, against the style's turn, a curve for each transfer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(found), 4), layout="constrained")
    for axis, (style, transfers) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items()):
        for transfer, one in transfers.items():
            if transfer != "content":  # it has no angle
                axis.plot(TURNS, mean_degrees(one), "k--" if transfer == "style" else "o-", label=transfer, markersize=4)
        axis.set(title=style, xlabel="turn of the style, degrees", ylabel="mean angle of strokes drawn, degrees")
        axis.set_xticks(TURNS[::2])
    figure.axes[0].legend()
    save_figure(figure, path, dpi=110)


def mean_degrees(one: Turning) -> list[float]:
    """Circular mean over the contents, [TURNS]; each as near to the one before as 180° more or less can make it."""
    doubled = torch.tensor(one.degrees).double().deg2rad() * 2
    return np.rad2deg(np.unwrap(torch.exp(1j * doubled).mean(dim=0).angle().numpy()) / 2).tolist()


def save_images(shown: dict[str, torch.Tensor], out: Path) -> None:
    """A picture for each style: its turns, and below them what each transfer drew on the first content."""
    for style, images in shown.items():
        save_grid(out.with_name(f"{out.name}-turning-{style}.png"), images, columns=len(TURNS))
