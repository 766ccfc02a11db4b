"""Speed of the scores and of clean-fid's, in turns within one run: `python -m scripts.bench metrics`.

Compared are the Fréchet distance of 2048 features, and the features of a folder of images with the same network. There each
side has a process of its own, because how a process keeps its memory is part of its speed.
"""

import contextlib
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from metrics.detectors import inception
from metrics.fid import frechet_distance
from scripts.benchmarks.timing import in_turns, machine, ratio
from scripts.benchmarks.turns import ROOT, Side
from scripts.output import markdown
from torch_utils.cli import command
from torch_utils.files import write_json
from torch_utils.platform import choose_device
from torch_utils.prefetch import default_workers
from torch_utils.torchvision_compat import import_torchvision

DIM, SAMPLES = 2048, 5000  # of the Gaussians whose distance is timed
OURS, THEIRS = "ours", "clean-fid"


def turns(jobs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each job returns, by round, after one that warms up."""

    def told(name: str) -> float:
        seconds = jobs[name]()
        print(f"  {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
        return seconds

    for job in reversed(jobs.values()):
        job()
    return in_turns({name: functools.partial(told, name) for name in jobs}, 0, least=rounds)


def ratio_to_best(times: dict[str, list[float]]) -> float:
    """Median over the rounds of our time over the shortest of theirs."""
    return ratio(times[OURS], [min(others) for others in zip(*(times[name] for name in times if name != OURS))])


# ---------------------------------------------------------------- the distance


def distances(dim: int, samples: int, rounds: int) -> dict:
    """Between two Gaussians of correlated features, as fits of `samples` images are."""
    import_torchvision()
    from cleanfid.fid import frechet_distance as reference

    rng = np.random.RandomState(0)
    mixing = rng.randn(dim, dim) / dim**0.5
    gaussians = []
    for shift in (0, 0.1):
        features = rng.randn(samples, dim) @ mixing + shift
        gaussians += [features.mean(0), np.cov(features, rowvar=False)]
    functions, results = {OURS: frechet_distance, THEIRS: reference}, {}

    def job(name: str) -> float:
        began = time.perf_counter()
        results[name] = float(functions[name](*gaussians))
        return time.perf_counter() - began

    times = turns({name: functools.partial(job, name) for name in functions}, rounds)
    apart = abs(results[OURS] / results[THEIRS] - 1)
    return dict(what=f"Fréchet distance, {dim} features", goal=0.3, seconds=times, ratio=ratio_to_best(times), apart=apart)


# ---------------------------------------------------------------- the features


class Network(torch.nn.Module):
    """torchvision's Inception v3, untrained, with the interface of the field's file: the same work, other numbers.

    Or a tiny network, to try the script, and to time everything but the network.
    """

    def __init__(self, tiny: bool):
        super().__init__()
        if tiny:
            layers = [torch.nn.AvgPool2d(23), torch.nn.Flatten(), torch.nn.Linear(507, inception.DIM)]
        else:
            whole = import_torchvision().models.inception_v3(weights=None, init_weights=False, aux_logits=False)
            layers = [child for name, child in whole.named_children() if name not in ("dropout", "fc")] + [torch.nn.Flatten()]
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers((images - 128) / 128)


def make_images(folder: Path, count: int, size: int) -> None:
    """Smooth random pictures, whose files are as large as those of photographs."""
    rng = np.random.RandomState(0)
    for i in range(count):
        coarse = Image.fromarray(rng.randint(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) + rng.randint(-6, 7, (size, size, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")


def extraction(images: int, size: int, rounds: int, device: torch.device, tiny: bool) -> dict:
    """Features of a folder; clean-fid with the twelve readers of its default and with one a core, the faster one counts."""
    sides = {OURS: ("our features", default_workers())}
    sides |= {f"{THEIRS}, {n} workers": ("clean-fid's features", n) for n in dict.fromkeys((os.cpu_count() or 1, 12))}
    with contextlib.ExitStack() as stack:
        folder, other = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        make_images(folder, images, size)
        torch.manual_seed(0)
        network = str(other / inception.FILE)
        torch.jit.script(Network(tiny).eval()).save(network)
        jobs, features = {}, {}
        for name, (side, workers) in sides.items():
            result = str(other / f"{name}.npy")
            process = Side(side, ROOT, device, folder=str(folder), network=network, workers=workers, result=result)
            jobs[name] = stack.enter_context(process).jobs
        times = turns({name: own["extract"] for name, own in jobs.items()}, rounds)
        for name, own in jobs.items():
            own["save"]()
            features[name] = np.load(other / f"{name}.npy")
    ours = features.pop(OURS)
    apart = max(float(np.abs(ours - theirs).max() / np.abs(theirs).max()) for theirs in features.values())
    what = f"features of {images} images of {size}×{size}, {'a small stand-in' if tiny else 'Inception'} on {device}"
    return dict(what=what, goal=0.7, seconds=times, ratio=ratio_to_best(times), apart=apart)


def table(results: list[dict]) -> str:
    """Markdown."""
    rows = []
    for result in results:
        medians = {name: statistics.median(seconds) for name, seconds in result["seconds"].items()}
        seconds = medians.pop(OURS), min(medians.values())
        cells = [f"{value:.2f}" for value in (*seconds, result["ratio"])]
        rows.append([result["what"], *cells, f"≤ {result['goal']}", f"{result['apart']:.0e}"])
    return markdown(["work", "ours, s", "clean-fid, s", "ours : clean-fid", "goal", "results apart by"], rows)


@command()
@click.argument("what", type=click.Choice(["distance", "features", "all"]), default="all")
@click.option("--images", type=click.IntRange(2), default=2000, help="in the folder")
@click.option("--size", type=click.IntRange(8), default=64, help="of the images")
@click.option("--rounds", type=click.IntRange(1), default=3, help="after one that warms up")
@click.option("--device", help="cpu, cuda …  [default: the best there is]")
@click.option("--out", type=click.Path(path_type=Path), help="FILE.json for all times")
@click.option("--tiny", is_flag=True, help="few features and a small network, to try the script")
def main(what: str, images: int, size: int, rounds: int, device: str | None, out: Path | None, tiny: bool):
    """Compare our Fréchet distance and our extraction of features with clean-fid's."""
    chosen = choose_device(device)
    results = []
    if what in ("distance", "all"):
        dim, samples = (64, 500) if tiny else (DIM, SAMPLES)
        results.append(distances(dim, samples, rounds))
    if what in ("features", "all"):
        results.append(extraction(images, size, rounds, chosen, tiny))
    facts = machine(chosen)
    print(json.dumps(facts))
    print(table(results))
    if out:
        write_json(out, dict(machine=facts, results=results))
