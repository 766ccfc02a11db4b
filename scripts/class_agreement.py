"""How often a conditional generator draws the class that it was asked for: `python -m scripts.class_agreement`.

A classifier is trained on real images alone. How often it agrees with the labels of real images that it has not seen is what a
perfect generator would reach.
"""

import sys
from pathlib import Path

import click
import torch
import torch.nn as nn
import torch.nn.functional as F

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.generator import Generator
from networks.sampling import one_hot
from scripts.output import markdown
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import PSI, Progress, command, run
from torch_utils.files import InputError
from torch_utils.images import from_uint8, to_uint8
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import float32
from torch_utils.pretrained import find_network
from torch_utils.rng import normal
from training.dataset import ImageDataset

WIDTH, BATCH, RATE = 24, 128, 2e-3
FOLDER_OR_ZIP = click.Path(path_type=Path)


def build_classifier(channels: int, classes: int) -> nn.Module:
    """Two convolutions at each of two sizes, pooled to 4×4: [N, channels, H, W] -> logits [N, classes]."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((channels, WIDTH), (WIDTH, 2 * WIDTH)):
        for width in (n_in, n_out):
            layers += [nn.Conv2d(width, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    head = [nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * WIDTH * 16, classes)]
    return nn.Sequential(*layers, *head).to(memory_format=torch.channels_last)


def train_classifier(data: ImageDataset, epochs: int, device: torch.device, seed: int = 0) -> nn.Module:
    """In eval mode. Cross entropy, Adam, a rate that falls to zero; images are flipped if `data` is mirrored."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    classifier = build_classifier(data[0][0].shape[0], data.c_dim).to(device)
    steps = epochs * -(-len(data) // BATCH)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    progress = Progress("classifier", epochs * len(data), "img")
    done = 0
    for _ in range(epochs):
        for picks in torch.randperm(len(data), generator=generator).split(BATCH):
            images, labels = data.batch(picks.tolist())
            loss = F.cross_entropy(classifier(from_uint8(images.to(device))), labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += len(picks)
            progress.update(done)
    progress.close()
    return classifier.eval()


@torch.inference_mode()
@float32()
def on_real(classifier: nn.Module, data: ImageDataset, device: torch.device) -> torch.Tensor:
    """[classes, classes]: how many images of a class (row) were taken for one (column)."""
    table = torch.zeros(data.c_dim, data.c_dim, dtype=torch.long)
    for picks in torch.arange(len(data)).split(BATCH):
        images, labels = data.batch(picks.tolist())
        count(table, labels, classifier(from_uint8(images.to(device))))
    return table


@torch.inference_mode()
@float32()
def on_drawn(classifier: nn.Module, G: Generator, images: int, psi: float, device: torch.device) -> torch.Tensor:
    """The same of `images` drawn pictures, as many of each class as of any other. They are rounded to uint8, as files are."""
    table = torch.zeros(G.c_dim, G.c_dim, dtype=torch.long)
    z = normal((images, G.z_dim), "class agreement", 0)
    for picks in torch.arange(images).split(BATCH):
        asked = picks % G.c_dim
        drawn = to_uint8(G(z[picks].to(device), one_hot(asked.tolist(), G.c_dim).to(device), truncation_psi=psi))
        count(table, asked, classifier(from_uint8(drawn)))
    return table


def count(table: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor) -> None:
    """Add a batch to a table of classes and answers."""
    size = len(table)
    table += torch.bincount(labels.cpu() * size + logits.argmax(1).cpu(), minlength=size * size).view(size, size)


def check(G: Generator, path: Path, data: ImageDataset, test: ImageDataset) -> None:
    """`InputError` where network and images do not go together."""
    if data.label_names and test.label_names and data.label_names != test.label_names:
        raise InputError(f"{test.name}: its classes have other names, or another order, than those of {data.name}")
    own = read_snapshot(path, tensors=False).info.get("label_names")
    if own and data.label_names and own != data.label_names:
        raise InputError(f"{data.name}: its classes have other names, or another order, than those of {path.name}")
    if not G.c_dim:
        raise InputError(f"{path}: was trained without labels, wanted a conditional network")
    for images in (data, test):
        found = (images.c_dim, images[0][0].shape[0], *images.resolution)
        side = G.img_resolution
        wanted = (G.c_dim, G.img_channels, *((side, side) if isinstance(side, int) else side))
        if found != wanted:
            words = "{} classes, {} channels, {}×{}"
            raise InputError(f"{images.name}: found {words.format(*found)}, wanted {words.format(*wanted)} as the network has")


def report(names: list[str], real: torch.Tensor, drawn: torch.Tensor) -> str:
    """A Markdown table: the share that was taken for its own class, by class and in all, and what drawn ones were taken for."""
    share = lambda table: table.diagonal() / table.sum(1).clamp(min=1)
    others = drawn - torch.diag(drawn.diagonal())
    mistaken = [f"{names[i]} ({int(n)})" if n else "" for n, i in zip(*others.max(1))]
    rows = [[name, f"{a:.1%}", f"{b:.1%}", m] for name, a, b, m in zip(names, share(real), share(drawn), mistaken)]
    total = [f"{table.diagonal().sum() / table.sum():.1%}" for table in (real, drawn)]
    return markdown(["class", "held-out real images", "drawn", "most often mistaken for"], [*rows, ["**all**", *total, ""]])


@command()
@click.option("--network", type=click.Path(path_type=Path), required=True, help="conditional, as of generate.py")
@click.option("--data", type=FOLDER_OR_ZIP, required=True, help="labelled images that the classifier learns from")
@click.option("--test", type=FOLDER_OR_ZIP, required=True, help="labelled images that neither it nor the generator has seen")
@click.option("--images", type=click.IntRange(1, 10**6), default=10_000, show_default=True, help="to draw")
@click.option("--epochs", type=click.IntRange(1, 100), default=3, show_default=True, help="of the classifier")
@click.option("--trunc", "psi", type=PSI, default=1, show_default=True, help="truncation psi")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(network: Path, data: Path, test: Path, images: int, epochs: int, psi: float, device: str | None):
    """Count how often a classifier that has seen real images alone names the class that a generator was asked for.

    \b
    Example:
      python -m scripts.class_agreement --network runs --data fashion32.zip --test fashion32-test.zip
    """
    chosen = choose_device(device)
    keep_freed_memory()
    path = find_network(network, "generator")
    G = load_generator(path, chosen)
    learned, unseen = (ImageDataset(source, use_labels=True, keep=True) for source in (data, test))
    check(G, path, learned, unseen)
    if learned.content_hash() == unseen.content_hash():
        raise InputError(f"--test {test}: has the images of --data, wanted others")
    classifier = train_classifier(learned, epochs, chosen)
    real, drawn = on_real(classifier, unseen, chosen), on_drawn(classifier, G, images, psi, chosen)
    print(report(learned.label_names or [str(i) for i in range(G.c_dim)], real, drawn))


if __name__ == "__main__":
    run(main)
