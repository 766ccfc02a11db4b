#!/usr/bin/env python3
"""Draw images from a trained generator."""

import torch_utils.before_torch  # noqa: F401  what has to be set before PyTorch is loaded

# isort: split

import math
from pathlib import Path

import click
import torch

from networks.directions import kernel_parts, moved, require_parts
from networks.generator import PARTS, Generator
from networks.generator_kernels import predicted_kernels
from networks.sampling import check_cutoff, class_vector, draw_styles, seed_styles
from networks.style_transfer.kernel_picture import kernel_picture
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import PNG, PSI, SEEDS, Progress, command, counted, run
from torch_utils.directions_file import steps_along
from torch_utils.files import InputError, make_folders
from torch_utils.images import MAX_PIXELS, enlarge, save_grid, save_png
from torch_utils.local_path import LocalPath
from torch_utils.overwriting import check_files
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network
from torch_utils.ws_file import load_parts, load_ws
from torch_utils.ws_file import save_ws as write_ws

HINTS = {  # what options are called elsewhere -> what to do instead
    "--psi|--truncation.*": "it is called --trunc",
    "--n|--num.*|--count|--samples": "how many is what --seeds says: --seeds 0-63",
    "--labels?|--class-idx": "it is called --class",
    "--noise": "it is called --noise-mode",
    "--out(put)?": "it is called --outdir",
    "--translate|--rotate": "these layers are not those of StyleGAN3, which can move and turn a picture",
    "--fps|--frames|--video": "videos are drawn by python -m scripts.gen_video",
    "--pkl|--ckpt|--checkpoint|--model": "it is called --network",
}
FILE = LocalPath(dir_okay=False)


