#!/usr/bin/env python3
"""Score a network, or a folder of somebody's samples, against real images."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import torch

from metrics.evaluator import Evaluator
from metrics.features import DETECTORS
from metrics.inception import RESIZINGS
from metrics.names import DEFAULT_DETECTOR, parse_metric
from metrics.torchscript import detector_name
from metrics.yardstick import blurred
from networks.generator import Generator
from networks.sampling import sample
from torch_utils.checkpoint import load_generator, newest_snapshot, read_snapshot
from torch_utils.cli import BOOL, NAMES, Progress, command, run
from torch_utils.files import InputError, append_jsonl, sha256
from torch_utils.images import save_grid, to_rgb
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.rng import mix
from torch_utils.stats import read_jsonl, share_of_way_left
from training.dataset import ImageDataset, evaluation_batches

NEAREST_DRAWN, NEAREST_ROWS, NEAREST_REALS = 256, 10, 7  # generated images looked at, and shown; real ones beside each
LABELS = {  # of the numbers beside a metric's value, as they end a row
    "precision": ", precision",
    "recall": ", recall",
    "f_score": ", their harmonic mean",
    "density": ", density",
    "coverage": ", coverage",
    "std": ", deviation of its parts",
    "extrapolated": ", of infinitely many",
}


@command()
@click.option("--metrics", type=NAMES, default="fid50k_full", help="NAME,… such as fid50k_full, kid50k_full, pr50k_full, is50k")
@click.option("--network", type=click.Path(path_type=Path), help="network-snapshot-….safetensors, or a run directory")
@click.option("--images", type=click.Path(path_type=Path), help="folder or zip of generated images, instead of a network")
@click.option("--data", type=click.Path(path_type=Path), help="real images  [default: those the network was trained on]")
@click.option("--mirror", type=BOOL, help="add the real images flipped  [default: as the network was trained]")
@click.option("--detector", default=DEFAULT_DETECTOR, help="for an fd that names none: a name, or any TorchScript file")
@click.option("--inception", type=click.Path(path_type=Path), help="file with Inception's weights")
@click.option("--resizing", type=click.Choice(list(RESIZINGS)), default="clean", help="of images for Inception")
@click.option("--extrapolate", is_flag=True, help="also estimate Fréchet distances of infinitely many generated images")
@click.option("--nearest", type=click.Path(path_type=Path), help="FILE.png: generated images beside the most similar real ones")
@click.option("--yardsticks", is_flag=True, help="also score an untrained generator, and the real images blurred to 8×8")
@click.option("--outdir", type=click.Path(path_type=Path), help="where to add to metric-….jsonl  [default: the network's run]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="of the generated images and of all subsets")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(
    metrics: list[str],
    network: Path | None,
    images: Path | None,
    data: Path | None,
    mirror: bool | None,
    detector: str,
    inception: Path | None,
    resizing: str,
    extrapolate: bool,
    nearest: Path | None,
    yardsticks: bool,
    outdir: Path | None,
    seed: int,
    device: str | None,
):
    """Score a network, or a folder of somebody's samples, against real images.

    Beside each distance stand its 95 % interval and its floor: the distance of real images to other real images.
    """
    device = choose_device(device)
    keep_freed_memory()
    file = None if detector in DETECTORS else Path(detector)
    if file is not None:
        if not file.is_file():
            known = ", ".join(name for name in DETECTORS if name != "inception")
            raise InputError(f"--detector {file}: no such file, and no detector of that name; there are {known}")
        detector = detector_name(file)
    names = [str(parse_metric(name, detector, [detector])) for name in metrics]
    if not names:
        raise InputError("--metrics none: there is nothing to score")
    if (network is None) == (images is None):
        raise InputError("give either --network or --images")
    for folder, option in ((outdir, "--outdir"), (nearest and nearest.absolute().parent, "--nearest")):
        if folder and not folder.is_dir():
            raise InputError(f"{option}: there is no folder {folder}")

    candidates: dict[str, Callable[[int], Iterable[torch.Tensor]]] = {}  # what is scored -> fakes(count)
    options = {}  # of the network's training
    G = None
    if network:
        network = newest_snapshot(network)
        G = load_generator(network, device)
        options = training_options(network)
    reals = open_reals(data, mirror, options, G)
    if G:
        candidates["generator"] = lambda count: sample(G, count, seed, reals.labels)
        origin = dict(snapshot=network.name, snapshot_hash=sha256(network))
    else:
        fakes = ImageDataset(images)
        fakes.check()
        count = max(parse_metric(name, more=[detector]).count for name in names)
        if len(fakes) < count:
            raise InputError(f"{images}: {count} images are to be scored, and there are {len(fakes)}")
        candidates["images"] = lambda count: shuffled(fakes, count, seed)
        origin = dict(images=str(images), images_content=fakes.content_hash())
    if yardsticks:
        candidates["real images blurred to 8×8"] = lambda count: blurred(shuffled(reals, count, seed, repeat=True))

    real_batches = lambda: evaluation_batches(reals, 32)
    evaluator = Evaluator(
        names,
        real_batches,
        len(reals),
        reals.content_hash(),
        device,
        inception,
        seed,
        inception_resizing=resizing,
        detector_file=file,
        interval=True,
        extrapolate=extrapolate,
    )
    results = {what: evaluator(fakes) for what, fakes in candidates.items()}
    if yardsticks and G:
        starts = [recorded_start(network, record) for record in results["generator"]]
        if not all(starts):
            start = untrained(G, options.get("seed", 0))
            starts = evaluator(lambda count: sample(start, count, seed, reals.labels))
        results["untrained generator"] = starts
    for lines in zip(*results.values()):
        print_table(dict(zip(results, lines)))
    if nearest:
        show_nearest(evaluator, next(iter(candidates.values())), reals, nearest)
    if outdir is None and network and options and data is None and mirror is None:
        outdir = network.parent  # with other real images it would be another metric than the training's
    if outdir:
        trained = dict(nimg=read_snapshot(network, tensors=False).info.get("nimg", 0)) if network else {}
        origin |= dict(data=str(data or options["data"]), mirror=reals.mirror, device=str(device), command="calc_metrics")
        write_records(outdir, [trained | record | origin for record in next(iter(results.values()))])


def open_reals(data: Path | None, mirror: bool | None, options: dict, G: Generator | None) -> ImageDataset:
    """The real images: as given, or else as the training of the network had them."""
    path = data or options.get("data")
    if path is None:
        raise InputError("--data is missing: which real images is it to be scored against?")
    subset, seed = (None, 0) if data else (options.get("subset"), options.get("seed", 0))
    mirror = bool(options.get("mirror")) if mirror is None else mirror
    reals = ImageDataset(path, mirror, use_labels=bool(G and G.c_dim), subset=subset, seed=seed)
    progress = Progress(f"checking {reals.name}", len(reals), "img")
    reals.check(progress.update)
    progress.close()
    if G:
        found, wanted = (reals.height, reals.width, reals.channels), (G.img_resolution, G.img_resolution, G.img_channels)
        if G.c_dim and max(reals.labels) >= G.c_dim:
            raise InputError(f"{path}: has {reals.c_dim} classes, and the network draws {G.c_dim}")
        if found != wanted:
            raise InputError(f"{path}: images are (height, width, channels) = {found}, and the network draws {wanted}")
    return reals


def training_options(network: Path) -> dict:
    """`training_options.json` beside a snapshot; {} where there is none that reads."""
    try:
        options = json.loads((network.parent / "training_options.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return options if isinstance(options, dict) else {}


def recorded_start(network: Path, record: dict) -> dict | None:
    """The score that the network's training gave to its untrained generator, if it measured the same thing."""
    same = ("metric", "generated", "real", "floor", "detector_hash", "resizing")
    for earlier in read_jsonl(network.parent / f"metric-{record['metric']}.jsonl"):
        if earlier.get("nimg") == 0 and all(earlier.get(key) == record[key] for key in same):
            return earlier
    return None


