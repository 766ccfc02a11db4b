"""What generated images are held against: the statistics of the real ones and their floor, computed once and kept on disk."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch

from metrics.detector import Detector
from metrics.fid import frechet_distance
from metrics.names import MetricName
from metrics.statistics import FeatureStatistics, Spans
from torch_utils.cli import Progress
from torch_utils.files import InputError, atomic_write, cache_dir

VERSION = 1  # goes up whenever the same images would give other numbers


@dataclass(frozen=True, eq=False)
class Reference:
    statistics: FeatureStatistics  # of the real images that a metric compares with
    floor: float | None  # distance of real images to other real images; None where there are fewer than four
    floor_counts: tuple[int, int]  # images on either side of the floor


@dataclass(frozen=True, eq=False)
class Reals:
    """The real images of a run."""

    batches: Callable[[], Iterable[torch.Tensor]]  # uint8 [N, C, H, W], the same images in the same order every time
    count: int  # how many in all
    key: str  # changes when the images do
    seed: int = 0  # of the permutation that subsets and floors are cut from


def cuts(metric: MetricName, real_count: int) -> tuple[int, int, int]:
    """Places in the permuted reals: (used, first, both).

    The metric compares with reals [0, used); its floor compares [0, first) with [first, both), as many as there are up to
    the numbers of images that the metric itself compares, but never an image with itself.
    """
    first = min(metric.count, real_count // 2)
    if metric.full:
        return real_count, first, real_count
    return min(metric.count, real_count), first, min(first + metric.count, real_count)


def references(
    metrics: list[MetricName], detector: Detector, reals: Reals, progress: bool = True
) -> dict[MetricName, Reference]:
    """The reference of each metric, all on `detector`; one pass over the real images for those that the cache does not have."""
    found = {}
    for metric in metrics:
        reference = load(cache_path(metric, detector, reals), detector.dim)
        if reference is not None:
            found[metric] = reference
    missing = [metric for metric in metrics if metric not in found]
    if missing:
        spans = measure(missing, detector, reals, progress)
        for metric in missing:
            used, first, both = cuts(metric, reals.count)
            floor = None
            if first >= 2 and both - first >= 2:
                one, other = spans.span(0, first), spans.span(first, both)
                floor = frechet_distance(one.mean, one.cov, other.mean, other.cov)
            found[metric] = Reference(spans.span(0, used), floor, (first, both - first))
            save(cache_path(metric, detector, reals), found[metric], str(metric))
    return found


def measure(metrics: list[MetricName], detector: Detector, reals: Reals, progress: bool) -> Spans:
    """Statistics of the permuted reals between all places that the metrics cut at; an image in no span is not looked at."""
    spans = Spans(detector.dim, [place for metric in metrics for place in cuts(metric, reals.count)])
    # RandomState and not default_rng: its permutations are promised to stay the same in every NumPy.
    places = np.argsort(np.random.RandomState(reals.seed).permutation(reals.count))  # image -> place
    bar = Progress(f"real images through {detector.name}", reals.count, "img") if progress else None
    seen = 0
    for images in reals.batches():
        position = places[seen : seen + len(images)]
        seen += len(images)
        if seen > reals.count:
            break
        wanted = np.flatnonzero(position < spans.end)
        if len(wanted):
            spans.update(position[wanted], detector(images[torch.from_numpy(wanted).to(images.device)]))
        if bar:
            bar.update(seen)
    if bar:
        bar.close()
    if seen != reals.count:
        raise InputError(f"the data should have {reals.count} images and gave {'more' if seen > reals.count else seen}")
    return spans


def cache_path(metric: MetricName, detector: Detector, reals: Reals) -> Path:
    """A file name that changes with everything the reference depends on."""
    key = {
        "version": VERSION,
        "content": reals.key,
        "real_count": reals.count,
        "seed": reals.seed,
        "count": metric.count,
        "full": metric.full,
        "detector": detector.name,
        "hash": detector.hash,
        "resizing": detector.resizing,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_dir() / "statistics" / f"{digest}.safetensors"


def save(path: Path, reference: Reference, metric: str) -> None:
    """Keep the reference. Without a place to keep it the numbers are still right, so that is a note and not an error."""
    arrays = reference.statistics.state_dict()
    header = {
        "metric": metric,  # for people who look into the file
        "floor": reference.floor,
        "floor_counts": reference.floor_counts,
        "digest": digest(arrays),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            # One entry: safetensors shuffles several, and then equal references would not be equal files.
            file.write(safetensors.numpy.save(arrays, metadata={"reference": json.dumps(header)}))
    except OSError as error:
        print(f"note: the statistics of the real images could not be kept ({error})", file=sys.stderr)


def load(path: Path, dim: int) -> Reference | None:
    """The reference kept in `path`; None where there is none, or (with a note) none that is whole."""
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            header = json.loads(file.metadata()["reference"])
        statistics = FeatureStatistics.from_state_dict(arrays)
        if header["digest"] != digest(arrays) or len(statistics.mean) != dim:
            raise ValueError("its contents have changed")
        first, second = header["floor_counts"]
        return Reference(statistics, header["floor"], (first, second))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"note: {path} is damaged ({error}); computing it anew", file=sys.stderr)
        return None


def digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 of the arrays' bytes: a flipped bit in a covariance would otherwise pass as a number."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()
