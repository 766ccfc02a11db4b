"""How scores respond to known damage, and to small counts: `python -m scripts.experiments.metric_response`.

One half of the images is compared with the other, undamaged and with more and more noise, blur, dropped classes or duplicates.
The numbers are in docs/metrics.md.
"""

import sys
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from metrics.detectors.base import Detector
from metrics.detectors.load import load_detector
from metrics.evaluation.metric_name import DEFAULT_DETECTOR
from metrics.evaluation.scores import Sample, score
from metrics.jackknife import GROUPS, FrechetJackknife
from metrics.statistics import FeatureStatistics
from scripts.output import markdown, save_figure
from torch_utils.cli import Progress, command, run
from torch_utils.files import write_json
from torch_utils.platform import choose_device
from training.dataset import ImageDataset

EMOJI = Path(__file__).resolve().parents[2] / "datasets" / "emoji32.zip"
STRENGTHS = {  # damage -> how much of it
    "noise": (0, 8, 24, 64),  # standard deviation, of 255
    "blur": (0, 0.5, 1, 2),  # pixels
    "dropped classes": (0, 1 / 9, 2 / 9, 4 / 9),  # share of them
    "duplicates": (0, 0.3, 0.6, 0.9),  # share of images replaced by copies of the others
}
MAX_IMAGES = 300  # in a damaged set
COUNTS = (400, 800, 1600)
SHOWN = {"fd": "distance", "kid": "distance", "mind": "distance", "pr precision": "precision", "pr recall": "recall"}
SHOWN |= {"dc density": "density", "dc coverage": "coverage"}


def noisy(images: torch.Tensor, deviation: float) -> torch.Tensor:
    """uint8 [N, C, H, W] plus normal noise."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + deviation * noise).round().clamp(0, 255).to(torch.uint8)


def blurry(images: torch.Tensor, deviation: float) -> torch.Tensor:
    """uint8 [N, C, H, W] under a Gaussian with this standard deviation in pixels; edges are repeated."""
    if deviation == 0:
        return images
    reach = int(3 * deviation + 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images.float(), [reach] * 4, mode="replicate")
    rows = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(rows, kernel.mT, groups=images.shape[1]).round().clamp(0, 255).to(torch.uint8)


def without_classes(labels: np.ndarray, share: float) -> np.ndarray:
    """Indices of the images that remain without the largest classes, which are this share of all classes."""
    classes, sizes = np.unique(labels, return_counts=True)
    left = classes[np.argsort(sizes, kind="stable")][: max(round(len(classes) * (1 - share)), 1)]
    return np.flatnonzero(np.isin(labels, left))


def with_duplicates(count: int, share: float) -> np.ndarray:
    """`count` indices, of which the share 1 - `share` are different."""
    return np.arange(count) % max(round(count * (1 - share)), 1)


def halves(dataset: ImageDataset, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.RandomState(seed).permutation(len(dataset))
    return order[: len(order) // 2], order[len(order) // 2 :]


def responses(detector: Detector, images: torch.Tensor, labels: np.ndarray, clean: np.ndarray, real: np.ndarray) -> dict:
    """damage -> one record for each strength: every number of every metric, of damaged `images` against `real`.

    Takes uint8 images [N, C, H, W], their classes [N] and features `clean` [N, D], and features `real` [M, D]. All damaged sets
    have the same number of images, because fewer images raise a distance.
    """
    count = min(MAX_IMAGES, len(without_classes(labels, STRENGTHS["dropped classes"][-1])))
    records = {}
    for damage, strengths in STRENGTHS.items():
        records[damage] = []
        for strength in strengths:
            if strength == 0:
                fake = clean[:count]
            elif damage == "dropped classes":
                fake = clean[without_classes(labels, strength)[:count]]
            elif damage == "duplicates":
                fake = clean[with_duplicates(count, strength)]
            else:
                change = noisy if damage == "noise" else blurry
                fake = features_of(detector, change(images[:count], strength), f"{damage} {strength}")
            records[damage].append(dict(strength=strength, images=len(fake)) | all_scores(fake, real))
    return records


def all_scores(fake: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Every number of every metric that needs no class probabilities, by its name in SHOWN."""
    numbers = {
        "fd": score("fd", Sample(moments(fake)), Sample(moments(real))),
        **{kind: score(kind, Sample(features=fake), Sample(features=real)) for kind in ("kid", "mind", "pr", "dc")},
    }
    return {name: numbers[name.split()[0]][key] for name, key in SHOWN.items()}


