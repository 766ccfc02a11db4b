"""What each part of a style moves in a generator's pictures: `python -m scripts.experiments.kernel_parts`, for docs/latents.md.

Pairs of seeds: the first one's picture is drawn with one part of its kernels, in all layers, from the second one's style.
"""

import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from metrics.style_transfer.structure import luminance
from networks.generator import Generator
from networks.sampling import seed_styles
from scripts.output import markdown
from torch_utils.checkpoint import load_generator
from torch_utils.cli import command, run
from torch_utils.files import InputError
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network


def measures(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """[N, 3, H, W] in [-1, 1] -> what is compared, [N, …] each."""
    light = luminance(images)
    return {
        "pixels": images,
        "mean colour": images.mean(dim=(2, 3)),
        "edges": torch.cat([light.diff(dim=1).flatten(1), light.diff(dim=2).flatten(1)], dim=1),
    }


@torch.inference_mode()
def moved(G: Generator, pairs: int) -> dict[str, dict[str, float]]:
    """Part -> measure -> root mean square of its change, in that between the two seeds' own pictures."""
    styles = torch.cat([seed_styles(G, seed, None, 1, None) for seed in range(2 * pairs)])
    first, second = styles[::2], styles[1::2]
    before, after = measures(G.synthesis(first)), measures(G.synthesis(second))
    size = lambda a, b: (a - b).square().mean().sqrt()
    found = {}
    for part in G.synthesis.parts:
        mixed = measures(G.synthesis(first, parts={part: second}))
        found[part] = {name: float(size(mixed[name], before[name]) / size(after[name], before[name])) for name in mixed}
    return found


@command()
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option("--pairs", type=click.IntRange(1, 4096), default=128, show_default=True, help="of seeds")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(network: Path, pairs: int, device: str | None):
    """Measure how far spatial kernels, pointwise kernels and biases move a picture, each alone."""
    keep_freed_memory()
    path = find_network(network, "generator")
    G = load_generator(path, choose_device(device))
    if G.config["modulation"] != "adaconv" or G.c_dim or G.img_channels != 3:
        raise InputError(f"{path}: wanted an unconditional AdaConv generator of RGB images")
    found = moved(G, pairs)
    heads = ["part from the other seed", *found["bias"]]
    table = [[part, *(f"{value:.2f}" for value in row.values())] for part, row in found.items()]
    print(f"{pairs} pairs of seeds\n\n{markdown(heads, table)}")


if __name__ == "__main__":
    run(main)
