"""Perceptual path length: how much a generated image changes, to the eye, per step of its latent.

Karras, Laine and Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", 2019, section 4.1, in
the form of Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020: in W, at the ends of paths, on whole
images, without the lowest and the highest hundredth.
"""

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from metrics.detectors.lpips import Lpips
from metrics.evaluation.metric_name import MetricName
from metrics.evaluation.shards import ALONE, Shards
from metrics.jackknife import GROUPS, jackknife_interval
from networks.generator import Generator
from networks.sampling import draw_labels
from torch_utils.cli import Progress
from torch_utils.ops import to_double
from torch_utils.precision import float32
from torch_utils.rng import normal

EPSILON = 1e-4  # of the way from one w to another
DROPPED = 1  # per cent at either end
MAX_SIDE = 256  # larger images are averaged down
PACKAGES = ("torch", "numpy")


def path_length(distances: np.ndarray) -> float:
    """Mean of the distances [N] (divided by ε² already) from the 1st to the 99th percentile, both included.

    Percentiles are values that occur, the next lower and the next higher one. `ValueError` for none, or not finite.
    """
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 1 or not len(distances) or not np.isfinite(distances).all():
        raise ValueError("path lengths are the mean of distances [N] that are finite")
    low = np.percentile(distances, DROPPED, method="lower")
    high = np.percentile(distances, 100 - DROPPED, method="higher")
    return float(distances[(low <= distances) & (distances <= high)].mean())


def interval(distances: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Offsets (low, high) around `path_length`, by the delete-a-group jackknife over ten groups."""
    groups = np.array_split(np.asarray(distances), GROUPS)
    return jackknife_interval(lambda chosen: path_length(np.concatenate([groups[i] for i in chosen])), GROUPS, level)


def path_distances(
    G: Generator,
    embed: Callable[[torch.Tensor], torch.Tensor],  # float32 [N, 3, H, W] in 0..255 -> [N, D]; squared distances count
    count: int,  # paths
    seed: int = 0,  # the same seed gives the same paths, whatever the batch
    classes: Sequence[int] | None = None,  # to draw from evenly, e.g. the labels of the training images; conditional G only
    batch: int = 8,  # paths at a time
    epsilon: float = EPSILON,
    shards: Shards = ALONE,  # processes that do it together
) -> np.ndarray:
    """‖embed(G(w₀)) − embed(G(w₀ + ε(w₁ − w₀)))‖² / ε² of each path, float64 [count]; of several processes in the first.

    Both ends have the same class and the same noise.
    """
    device = next(G.parameters()).device
    z = normal((count, 2, G.z_dim), "path", seed)
    labels = draw_labels(count, G.c_dim, seed, classes)
    bar = Progress("paths", count, "path", shown=shards.first)
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)

    def measured() -> Iterator[np.ndarray]:
        for start in range(shards.rank * batch, count, shards.world * batch):
            rows = range(start, min(start + batch, count))
            c = None if labels is None else labels[rows.start : rows.stop].to(device)
            w0, w1 = (G.mapping(end.to(device), c) for end in z[rows.start : rows.stop].unbind(1))
            ws = torch.cat([w0, w0.lerp(w1, epsilon)])
            images = torch.func.functional_call(G.synthesis, noises(G.synthesis, rows, seed), (ws,))
            one, other = to_double(embed(lpips_input(images))).chunk(2)
            yield ((one - other).square().sum(1) / epsilon**2).cpu().numpy()

    lengths = []
    with torch.inference_mode(), exact:
        for distances in shards.gathered(measured()):
            lengths.append(distances)
            bar.update(sum(map(len, lengths)))
    bar.close()
    return np.concatenate(lengths or [np.empty(0)])


def noises(synthesis: torch.nn.Module, rows: Sequence[int], seed: int) -> dict[str, torch.Tensor]:
    """Each layer's noise, drawn anew for every path and the same at its two ends: [2 · len(rows), 1, H, W]."""
    drawn = {}
    for name, buffer in synthesis.named_buffers():
        if name.endswith("noise_const"):
            each = torch.stack([normal((1, *buffer.shape[-2:]), "path noise", seed, name, i) for i in rows])
            drawn[name] = torch.cat([each, each]).to(buffer.device)
    return drawn


def lpips_input(images: torch.Tensor) -> torch.Tensor:
    """[N, 1 to 4, H, W] in [-1, 1] -> float32 [N, 3, h, w] in 0..255, not rounded; grey is repeated, alpha laid over white."""
    factor = min(images.shape[2:]) // MAX_SIDE
    images = F.avg_pool2d(images.float(), factor) if factor > 1 else images.float()
    images = (images + 1) * 127.5
    if images.shape[1] in (2, 4):
        alpha = images[:, -1:] / 255
        images = images[:, :-1] * alpha + 255 * (1 - alpha)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


@float32()
def path_record(
    metric: MetricName,
    G: Generator,
    lpips: Lpips,
    seed: int,
    classes: Sequence[int] | None,
    shards: Shards = ALONE,
) -> dict | None:
    """A record like those of `Evaluator`: the score and what is needed to measure it again.

    None in all processes but the first.
    """
    if metric.detector != lpips.name:
        raise ValueError(f"{metric} is measured on {metric.detector}, not on {lpips.name}")
    began = time.monotonic()
    distances = path_distances(G, lpips.embed, metric.count, seed, classes, shards=shards)
    if not shards.first:
        return None
    value = path_length(distances)
    low, high = (value + offset for offset in interval(distances))
    record = dict(metric=str(metric), value=value, value_is="path_length", floor=None, floor_counts=None)
    record |= dict(interval=[max(low, 0.0), high], generated=metric.count, real=0, real_content=None)
    resizing = f"averaged down by whole factors to no less than {MAX_SIDE} pixels"
    record |= dict(detector=lpips.name, detector_hash=lpips.hash, resizing=resizing, epsilon=EPSILON, seed=seed)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return record | dict(versions=versions, seconds=round(time.monotonic() - began, 3))