def untrained(G: Generator, seed: int) -> Generator:
    """The generator that a training of G with this seed began with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix("weights", seed))
        new = Generator(**G.config).eval().requires_grad_(False)
    return new.to(device=next(G.parameters()).device, memory_format=torch.channels_last)


def shuffled(dataset: ImageDataset, count: int, seed: int, repeat: bool = False) -> Iterator[torch.Tensor]:
    """`count` images in a random order, so that a folder sorted by class is not cut; fewer where there are not as many."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    order = (order * (-(-count // len(order)) if repeat else 1))[:count]
    for i in range(0, len(order), 32):
        yield torch.stack([dataset[j][0] for j in order[i : i + 32]])


def show_nearest(evaluator: Evaluator, fakes: Callable[[int], Iterable[torch.Tensor]], reals: ImageDataset, path: Path) -> None:
    """One row for each of the generated images that are closest to a real one: itself, then real ones, nearest first."""
    drawn = torch.cat([batch.cpu() for batch in fakes(NEAREST_DRAWN)])[:NEAREST_DRAWN]
    found = evaluator.nearest(drawn, min(NEAREST_REALS, len(reals)))
    cells = []
    for i in found.order[:NEAREST_ROWS]:
        cells += [to_rgb(drawn[i][None]), *(to_rgb(reals[int(j)][0][None]) for j in found.reals[i])]
    save_grid(path, torch.cat(cells), 1 + found.reals.shape[1])
    print(
        f"\n{path}: the {min(NEAREST_ROWS, len(drawn))} of {len(drawn)} generated images that come closest to a real one, "
        f"each beside its nearest {found.reals.shape[1]}.\n"
        f"  The nearest real image is {found.closeness:.2f} times as far from a generated one as from another real one "
        "(medians; far below 1: copied)"
    )


