"""Tables of two sets of seeds: `python -m scripts.style_mixing --rows 0-3 --cols 8-11 --layers 0-2 --outdir out`."""

import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.directions import require_parts
from networks.generator import PARTS, Generator
from networks.sampling import class_vector, draw_styles, seed_styles
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import PSI, SEEDS, command, counted, run
from torch_utils.files import InputError, make_folders
from torch_utils.images import save_grid, save_png, to_uint8
from torch_utils.local_path import LocalPath
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import float32
from torch_utils.pretrained import find_network

THIRDS = ("coarse", "middle", "fine")


def layers_of(text: str, count: int) -> list[int]:
    """`0-3,5`, `coarse`, `middle,fine` or `all` -> numbers of layers, of `count`. `InputError` for what there is not."""
    found: set[int] = set()
    for word in text.split(","):
        if word == "all":
            found |= set(range(count))
        elif word in THIRDS:
            third = THIRDS.index(word)
            begin, end = third * count // 3, (third + 1) * count // 3
            found |= set(range(begin, max(end, begin + 1)))  # where there is one layer, it is all of them
        else:
            first, _, last = word.partition("-")
            if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first) < count):
                raise InputError(
                    f"--layers {text}: wanted numbers from 0 to {count - 1}, as 0-3,5, or {', '.join(THIRDS)}, all"
                )
            found |= set(range(int(first), int(last or first) + 1))
    return sorted(found)


@float32()
def mixed(
    G: Generator,
    row: torch.Tensor,  # ws [1, num_ws, w_dim]
    column: torch.Tensor,  # likewise
    layers: list[int],  # those that `column` styles
    parts: tuple[str, ...] = (),  # of generator.PARTS; none: all of the style
    noise_mode: str = "const",
) -> torch.Tensor:
    """The row's picture, with the column's style or parts of it in these layers: uint8 [C, H, W]."""
    other = row.clone()
    other[:, layers] = column[:, layers]
    if not parts:
        return to_uint8(G.synthesis(other, noise_mode))[0]
    return to_uint8(G.synthesis(row, noise_mode, parts={part: other for part in parts}))[0]


@command()
@click.option("--rows", required=True, type=SEEDS, help="seeds of the pictures that are changed, as 0-3,7")
@click.option("--cols", required=True, type=SEEDS, help="seeds whose styles change them")
@click.option(
    "--layers",
    "--styles",
    default="coarse",
    show_default=True,
    help="that the columns style: 0-3,5, coarse, middle, fine or all",
)
@click.option(
    "--part",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    help="only this part of their kernels; may be repeated (AdaConv only)",
)
@click.option("--outdir", required=True, type=LocalPath(file_okay=False), help="for grid.png and ROW-COL.png")
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option("--trunc", "psi", type=PSI, default=1, show_default=True, help="truncation psi")
@click.option("--class", "label", help="number or name of a class, for conditional networks")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", show_default=True)
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@torch.inference_mode()
def main(rows, cols, layers, parts, outdir, network, psi, label, noise_mode, device):
    """Draw every row's seed in the styles of every column's, in some layers.

    --part takes only the spatial kernels (structure), the pointwise ones (how channels mix) or the biases (offsets) of the
    column's seed, and leaves the rest of the row's style.

    \b
    Example:
      python -m scripts.style_mixing --rows 0-3 --cols 8-11 --layers coarse --part spatial --outdir out
    """
    chosen = choose_device(device)
    keep_freed_memory()
    network = find_network(network, "generator")
    G = load_generator(network, chosen)
    numbers = layers_of(layers, G.num_ws)
    require_parts(G, parts, f"--part: {network}")
    c = class_vector(G.c_dim, label, read_snapshot(network, tensors=False).info.get("label_names"), network)
    make_folders(outdir)
    styles = {seed: seed_styles(G, seed, c, psi, None) for seed in {*rows, *cols}}
    alone = {seed: draw_styles(G, ws, seed, noise_mode) for seed, ws in styles.items()}
    table = [torch.full_like(alone[rows[0]], 255), *(alone[seed] for seed in cols)]
    for row in rows:
        table.append(alone[row])
        for column in cols:
            torch.manual_seed(row)  # of random noise
            table.append(mixed(G, styles[row], styles[column], numbers, parts, noise_mode))
            save_png(outdir / f"{row}-{column}.png", table[-1])
    save_grid(outdir / "grid.png", torch.stack(table), len(cols) + 1)
    print(f"{counted(len(rows) * len(cols), 'image')} in {outdir}, all of them in {outdir / 'grid.png'}")


if __name__ == "__main__":
    run(main)
