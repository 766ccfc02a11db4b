"""A card of a trained network, from its run's own records: `python -m scripts.card RUN_DIR`."""

import contextlib
import math
import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.detectors.load import require_detector
from metrics.detectors.names import EFFICIENTNET, VGG16
from metrics.evaluation.evaluator import Evaluator
from metrics.evaluation.nearest import rows
from networks.generator import Generator
from networks.sampling import draw_seed, one_hot
from networks.style_transfer.stylizer import load_stylizer
from scripts import card_style
from scripts.card_text import (
    choose_snapshot,
    in_words,
    options_in_words,
    pack,
    run_rows,
    score_rows,
    shorter,
    what_was_read,
    write_card,
)
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import command, run
from torch_utils.files import InputError, make_folders
from torch_utils.images import enlarge, grid, save_png
from torch_utils.local_path import LocalPath
from torch_utils.platform import choose_device, keep_freed_memory
from training.dataset import ImageDataset, evaluation_batches
from training.gan.config import TrainingConfig, resolve
from training.run.run_records import RunRecords

SEEDS, COMPARED, ROWS, REAL = 64, 256, 8, 7  # seeds in the grid, and compared with real images; of these shown, and beside each
WIDE = 512  # pixels, at least, of a picture
FILE = LocalPath(dir_okay=False)


def facts(records: RunRecords, network: Path, why: str, G: Generator) -> list[tuple[str, str]]:
    """Rows of the card's table."""
    options = records.options
    side = G.img_resolution if isinstance(G.img_resolution, int) else max(G.img_resolution)
    try:
        preset = resolve(str(options.get("cfg", TrainingConfig.cfg)), side, {})
    except KeyError:
        preset = {}
    of_preset, beyond = options_in_words(TrainingConfig, preset, options)
    modulation = " ".join(filter(None, [G.config["modulation"], in_words(G.config["modulation_options"] or {})]))
    table = [
        ("data", f"{shorter(str(options.get('data', '')))}: {what_was_read(records, 'Data')}"),
        ("network", f"`{network.name}`, {why}"),
        ("parameters", f"{sum(p.numel() for p in G.parameters()):,}; {modulation}"),
        *run_rows(records, read_snapshot(network, tensors=False).info.get("nimg", 0)),
        ("preset", of_preset),
        ("other options", beyond),
    ]
    return table + score_rows(records, network)


def draw(G: Generator, count: int) -> torch.Tensor:
    """uint8 [count, C, H, W] of the seeds from 0 on; with labels, seed i shows class i mod c_dim."""
    labels = [one_hot([seed % G.c_dim], G.c_dim) if G.c_dim else None for seed in range(count)]
    return torch.stack([draw_seed(G, seed, c).cpu() for seed, c in enumerate(labels)])


def save_enlarged(path: Path, images: torch.Tensor, columns: int) -> None:
    """A grid, each pixel so many times as large that the picture is WIDE at least."""
    factor = max(math.ceil(WIDE / (columns * images.shape[3])), 1)
    save_png(path, enlarge(grid(images, columns), factor))


def nearest(records: RunRecords, images: torch.Tensor, path: Path, device: torch.device) -> str:
    """Draw the samples that are closest to a training image beside those; -> what is to be said of it.

    By a detector whose features training has not looked at.
    """
    options = records.options
    if "data" not in options:
        raise InputError(f"{records.run_dir}: its records do not say which images it was trained on")
    named = {name: options.get(name) for name in ("subset", "seed")}
    flags = {name: bool(options.get(name)) for name in ("mirror", "skip_bad")}
    real = ImageDataset(options["data"], use_labels=False, **flags, subset=named["subset"], seed=named["seed"] or 0)
    real.check()
    metric = f"kid1k_full-{VGG16}"  # any that looks at the features of all real images
    if not options.get("projected") and EFFICIENTNET not in (options.get("features_seen") or ()):
        with contextlib.suppress(InputError):  # without the `offline` extra
            require_detector(EFFICIENTNET)
            metric = f"kid1k_full-{EFFICIENTNET}"
    opened = (lambda: evaluation_batches(real, 32), len(real), real.content_hash())
    found = Evaluator([metric], *opened, device, mirrored=real.mirror).nearest(images, min(REAL, len(real)))
    save_enlarged(path, rows(images, found, real, ROWS), 1 + found.real.shape[1])
    smallest = found.distances[:, 0].min() / found.between_real if found.between_real else math.inf
    shown, beside = min(ROWS, len(images)), found.real.shape[1]
    return (
        f"Of the seeds 0 to {len(images) - 1}, the {shown} that are closest to a training image, each before the {beside} "
        f"training images nearest to it, on {metric.partition('-')[2]}. A sample is {found.closeness:.2f} times as far from "
        "the nearest training image as training images are from each other (medians), the closest sample "
        f"{smallest:.2f} times; far below 1: copies."
    )


@command()
@click.argument("run_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--out", type=LocalPath(file_okay=False), help="folder of the card  [default: RUN_DIR/card]")
@click.option(
    "--network", type=click.Path(path_type=Path), help="a snapshot of the run  [default: the best scored, or the newest]"
)
@click.option(
    "--pack", "packed", type=FILE, help="FILE.safetensors: also write the network in half precision, and draw with that"
)
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(run_dir: Path, out: Path | None, network: Path | None, packed: Path | None, device: str | None):
    """Write a card of a trained network from its run's records: card.md, and card-seeds.png and card-nearest.png of a
    generator or card-held-out.png of a style transfer.

    With --pack FILE, these names begin with FILE's.

    \b
    Example:
      python -m scripts.card runs/00000-… --pack emoji32.safetensors
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: there is no such run directory")
    chosen, out = choose_device(device), out or run_dir / "card"
    keep_freed_memory()
    records = RunRecords(run_dir)
    network, why = choose_snapshot(records, network)
    print(f"Network:       {network} ({why})")
    stylizes = read_snapshot(network, tensors=False).kind == "style_transfer"
    size = None
    if packed:
        size = pack(network, packed, load_stylizer(network).network if stylizes else load_generator(network))
        print(f"Packed:        {packed}, {size}")
        why += f"; here in half precision, {size}"
    make_folders(out)
    stem = out / (packed.stem if packed else "card")
    if stylizes:
        stylizer = load_stylizer(packed or network, device=chosen)
        table, pictures = card_style.facts(records, network, why, stylizer), card_style.pictures(records, stylizer, stem)
    else:
        G = load_generator(packed or network, chosen)
        table, pictures = facts(records, network, why, G), draw_pictures(records, G, stem, chosen)
    title = packed.name if packed else f"{records.data_name}, {network.stem}"
    write_card(stem.with_name(f"{stem.name}.md"), title, table, records.said("Command line"), pictures)
    print(f"Card:          {stem}.md")


def draw_pictures(records: RunRecords, G: Generator, stem: Path, device: torch.device) -> dict[Path, str]:
    """Of seeds, and of training images beside them: their files, and what each shows."""
    grid_file, nearest_file = (stem.with_name(f"{stem.name}-{what}.png") for what in ("seeds", "nearest"))
    images = draw(G, COMPARED)
    save_enlarged(grid_file, images[:SEEDS], G.c_dim if 1 < G.c_dim <= 16 else 8)
    shown = {grid_file: f"These are the seeds 0 to {SEEDS - 1}, not chosen{', a column for each class' * (1 < G.c_dim <= 16)}."}
    try:
        shown[nearest_file] = nearest(records, images, nearest_file, device)
    except InputError as error:
        print(f"note: no nearest training images: {error}", file=sys.stderr)
    return shown


if __name__ == "__main__":
    run(main)
