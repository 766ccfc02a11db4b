"""What truncation does: `python -m scripts.truncation --seeds 0-7 --trunc 0,0.25,0.5,0.75,1 --output sweep.png`."""

import math
import sys
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.detectors.names import DEFAULT_DETECTOR
from metrics.evaluation.request import Request
from metrics.evaluation.session import Session
from metrics.evaluation.shards import ALONE
from networks.generator import Generator
from networks.sampling import check_cutoff, class_vector, draw_seed, sample
from scripts.output import markdown
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import IMAGES, NAMES, PNG, SEEDS, command, run
from torch_utils.files import InputError, make_folders
from torch_utils.images import save_png
from torch_utils.labelled_grid import labelled_grid
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network
from torch_utils.score_names import caveat
from training.dataset import ImageDataset

MAX_PSIS = 32
PAIRS = ("precision", "recall", "density", "coverage")  # of metrics that are two numbers


def psis_of(text: str) -> list[float]:
    """`0,0.5,1` -> [0, 0.5, 1]"""
    try:
        psis = [float(part) for part in text.split(",")]
    except ValueError:
        psis = [math.nan]
    if not all(map(math.isfinite, psis)) or len(psis) > MAX_PSIS:
        raise click.BadParameter(f"{text!r} does not read as up to {MAX_PSIS} values of psi; write 0,0.5,1")
    return list(dict.fromkeys(psis))


def picture(
    G: Generator, seeds: list[int], psis: list[float], c: torch.Tensor | None, cutoff: int | None, noise_mode: str
) -> torch.Tensor:
    """A row for each seed, a column for each psi: uint8 [3, H, W]."""
    table = [[draw_seed(G, seed, c, psi, cutoff, noise_mode) for psi in psis] for seed in seeds]
    return labelled_grid(table, [f"psi {psi:g}" for psi in psis], [f"seed {seed}" for seed in seeds])


def scores(session: Session, psis: list[float], cutoff: int | None) -> str:
    """A Markdown table: a row for each psi, a column for each number of each metric."""
    table, heads, notes = [], ["psi"], []
    for psi in psis:
        draw = lambda count, psi=psi: sample(session.G, count, session.request.seed, session.labels, psi=psi, cutoff=cutoff)
        records, row = session.evaluator(draw), [f"{psi:g}"]
        heads, several = ["psi"], sum(any(name in record for name in PAIRS) for record in records) > 1
        for record in records:
            names = [name for name in PAIRS if name in record] or ["value"]
            behind = f", {record['metric']}" if several else ""
            heads += [record["metric"] if name == "value" else name + behind for name in names]
            row += [f"{record[name]:.3g}" for name in names]
        table.append(row)
        notes = [f"\n{record['metric']}: {caveat(record)}" for record in records if caveat(record)]
    return markdown(heads, table) + "".join(notes)


@command()
@click.option("--seeds", required=True, type=SEEDS, help="rows of the picture, as 0-7")
@click.option("--trunc", "psis", type=psis_of, metavar="PSI,…", default="0,0.25,0.5,0.75,1", show_default=True, help="columns")
@click.option("--output", required=True, type=PNG, help=".png of the table")
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option("--trunc-cutoff", "cutoff", type=click.IntRange(0), help="truncate only this many layers, from the coarsest")
@click.option("--class", "label", help="of the pictures: number or name of a class, for conditional networks")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", show_default=True)
@click.option("--metrics", type=NAMES, help="also score each psi: names of calc_metrics.py, as pr1k_full-efficientnet_lite0")
@click.option("--data", type=IMAGES, help="real images to score against  [default: those trained on]")
@click.option(
    "--detector", default=DEFAULT_DETECTOR, show_default=True, help="for an fd that names none: a name, or a TorchScript file"
)
@click.option("--trust-code", is_flag=True, help="run TorchScript of --detector FILE, which is a program")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(seeds, psis, output, network, cutoff, label, noise_mode, metrics, data, detector, trust_code, device):
    """Draw seeds with truncation from all to none, and score what it trades: variety for typical pictures.

    Scores are of images of all classes, precision and recall for example.

    \b
    Example:
      python -m scripts.truncation --seeds 0-7 --trunc 0,0.5,1 --metrics pr1k_full-vgg16 --data photos64.zip --output sweep.png
    """
    for option, value in (("--data", data), ("--detector", detector != DEFAULT_DETECTOR), ("--trust-code", trust_code)):
        if value and metrics is None:
            raise InputError(f"{option}: wants --metrics, as pr1k_full-efficientnet_lite0")
    chosen = choose_device(device)
    keep_freed_memory()
    session = None
    if metrics is not None:
        request = Request(metrics=metrics, network=network, data=data, detector=detector, trust_code=trust_code)
        if request.path_lengths:
            raise InputError(f"--metrics {request.path_lengths[0]}: is not of truncated images")
        session = Session(request, ImageDataset, chosen, ALONE)
    path = session.network if session else find_network(network, "generator")
    G = session.G if session else load_generator(path, chosen)
    check_cutoff(G, cutoff, psis)
    c = class_vector(G.c_dim, label, read_snapshot(path, tensors=False).info.get("label_names"), path)
    make_folders(output.parent)
    save_png(output, picture(G, seeds, psis, c, cutoff, noise_mode))
    print(f"written: {output}")
    if session:
        print(scores(session, psis, cutoff))


if __name__ == "__main__":
    run(main)
