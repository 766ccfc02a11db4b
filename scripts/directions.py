"""Directions of styles without labels: `python -m scripts.directions --method sefa --count 8 --outdir out`."""

import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.directions import METHODS, find_directions, kernel_parts, moved, require_parts
from networks.generator import PARTS, Generator
from networks.sampling import class_vector, draw_styles, seed_styles
from scripts.style_mixing import layers_of
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import PSI, SEEDS, Progress, command, counted, run
from torch_utils.directions_file import Directions, load_directions, save_directions
from torch_utils.files import InputError, make_folders
from torch_utils.images import save_png
from torch_utils.labelled_grid import labelled_grid
from torch_utils.local_path import LocalPath
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network

COLUMNS = 7  # pictures along a direction


def new_names(texts: tuple[str, ...]) -> dict[str, str]:
    """`0=brightness` -> {"0": "brightness"}"""
    pairs = [text.partition("=") for text in texts]
    for text, (old, equals, _) in zip(texts, pairs):
        if not old or not equals or text.partition("=")[2].isdecimal():
            raise InputError(f"--name {text}: wanted a number or a name, and a new name that is no number, as 0=brightness")
    return {old: new for old, _, new in pairs}


def strips(G: Generator, styles: dict[int, torch.Tensor], found: Directions, reach: float) -> torch.Tensor:
    """A row for each direction and seed, the steps from -reach to reach as columns: uint8 [3, H, W]."""
    steps = torch.linspace(-reach, reach, COLUMNS).tolist()
    progress = Progress("drawing", len(found.names) * len(styles) * len(steps), "img")
    table, names = [], []
    for index, name in enumerate(found.names):
        for seed, ws in styles.items():
            changed = [moved(ws, [(found, index, step)]) for step in steps]
            table.append([draw_styles(G, whole, seed, parts=parts) for whole, parts in changed])
            names.append(name if len(names) % len(styles) == 0 else "")
            progress.update(len(table) * len(steps))
    progress.close()
    return labelled_grid(table, [f"{step:+.2g}" if step else "0" for step in steps], names, group=len(styles))


@command()
@click.option("--method", type=click.Choice(METHODS), help="by the network's weights, or by its styles  [default: sefa]")
@click.option("--count", type=click.IntRange(1, 512), help="of directions, the strongest first  [default: 8]")
@click.option("--layers", "--styles", help="that are looked at, and moved: 0-3,5, coarse, middle, fine or all  [default: all]")
@click.option(
    "--part", "parts", type=click.Choice(PARTS), multiple=True, help="only this part of kernels; may be repeated (AdaConv only)"
)
@click.option("--samples", type=click.IntRange(100, 10**6), help="noises that are mapped to styles  [default: 10000]")
@click.option(
    "--directions",
    "file",
    type=LocalPath(dir_okay=False),
    help="those of a file, instead of finding any",
)
@click.option("--name", "names", multiple=True, metavar="OLD=NEW", help="rename one, by number or name; may be repeated")
@click.option("--seeds", type=SEEDS, default="0-2", show_default=True, help="that are drawn along each direction")
@click.option(
    "--reach", type=click.FloatRange(0, 100, min_open=True), default=3, show_default=True, help="of the steps that are drawn"
)
@click.option("--outdir", required=True, type=LocalPath(file_okay=False), help="for directions.npz and .png")
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option("--trunc", "psi", type=PSI, default=1, show_default=True, help="truncation psi")
@click.option("--class", "label", help="number or name of a class, for conditional networks")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@torch.inference_mode()
def main(method, count, layers, parts, samples, file, names, seeds, reach, outdir, network, psi, label, device):
    """Find directions in which styles change pictures, without labels, and draw pictures along them.

    sefa takes the directions in which what layers make of a style changes most (Shen and Zhou 2021); ganspace those in which
    styles differ most (Härkönen et al. 2020). A step of 1 is a standard deviation of styles along the direction.

    \b
    Example:
      python -m scripts.directions --method sefa --part spatial --count 8 --outdir out
      python -m scripts.directions --directions out/directions.npz --name 0=brightness --outdir out
      python generate.py --seeds 0-7 --direction out/directions.npz:brightness=2.5 --outdir out
    """
    given = {"--method": method, "--count": count, "--layers": layers, "--part": parts, "--samples": samples}
    for option, value in given.items():
        if file and value:
            raise InputError(f"{option}: has no say in --directions, which were found already")
    renamed = new_names(names)
    chosen = choose_device(device)
    keep_freed_memory()
    network = find_network(network, "generator")
    G = load_generator(network, chosen)
    require_parts(G, parts, f"--part: {network}")
    c = class_vector(G.c_dim, label, read_snapshot(network, tensors=False).info.get("label_names"), network)
    if file:
        found = load_directions(file, G.num_ws, G.w_dim, kernel_parts(G))
    else:
        count = count or 8
        if count > G.w_dim:
            raise InputError(f"--count {count}: styles of {network} have {G.w_dim} dimensions")
        found = find_directions(G, method or "sefa", count, layers_of(layers or "all", G.num_ws), parts, samples or 10000, c)
    found = found.renamed(renamed)
    make_folders(outdir)
    styles = {seed: seed_styles(G, seed, c, psi, None) for seed in seeds}
    picture = strips(G, styles, found, reach)
    save_directions(outdir / "directions.npz", found)
    save_png(outdir / "directions.png", picture)
    print(f"{counted(len(found.names), 'direction')} in {outdir / 'directions.npz'}, pictures in {outdir / 'directions.png'}")


if __name__ == "__main__":
    run(main)
