"""A card of a trained generator, from its run's own records: `python -m scripts.card RUN_DIR`."""

import dataclasses
import math
import re
import shlex
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
from scripts.output import markdown
from torch_utils.checkpoint import load_generator, read_snapshot, save_snapshot
from torch_utils.cli import command, duration, run
from torch_utils.files import InputError, atomic_write, make_folders
from torch_utils.images import grid, save_png
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.run_dir import SNAPSHOTS
from training.dataset import ImageDataset, evaluation_batches
from training.gan.config import TrainingConfig, resolve
from training.run.options import options_of
from training.run.run_records import RunRecords

ROOT = Path(__file__).resolve().parents[1]
SEEDS, COMPARED, ROWS, REAL = 64, 256, 8, 7  # seeds in the grid, and compared with real images; of these shown, and beside each
WIDE = 512  # pixels, at least, of a picture
MAX_PACKED = 12 * 2**20  # bytes, of a network in the repository
FREE = (
    "data",
    "workers",
    "threads",
    "save_every",
    "gpus",
    "cfg",
    "tick",
    "snap",
    "metrics",
)  # options that are not about the result, or said elsewhere
FILE = click.Path(dir_okay=False, path_type=Path)


def choose_snapshot(records: RunRecords, asked: Path | None) -> tuple[Path, str]:
    """And why it is this one. The best by the run's first distance; where nothing was scored, the newest."""
    if asked:
        path = next((path for path in (records.run_dir / asked, asked) if path.is_file()), None)
        if path is None:
            raise InputError(f"--network {asked}: {records.run_dir} has no such snapshot")
        return path, "as asked for"
    snapshots = {path.name: path for path in sorted(records.run_dir.glob(SNAPSHOTS))}
    if not snapshots:
        raise InputError(f"{records.run_dir}: found no network-snapshot-….safetensors")
    names = [*(records.options.get("metrics") or ()), *records.scores]
    for metric in (name for name in names if re.match("fid|fd|kid", str(name)) and name in records.scores):
        if scored := [record for record in records.scores[metric] if record.get("snapshot") in snapshots]:
            best = min(scored, key=lambda record: record["value"])
            return snapshots[best["snapshot"]], f"the best of {len(scored)} by {metric}"
    return list(snapshots.values())[-1], "the newest; none was scored by a distance"


def pack(source: Path, target: Path) -> str:
    """Write the network in half precision, as `pretrained/` has it; -> its size in words."""
    G = load_generator(source)
    if too_large := [name for name, value in G.named_parameters() if not value.half().isfinite().all()]:
        raise InputError(f"--pack: {source}: {too_large[0]} has numbers that half precision cannot hold")
    make_folders(target.absolute().parent)
    save_snapshot(target, "generator", G, half=True, **read_snapshot(source, tensors=False).info)
    size = target.stat().st_size
    above = f", more than the {MAX_PACKED / 2**20:g} MB that the repository takes" if size > MAX_PACKED else ""
    return f"{size / 2**20:.2f} MB{above}"


# ---------------------------------------------------------------- words


def without_folders(text: str) -> str:
    """A command line without the places of the machine that it ran on: of an absolute path only the last part is left."""
    try:
        words = shlex.split(text)
    except ValueError:
        return text
    return " ".join(word if word == "…" else shlex.quote(shorter(word)) for word in words)


def shorter(word: str) -> str:
    path = Path(word)
    if not path.is_absolute() and not re.match(r"[A-Za-z]:\\", word):
        return word
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else re.split(r"[\\/]", word.rstrip("\\/"))[-1]


def options_in_words(options: dict, side: int) -> tuple[str, str]:
    """What the preset sets, and what differs from preset and defaults; names as on the command line."""
    defaults = {f.name: f.default for f in dataclasses.fields(TrainingConfig) if f.name in options and f.name not in FREE}
    cfg = str(options.get("cfg", TrainingConfig.cfg))
    try:
        preset = resolve(cfg, side, {})
    except KeyError:
        preset = {}
    known = options_of(TrainingConfig)
    plain = lambda value: list(value) if isinstance(value, tuple) else value
    words = lambda name: f"{known[name].name or name.replace('_', '-')} {_value(options[name])}"
    of_preset = [name for name in defaults if name in preset and options[name] == plain(preset[name])]
    beyond = [name for name in defaults if name not in of_preset and options[name] != plain(defaults[name])]
    listed = lambda names: ", ".join(map(words, names)) or "none"
    return f"`{cfg}`: {listed([name for name in of_preset if options[name] != plain(defaults[name])])}", listed(beyond)


