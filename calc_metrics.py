#!/usr/bin/env python3
"""Score a network, or a folder of somebody's samples, against real images."""

import torch_utils.openmp  # noqa: F401  sets what OpenMP reads when PyTorch is loaded, and so comes first

# isort: split

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from metrics.detectors import lpips
from metrics.detectors.inception import RESIZINGS
from metrics.detectors.load import DETECTORS, require_detector
from metrics.detectors.torchscript import detector_name
from metrics.evaluation import reference_file
from metrics.evaluation.baselines import blurred
from metrics.evaluation.evaluator import Evaluator
from metrics.evaluation.metric_name import DEFAULT_DETECTOR, OF_PATHS, parse_metric
from metrics.evaluation.shards import Shards
from metrics.perceptual_path_length import path_record
from networks.generator import Generator
from networks.sampling import sample
from torch_utils import distributed
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import BOOL, NAMES, Progress, command, run
from torch_utils.files import InputError, append_jsonl, sha256
from torch_utils.images import save_grid, to_rgb
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.prefetch import default_workers, in_order
from torch_utils.rng import mix
from torch_utils.run_dir import newest_snapshot
from torch_utils.stats import read_jsonl, share_of_way_left
from training.dataset import ImageDataset

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
@click.option("--reference", type=click.Path(path_type=Path), help="FILE that --save-reference wrote, instead of real images")
@click.option("--save-reference", type=click.Path(path_type=Path), help="FILE.safetensors: keep what the real images come to")
@click.option("--mirror", type=BOOL, help="add the real images flipped  [default: as the network was trained]")
@click.option("--detector", default=DEFAULT_DETECTOR, help="for an fd that names none: a name, or any TorchScript file")
@click.option("--inception", type=click.Path(path_type=Path), help="file with Inception's weights")
@click.option("--resizing", type=click.Choice(list(RESIZINGS)), default="clean", help="of images for Inception")
@click.option("--vgg", type=click.Path(path_type=Path), help="NVIDIA's vgg16.pt, for ppl2_wend")
@click.option("--extrapolate", is_flag=True, help="also estimate Fréchet distances of infinitely many generated images")
@click.option("--nearest", type=click.Path(path_type=Path), help="FILE.png: generated images beside the most similar real ones")
@click.option("--yardsticks", is_flag=True, help="also score an untrained generator, and the real images blurred to 8×8")
@click.option("--outdir", type=click.Path(path_type=Path), help="where to add to metric-….jsonl  [default: the network's run]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="of the generated images and of all subsets")
@click.option("--gpus", type=click.IntRange(1), default=1, help="number of processes, one per GPU")
@click.option("--workers", type=click.IntRange(0, 256), help="threads that read and resize images  [default: one a core]")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(device: str | None, gpus: int, **options):
    """Score a network, or a folder of somebody's samples, against real images.

    Beside each distance stand its 95 % interval and its floor: the distance of real images to other real images.
    """
    chosen = choose_device(device)
    if gpus > 1 and (chosen.type not in ("cpu", "cuda") or chosen.index is not None):
        raise InputError(f"--gpus {gpus} goes with --device cpu or cuda, not {chosen}")
    if chosen.type == "cuda" and gpus > torch.cuda.device_count():
        raise InputError(f"--gpus {gpus}: there are {torch.cuda.device_count()}")
    if gpus > 1 and options["nearest"]:
        raise InputError("--nearest is drawn by one process: leave --gpus away")
    request = Request(**options)
    if not distributed.launch(score, gpus, chosen, request):
        sys.exit(STATUS)


@dataclass
class Request:
    """What stood on the command line, after a look at whether it makes sense."""

    metrics: list[str]
    network: Path | None
    images: Path | None
    data: Path | None
    reference: Path | None
    save_reference: Path | None
    mirror: bool | None
    detector: str
    inception: Path | None
    resizing: str
    vgg: Path | None
    extrapolate: bool
    nearest: Path | None
    yardsticks: bool
    outdir: Path | None
    seed: int
    workers: int | None

    def __post_init__(self):
        """What can be found out without reading an image or weights is found out here, before any process is started."""
        self.workers = default_workers() if self.workers is None else self.workers
        self.file = None if self.detector in DETECTORS else Path(self.detector)
        if self.file is not None:
            if not self.file.is_file():
                known = ", ".join(name for name in DETECTORS if name != "inception")
                raise InputError(f"--detector {self.file}: no such file, and no detector of that name; there are {known}")
            self.detector = detector_name(self.file)
        more = [self.detector] if self.vgg is None else [self.detector, lpips.network_name(self.vgg)]
        wanted = list(dict.fromkeys(parse_metric(name, self.detector, more) for name in self.metrics))
        self.paths = [metric for metric in wanted if metric.kind in OF_PATHS]
        self.names = [str(metric) for metric in wanted if metric.kind not in OF_PATHS]
        self.most = max((metric.count for metric in wanted), default=0)
        if not wanted:
            raise InputError("--metrics none: there is nothing to score")
        if self.network and self.images or not (self.network or self.images or self.save_reference):
            raise InputError("give either --network or --images")
        if self.paths and not self.network:
            raise InputError(f"{self.paths[0]} needs the generator itself: give --network, not --images")
        if self.reference and (self.data or self.save_reference or self.nearest or self.yardsticks or self.mirror is not None):
            raise InputError("--reference stands for the real images, which --data, --mirror, --nearest, --yardsticks need")
        for option in ("save_reference", "nearest"):
            if getattr(self, option) and not self.names:
                raise InputError(f"--{option.replace('_', '-')} needs another metric: a path length looks at no real images")
        folders = [(self.outdir, "--outdir")]
        files = ((self.nearest, "--nearest"), (self.save_reference, "--save-reference"))
        folders += [(file.absolute().parent, option) for file, option in files if file]
        for folder, option in folders:
            if folder and not folder.is_dir():
                raise InputError(f"{option}: there is no folder {folder}")
        for metric in self.paths:
            lpips.find(self.vgg, ours=metric.kind == "ppl2_wend")
        for name in dict.fromkeys(parse_metric(name, more=more).detector for name in self.names):
            require_detector(name, self.inception, self.file)


def score(rank: int, world: int, device: torch.device, request: Request) -> bool:
    """One process of the scoring; all of them come to the same end."""
    keep_freed_memory()
    candidates: dict[str, Callable[[int], Iterable[torch.Tensor]]] = {}  # what is scored -> fakes(count), this process's share
    options = {}  # of the network's training
    G, network, reals, labels, origin = None, request.network, None, None, {}
    shards, share, seed, workers, reference = (
        Shards(rank, world),
        (rank, world),
        request.seed,
        request.workers,
        request.reference,
    )
    if network:
        network = newest_snapshot(network, "generator")
        G = load_generator(network, device)
        options = training_options(network)
    known = reference_file.load(reference) if reference else None
    if known:
        labels = known.labels
        fits(reference, known.shape, labels, G)
        if G and G.c_dim and labels is None:
            raise InputError(f"--reference {reference} has no labels, which {network.name} draws by: save it with --network")
    elif request.names or (G and G.c_dim):
        reals = open_reals(request.data, request.mirror, options, G)
        labels = reals.labels
    if G:
        candidates["generator"] = lambda count: sample(G, count, seed, labels, share=share)
        origin = dict(snapshot=network.name, snapshot_hash=sha256(network))
    elif request.images:
        fakes = ImageDataset(request.images)
        fakes.check()
        if len(fakes) < request.most:
            raise InputError(f"{request.images}: {request.most} images are to be scored, and there are {len(fakes)}")
        candidates["images"] = lambda count: read(fakes, shuffled(len(fakes), count, seed), workers, share)
        origin = dict(images=str(request.images), images_content=fakes.content_hash())
    if request.yardsticks and request.names:
        candidates["real images blurred to 8×8"] = lambda count: blurred(
            read(reals, shuffled(len(reals), count, seed), workers, share)
        )

    evaluator = None
    if request.names:
        evaluator = Evaluator(
            request.names,
            None if known else lambda: read(reals, range(len(reals)), workers, share),
            known.real_count if known else len(reals),
            known.content if known else reals.content_hash(),
            device,
            request.inception,
            seed,
            inception_resizing=request.resizing,
            detector_file=request.file,
            interval=True,
            extrapolate=request.extrapolate,
            workers=workers,
            shards=shards,
            saved=known,
        )
    perceptual = lpips.load(request.vgg, device) if request.paths else None
    if request.save_reference:
        shape = (reals.height, reals.width, reals.channels)
        evaluator.save_reference(request.save_reference, reals.mirror, shape, reals.labels)
        if rank == 0:
            kept = ", ".join(map(str, evaluator.references))
            print(f"{request.save_reference}: in the place of {len(reals)} real images, for {kept}")
    results = {what: evaluator(fakes) for what, fakes in candidates.items()} if evaluator else {}
    if request.yardsticks and G and evaluator:
        starts = shards.from_first([recorded_start(network, record) for record in results["generator"]])
        if not all(starts):
            start = untrained(G, options.get("seed", 0))
            starts = evaluator(lambda count: sample(start, count, seed, labels, share=share))
        results["untrained generator"] = starts
    lengths = [path_record(metric, G, perceptual, seed, labels, shards=shards) for metric in request.paths]
    if rank != 0:
        return True

    for lines in zip(*results.values()):
        print_table(dict(zip(results, lines)))
    for record in lengths:
        print_table({"generator": record})
    if request.nearest and candidates:
        show_nearest(evaluator, next(iter(candidates.values())), reals, request.nearest)
    outdir, usual = request.outdir, request.data is None and request.mirror is None and reference is None
    if outdir is None and network and options and usual:
        outdir = network.parent  # with other real images it would be another metric than the training's
    if outdir:
        trained = dict(nimg=read_snapshot(network, tensors=False).info.get("nimg", 0)) if network else {}
        origin |= dict(device=str(device), processes=world, command="calc_metrics")
        if known:
            origin |= dict(reference=str(reference), reference_hash=known.hash, reference_seed=known.seed, mirror=known.mirror)
        elif reals:
            origin |= dict(data=str(request.data or options["data"]), mirror=reals.mirror)
        records = next(iter(results.values()), []) + lengths
        write_records(outdir, [trained | record | origin for record in records])
    return True


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
    fits(path, (reals.height, reals.width, reals.channels), reals.labels, G)
    return reals


def fits(path: Path, shape: tuple[int, int, int], labels: list[int] | None, G: Generator | None) -> None:
    """Raises `InputError` where the real images are not what the network draws."""
    if G:
        size = G.img_resolution
        wanted = (*((size, size) if isinstance(size, int) else size), G.img_channels)
        if G.c_dim and labels and max(labels) >= G.c_dim:
            raise InputError(f"{path}: has {max(labels) + 1} classes, and the network draws {G.c_dim}")
        if shape != wanted:
            raise InputError(f"{path}: images are (height, width, channels) = {shape}, and the network draws {wanted}")


def read(
    dataset: ImageDataset, indices: Sequence[int], workers: int, share: tuple[int, int] = (0, 1)
) -> Iterator[torch.Tensor]:
    """Those images, uint8 [≤ 32, C, H, W], read by threads ahead of whoever looks at them."""
    rank, world = share
    batches = (indices[i : i + 32] for i in range(32 * rank, len(indices), 32 * world))
    return in_order(lambda batch: torch.stack([dataset[i][0] for i in batch]), batches, workers, ahead=workers + 1)


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


def shuffled(images: int, count: int, seed: int) -> list[int]:
    """`count` of so many images in a random order, so that a folder sorted by class is not cut; again and again if need be."""
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed)).tolist()
    return (order * -(-count // images))[:count]


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
