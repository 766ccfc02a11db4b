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
from metrics.names import DEFAULT_DETECTOR, parse_metric
from metrics.yardstick import blurred
from networks.generator import Generator
from networks.sampling import sample
from torch_utils.checkpoint import load_generator, newest_snapshot, read_snapshot
from torch_utils.cli import BOOL, NAMES, Progress, command, run
from torch_utils.files import InputError, append_jsonl
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.rng import mix
from torch_utils.stats import read_jsonl, share_of_way_left
from training.dataset import ImageDataset, evaluation_batches

FD_DETECTORS = [name for name in DETECTORS if name != "inception"]


@command()
@click.option(
    "--metrics", type=NAMES, default="fid50k_full", help="NAME,… such as fid50k_full or fd10k_full-efficientnet_lite0"
)
@click.option("--network", type=click.Path(path_type=Path), help="network-snapshot-….safetensors, or a run directory")
@click.option("--images", type=click.Path(path_type=Path), help="folder or zip of generated images, instead of a network")
@click.option("--data", type=click.Path(path_type=Path), help="real images  [default: those the network was trained on]")
@click.option("--mirror", type=BOOL, help="add the real images flipped  [default: as the network was trained]")
@click.option("--detector", type=click.Choice(FD_DETECTORS), default=DEFAULT_DETECTOR, help="for an fd that names none")
@click.option("--inception", type=click.Path(path_type=Path), help="file with Inception's weights, for fid")
@click.option("--yardsticks", is_flag=True, help="also score an untrained generator, and the real images blurred to 8×8")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="of the generated images and of the floor's split")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(metrics, network, images, data, mirror, detector, inception, yardsticks, seed, device):
    """Score a network, or a folder of somebody's samples, against real images.

    Beside each distance stands its floor: the distance of real images to other real images.
    """
    device = choose_device(device)
    keep_freed_memory()
    names = [str(parse_metric(name, detector)) for name in metrics]
    if not names:
        raise InputError("--metrics none: there is nothing to score")
    if (network is None) == (images is None):
        raise InputError("give either --network or --images")

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
    else:
        fakes = ImageDataset(images)
        fakes.check()
        count = max(parse_metric(name).count for name in names)
        if len(fakes) < count:
            raise InputError(f"{images}: {count} images are to be scored, and there are {len(fakes)}")
        candidates["images"] = lambda count: shuffled(fakes, count, seed)
    if yardsticks:
        candidates["real images blurred to 8×8"] = lambda count: blurred(shuffled(reals, count, seed, repeat=True))

    real_batches = lambda: evaluation_batches(reals, 32)
    evaluator = Evaluator(names, real_batches, len(reals), reals.content_hash(), device, inception, seed)
    results = {what: evaluator(fakes) for what, fakes in candidates.items()}
    if yardsticks and G:
        starts = [recorded_start(network, record) for record in results["generator"]]
        if not all(starts):
            start = untrained(G, options.get("seed", 0))
            starts = evaluator(lambda count: sample(start, count, seed, reals.labels))
        results["untrained generator"] = starts
    for lines in zip(*results.values()):
        print_table(dict(zip(results, lines)))
    if network and options and data is None and mirror is None:  # with other real images it would be another metric
        info = read_snapshot(network, tensors=False).info
        for record in results["generator"]:
            record = dict(nimg=info.get("nimg", 0), snapshot=network.name) | record | dict(command="calc_metrics")
            try:
                append_jsonl(network.parent / f"metric-{record['metric']}.jsonl", record)
            except OSError as error:
                print(f"note: the score could not be added to {network.parent} ({error.strerror})", file=sys.stderr)


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
        if earlier["nimg"] == 0 and all(earlier.get(key) == record[key] for key in same):
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


def print_table(results: dict[str, dict]) -> None:
    """One metric: a row for each thing that was scored."""
    one = next(iter(results.values()))
    rows = {what: result["value"] for what, result in results.items()}
    print(f"\n{one['metric']}  ({one['generated']} images against {one['real']} real ones)")
    if one["floor"] is not None:
        rows["floor: real images, {} against {}".format(*one["floor_counts"])] = one["floor"]
    for what, value in rows.items():
        print(f"  {what:<44} {value:10.3f}")
    if "untrained generator" in rows:
        left = share_of_way_left(rows["generator"], one["floor"], rows["untrained generator"])
        if left is not None:
            print(f"  {'share of the way left, (d − floor)/(d₀ − floor)':<44} {left:7.3f}")


if __name__ == "__main__":
    run(main)
