"""What directions move, and random ones: `python -m scripts.experiments.direction_moves`, for docs/latents.md."""

import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from networks.directions import METHODS, find_directions, kernel_parts, moved, random_styles
from networks.generator import Generator
from scripts.experiments.kernel_parts import measures
from scripts.output import markdown
from torch_utils.checkpoint import load_generator
from torch_utils.cli import command, run
from torch_utils.directions_file import Directions
from torch_utils.files import InputError
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network


def randomised(found: Directions, seed: int = 0) -> Directions:
    """Random directions with the same lengths of a step, layers and parts."""
    vectors = torch.randn(found.directions.shape, generator=torch.Generator().manual_seed(seed))
    return found._replace(directions=vectors / vectors.norm(dim=1, keepdim=True))


@torch.inference_mode()
def moves(G: Generator, found: Directions, step: float, ws: torch.Tensor) -> dict[str, float]:
    """Measure -> root mean square, over directions, of its change after a step, in that between neighbours in ws
    [N, num_ws, w_dim]."""
    before = measures(G.synthesis(ws))
    squares = dict.fromkeys(before, 0.0)
    for index in range(len(found.names)):
        whole, parts = moved(ws, [(found, index, step)])
        after = measures(G.synthesis(whole, parts=parts))
        for name in squares:
            squares[name] += float((after[name] - before[name]).square().mean()) / len(found.names)
    between = {name: float((values.roll(1, 0) - values).square().mean()) for name, values in before.items()}
    return {name: (squares[name] / between[name]) ** 0.5 for name in squares}


@command()
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option("--count", type=click.IntRange(1, 512), default=8, show_default=True, help="of directions of each kind")
@click.option("--step", type=float, default=2, show_default=True, help="in standard deviations of styles")
@click.option("--images", type=click.IntRange(2, 4096), default=64, show_default=True, help="that are moved")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(network: Path, count: int, step: float, images: int, device: str | None):
    """Measure how far directions of each method move pictures, beside random directions of the same length.

    \b
    Example:
      python -m scripts.experiments.direction_moves --count 8 --images 64
    """
    keep_freed_memory()
    path = find_network(network, "generator")
    G = load_generator(path, choose_device(device))
    if G.c_dim or G.img_channels != 3:
        raise InputError(f"{path}: wanted an unconditional generator of RGB images")
    ws = random_styles(G, images, seed=1)[:, None].repeat(1, G.num_ws, 1)
    table, heads = [], []
    for method, parts in [*((method, ()) for method in METHODS), *(("sefa", (part,)) for part in kernel_parts(G))]:
        found = find_directions(G, method, count, list(range(G.num_ws)), parts)
        own, other = moves(G, found, step, ws), moves(G, randomised(found), step, ws)
        heads = ["directions", *own]
        table.append([" ".join([method, *parts]), *(f"{own[name]:.2f} (random {other[name]:.2f})" for name in own)])
    print(f"{count} directions of each kind, {step:g} steps, {images} images\n\n{markdown(heads, table)}")


if __name__ == "__main__":
    run(main)