@command(hints=HINTS)
@click.option("--seeds", type=SEEDS, help="0-3,7 or 5 or 0,1,2")
@click.option("--projected-w", type=FILE, help="draw the styles in this file instead, of scripts.projector or --save-ws")
@click.option(
    "--direction",
    "directions",
    multiple=True,
    metavar="FILE:NAME=STEP",
    help="move styles along a direction of scripts.directions, as out/directions.npz:0=2.5; may be repeated",
)
@click.option("--outdir", required=True, type=LocalPath(file_okay=False), help="where seed0000.png … go")
@click.option(
    "--network",
    type=click.Path(path_type=Path),
    default="emoji32",
    help="name in pretrained/, snapshot, run directory, or --outdir of runs",
)
@click.option("--trunc", "psi", type=PSI, default=1, help="truncation psi: below 1 more typical, less varied")
@click.option("--trunc-cutoff", "cutoff", type=click.IntRange(0), help="truncate only this many layers, from the coarsest")
@click.option("--class", "label", help="number or name of a class, for conditional networks")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", help="noise of each layer")
@click.option("--grid", type=PNG, help=".png: also put all images into one picture")
@click.option("--scale", type=click.IntRange(1, 64), default=1, help="how often every pixel of --grid is repeated")
@click.option("--show-kernels", type=PNG, help=".png: draw the kernels of the one seed (AdaConv only)")
@click.option("--save-ws", type=FILE, help=".npz: write the styles that are drawn, w [N, num_ws, w_dim]")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(
    seeds, projected_w, directions, outdir, network, psi, cutoff, label, noise_mode, grid, scale, show_kernels, save_ws, device
):
    """Draw one image per seed from a trained generator.

    The same seed gives the same picture whatever the other seeds are. --direction moves every one of them.

    \b
    Examples:
      python generate.py --seeds 0-15 --outdir out --grid grid.png --scale 4
      python generate.py --network runs --seeds 0-63 --trunc 0.7 --outdir out
    """
    check(seeds, projected_w, psi, cutoff, label)
    if scale != 1 and not grid:
        raise InputError(f"--scale {scale}: has no say without --grid")
    chosen = choose_device(device)
    keep_freed_memory()
    network = find_network(network, "generator")
    G, given = load_generator(network, chosen), {}
    if show_kernels and G.config["modulation"] != "adaconv":
        raise InputError(f"--show-kernels: {network} predicts no kernels: its modulation is {G.config['modulation']}")
    if projected_w:
        styles, given = read_styles(projected_w, G, chosen)
        if given and directions:
            raise InputError(f"--direction: parts of the kernels have styles of their own in {projected_w}")
        numbers, names, ws_of = range(len(styles)), "proj{:02d}.png", lambda i: styles[i : i + 1]
    else:
        c = class_vector(G.c_dim, label, read_snapshot(network, tensors=False).info.get("label_names"), network)
        check_cutoff(G, cutoff, [psi])
        numbers, names, ws_of = seeds, "seed{:04d}.png", lambda seed: seed_styles(G, seed, c, psi, cutoff)
    steps = steps_along(directions, G.num_ws, G.w_dim, kernel_parts(G))
    if save_ws and any(found.parts for found, *_ in steps):
        raise InputError("--save-ws: a --direction moves a part of the kernels alone, which no style says")
    if show_kernels and len(numbers) > 1:
        raise InputError(f"--show-kernels: found {len(numbers)} {'styles' if projected_w else 'seeds'}, wanted one")
    if scale > 1 and len(numbers) * math.prod(G.synthesis.resolutions[-1]) * scale**2 > MAX_PIXELS:
        raise InputError(f"--scale {scale}: the grid would have more than {MAX_PIXELS:,} pixels")
    others = [pair for pair in (("--grid", grid), ("--show-kernels", show_kernels), ("--save-ws", save_ws)) if pair[1]]
    check_files(others, [("--projected-w", projected_w)] * bool(projected_w) + [("--network", network)])
    for option, path in others:  # not by check_files: a million seeds need no memory
        if path.resolve().parent == outdir.resolve() and path.name in map(names.format, numbers):
            raise InputError(f"{option} {path}: is one of the images of --outdir, wanted another name")
    make_folders(outdir, *(path.parent for _, path in others))

    images, drawn, progress = [], [], Progress("generating", len(numbers), "img")
    for i, number in enumerate(numbers):
        ws, parts = moved(ws_of(number), steps)
        parts |= {part: other[i : i + 1] for part, other in given.items()}
        drawn.append(ws)
        image = draw_styles(G, ws, number, noise_mode, parts)
        save_png(outdir / names.format(number), image)
        if grid:
            images.append(image)
        if not save_ws and not show_kernels:
            drawn.clear()  # a million seeds need no memory
        progress.update(i + 1)
    progress.close()
    if grid:
        save_grid(grid, enlarge(torch.stack(images), scale), columns=math.isqrt(len(images) - 1) + 1)
    if save_ws:
        write_ws(save_ws, torch.cat(drawn), given)
    if show_kernels:
        save_png(show_kernels, kernel_picture(predicted_kernels(G, drawn[0], parts)))
    print(f"{counted(len(numbers), 'image')} in {outdir}" + (f", all of them in {grid}" if grid else ""))


def read_styles(path: Path, G: Generator, device: torch.device) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """ws [N, num_ws, w_dim] of a file, and those of parts of the kernels, if it has any."""
    ws = load_ws(path, G.num_ws, G.w_dim)
    parts = load_parts(path, PARTS, ws.shape)
    if parts and not kernel_parts(G):
        raise InputError(f"{path}: has styles for parts of kernels, and this network predicts none")
    require_parts(G, parts, f"{path}: this network")
    return ws.to(device), {part: other.to(device) for part, other in parts.items()}


def check(seeds: list[int] | None, projected_w: Path | None, psi: float, cutoff: int | None, label: str | None) -> None:
    """`InputError` for options that do not go together."""
    if bool(seeds) == bool(projected_w):
        raise InputError("wanted --seeds, or --projected-w" + ", but not both" * bool(seeds))
    for option, given in (("--trunc", psi != 1), ("--trunc-cutoff", cutoff is not None), ("--class", label is not None)):
        if projected_w and given:
            raise InputError(f"{option}: has no say in --projected-w, whose styles are drawn as they are")


if __name__ == "__main__":
    run(main)
