"""Seeds beside the training images nearest to them: `python -m scripts.neighbours --seeds 0-7 --output neighbours.png`."""

import sys
from pathlib import Path

import click
import numpy as np
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.detectors.load import load_detector
from metrics.detectors.names import DEFAULT_DETECTOR, DETECTORS
from metrics.evaluation.nearest import Neighbours, neighbours
from metrics.evaluation.request import Request
from metrics.evaluation.session import Session
from metrics.evaluation.shards import ALONE
from networks.sampling import class_vector, draw_seed
from torch_utils.checkpoint import read_snapshot
from torch_utils.cli import IMAGES, PNG, PSI, SEEDS, command, run
from torch_utils.files import make_folders
from torch_utils.images import save_png
from torch_utils.labelled_grid import labelled_grid
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.score_names import NOT_INDEPENDENT
from training.dataset import ImageDataset

COPY = 0.5  # of the usual distance between real images: nearer than this, a picture deserves a look


def picture(images: torch.Tensor, names: list[str], found: Neighbours, real: ImageDataset) -> torch.Tensor:
    """A row for each of uint8 [N, C, H, W]: itself, then its nearest real images, with their distances in units of the usual
    one between real images below: uint8 [3, H, W]."""
    table = [[image, *(real[int(j)][0] for j in nearest)] for image, nearest in zip(images, found.real)]
    captions = [["", *(f"{ratio:.2f}" for ratio in row)] for row in ratios(found)]
    return labelled_grid(table, ["drawn", *(str(i + 1) for i in range(found.real.shape[1]))], names, captions)


def ratios(found: Neighbours) -> np.ndarray:
    """Distances [N, K] in units of the usual one between real images; 0 where there is none, as of a copy, and infinite where
    most real images are there twice."""
    unit = np.full_like(found.distances, found.between_real)
    return np.divide(found.distances, unit, out=np.where(found.distances > 0, np.inf, 0.0), where=unit > 0)


@command()
@click.option("--seeds", required=True, type=SEEDS, help="that are drawn, as 0-7")
@click.option("--output", required=True, type=PNG, help=".png")
@click.option("--count", type=click.IntRange(1, 64), default=6, show_default=True, help="real images beside each")
@click.option("--data", type=IMAGES, help="real images  [default: those the network was trained on]")
@click.option("--detector", type=click.Choice(DETECTORS), default=DEFAULT_DETECTOR, show_default=True, help="whose features")
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option("--trunc", "psi", type=PSI, default=1, show_default=True, help="truncation psi")
@click.option("--class", "label", help="number or name of a class, for conditional networks")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(seeds, output, count, data, detector, network, psi, label, device):
    """Draw seeds, each beside the real images nearest to it by a detector's features: is it a copy?

    Distances are in units of the usual one from a real image to the nearest other one (their median).

    \b
    Example:
      python -m scripts.neighbours --seeds 0-7 --data photos64.zip --output neighbours.png
    """
    chosen = choose_device(device)
    keep_freed_memory()
    names = [f"kid1k_full-{detector}"]  # any metric that looks at the features of all real images
    session = Session(
        Request(metrics=names if detector != "inception" else ["kid1k_full"], network=network, data=data),
        ImageDataset,
        chosen,
        ALONE,
    )
    G = session.G
    c = class_vector(G.c_dim, label, read_snapshot(session.network, tensors=False).info.get("label_names"), session.network)
    images = torch.stack([draw_seed(G, seed, c, psi).cpu() for seed in seeds])
    reals = session.evaluator.real
    found = neighbours(images, load_detector(detector, chosen), reals, min(count, reals.count))
    make_folders(output.parent)
    save_png(output, picture(images, [f"seed {seed}" for seed in seeds], found, session.real))
    nearest = ratios(found)[:, 0]
    near = [f"{seed}" for seed, ratio in zip(seeds, nearest) if ratio < COPY]
    print(f"{output}: the nearest real image is {nearest.min():.2f} to {nearest.max():.2f} times as far as between real images")
    if found.between_real == 0:
        print("most real images are there twice, so that only exact copies are known")
    if detector in session.evaluator.seen:
        print(f"{detector}: {NOT_INDEPENDENT}")
    if near:
        print(f"nearer than {COPY}, perhaps copies: seeds {', '.join(near)}")


if __name__ == "__main__":
    run(main)
