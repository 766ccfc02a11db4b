"""What each part of a style moves in a drawing: `python -m scripts.experiments.style_parts`, for docs/style.md.

Contents are drawn in one style with one part of another style's kernels, as `stylize.py --part` does.
"""

import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from networks.style_transfer.style_files import read_picture, read_styles
from networks.style_transfer.style_kernels import MOMENTS, PARTS
from networks.style_transfer.stylizer import Stylizer, load_stylizer
from scripts.experiments.kernel_parts import measures
from scripts.output import markdown
from torch_utils.archive import open_images
from torch_utils.cli import Progress, command, run
from torch_utils.files import InputError
from torch_utils.images import from_uint8
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network

STATISTICS = "--statistics"


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


def moved(pairs: list[dict[str, torch.Tensor]]) -> dict[str, dict[str, float]]:
    """Part -> measure -> root mean square of its change, in that between the drawings in the two whole styles."""
    seen = [{name: measures(image) for name, image in found.items()} for found in pairs]

    def size(name: str, measure: str) -> float:
        squares = [(one[name][measure] - one[""][measure]).square().mean() for one in seen]
        return float(torch.stack(squares).mean().sqrt())

    names = [name for name in pairs[0] if name not in ("", "all")]
    return {name: {measure: size(name, measure) / size("all", measure) for measure in seen[0][""]} for name in names}


@command()
@click.option("--content", required=True, type=click.Path(path_type=Path), help="folder or zip of photographs")
@click.option("--style", required=True, type=click.Path(path_type=Path), help="folder or zip of two styles or more")
@click.option("--network", type=click.Path(path_type=Path), default="adaconv-style", show_default=True, help="as of stylize.py")
@click.option("--size", type=click.IntRange(16, 2048), default=160, show_default=True, help="short side of contents")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(content: Path, style: Path, network: Path, size: int, device: str | None):
    """Measure how far each part of another style's kernels moves a drawing. Every content is drawn in every style, with parts
    of the next one.

    \b
    Example:
      python -m scripts.experiments.style_parts --content photos/ --style paintings/
    """
    keep_freed_memory()
    stylizer = load_stylizer(find_network(network, "style_transfer"), device=choose_device(device))
    if stylizer.network.transfer != "adaconv":
        raise InputError(f"{network}: wanted an AdaConv style transfer")
    archive, styles = open_images(content), read_styles(style, stylizer)
    if len(styles) < 2:
        raise InputError(f"--style {style}: found {len(styles)} styles, wanted two at least")
    pairs, progress = [], Progress("stylizing", len(archive.names) * len(styles), "pair")
    for name in archive.names:
        picture = read_picture(archive, name, size)
        for one, other in zip(styles, [*styles[1:], styles[0]]):
            pairs.append(drawings(stylizer, picture, one.descriptor, other.descriptor))
            progress.update(len(pairs))
    progress.close()
    found = moved(pairs)
    heads = ["part from the other style", *found["bias"]]
    table = [[part, *(f"{value:.2f}" for value in row.values())] for part, row in found.items()]
    print(f"{len(archive.names)} contents, {len(styles)} pairs of styles\n\n{markdown(heads, table)}")


if __name__ == "__main__":
    run(main)