def write_records(folder: Path, records: list[dict]) -> None:
    """Add each to its metric's file. A score that cannot be written has still been shown."""
    for record in records:
        try:
            append_jsonl(folder / f"metric-{record['metric']}.jsonl", record)
        except OSError as error:
            print(f"note: the score could not be added to {folder} ({error.strerror})", file=sys.stderr)


def print_table(results: dict[str, dict]) -> None:
    """One metric: rows for each thing that was scored, and what real images come to."""
    one = next(iter(results.values()))
    against = f" against {one['real']} real ones" if one["real"] else ""
    print(f"\n{one['metric']}  ({one['generated']} images{against}; {one['detector']}, resizing: {one['resizing']})")
    for what, result in results.items():
        named = {key: result[key] for key in LABELS if key in result}
        shown = named if result.get("value_is") in named else {"value": result["value"]} | named
        between = "   95 %: {:.4g} to {:.4g}".format(*result["interval"]) if "interval" in result else ""
        for key, value in shown.items():
            print_row(f"{what}{LABELS.get(key, '')}", value, between)
            between = ""  # belongs to the first number
    if one["floor"] is not None:
        print_row("floor: real images, {} against {}".format(*one["floor_counts"]), one["floor"])
    for key, value in (one.get("between_reals") or {}).items():
        print_row("real images, {} against {}{}".format(*one["floor_counts"], LABELS[key]), value)
    if "untrained generator" in results:
        left = share_of_way_left(results["generator"]["value"], one["floor"], results["untrained generator"]["value"])
        if left is not None:
            print_row("share of the way left, (d − floor)/(d₀ − floor)", left)


def print_row(what: str, value: float, more: str = "") -> None:
    print(f"  {what:<50} {value:10.4g}{more}")


if __name__ == "__main__":
    run(main)
