"""Scores generated images. A command builds the evaluator and hands it to the training loop, which only gives images."""

import importlib.metadata
import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
import torch

from metrics.detectors.base import Detector
from metrics.detectors.load import load_detector, require_detector
from metrics.detectors.names import DETECTORS, detector_name
from metrics.evaluation.metric_name import MetricName, alternative, parse_metric
from metrics.evaluation.nearest import Neighbours, neighbours
from metrics.evaluation.real_images import RealImages
from metrics.evaluation.reference import Reference, references
from metrics.evaluation.reference_file import ReferenceFile, save
from metrics.evaluation.scores import AGAINST_REAL, BY_MOMENTS, MIN_IMAGES, Sample, score
from metrics.evaluation.shards import ALONE, Shards
from metrics.jackknife import GROUPS, FrechetJackknife
from metrics.kid import kernel_interval
from metrics.mind import monge_interval
from metrics.statistics import PrefixStatistics
from torch_utils.cli import Progress
from torch_utils.files import InputError
from torch_utils.precision import float32
from torch_utils.prefetch import default_workers, prefetch_one, threads
from torch_utils.score_names import DISTANCES, PATH_LENGTHS, mark_seen

PACKAGES = ("torch", "clean-fid", "numpy", "scipy", "pillow")  # whose versions can move a score


def require_detectors(
    metrics: list[MetricName], inception_path: str | Path | None, detector_file: Path | None, seen: Collection[str] = ()
) -> None:
    """Raises `InputError`, which names the metrics and ways out, where a detector's files are missing.

    None of these ways leads to a detector whose features training has `seen`.
    """
    for detector in dict.fromkeys(metric.detector for metric in metrics):
        wanting = [metric for metric in metrics if metric.detector == detector]
        try:
            require_detector(detector, inception_path, detector_file)
        except InputError as error:
            instead = [alternative(metric, seen) for metric in wanting if metric.detector in DETECTORS]
            usable = dict.fromkeys(str(metric) for metric in instead if metric and metric.detector != detector)
            more = f"; or score {', '.join(usable)} instead" if usable else ""
            raise InputError(f"{', '.join(map(str, wanting))}: {error}{more}") from None