def small_counts(fakes: np.ndarray, real: np.ndarray, repeats: int = 1) -> list[dict]:
    """Distances of real to other real images (zero but for bias) by count: means over draws, and extrapolated."""
    rows = []
    for count in (n for n in COUNTS if n <= len(fakes)):
        values = []
        for seed in range(repeats):
            pick = np.random.RandomState(seed).permutation(len(fakes))[:count]
            jackknife = FrechetJackknife([moments(group) for group in np.array_split(fakes[pick], GROUPS)], moments(real))
            row = dict(fd=jackknife.distance(range(GROUPS)), extrapolated=jackknife.at_infinity())
            sides = Sample(features=fakes[pick]), Sample(features=real)
            values.append(row | {kind: score(kind, *sides)["distance"] for kind in ("kid", "mind")})
        rows.append(dict(count=count) | {key: float(np.mean([row[key] for row in values])) for key in values[0]})
    return rows


def features_of(detector: Detector, images: torch.Tensor, what: str) -> np.ndarray:
    """float32 [N, D]"""
    bar, features = Progress(what, len(images), "img"), []
    for batch in images.split(detector.batch_size):
        features.append(detector(batch).numpy())
        bar.update(sum(map(len, features)))
    bar.close()
    return np.concatenate(features)


def moments(features: np.ndarray) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics


def draw(responses: dict[str, list[dict]], path: Path) -> None:
    """A column for each damage: distances as shares of the largest, above; precision, recall, density and coverage, below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(2, len(responses), sharey="row")
    for column, (damage, records) in zip(axes.T, responses.items()):
        x = [record["strength"] for record in records]
        for name in SHOWN:
            y = np.array([record[name] for record in records])
            distance = SHOWN[name] == "distance"
            column[0 if distance else 1].plot(x, y / y[-1] if distance else y, "o-", ms=3, lw=1.2, label=name)
        column[0].set_title(damage)
        column[1].set_xlabel({"noise": "deviation, of 255", "blur": "pixels"}.get(damage, "share"))
    axes[0, 0].set_ylabel("distance, of that at the strongest damage")
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8)
    save_figure(figure, path)


@command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=EMOJI,
    show_default=False,
    help="images with labels  [default: datasets/emoji32.zip]",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("metrics"), help="OUT.json and OUT-response.png")
@click.option("--detector", default=DEFAULT_DETECTOR)
@click.option("--subset", type=click.IntRange(40), help="use only this many images")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(data, out, detector, subset, device):
    """Damage one half of the images more and more and score it against the other half."""
    detector = load_detector(detector, choose_device(device))
    dataset = ImageDataset(data, use_labels=True, subset=subset)
    one, other = halves(dataset)
    images, others = (torch.stack([dataset[int(i)][0] for i in half]) for half in (one, other))
    clean, real = features_of(detector, images, "one half"), features_of(detector, others, "the other half")
    result = dict(detector=detector.name, data=dataset.name, images=len(dataset))
    result["responses"] = responses(detector, images, np.array(dataset.labels)[one], clean, real)
    draw(result["responses"], out.with_name(out.name + "-response.png"))
    for damage, records in result["responses"].items():
        print_rows(damage, ["strength", "images", *SHOWN], records)
    result["small_counts"] = small_counts(clean, real)
    print_rows("small counts, real against real", ["count", "fd", "extrapolated", "kid", "mind"], result["small_counts"])
    write_json(out.with_name(out.name + ".json"), result)


def print_rows(title: str, names: list[str], records: list[dict]) -> None:
    """A Markdown table."""
    rows = [[f"{record[name]:.4g}" for name in names] for record in records]
    print(f"\n{title}\n\n{markdown(names, rows)}", flush=True)


if __name__ == "__main__":
    run(main)