def _value(value) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_value(part)}" for name, part in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def facts(records: RunRecords, network: Path, why: str, G: Generator, packed: str | None) -> list[tuple[str, str]]:
    """Rows of the card's table."""
    options, said = records.options, lambda name: "; later ".join(records.said(name))
    side = G.img_resolution if isinstance(G.img_resolution, int) else max(G.img_resolution)
    preset, beyond = options_in_words(options, side)
    nimg = read_snapshot(network, tensors=False).info.get("nimg", 0)
    seconds, pace = records.seconds(nimg), "not recorded"
    if seconds and nimg:
        pace = f"{duration(seconds)}, {seconds / nimg * 1000:.3g} s/kimg; scores and pictures not counted"
    modulation = " ".join(filter(None, [G.config["modulation"], _value(G.config["modulation_options"] or {})]))
    table = [
        ("data", f"{shorter(str(options.get('data', '')))}: {re.sub(r', kept in memory [(].*?[)]', '', said('Data'))}"),
        ("network", f"`{network.name}`, {why}" + (f"; here in half precision, {packed}" if packed else "")),
        ("parameters", f"{sum(p.numel() for p in G.parameters()):,}; {modulation}"),
        ("images seen", f"{nimg:,}" + (f", in steps of {options['batch']}" if "batch" in options else "")),
        ("time of training", pace),
        ("machine", "; ".join(filter(None, [said("Machine") or "not recorded", said("Device"), said("Precision")]))),
        ("preset", preset),
        ("other options", beyond),
    ]
    return table + [row for name, scored in records.scores.items() if (row := score_row(name, scored, network.name))]


def score_row(metric: str, scored: list[dict], snapshot: str) -> tuple[str, str] | None:
    """The record of this snapshot in words."""
    record = next((record for record in scored if record.get("snapshot") == snapshot), None)
    if record is None:
        return None
    parts = {name: record[name] for name in ("precision", "recall", "density", "coverage") if name in record}
    words = ", ".join(f"{name} {value:.3g}" for name, value in parts.items()) or f"{record['value']:.4g}"
    if record.get("interval"):
        words += " (95 %: {:.4g} to {:.4g})".format(*record["interval"])
    reals = record.get("between_reals") or {}
    if parts and reals:
        words += "; real vs. real " + ", ".join(f"{name} {reals[name]:.3g}" for name in parts if name in reals)
    elif record["floor"] is not None:
        words += f"; real vs. real {record['floor']:.4g}"
    if record.get("floor_counts"):
        words += " ({} against {})".format(*record["floor_counts"])
    if (first := scored[0])["nimg"] == 0 and not parts:
        words += f"; untrained {first['value']:.4g}"
    if record["way_left"] is not None:
        words += f"; **normalized {record['way_left']:.2f}** (1: untrained, 0: as good as real images)"
    return f"`{metric}`", words


# ---------------------------------------------------------------- pictures


def draw(G: Generator, count: int) -> torch.Tensor:
    """uint8 [count, C, H, W] of the seeds from 0 on; with labels, seed i shows class i mod c_dim."""
    labels = [one_hot([seed % G.c_dim], G.c_dim) if G.c_dim else None for seed in range(count)]
    return torch.stack([draw_seed(G, seed, c).cpu() for seed, c in enumerate(labels)])


def save_enlarged(path: Path, images: torch.Tensor, columns: int) -> None:
    """A grid, each pixel so many times as large that the picture is WIDE at least."""
    factor = max(math.ceil(WIDE / (columns * images.shape[3])), 1)
    save_png(path, grid(images, columns).repeat_interleave(factor, 1).repeat_interleave(factor, 2))


