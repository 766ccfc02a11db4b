"""What generated images are held against: what is known of the real ones, and their floor, computed once and kept on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics import cache
from metrics.detector import Detector
from metrics.names import MetricName
from metrics.reals import Reals, measured, real_features
from metrics.scores import AGAINST_REALS, BY_MOMENTS, DISTANCES, FEWEST, Sample, score
from metrics.statistics import FeatureStatistics, Spans


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
    """The reference of each metric that has one, all on `detector`; one pass over the real images for what is not kept."""
    metrics = [metric for metric in metrics if metric.kind in AGAINST_REALS]
    features = None
    if any(metric.kind not in BY_MOMENTS for metric in metrics):
        end = max(max(cuts(metric, reals.count)) for metric in metrics)
        features = real_features(reals, detector, end, progress)
    found = {metric: load(metric, detector, reals) for metric in metrics if metric.kind in BY_MOMENTS}
    missing = [metric for metric, reference in found.items() if reference is None]
    if missing:
        spans = Spans(detector.dim, [place for metric in missing for place in cuts(metric, reals.count)])
        for position, rows in (
            measured(reals, detector, spans.end, progress) if features is None else chunks(features, spans.end)
        ):
            spans.update(position, rows)
        for metric in missing:
            found[metric] = by_moments(metric, spans, reals.count)
            save(metric, detector, reals, found[metric])
    for metric in metrics:
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
    used, first, both = cuts(metric, reals.count)
    between = None
    if min(first, both - first) >= FEWEST[metric.kind]:
        path = cache_path(metric, detector, reals)
        if kept := cache.load(path, "values"):
            between = dict(zip(kept[1]["names"], kept[0]["values"].tolist()))
        else:
            one, other = Sample(features=features[:first]), Sample(features=features[first:both])
            between = score(metric.kind, one, other, reals.seed)
            cache.save(path, {"values": np.array(list(between.values()))}, metric=str(metric), names=list(between))
    floor = between["distance"] if between and metric.kind in DISTANCES else None
    return Reference(None, floor, (first, both - first), features[:used], between)


def chunks(features: np.ndarray, end: int, size: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and features as `measured` gives them."""
    for start in range(0, end, size):
        stop = min(start + size, end)
        yield np.arange(start, stop), features[start:stop]


def cache_path(metric: MetricName, detector: Detector, reals: Reals) -> Path:
    kind = {} if metric.kind in BY_MOMENTS else {"kind": metric.kind}  # fid and fd are kept alike
    return cache.cache_path("statistics", **reals.identity(detector), **kind, count=metric.count, full=metric.full)


def save(metric: MetricName, detector: Detector, reals: Reals, reference: Reference) -> None:
    header = {"metric": str(metric), "floor": reference.floor, "floor_counts": reference.floor_counts}
    cache.save(cache_path(metric, detector, reals), reference.statistics.state_dict(), **header)


def load(metric: MetricName, detector: Detector, reals: Reals) -> Reference | None:
    """A reference by moments that was kept."""
    kept = cache.load(cache_path(metric, detector, reals), "count", "mean", "scatter")
    if kept is None:
        return None
    arrays, header = kept
    first, second = header["floor_counts"]
    return Reference(FeatureStatistics.from_state_dict(arrays), header["floor"], (first, second))
