"""The real side of a metric: moments or features of the real images, and the score of real images against other real images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.detectors.base import Detector
from metrics.evaluation.metric_name import MetricName
from metrics.evaluation.real_images import RealImages
from metrics.evaluation.scores import AGAINST_REAL, BY_MOMENTS, MIN_IMAGES, Sample, score
from metrics.statistics import FeatureStatistics, PrefixStatistics
from torch_utils import array_file


@dataclass(frozen=True, eq=False)
class Reference:
    sample: Sample  # the real images that the metric compares with
    counts: tuple[int, int]  # real images on either side of `real_vs_real`
    real_vs_real: dict[str, float] | None  # all numbers of the metric; None where there are too few images

    @property
    def distance(self) -> float | None:
        """Of real images to other real images; None where there are too few, and for a metric that is no distance."""
        return (self.real_vs_real or {}).get("distance")


def splits(metric: MetricName, real_count: int) -> tuple[int, int, int]:
    """Positions (used, first, both) in the permuted row of real images.

    The metric compares with the images [0, used). Real against real is [0, first) against [first, both): as many images as
    the metric itself compares, where there are enough, and never an image with itself.
    """
    first = min(metric.count, real_count // 2)
    if metric.full:
        return real_count, first, real_count
    return min(metric.count, real_count), first, min(first + metric.count, real_count)


def references(metrics: list[MetricName], detector: Detector, real: RealImages) -> dict[MetricName, Reference]:
    """The reference of each metric that has one, all on `detector`; at most one pass over the real images.

    Of several processes only the first gets any; the others help it to measure.
    """
    metrics = [metric for metric in metrics if metric.kind in AGAINST_REAL]
    by_moments = [metric for metric in metrics if metric.kind in BY_MOMENTS]
    features = None
    if len(by_moments) < len(metrics):
        end = max(max(splits(metric, real.count)) for metric in metrics)
        features = real.features(detector, end)
    parse = lambda arrays, header: moments(arrays, header, detector.dim)
    first = real.shards.first
    kept = {metric: array_file.load(_cache_path(metric, detector, real), parse) for metric in by_moments if first}
    missing = real.shards.from_first([metric for metric, reference in kept.items() if reference is None])
    if missing:
        kept |= _measure_moments(missing, features, detector, real)
    if not first:
        return {}
    return {m: kept[m] if m.kind in BY_MOMENTS else _by_features(m, features, detector, real) for m in metrics}


def _measure_moments(
    metrics: list[MetricName], features: np.ndarray | None, detector: Detector, real: RealImages
) -> dict[MetricName, Reference]:
    """From features where they are known; else by a pass over the real images, which keeps none. Saves them in the cache."""
    statistics = PrefixStatistics(detector.dim, [split for metric in metrics for split in splits(metric, real.count)])
    if features is None and real.shards.first:
        features = real.kept_features(detector, statistics.end)
    if real.shards.from_first(features is None):
        for position, rows in real.measure(detector, statistics.end):
            statistics.update(position, rows)
    if not real.shards.first:
        return {}
    if features is not None:
        for position in np.array_split(np.arange(statistics.end), range(4096, statistics.end, 4096)):
            statistics.update(position, features[position])
    measured = {metric: _by_moments(metric, statistics, real.count) for metric in metrics}
    for metric, reference in measured.items():
        header = {"metric": str(metric), "floor": reference.distance, "floor_counts": reference.counts}
        array_file.save(_cache_path(metric, detector, real), reference.sample.statistics.state_dict(), **header)
    return measured


def _by_moments(metric: MetricName, statistics: PrefixStatistics, real_count: int) -> Reference:
    used, first, both = splits(metric, real_count)
    real_vs_real = None
    if first >= 2 and both - first >= 2:
        one, other = Sample(statistics.between(0, first)), Sample(statistics.between(first, both))
        real_vs_real = score(metric.kind, one, other)
    return Reference(Sample(statistics.between(0, used)), (first, both - first), real_vs_real)


def _by_features(metric: MetricName, features: np.ndarray, detector: Detector, real: RealImages) -> Reference:
    """From features by position. The score of real against real images takes long enough to be kept in the cache."""
    used, first, both = splits(metric, real.count)
    real_vs_real = None
    if min(first, both - first) >= MIN_IMAGES[metric.kind]:
        path = _cache_path(metric, detector, real)
        real_vs_real = array_file.load(path, _numbers)
        if real_vs_real is None:
            one, other = Sample(features=features[:first]), Sample(features=features[first:both])
            real_vs_real = score(metric.kind, one, other, real.seed)
            values = np.array(list(real_vs_real.values()))
            array_file.save(path, {"values": values}, metric=str(metric), names=list(real_vs_real))
    return Reference(Sample(features=features[:used]), (first, both - first), real_vs_real)


def _cache_path(metric: MetricName, detector: Detector, real: RealImages) -> Path:
    kind = {} if metric.kind in BY_MOMENTS else {"kind": metric.kind}  # fid and fd share theirs
    return real.cache_path("statistics", detector, **kind, count=metric.count, full=metric.full)


def _numbers(arrays: dict[str, np.ndarray], header: dict) -> dict[str, float]:
    values = arrays["values"]
    if values.shape != (len(header["names"]),) or not np.isfinite(values).all():
        raise ValueError("it does not have the numbers that it names")
    return dict(zip(header["names"], values.tolist()))


def moments(arrays: dict[str, np.ndarray], header: dict, dim: int) -> Reference:
    """A reference by moments from a file's contents. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    statistics, distance, (first, second) = FeatureStatistics.from_state_dict(arrays), header["floor"], header["floor_counts"]
    if len(statistics.mean) != dim or statistics.count < 2:
        raise ValueError(f"it has {statistics.count} images by {len(statistics.mean)} features, wanted 2 or more by {dim}")
    if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.scatter).all()):
        raise ValueError("its moments are not finite")
    if not (distance is None or type(distance) in (int, float) and np.isfinite(distance)):
        raise ValueError(f"its floor {distance!r} is no number")
    if not (type(first) is type(second) is int):
        raise ValueError(f"its floor_counts {first!r}, {second!r} are no counts")
    return Reference(Sample(statistics), (first, second), None if distance is None else {"distance": distance})
