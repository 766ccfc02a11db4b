"""What each part of a style moves in a drawing: `python -m scripts.experiments.style_parts`, for docs/style.md.

Contents are drawn in one style with one part of another style's kernels, as `stylize.py --part` does.
"""

import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from metrics.style_transfer.structure import slices, smallest_side, stroke_descriptors
from networks.style_transfer.style_files import read_picture
from networks.style_transfer.style_kernels import MOMENTS, PARTS
from networks.style_transfer.stylizer import Stylizer, load_stylizer
from networks.style_transfer.vgg import VGG, style_features
from scripts.experiments.kernel_parts import measures
from scripts.output import markdown
from torch_utils.archive import open_images
from torch_utils.cli import Progress, command, run
from torch_utils.files import InputError
from torch_utils.images import from_uint8
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network

STATISTICS = "--statistics"
PAINTED = "painted"  # the other style's own picture, beside the drawings
NEARER = {"channel statistics": "nearer in statistics", "strokes": "structure score"}  # measure -> its score


@torch.no_grad()
def drawings(stylizer: Stylizer, content: torch.Tensor, style: torch.Tensor, other: torch.Tensor) -> dict[str, torch.Tensor]:
    """A content, uint8 [3, H, W], in `style` with each part, with none ("") and with all ("all") of the other one: [1, 3, H, W]
    in [-1, 1]."""
    parts = PARTS if stylizer.network.exact else [part for part in PARTS if part != MOMENTS]
    found = {}
    for name in ("", *parts, STATISTICS, "all"):
        stylizer.parts = {name: other} if name in parts else {}
        stylizer.statistics = other if name == STATISTICS else None
        (picture,) = stylizer.stylize_picture(content, [other if name == "all" else style])
        found[name] = from_uint8(picture)[None].cpu()
    return found


@torch.no_grad()
def measures_of_style(image: torch.Tensor, encoder: VGG) -> dict[str, torch.Tensor]:
    """`measures`, means and deviations of VGG's channels, and strokes, whose distance is the structure score's."""
    features = style_features(encoder(image.to(encoder.shift.device)))
    statistics = torch.cat([features.mean, features.std], dim=1).cpu()
    return measures(image) | {"channel statistics": statistics, "strokes": slices(stroke_descriptors(image))}


def moved(pairs: list[dict[str, torch.Tensor]], encoder: VGG) -> dict[str, dict[str, float]]:
    """`drawings`, and PAINTED -> part -> measure -> root mean square of its change, in that between the drawings in the two
    whole styles; and scores, 1 − distance to what is PAINTED / that of the drawing without the part: 0 for no nearer.
    """
    seen = [{name: measures_of_style(image, encoder) for name, image in found.items()} for found in pairs]
    squares = lambda a, b, measure: torch.stack([(one[a][measure] - one[b][measure]).square().mean() for one in seen])
    change = lambda name, measure: float(squares(name, "", measure).mean().sqrt())
    distance = lambda name, measure: float(squares(name, PAINTED, measure).sqrt().mean())
    found = {}
    for name in [name for name in seen[0] if name not in ("", PAINTED)]:
        found[name] = {measure: change(name, measure) / change("all", measure) for measure in seen[0][""]}
        found[name] |= {score: 1 - distance(name, measure) / distance("", measure) for measure, score in NEARER.items()}
    return found


@command()
@click.option("--content", required=True, type=click.Path(path_type=Path), help="folder or zip of photographs")
@click.option("--style", required=True, type=click.Path(path_type=Path), help="folder or zip of two styles or more")
@click.option("--network", type=click.Path(path_type=Path), default="adaconv-style", show_default=True, help="as of stylize.py")
@click.option("--size", type=click.IntRange(smallest_side(), 2048), default=160, show_default=True, help="short side")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(content: Path, style: Path, network: Path, size: int, device: str | None):
    """Measure how far each part of another style's kernels moves a drawing. Every content is drawn in every style, with parts
    of the one before it.

    \b
    Example:
      python -m scripts.experiments.style_parts --content photos/ --style paintings/
    """
    keep_freed_memory()
    stylizer = load_stylizer(find_network(network, "style_transfer"), device=choose_device(device))
    if stylizer.network.transfer != "adaconv":
        raise InputError(f"{network}: wanted an AdaConv style transfer")
    archive, painted = open_images(content), open_images(style)
    if len(painted.names) < 2:
        raise InputError(f"--style {style}: found {len(painted.names)} styles, wanted two at least")
    descriptors = [stylizer.encode_style_picture(read_picture(painted, name)) for name in painted.names]
    images = [from_uint8(read_picture(painted, name, size))[None] for name in painted.names]
    pairs, progress = [], Progress("stylizing", len(archive.names) * len(images), "pair")
    for name in archive.names:
        picture = read_picture(archive, name, size)
        for i, descriptor in enumerate(descriptors):
            drawn = drawings(stylizer, picture, descriptor, descriptors[i - 1])
            pairs.append(drawn | {PAINTED: images[i - 1]})
            progress.update(len(pairs))
    progress.close()
    found = moved(pairs, stylizer.encoder)
    heads = ["part from the other style", *found["bias"]]
    table = [[part, *(f"{value:.2f}" for value in row.values())] for part, row in found.items()]
    print(f"{len(archive.names)} contents, {len(images)} pairs of styles\n\n{markdown(heads, table)}")


if __name__ == "__main__":
    run(main)
