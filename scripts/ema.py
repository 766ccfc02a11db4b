"""The generator of a run, averaged over another width, after training: `python -m scripts.ema RUN_DIR --width 0.08`."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.evaluation.evaluator import Evaluator
from networks.generator import Generator
from networks.sampling import sample
from scripts.output import markdown, row
from torch_utils.checkpoint import load_generator, read_snapshot, save_snapshot
from torch_utils.cli import command, run
from torch_utils.files import InputError, make_folders
from torch_utils.local_path import LocalPath
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.run_dir import EMA, averages, snapshot_name
from torch_utils.score_names import caveat, lower_is_better
from training.dataset import ImageDataset, evaluation_batches
from training.gan.config import TrainingConfig
from training.gan.ema_profile import MAX_WIDTH, fit
from training.run.start import stored_options

TRIED = (0.03, 0.04, 0.05, 0.07, 0.10, 0.14, 0.20)  # widths, each about 1.4 times the one before
OWN = "the run's own"


def rebuild(run_dir: Path, width: float) -> tuple[Generator, float]:
    """The generator averaged over this width, as of the run's last averages; and the part of its profile that is missed.

    `InputError` where there are no averages, or not all of one network.
    """
    kept = averages(run_dir)
    if not kept:
        raise InputError(f"{run_dir}: found no averages in {EMA}/, wanted a run that was begun with --posthoc-ema 1")
    times, widths, files = zip(*kept)
    try:
        coefficients, missed = fit(times, widths, times[-1], width)
    except ValueError as error:
        raise InputError(f"{run_dir / EMA}: {error}") from None
    G = load_generator(files[-1])  # with its buffers, which are not averaged, and as far as it has grown
    total = [parameter.zero_() for parameter in G.parameters()]
    for file, coefficient in zip(files, coefficients):
        part = load_generator(file)
        part.growth = G.growth  # weights of levels that were not in use are there all the same
        if part.config != G.config:
            raise InputError(f"{file}: found another network than in {files[-1].name}")
        torch._foreach_add_(total, list(part.parameters()), alpha=float(coefficient))
    return G, missed


def build_score(run_dir: Path, metric: str, device: torch.device) -> Callable[[Generator], dict]:
    """score(G), against the images that the run was trained on, as a record."""
    config = stored_options(TrainingConfig, run_dir)
    data = ImageDataset(config.data, config.mirror, config.cond, config.subset, config.seed, config.skip_bad)
    data.check()
    real = (lambda: evaluation_batches(data, 32), len(data), data.content_hash())
    evaluate = Evaluator([metric], *real, device, mirrored=data.mirror, seen=config.seen)
    return lambda G: evaluate(lambda count: sample(G.to(device), count, config.seed, data.labels))[0]


def choose(run_dir: Path, metric: str, score: Callable[[Generator], dict]) -> float:
    """Of TRIED the width with the best score; prints all scores, and that of the average which the run itself kept."""
    print(markdown(["width", metric, "profile missed"]))
    scores = {}
    for width in TRIED:
        G, missed = rebuild(run_dir, width)
        record = score(G)
        scores[width] = record["value"]
        print(row([f"{width:.2f}", f"{scores[width]:.4g}", f"{missed:.1%}"]), flush=True)
    nimg = averages(run_dir)[-1][0]
    own = run_dir / snapshot_name(nimg)
    if own.is_file() and read_snapshot(own, tensors=False).info.get("nimg") == nimg:
        print(row([OWN, f"{score(load_generator(own))['value']:.4g}", ""]))
    if words := caveat(record):
        print(f"{metric}: {words}")
    return (min if lower_is_better(metric) else max)(scores, key=scores.__getitem__)


@command()
@click.argument("run_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--width",
    type=click.FloatRange(0, MAX_WIDTH, min_open=True),
    help="standard deviation of the average's profile, as a part of the images seen",
)
@click.option("--choose", "metric", metavar="METRIC", help="score several widths by this, and take the best")
@click.option(
    "--out",
    type=LocalPath(dir_okay=False),
    help="the network to write  [default: RUN_DIR/network-ema-<width>.safetensors]",
)
@click.option("--device", help="of the scores: cpu, cuda, mps …  [default: the best there is]")
def main(run_dir: Path, width: float | None, metric: str | None, out: Path | None, device: str | None):
    """Make the generator of a run whose weights are averaged over any WIDTH, from the averages that --posthoc-ema 1 has kept.

    \b
    Examples:
      python -m scripts.ema runs/00000-… --width 0.08
      python -m scripts.ema runs/00000-… --choose fd1k_full-vgg16
    """
    if (width is None) == (metric is None):
        raise InputError("give either --width or --choose")
    keep_freed_memory()
    if out:
        make_folders(out.absolute().parent)
    if metric:
        rebuild(run_dir, TRIED[0])  # says at once what is missing
        width = choose(run_dir, metric, build_score(run_dir, metric, choose_device(device)))
    G, missed = rebuild(run_dir, width)
    out = out or run_dir / f"network-ema-{width:.3f}.safetensors"
    info = read_snapshot(averages(run_dir)[-1][2], tensors=False).info
    save_snapshot(out, "generator", G, **info | dict(width=width))
    print(f"{out}: width {width:g} at {info['nimg'] / 1000:g} kimg; {missed:.1%} of its profile are missed")


if __name__ == "__main__":
    run(main)
