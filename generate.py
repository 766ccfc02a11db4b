#!/usr/bin/env python3
"""Draw images from a trained generator."""

import torch_utils.openmp  # noqa: F401  sets what OpenMP reads when PyTorch is loaded, and so comes first

# isort: split

import math
from pathlib import Path

import click
import torch

from networks.sampling import class_vector, draw_seed, seed_styles
from networks.style_transfer.kernel_picture import kernel_picture
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import SEEDS, Progress, command, counted, run
from torch_utils.files import InputError, make_folders
from torch_utils.images import save_grid, save_png
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network

FILE = click.Path(dir_okay=False, path_type=Path)


@command()
@click.option("--seeds", required=True, type=SEEDS, help="0-3,7 or 5 or 0,1,2")
@click.option("--outdir", required=True, type=click.Path(file_okay=False, path_type=Path), help="where seed0000.png … go")
@click.option(
    "--network",
    type=click.Path(path_type=Path),
    default="emoji32",
    help="name in pretrained/, snapshot, run directory, or --outdir of runs",
)
@click.option("--trunc", "psi", type=float, default=1, help="truncation psi: below 1 more typical, less varied")
@click.option("--trunc-cutoff", "cutoff", type=click.IntRange(0), help="truncate only this many layers, from the coarsest")
@click.option("--class", "label", help="number or name of a class, for conditional networks")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", help="noise of each layer")
@click.option("--grid", type=FILE, help="also put all images into one picture")
@click.option("--show-kernels", type=FILE, help="draw the kernels of the one seed (AdaConv only)")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(seeds, outdir, network, psi, cutoff, label, noise_mode, grid, show_kernels, device):
    """Draw one image per seed from a trained generator.

    The same seed gives the same picture whatever the other seeds are.
    """
    chosen = choose_device(device)
    keep_freed_memory()
    network = find_network(network, "generator")
    G = load_generator(network, chosen)
    if show_kernels and len(seeds) > 1:
        raise InputError(f"--show-kernels: found {len(seeds)} seeds, wanted one")
    if show_kernels and G.config["modulation"] != "adaconv":
        raise InputError(f"--show-kernels: {network} predicts no kernels: its modulation is {G.config['modulation']}")
    c = class_vector(G.c_dim, label, read_snapshot(network, tensors=False).info.get("label_names"), network)
    make_folders(outdir, *(path.parent for path in (grid, show_kernels) if path))

    images, progress = [], Progress("generating", len(seeds), "img")
    for i, seed in enumerate(seeds):
        image = draw_seed(G, seed, c, psi, cutoff, noise_mode)
        save_png(outdir / f"seed{seed:04d}.png", image)
        if grid:
            images.append(image)
        progress.update(i + 1)
    progress.close()
    if grid:
        save_grid(grid, torch.stack(images), columns=math.isqrt(len(images) - 1) + 1)
    if show_kernels:
        save_png(show_kernels, kernel_picture(predicted_kernels(G, seeds[0], c, psi, cutoff)))
    print(f"{counted(len(seeds), 'image')} in {outdir}" + (f", all of them in {grid}" if grid else ""))


@torch.inference_mode()
def predicted_kernels(G, seed: int, c: torch.Tensor | None, psi: float, cutoff: int | None) -> list[tuple[str, torch.Tensor]]:
    """Title and kernels [C_out, C_in / groups, k, k] of every layer of an AdaConv generator."""
    layers = zip(G.synthesis.layers, seed_styles(G, seed, c, psi, cutoff).unbind(1))
    kernels = [layer.modulation.kernels(w).composed()[0] for layer, w in layers]
    return [(f"layer {i}, {one.shape[0]} channels", one) for i, one in enumerate(kernels)]


if __name__ == "__main__":
    run(main)
