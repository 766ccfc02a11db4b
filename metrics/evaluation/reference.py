"""What generated images are held against: what is known of the real ones, and their floor, computed once and kept on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.detectors.base import Detector
from metrics.evaluation.metric_name import MetricName
from metrics.evaluation.real_images import Reals, measured, real_features
from metrics.evaluation.scores import AGAINST_REALS, BY_MOMENTS, DISTANCES, FEWEST, Sample, score
from metrics.statistics import FeatureStatistics, Spans
from torch_utils import array_file


@dataclass(frozen=True, eq=False)
class Reference:
    statistics: FeatureStatistics | None  # of the real images that a metric compares with, where it goes by moments
    floor: float | None  # distance of real images to other real images; None where there are too few, or for no distance
    floor_counts: tuple[int, int]  # images on either side of the floor
    features: np.ndarray | None = None  # float32 [N, D] of those images, where the metric goes by features
    between_reals: dict[str, float] | None = None  # all numbers of the metric, real images in the place of generated ones

    def sample(self) -> Sample:
        return Sample(self.statistics, self.features)


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
    """The reference of each metric that has one, all on `detector`; one pass over the real images for what is not kept.

    Of several processes only the first gets any; the others help it to measure.
    """
    metrics = [metric for metric in metrics if metric.kind in AGAINST_REALS]
    features = None
    if any(metric.kind not in BY_MOMENTS for metric in metrics):
        end = max(max(cuts(metric, reals.count)) for metric in metrics)
        features = real_features(reals, detector, end, progress)
    first = reals.shards.first
    found = {metric: load(metric, detector, reals) for metric in metrics if first and metric.kind in BY_MOMENTS}
    missing = reals.shards.from_first([metric for metric, reference in found.items() if reference is None])
    if missing:
        spans = Spans(detector.dim, [place for metric in missing for place in cuts(metric, reals.count)])
        if features is None:
            passing = measured(reals, detector, spans.end, progress)
        else:
            passing = chunks(features, spans.end) if first else ()  # the others have none
        for position, rows in passing:
            spans.update(position, rows)
        for metric in missing if first else ():
            found[metric] = by_moments(metric, spans, reals.count)
            save(metric, detector, reals, found[metric])
    for metric in metrics if first else ():
        if metric.kind not in BY_MOMENTS:
            found[metric] = by_features(metric, features, detector, reals)
    return found


def by_moments(metric: MetricName, spans: Spans, real_count: int) -> Reference:
    """From moments of the permuted reals between all places that the metric cuts at."""
    used, first, both = cuts(metric, real_count)
    floor = None
    if first >= 2 and both - first >= 2:
        one, other = Sample(spans.span(0, first)), Sample(spans.span(first, both))
        floor = score(metric.kind, one, other)["distance"]
    return Reference(spans.span(0, used), floor, (first, both - first))


def by_features(metric: MetricName, features: np.ndarray, detector: Detector, reals: Reals) -> Reference:
    """From features of the permuted reals; what real images score against real images is kept."""

    def numbers(arrays: dict[str, np.ndarray], header: dict) -> dict[str, float]:
        values = arrays["values"]
        if values.shape != (len(header["names"]),) or not np.isfinite(values).all():
            raise ValueError("it has not the numbers that it names")
        return dict(zip(header["names"], values.tolist()))

    used, first, both = cuts(metric, reals.count)
    between = None
    if min(first, both - first) >= FEWEST[metric.kind]:
        path = cache_path(metric, detector, reals)
        between = array_file.load(path, "values", understand=numbers)
        if between is None:
            one, other = Sample(features=features[:first]), Sample(features=features[first:both])
            between = score(metric.kind, one, other, reals.seed)
            array_file.save(path, {"values": np.array(list(between.values()))}, metric=str(metric), names=list(between))
    floor = between["distance"] if between and metric.kind in DISTANCES else None
    return Reference(None, floor, (first, both - first), features[:used], between)


def chunks(features: np.ndarray, end: int, size: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and features as `measured` gives them."""
    for start in range(0, end, size):
        stop = min(start + size, end)
        yield np.arange(start, stop), features[start:stop]


def cache_path(metric: MetricName, detector: Detector, reals: Reals) -> Path:
    kind = {} if metric.kind in BY_MOMENTS else {"kind": metric.kind}  # fid and fd are kept alike
    return array_file.cache_path("statistics", **reals.identity(detector), **kind, count=metric.count, full=metric.full)


def save(metric: MetricName, detector: Detector, reals: Reals, reference: Reference) -> None:
    header = {"metric": str(metric), "floor": reference.floor, "floor_counts": reference.floor_counts}
    array_file.save(cache_path(metric, detector, reals), reference.statistics.state_dict(), **header)


def load(metric: MetricName, detector: Detector, reals: Reals) -> Reference | None:
    """A reference by moments that was kept."""
    path = cache_path(metric, detector, reals)
    return array_file.load(path, "count", "mean", "scatter", understand=lambda *kept: moments(*kept, detector.dim))


def moments(arrays: dict[str, np.ndarray], header: dict, dim: int) -> Reference:
    """What `save` kept. Raises `ValueError`, `KeyError` or `TypeError` where it is not that."""
    statistics, floor, (first, second) = FeatureStatistics.from_state_dict(arrays), header["floor"], header["floor_counts"]
    if len(statistics.mean) != dim or statistics.count < 2:
        raise ValueError(f"it has {statistics.count} images by {len(statistics.mean)} features, wanted 2 or more by {dim}")
    if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.scatter).all()):
        raise ValueError("its moments are not finite")
    if not (floor is None or type(floor) in (int, float) and np.isfinite(floor)):
        raise ValueError(f"its floor {floor!r} is no number")
    if not (type(first) is type(second) is int):
        raise ValueError(f"its floor_counts {first!r}, {second!r} are no counts")
    return Reference(statistics, floor, (first, second))
