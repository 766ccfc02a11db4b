#!/usr/bin/env python3
"""Score a network, or a folder of somebody's samples, against real images.

The way from here to a number stands at the top of `metrics/evaluation/__init__.py`.
"""

import torch_utils.before_torch  # noqa: F401  what has to be set before PyTorch is loaded

# isort: split

import sys
from pathlib import Path

import click
import torch

from metrics.detectors.inception import RESIZINGS
from metrics.detectors.names import DEFAULT_DETECTOR
from metrics.evaluation.nearest import rows
from metrics.evaluation.request import DEFAULT_METRIC, Request
from metrics.evaluation.session import Session
from metrics.evaluation.shards import Shards
from metrics.evaluation.table import print_table
from torch_utils import distributed, torchrun
from torch_utils.cli import BOOL, IMAGES, NAMES, command, run
from torch_utils.files import InputError, append_jsonl
from torch_utils.images import save_grid
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network
from torch_utils.score_names import NOT_INDEPENDENT
from training.dataset import ImageDataset

HINTS = {  # what options are called elsewhere -> what to do instead
    "--verbose": "scores and progress are always shown",
    "--run-dir|--pkl|--ckpt|--checkpoint|--model": "it is called --network",
    "--real.*|--dataset|--ref": "real images are given by --data, or a file of theirs by --reference",
    "--num.*|--n|--samples": "how many is in the metric's name: fd10k_full-efficientnet_lite0",
    "--batch.*": "it changes no score, and is chosen without an option",
    "--gen.*|--fake.*": "generated images are given by --images",
}
PATH = click.Path(path_type=Path)
NEAREST_DRAWN, NEAREST_ROWS, NEAREST_REAL = 256, 10, 7  # generated images compared, and shown; real ones beside each


@command(hints=HINTS)
@click.option("--metrics", type=NAMES, help=f"NAME,… such as kid50k_full, pr50k_full, is50k  [default: {DEFAULT_METRIC}]")
@click.option("--network", type=PATH, help="name in pretrained/, snapshot, run directory, or --outdir of runs")
@click.option("--images", type=PATH, help="folder or zip of generated images, instead of a network")
@click.option("--data", type=IMAGES, help="real images  [default: those the network was trained on]")
@click.option("--reference", type=PATH, help="FILE that --save-reference wrote, instead of real images")
@click.option("--save-reference", type=PATH, help="FILE.safetensors: write one that replaces the real images")
@click.option("--mirror", type=BOOL, help="also compare with the real images flipped  [default: as the network was trained]")
@click.option("--detector", default=DEFAULT_DETECTOR, help="for an fd that names none: a name, or a TorchScript file")
@click.option("--inception", type=PATH, help="file with Inception's weights")
@click.option("--resizing", type=click.Choice(list(RESIZINGS)), default="clean", help="how images are resized for Inception")
@click.option("--vgg", type=PATH, help="NVIDIA's vgg16.pt, for ppl2_wend")
@click.option("--trust-code", is_flag=True, help="run TorchScript of --detector FILE and --vgg FILE, which is a program")
@click.option("--extrapolate", is_flag=True, help="also estimate Fréchet distances of infinitely many generated images")
@click.option("--nearest", type=PATH, help="FILE.png: generated images beside the most similar real ones")
@click.option(
    *("--baselines", "--yardsticks", "baselines"),
    is_flag=True,
    help="also score the untrained generator, and the real images blurred to 8×8",
)
@click.option("--outdir", type=PATH, help="folder of metric-….jsonl, to which scores are added  [default: the network's run]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="of generated images and of all subsets")
@click.option("--gpus", type=click.IntRange(1), help="number of processes, one per GPU  [default: 1]")
@click.option("--workers", type=click.IntRange(0, 256), help="threads that read and resize images  [default: one a core]")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(device: str | None, gpus: int | None, **options):
    """Score a network, or a folder of somebody's samples, against real images.

    Beside each distance stand its 95 % interval and the distance of real images to other real images.

    \b
    Examples:
      python calc_metrics.py --network runs --metrics fd10k_full-vgg16
      python calc_metrics.py --images samples/ --data photos64.zip --metrics fid10k_full
    """
    chosen = choose_device(device)
    gpus = torchrun.processes(gpus) or 1
    distributed.check_gpus(gpus, chosen)
    if gpus > 1 and options["nearest"]:
        raise InputError("--nearest is drawn by one process: leave out --gpus")
    if options["network"]:
        options["network"] = find_network(options["network"], "generator")  # says which, once and not in each process
    request = Request(**options)
    if not distributed.launch(score, gpus, chosen, request):
        sys.exit(STATUS)


def score(rank: int, world: int, device: torch.device, request: Request) -> bool:
    """One process of the scoring."""
    keep_freed_memory()
    session = Session(request, ImageDataset, device, Shards(rank, world))
    if request.save_reference:
        session.save_reference()
    results, path_lengths = session.evaluate()
    if rank == 0:
        report(session, results, path_lengths)
    return True


def report(session: Session, results: dict[str, list[dict]], path_lengths: list[dict]) -> None:
    """Print tables, draw nearest neighbours and add the scores to `metric-….jsonl`."""
    for records in zip(*results.values()):
        print_table(dict(zip(results, records)))
    for record in path_lengths:
        print_table({"generator": record})
    request = session.request
    if request.nearest and session.fakes():
        show_nearest(session, request.nearest)
    outdir = request.outdir
    as_in_training = (request.data, request.mirror, request.reference, request.resizing) == (None, None, None, "clean")
    if outdir is None and "data" in session.training and as_in_training:
        outdir = session.network.parent  # with other real images it would be another metric than that of the training run
    if outdir:
        write_records(outdir, session.with_origin(next(iter(results.values()), []) + path_lengths))


def show_nearest(session: Session, path: Path) -> None:
    """Draw one row for each of the generated images closest to a real one: itself, then real ones, the nearest first."""
    fakes, real = next(iter(session.fakes().values())), session.real
    drawn = torch.cat([batch.cpu() for batch in fakes(NEAREST_DRAWN)])[:NEAREST_DRAWN]
    neighbours = session.evaluator.nearest(drawn, min(NEAREST_REAL, len(real)))
    save_grid(path, rows(drawn, neighbours, real, NEAREST_ROWS), 1 + neighbours.real.shape[1])
    print(
        f"\n{path}: the {min(NEAREST_ROWS, len(drawn))} of {len(drawn)} generated images that are closest to a real one, "
        f"each beside its nearest {neighbours.real.shape[1]}.\n"
        f"  A generated image is {neighbours.closeness:.2f} times as far from the nearest real image as a real image is "
        "(medians; far below 1: copies)"
    )
    if session.evaluator.metrics[0].detector in session.evaluator.seen:
        print(f"  {NOT_INDEPENDENT}")


def write_records(folder: Path, records: list[dict]) -> None:
    """Append each to its metric's file. A score that cannot be written has been shown, so that is a note."""
    for record in records:
        try:
            append_jsonl(folder / f"metric-{record['metric']}.jsonl", record)
        except OSError as error:
            print(f"note: the score could not be added to {folder} ({error.strerror})", file=sys.stderr)


if __name__ == "__main__":
    run(distributed.Shared(main))