class Evaluator:
    """Holds metrics, the real images and, from the first use on, detectors and references."""

    def __init__(
        self,
        names: list[str],  # for `parse_metric`; repetitions are dropped
        real_batches: Callable[[], Iterable[torch.Tensor]] | None,  # uint8 [N, C, H, W], in the same order every time; None:
        # a `reference_file` replaces them, or no metric looks at any
        real_count: int,  # images that `real_batches` gives
        content_key: str,  # of the real images' content: the cache goes by it
        device: torch.device | str,  # of the detectors
        inception_path: str | Path | None = None,
        seed: int = 0,  # of the real images' subsets, of the kernel distance's, and of directions
        batch_size: int = 32,  # of the detectors
        inception_resizing: str = "clean",  # one of inception.RESIZINGS
        detector_file: Path | None = None,  # TorchScript; metrics on it carry its name
        interval: bool = False,  # 95 % intervals of distances: ten more Fréchet distances for each
        extrapolate: bool = False,  # Fréchet distances at infinitely many generated images: nineteen more for each
        workers: int | None = None,  # threads that resize while the network runs; their number changes no bit
        shards: Shards = ALONE,  # processes that all call it at once
        reference_file: ReferenceFile | None = None,  # replaces `real_batches`
        mirrored: bool = False,  # the second half of the real images are the first half, flipped from left to right
        seen: Collection[str] = (),  # detectors whose features the training of what is scored has looked at
    ):
        """Raises `InputError` for a name that is no metric, a detector whose files are missing and too few real images."""
        more = [] if detector_file is None else [detector_name(detector_file)]
        self.metrics = list(dict.fromkeys(parse_metric(name, more=more) for name in names))
        for metric in self.metrics:
            if metric.kind in PATH_LENGTHS:
                raise InputError(f"{metric} needs the generator and not its images alone: python calc_metrics.py --network …")
        workers = default_workers() if workers is None else workers
        self.real = RealImages(real_batches, real_count, content_key, seed, workers, shards, mirrored)
        if self.real.different < 2 and any(metric.kind in AGAINST_REAL for metric in self.metrics):
            raise InputError(f"a distance needs two real images at least, and the data has {self.real.different}")
        for metric in self.metrics:
            if real_count < (least := MIN_IMAGES.get(metric.kind, 0)):
                raise InputError(f"{metric} needs {least} real images at least, and the data has {real_count}")
        self.device, self.batch_size = device, batch_size
        self.inception_path, self.inception_resizing, self.detector_file = inception_path, inception_resizing, detector_file
        self.interval, self.extrapolate = interval, extrapolate
        self.seen = seen
        require_detectors(self.metrics, inception_path, detector_file, seen)
        self.reference_file = reference_file
        if reference_file:
            reference_file.require(self.metrics)
        self.detectors: dict[str, Detector] = {}
        self.references: dict[MetricName, Reference] = {}

    def prepare(self) -> None:
        """Load detectors and references; measures real images where the cache has no result. Scoring calls this, too."""
        for name in dict.fromkeys(metric.detector for metric in self.metrics):
            if name not in self.detectors:
                detector = load_detector(
                    name, self.device, self.inception_path, self.batch_size, self.detector_file, self.inception_resizing
                )
                metrics = self._metrics_on(name)
                if detector.logits is None and any(metric.kind == "is" for metric in metrics):
                    raise InputError(f"the inception score needs class probabilities, which this {name} does not give")
                if self.reference_file:
                    self.references |= self.reference_file.references_for(metrics, detector)
                else:
                    self.references |= references(metrics, detector, self.real)
                self.detectors[name] = detector
                if self.real.shards.first:
                    self._note_small_counts(detector)

    @float32()
    def __call__(self, fake_batches: Callable[[int], Iterable[torch.Tensor]]) -> list[dict]:
        """One record per metric, in the order of the names.

        `fake_batches(count)` gives uint8 [N, C, H, W], at least `count` images in all, of which the first `count` are scored;
        it is called once. Raises `InputError` where it gives fewer. Several processes all call this at once, each with its
        share of the batches (see `Shards`), and only the first gets records.
        """
        if not self.metrics:
            return []
        self.prepare()
        began = time.monotonic()
        statistics, features = self._measure(fake_batches)
        if not self.real.shards.first:
            return []
        drawn = time.monotonic() - began
        records = []
        for metric in self.metrics:
            began = time.monotonic()
            scores = self._scores(metric, statistics[metric.detector], features[metric.detector])
            seconds = drawn + time.monotonic() - began  # the images are drawn once for all metrics
            records.append({"metric": str(metric)} | scores | self._setting(metric) | {"seconds": round(seconds, 3)})
        return mark_seen(records, self.seen)

    def seconds(self, fake_batches: Callable[[int], Iterable[torch.Tensor]]) -> float:
        """About what one call takes, by the second of two batches that are drawn and looked at.

        Loads detectors and references as a call would. The arithmetic of the measures themselves is not counted.
        """
        self.prepare()
        counts = {name: max(metric.count for metric in self._metrics_on(name)) for name in self.detectors}
        batches, seconds = iter(fake_batches(2 * self.batch_size)), 0.0
        for _ in range(2):
            began = time.monotonic()
            images = next(batches).cpu()  # a GPU has drawn them when they are there
            seconds = (time.monotonic() - began) * max(counts.values()) / len(images)
            for name, detector in self.detectors.items():
                began = time.monotonic()
                detector(images)
                seconds += (time.monotonic() - began) * counts[name] / len(images)
        return seconds

    def nearest(self, images: torch.Tensor, k: int) -> Neighbours:
        """The k real images nearest to each of uint8 [N, C, H, W], by the detector of the first metric."""
        self.prepare()
        return neighbours(images, self.detectors[self.metrics[0].detector], self.real, k)

    def save_reference(self, path: Path, mirror: bool, shape: tuple[int, int, int], labels: list[int] | None) -> None:
        """Write the references to a file that another evaluator takes as `reference_file`."""
        self.prepare()
        if not self.real.shards.first:
            return
        references = {metric: self.references[metric] for metric in self.metrics if metric in self.references}
        save(path, references, self.detectors, self.real, mirror, shape, labels)

    def _scores(self, metric: MetricName, statistics: PrefixStatistics, features: np.ndarray) -> dict:
        """Every number of one metric; `value` is its main one, named in `value_is`."""
        count = metric.count
        if metric.kind == "is":
            logits = self.detectors[metric.detector].logits(torch.from_numpy(features[:count])).numpy()
            results, reference = score("is", Sample(features=logits)), None
        else:
            by_moments = metric.kind in BY_MOMENTS
            fake = Sample(statistics.between(0, count)) if by_moments else Sample(features=features[:count])
            reference = self.references[metric]
            results = score(metric.kind, fake, reference.sample, self.real.seed)
        what, value = next(iter(results.items()))
        record = {"value": value, "value_is": what} | {key: v for key, v in results.items() if key not in ("distance", "score")}
        record |= {"floor": None, "floor_counts": None}
        if reference:
            record |= {"floor": reference.distance, "floor_counts": list(reference.counts)}
            if metric.kind not in DISTANCES:
                record["between_reals"] = reference.real_vs_real
        if offsets := self._interval(metric, statistics, features, reference):
            low, high = (value + offset for offset in offsets)
            record["interval"] = [low if metric.kind == "kid" else max(low, 0.0), high]
        if self.extrapolate and metric.kind in BY_MOMENTS:
            record["extrapolated"] = self._jackknife(metric, statistics).at_infinity()
        return record

    def _setting(self, metric: MetricName) -> dict:
        """What is needed to measure the same again."""
        detector = self.detectors[metric.detector]
        against = metric.kind in AGAINST_REAL
        return {
            "generated": metric.count,
            "real": self.references[metric].sample.count if against else 0,
            "real_content": self.real.key if against else None,
            "detector": detector.name,
            "detector_hash": detector.hash,
            "resizing": detector.resizing,
            "seed": self.real.seed,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        }

    def _interval(
        self, metric: MetricName, statistics: PrefixStatistics, features: np.ndarray, reference: Reference | None
    ) -> tuple[float, float] | None:
        if not self.interval or metric.kind not in DISTANCES:
            return None
        if metric.kind in BY_MOMENTS:
            return self._jackknife(metric, statistics).interval()
        of_features = monge_interval if metric.kind == "mind" else kernel_interval
        return of_features(features[: metric.count], reference.sample.features, seed=self.real.seed)

    def _jackknife(self, metric: MetricName, statistics: PrefixStatistics) -> FrechetJackknife:
        splits = self._splits(metric)
        groups = [statistics.between(start, stop) for start, stop in zip([0, *splits], splits)]
        return FrechetJackknife(groups, self.references[metric].sample.statistics)

    def _splits(self, metric: MetricName) -> list[int]:
        """Where the groups of generated images end, for a metric by moments."""
        groups = GROUPS if self.interval or self.extrapolate else 1
        return [metric.count * i // groups for i in range(1, groups + 1)]

    def _measure(
        self, fake_batches: Callable[[int], Iterable[torch.Tensor]]
    ) -> tuple[dict[str, PrefixStatistics], dict[str, np.ndarray]]:
        """Moments, and features where a metric needs them, of the generated images on every detector, in one pass."""
        count = max(metric.count for metric in self.metrics)
        statistics, features = {}, {}
        for name, detector in self.detectors.items():
            metrics = self._metrics_on(name)
            splits = [split for metric in metrics if metric.kind in BY_MOMENTS for split in self._splits(metric)]
            statistics[name] = PrefixStatistics(detector.dim, splits)
            kept = max((metric.count for metric in metrics if metric.kind not in BY_MOMENTS), default=0)
            features[name] = np.empty((kept, detector.dim), dtype=np.float32)
        bar = Progress("generated images", count, "img", shown=self.real.shards.first)
        seen = 0
        with threads(self.real.workers) as pool:

            def started():
                drawn = 0  # images of all processes before this batch, or fewer
                for images in fake_batches(count):
                    running = {}
                    for name, detector in self.detectors.items():
                        missing = max(statistics[name].end, len(features[name])) - drawn
                        if missing > 0:
                            running[name] = detector.start(images[:missing], pool)
                    yield len(images), running
                    drawn += len(images) * self.real.shards.world
                    if drawn >= count:
                        return

            measured = ((n, {k: finish().numpy() for k, finish in running.items()}) for n, running in prefetch_one(started()))
            for n, batch in self.real.shards.gathered(measured):
                for name, rows in batch.items():
                    position = np.arange(seen, seen + len(rows))
                    counted, stored = position < statistics[name].end, position < len(features[name])
                    statistics[name].update(position[counted], rows[counted])
                    features[name][position[stored]] = rows[stored]
                seen += n
                bar.update(min(seen, count))
        bar.close()
        if seen < count and self.real.shards.first:
            names = ", ".join(str(metric) for metric in self.metrics if metric.count > seen)
            raise InputError(f"{names}: found {seen} of the {count} images to score")
        return statistics, features

    def _metrics_on(self, name: str) -> list[MetricName]:
        return [metric for metric in self.metrics if metric.detector == name]

    def _note_small_counts(self, detector: Detector) -> None:
        for metric in self._metrics_on(detector.name):
            if metric.kind not in BY_MOMENTS:
                continue
            smaller, smallest = min(metric.count, self.references[metric].sample.count), metric.count // GROUPS
            fewer = f"by {detector.dim} features each; with fewer images than features"
            if smaller <= detector.dim:
                print(f"note: {metric} compares {smaller} images {fewer} a distance is biased upwards", file=sys.stderr)
            if self.extrapolate and smallest <= detector.dim:
                what = f"note: {metric} is extrapolated from {smallest} images and up, {fewer}"
                print(f"{what} the line is bent, and the estimate too high", file=sys.stderr)