def nearest(records: RunRecords, images: torch.Tensor, path: Path, device: torch.device) -> str:
    """Draw the samples that are closest to a training image beside those; -> what is to be said of it."""
    options = records.options
    if "data" not in options:
        raise InputError(f"{records.run_dir}: its records do not say which images it was trained on")
    named = {name: options.get(name) for name in ("subset", "seed")}
    flags = {name: bool(options.get(name)) for name in ("mirror", "skip_bad")}
    real = ImageDataset(options["data"], use_labels=False, **flags, subset=named["subset"], seed=named["seed"] or 0)
    real.check()
    try:
        require_detector(EFFICIENTNET)
        metric = f"kid1k_full-{EFFICIENTNET}"  # any that looks at the features of all real images
    except InputError:  # without the `offline` extra
        metric = f"kid1k_full-{VGG16}"
    batches = lambda: evaluation_batches(real, 32)
    found = Evaluator([metric], batches, len(real), real.content_hash(), device).nearest(images, min(REAL, len(real)))
    save_enlarged(path, rows(images, found, real, ROWS), 1 + found.real.shape[1])
    smallest = found.distances[:, 0].min() / found.between_real if found.between_real else math.inf
    shown, beside = min(ROWS, len(images)), found.real.shape[1]
    return (
        f"Of the seeds 0 to {len(images) - 1}, the {shown} that are closest to a training image, each before the {beside} "
        f"training images nearest to it, on {metric.partition('-')[2]}. A sample is {found.closeness:.2f} times as far from "
        "the nearest training image as training images are from each other (medians), the closest sample "
        f"{smallest:.2f} times; far below 1: copies."
    )


def write_card(path: Path, title: str, table: list[tuple[str, str]], commands: list[str], pictures: dict[Path, str]) -> None:
    """`pictures`: files beside the card, and what each shows."""
    cells = [[name, value.replace("|", "\\|")] for name, value in table]
    shown = "\n".join(map(without_folders, commands)) or "# not recorded"
    parts = [f"# {title}", markdown(["", ""], cells), f"```\n{shown}\n```"]
    parts += [f"![{file.stem}]({file.name})\n\n{text}" for file, text in pictures.items()]
    with atomic_write(path, "w") as file:
        file.write("\n\n".join(parts) + "\n")


@command()
@click.argument("run_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="folder of the card  [default: RUN_DIR/card]")
@click.option(
    "--network", type=click.Path(path_type=Path), help="a snapshot of the run  [default: the best scored, or the newest]"
)
@click.option(
    "--pack", "packed", type=FILE, help="FILE.safetensors: also write the network in half precision, and draw with that"
)
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(run_dir: Path, out: Path | None, network: Path | None, packed: Path | None, device: str | None):
    """Write a card of a trained generator from its run's records: card.md, card-seeds.png and card-nearest.png.

    With --pack FILE, these names begin with FILE's.

    \b
    Example:
      python -m scripts.card runs/00000-emoji32-small-adaconv --pack emoji32.safetensors
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: there is no such run directory")
    chosen, out = choose_device(device), out or run_dir / "card"
    keep_freed_memory()
    records = RunRecords(run_dir)
    network, why = choose_snapshot(records, network)
    print(f"Network:       {network} ({why})")
    size = pack(network, packed) if packed else None
    if packed:
        print(f"Packed:        {packed}, {size}")
    G = load_generator(packed or network, chosen)
    make_folders(out)
    name = packed.stem if packed else "card"
    grid_file, nearest_file = out / f"{name}-seeds.png", out / f"{name}-nearest.png"
    images = draw(G, COMPARED)
    save_enlarged(grid_file, images[:SEEDS], G.c_dim if 1 < G.c_dim <= 16 else 8)
    pictures = {
        grid_file: f"These are the seeds 0 to {SEEDS - 1}, not chosen{', a column for each class' * (1 < G.c_dim <= 16)}."
    }
    try:
        pictures[nearest_file] = nearest(records, images, nearest_file, chosen)
    except InputError as error:
        print(f"note: no nearest training images: {error}", file=sys.stderr)
    title = packed.name if packed else f"{records.data_name}, {network.stem}"
    write_card(out / f"{name}.md", title, facts(records, network, why, G, size), records.said("Command line"), pictures)
    print(f"Card:          {out / name}.md")


if __name__ == "__main__":
    run(main)
