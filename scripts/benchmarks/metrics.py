"""Speed of the scores and of clean-fid's, in turns within one run: `python -m scripts.benchmarks.metrics`.

Compared are the Fréchet distance of 2048 features, and the features of a folder of images with the same network. There each
side has a process of its own, because how a process keeps its memory is part of its speed.
"""

import json
import multiprocessing
import os
import platform
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

if __name__ in ("__main__", "__mp_main__"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from metrics.detectors import inception
from metrics.fid import frechet_distance
from torch_utils.cli import command, run
from torch_utils.files import InputError, sha256, write_json
from torch_utils.platform import choose_device
from torch_utils.prefetch import default_workers, prefetch, prefetch_one, threads
from torch_utils.torchvision_compat import import_torchvision
from training.dataset import ImageDataset

DIM, SAMPLES = 2048, 5000  # of the Gaussians whose distance is timed
OURS, THEIRS = "ours", "clean-fid"


def in_turns(jobs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each job returns, by round; every other round in reverse order. A first round warms up and is left out."""
    times = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name in jobs if number % 2 else reversed(jobs):
            seconds = jobs[name]()
            if number:
                times[name].append(seconds)
                print(f"  {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return times


def ratio(times: dict[str, list[float]], theirs: list[str]) -> float:
    """Median over the rounds of our time over the shortest of theirs."""
    return statistics.median(ours / min(times[name][i] for name in theirs) for i, ours in enumerate(times[OURS]))


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
    results = {}

    def job(name: str, function: Callable) -> Callable[[], float]:
        def timed() -> float:
            began = time.perf_counter()
            results[name] = float(function(*gaussians))
            return time.perf_counter() - began

        return timed

    times = in_turns({OURS: job(OURS, frechet_distance), THEIRS: job(THEIRS, reference)}, rounds)
    apart = abs(results[OURS] / results[THEIRS] - 1)
    return dict(what=f"Fréchet distance, {dim} features", goal=0.3, seconds=times, ratio=ratio(times, [THEIRS]), apart=apart)


# ---------------------------------------------------------------- the features


class Network(torch.nn.Module):
    """torchvision's Inception v3, untrained, with the interface of the field's file: the same work, other numbers."""

    def __init__(self):
        super().__init__()
        network = import_torchvision().models.inception_v3(weights=None, init_weights=False, aux_logits=False)
        body = [child for name, child in network.named_children() if name not in ("dropout", "fc")]
        self.layers = torch.nn.Sequential(*body, torch.nn.Flatten())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers((images - 128) / 128)


class SmallNetwork(torch.nn.Module):
    """To try the script, and to time everything but the network."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.AvgPool2d(23), torch.nn.Flatten(), torch.nn.Linear(507, inception.DIM))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers((images - 128) / 128)


def make_images(folder: Path, count: int, size: int) -> None:
    """Smooth random pictures, whose files are as large as those of photographs."""
    rng = np.random.RandomState(0)
    for i in range(count):
        coarse = Image.fromarray(rng.randint(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) + rng.randint(-6, 7, (size, size, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")


def our_features(folder: str, network: str, device: torch.device, workers: int) -> Callable[[], np.ndarray]:
    """As in calc_metrics.py: threads read and resize, the network runs on batches of 32."""
    inception.SHA256 = sha256(network)  # random weights stand in for the field's file, which would be refused otherwise
    detector = inception.load(device, network)
    dataset = ImageDataset(folder)

    def extract() -> np.ndarray:
        batches = [range(i, min(i + 32, len(dataset))) for i in range(0, len(dataset), 32)]
        images = prefetch(lambda batch: torch.stack([dataset[i][0] for i in batch]), batches, workers, workers + 1)
        with threads(workers) as pool:
            return torch.cat([finish() for finish in prefetch_one(detector.start(batch, pool) for batch in images)]).numpy()

    return extract


def their_features(folder: str, network: str, device: torch.device, workers: int) -> Callable[[], np.ndarray]:
    """clean-fid's `get_folder_features` with its own model class; batches of 32, its default for custom statistics."""
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)  # its resizer cannot be sent to a process that is spawned
    else:
        workers = 0
    import_torchvision()
    from cleanfid import fid
    from cleanfid.inception_torchscript import InceptionV3W

    model = InceptionV3W(str(Path(network).parent), download=False).to(device)
    options = dict(num_workers=workers, batch_size=32, device=device, mode="clean", verbose=False)
    return lambda: fid.get_folder_features(folder, model, **options)


def serve(pipe, make: Callable[..., Callable[[], np.ndarray]], *arguments) -> None:
    """A process that extracts whenever it is asked to and sends the seconds it took; at the end, the features."""
    extract = make(*arguments)
    features = None
    while pipe.recv() == "again":
        began = time.perf_counter()
        features = extract()
        pipe.send(time.perf_counter() - began)
    pipe.send(features)


def extraction(images: int, size: int, rounds: int, device: torch.device, tiny: bool) -> dict:
    """Features of a folder; clean-fid with the twelve readers of its default and with one a core, the faster one counts."""
    cores = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), images, size)
        with tempfile.TemporaryDirectory() as weights:
            network = str(Path(weights) / inception.FILE)
            torch.manual_seed(0)
            torch.jit.script((SmallNetwork() if tiny else Network()).eval()).save(network)
            sides = {OURS: (our_features, default_workers()), f"{THEIRS}, {cores} workers": (their_features, cores)}
            if cores != 12:
                sides[f"{THEIRS}, 12 workers"] = (their_features, 12)
            pipes, processes = {}, []
            for name, (make, workers) in sides.items():
                pipes[name], end = context.Pipe()
                processes.append(context.Process(target=serve, args=(end, make, folder, network, device, workers)))
                processes[-1].start()
                end.close()  # so that a process that dies is noticed here

            def job(pipe) -> Callable[[], float]:
                def timed() -> float:
                    pipe.send("again")
                    try:
                        return pipe.recv()
                    except EOFError:
                        raise InputError("one of the processes has ended; its message is above") from None

                return timed

            try:
                times = in_turns({name: job(pipe) for name, pipe in pipes.items()}, rounds)
                features = {}
                for name, pipe in pipes.items():
                    pipe.send("end")
                    features[name] = pipe.recv()
            finally:
                for pipe in pipes.values():
                    pipe.close()
                for process in processes:
                    process.join(10)
                    process.kill()
    theirs = [name for name in sides if name != OURS]
    apart = max(float(np.abs(features[OURS] - features[name]).max() / np.abs(features[name]).max()) for name in theirs)
    what = f"features of {images} images of {size}×{size}, {'a small stand-in' if tiny else 'Inception'} on {device}"
    return dict(what=what, goal=0.7, seconds=times, ratio=ratio(times, theirs), apart=apart)


def table(results: list[dict]) -> str:
    """Markdown."""
    lines = ["| work | ours, s | clean-fid, s | ours : clean-fid | goal | results apart by |", "|" + " --- |" * 6]
    for result in results:
        medians = {name: statistics.median(seconds) for name, seconds in result["seconds"].items()}
        theirs = min(value for name, value in medians.items() if name != OURS)
        cells = [result["what"], f"{medians[OURS]:.2f}", f"{theirs:.2f}", f"{result['ratio']:.2f}", f"≤ {result['goal']}"]
        lines.append("| " + " | ".join([*cells, f"{result['apart']:.0e}"]) + " |")
    return "\n".join(lines)


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
    machine = dict(
        device=torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
    )
    print(json.dumps(machine))
    print(table(results))
    if out:
        write_json(out, dict(machine=machine, results=results))


if __name__ == "__main__":
    run(main)
