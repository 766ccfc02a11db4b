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


Parts = list[tuple[int, int]]  # (start, stop) of positions in the permuted row of real images


def sides(metric: MetricName, real: RealImages) -> tuple[Parts, Parts, Parts]:
    """The images that the metric compares with; and those of real against real, on one side and on the other.

    On these two are as many images as the metric itself compares, where there are enough, and on both of them never the same
    image, nor an image and its twin. Either side has different images first, and their twins where those are not enough.
    """
    wanted = real.count if metric.full else metric.count
    middle, end = min(metric.count, real.different // 2), real.different  # of the different images
    twice = lambda start, stop: [(start + row, stop + row) for row in range(0, real.count, end)]  # and their twins
    return _first([(0, real.count)], wanted), _first(twice(0, middle), metric.count), _first(twice(middle, end), wanted)


def _first(parts: Parts, count: int) -> Parts:
    """The first `count` positions of these parts, or all where there are fewer; no empty part."""
    kept = []
    for start, stop in parts:
        stop = min(stop, start + count)
        count -= stop - start
        if stop > start:
            kept.append((start, stop))
    return kept


def _ends(metrics: list[MetricName], real: RealImages) -> list[int]:
    """All positions at which a part of a metric's images begins or ends."""
    return [end for metric in metrics for parts in sides(metric, real) for part in parts for end in part]


def references(metrics: list[MetricName], detector: Detector, real: RealImages) -> dict[MetricName, Reference]:
    """The reference of each metric that has one, all on `detector`; at most one pass over the real images.

    Of several processes only the first gets any; the others help it to measure.
    """
    metrics = [metric for metric in metrics if metric.kind in AGAINST_REAL]
    by_moments = [metric for metric in metrics if metric.kind in BY_MOMENTS]
    features = None
    if len(by_moments) < len(metrics):
        features = real.features(detector, max(_ends(metrics, real)))
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
    statistics = PrefixStatistics(detector.dim, _ends(metrics, real))
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
    measured = {metric: _by_moments(metric, statistics, real) for metric in metrics}
    for metric, reference in measured.items():
        header = {"metric": str(metric), "floor": reference.distance, "floor_counts": reference.counts}
        array_file.save(_cache_path(metric, detector, real), reference.sample.statistics.state_dict(), **header)
    return measured


def _by_moments(metric: MetricName, statistics: PrefixStatistics, real: RealImages) -> Reference:
    used, one, other = (Sample(statistics.of(parts)) for parts in sides(metric, real))
    real_vs_real = score(metric.kind, one, other) if min(one.count, other.count) >= 2 else None
    return Reference(used, (one.count, other.count), real_vs_real)


def _by_features(metric: MetricName, features: np.ndarray, detector: Detector, real: RealImages) -> Reference:
    """From features by position. The score of real against real images takes long enough to be kept in the cache."""
    used, one, other = sides(metric, real)
    first, second = (sum(stop - start for start, stop in parts) for parts in (one, other))
    real_vs_real = None
    if min(first, second) >= MIN_IMAGES[metric.kind]:
        path = _cache_path(metric, detector, real)
        real_vs_real = array_file.load(path, _numbers)
        if real_vs_real is None:
            real_vs_real = score(metric.kind, _sample(features, one), _sample(features, other), real.seed)
            values = np.array(list(real_vs_real.values()))
            array_file.save(path, {"values": values}, metric=str(metric), names=list(real_vs_real))
    return Reference(_sample(features, used), (first, second), real_vs_real)


def _sample(features: np.ndarray, parts: Parts) -> Sample:
    rows = [features[start:stop] for start, stop in parts]
    return Sample(features=rows[0] if len(rows) == 1 else np.concatenate(rows))  # one part alone is not copied


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
