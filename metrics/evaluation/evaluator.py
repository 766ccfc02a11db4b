"""Scores generated images: what a command builds and hands to the loop, which only has to bring images."""

import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from metrics.detectors.base import Detector
from metrics.detectors.load import load_detector, require_detector
from metrics.detectors.torchscript import detector_name
from metrics.evaluation.metric_name import OF_PATHS, MetricName, parse_metric
from metrics.evaluation.nearest import Neighbours, neighbours
from metrics.evaluation.real_images import Reals
from metrics.evaluation.reference import Reference, references
from metrics.evaluation.reference_file import SavedReference
from metrics.evaluation.reference_file import save as save_references
from metrics.evaluation.scores import AGAINST_REALS, BY_MOMENTS, DISTANCES, FEWEST, Sample, score
from metrics.evaluation.shards import ALONE, Shards
from metrics.frechet_jackknife import GROUPS, FrechetParts
from metrics.kid import kernel_interval
from metrics.statistics import Spans
from torch_utils.cli import Progress
from torch_utils.files import InputError
from torch_utils.prefetch import default_workers, one_ahead, threads

PACKAGES = ("torch", "clean-fid", "numpy", "scipy", "pillow")  # whose versions can move a score


class Evaluator:
    """Holds the metrics' names, the real images and, from the first use on, the detectors and what is known of the reals."""

    def __init__(
        self,
        names: list[str],  # as `parse_metric` reads them; repetitions are dropped
        real_batches: Callable[[], Iterable[torch.Tensor]] | None,  # uint8 [N, C, H, W], in the same order every time
        real_count: int,  # images that `real_batches` gives
        content_key: str,  # names the real images' content: another key, other statistics
        device: torch.device | str,  # of the detectors
        inception_path: str | Path | None = None,
        seed: int = 0,  # of the real images' subsets, and of the kernel distance's
        batch_size: int = 32,  # of the detectors
        inception_resizing: str = "clean",  # one of inception.RESIZINGS
        detector_file: Path | None = None,  # TorchScript; metrics on it carry its name
        interval: bool = False,  # 95 % intervals of distances: ten more Fréchet distances for each
        extrapolate: bool = False,  # Fréchet distances at infinitely many generated images: nineteen more for each
        workers: int | None = None,  # threads that resize while the network runs; how many there are changes no bit
        shards: Shards = ALONE,  # processes that all call it at once
        saved: SavedReference | None = None,  # in the place of `real_batches`, which is not asked for then
    ):
        """Raises `InputError` for a name that is no metric, a detector that is not here and too few real images."""
        more = [] if detector_file is None else [detector_name(detector_file)]
        self.metrics = list(dict.fromkeys(parse_metric(name, more=more) for name in names))
        for metric in self.metrics:
            if metric.kind in OF_PATHS:
                raise InputError(f"{metric} needs the generator and not its images alone: python calc_metrics.py --network …")
        if self.metrics and real_count < 2:
            raise InputError(f"a distance needs two real images at least, and the data has {real_count}")
        for metric in self.metrics:
            if real_count < FEWEST.get(metric.kind, 0):
                raise InputError(f"{metric} needs {FEWEST[metric.kind]} real images at least, and the data has {real_count}")
        self.device, self.batch_size = device, batch_size
        self.inception_path, self.inception_resizing, self.detector_file = inception_path, inception_resizing, detector_file
        self.interval, self.extrapolate = interval, extrapolate
        for name in self._detector_names():
            try:
                require_detector(name, inception_path, detector_file)
            except InputError as error:
                raise InputError(f"{', '.join(map(str, self._metrics_on(name)))}: {error}") from None
        workers = default_workers() if workers is None else workers
        self.reals = Reals(real_batches, real_count, content_key, seed, workers, shards)
        self.saved = saved
        if saved:
            saved.require(self.metrics)
        self.detectors: dict[str, Detector] = {}
        self.references: dict[MetricName, Reference] = {}

    def prepare(self, progress: bool = True) -> None:
        """Load the detectors and measure the real images, or find them measured. Calling does it where it is not done yet."""
        for name in self._detector_names():
            if name not in self.detectors:
                detector = load_detector(
                    name, self.device, self.inception_path, self.batch_size, self.detector_file, self.inception_resizing
                )
                metrics = self._metrics_on(name)
                if detector.logits is None and any(metric.kind == "is" for metric in metrics):
                    raise InputError(f"the inception score needs class probabilities, and this {name} ends before them")
                found = self.saved.on(metrics, detector) if self.saved else references(metrics, detector, self.reals, progress)
                self.references |= found
                self.detectors[name] = detector
                if self.reals.shards.first:
                    self._note_small_counts(detector)

    def __call__(self, fake_batches: Callable[[int], Iterable[torch.Tensor]], progress: bool = True) -> list[dict]:
        """One record per metric, in the order of the names.

        `fake_batches(count)` gives uint8 [N, C, H, W], `count` images or more in all; it is called once, and what is over is
        dropped. Raises `InputError` where it gives fewer. Where there are several processes, all call this at once, each with
        its share of the batches (see `Shards`), and only the first gets records.
        """
        if not self.metrics:
            return []
        self.prepare(progress)
        began = time.monotonic()
        spans, features = self._measure(fake_batches, progress)
        if not self.reals.shards.first:
            return []
        drawn = time.monotonic() - began
        records = []
        for metric in self.metrics:
            began = time.monotonic()
            scores = self._scores(metric, spans[metric.detector], features[metric.detector])
            seconds = drawn + time.monotonic() - began  # all metrics share one drawing of images
            records.append({"metric": str(metric)} | scores | self._setting(metric) | {"seconds": round(seconds, 3)})
        return records

    def nearest(self, images: torch.Tensor, k: int, progress: bool = True) -> Neighbours:
        """The k real images nearest to each of uint8 [N, C, H, W], by the detector of the first metric."""
        self.prepare(progress)
        return neighbours(images, self.detectors[self.metrics[0].detector], self.reals, k, progress)

    def save_reference(
        self, path: Path, mirror: bool, shape: tuple[int, int, int], labels: list[int] | None, progress: bool = True
    ) -> None:
        """Write what is known of the real images to a file that another evaluator takes as `saved`."""
        self.prepare(progress)
        if not self.reals.shards.first:
            return
        known = {metric: self.references[metric] for metric in self.metrics if metric in self.references}
        save_references(path, known, self.detectors, self.reals, mirror, shape, labels)

    def _scores(self, metric: MetricName, spans: Spans, features: np.ndarray) -> dict:
        """Every number of one metric: `value` is the one that stands for it, `value_is` says what that is."""
        if metric.kind == "is":
            logits = self.detectors[metric.detector].logits(torch.from_numpy(features[: metric.count])).numpy()
            results, reference = score("is", Sample(features=logits)), None
        else:
            fake = (
                Sample(spans.span(0, metric.count)) if metric.kind in BY_MOMENTS else Sample(features=features[: metric.count])
            )
            reference = self.references[metric]
            results = score(metric.kind, fake, reference.sample(), self.reals.seed)
        what, value = next(iter(results.items()))
        record = {"value": value, "value_is": what} | {key: v for key, v in results.items() if key not in ("distance", "score")}
        record |= {"floor": None, "floor_counts": None}
        if reference:
            record |= {"floor": reference.floor, "floor_counts": list(reference.floor_counts)}
            if metric.kind not in DISTANCES:
                record["between_reals"] = reference.between_reals
        if offsets := self._interval(metric, spans, features, reference):
            low, high = (value + offset for offset in offsets)
            record["interval"] = [low if metric.kind == "kid" else max(low, 0.0), high]
        if self.extrapolate and metric.kind in BY_MOMENTS:
            record["extrapolated"] = self._parts(metric, spans).at_infinity()
        return record

    def _setting(self, metric: MetricName) -> dict:
        """What is needed to measure the same again."""
        detector = self.detectors[metric.detector]
        against = metric.kind in AGAINST_REALS
        return {
            "generated": metric.count,
            "real": self.references[metric].sample().count if against else 0,
            "real_content": self.reals.key if against else None,
            "detector": detector.name,
            "detector_hash": detector.hash,
            "resizing": detector.resizing,
            "seed": self.reals.seed,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        }

    def _interval(
        self, metric: MetricName, spans: Spans, features: np.ndarray, reference: Reference | None
    ) -> tuple[float, float] | None:
        if not self.interval or metric.kind not in DISTANCES:
            return None
        if metric.kind in BY_MOMENTS:
            return self._parts(metric, spans).interval()
        return kernel_interval(features[: metric.count], reference.features, seed=self.reals.seed)

    def _parts(self, metric: MetricName, spans: Spans) -> FrechetParts:
        places = self._places(metric)
        groups = [spans.span(start, stop) for start, stop in zip([0, *places], places)]
        return FrechetParts(groups, self.references[metric].statistics)

    def _places(self, metric: MetricName) -> list[int]:
        """Where the row of generated images is cut for a metric that goes by moments."""
        groups = GROUPS if self.interval or self.extrapolate else 1
        return [metric.count * i // groups for i in range(1, groups + 1)]

    def _measure(
        self, fake_batches: Callable[[int], Iterable[torch.Tensor]], progress: bool
    ) -> tuple[dict[str, Spans], dict[str, np.ndarray]]:
        """Moments, and features where a metric needs them, of the generated images on every detector, in one pass."""
        count = max(metric.count for metric in self.metrics)
        spans, features = {}, {}
        for name, detector in self.detectors.items():
            metrics = self._metrics_on(name)
            spans[name] = Spans(detector.dim, [p for m in metrics if m.kind in BY_MOMENTS for p in self._places(m)])
            kept = max((metric.count for metric in metrics if metric.kind not in BY_MOMENTS), default=0)
            features[name] = np.empty((kept, detector.dim), dtype=np.float32)
        bar = Progress("generated images", count, "img") if progress and self.reals.shards.first else None
        seen = 0
        with threads(self.reals.workers) as pool:

            def begun():
                drawn = 0  # in all processes, before this batch; fewer than there are, if anything
                for images in fake_batches(count):
                    started = {}
                    for name, detector in self.detectors.items():
                        wanted = max(spans[name].end, len(features[name])) - drawn
                        if wanted > 0:
                            started[name] = detector.start(images[:wanted], pool)
                    yield len(images), started
                    drawn += len(images) * self.reals.shards.world
                    if drawn >= count:
                        return

            measured = ((n, {k: finish().numpy() for k, finish in started.items()}) for n, started in one_ahead(begun()))
            for n, batch in self.reals.shards.gathered(measured):
                for name, found in batch.items():
                    position = np.arange(seen, seen + len(found))
                    for_spans, for_features = position < spans[name].end, position < len(features[name])
                    spans[name].update(position[for_spans], found[for_spans])
                    features[name][position[for_features]] = found[for_features]
                seen += n
                if bar:
                    bar.update(min(seen, count))
        if bar:
            bar.close()
        if seen < count and self.reals.shards.first:
            names = ", ".join(str(metric) for metric in self.metrics if metric.count > seen)
            raise InputError(f"{names}: {count} images are to be scored, and there are {seen}")
        return spans, features

    def _detector_names(self) -> list[str]:
        return list(dict.fromkeys(metric.detector for metric in self.metrics))

    def _metrics_on(self, name: str) -> list[MetricName]:
        return [metric for metric in self.metrics if metric.detector == name]

    def _note_small_counts(self, detector: Detector) -> None:
        for metric in self._metrics_on(detector.name):
            if metric.kind not in BY_MOMENTS:
                continue
            smaller = min(metric.count, self.references[metric].statistics.count)
            if smaller <= detector.dim:
                print(
                    f"note: {metric} compares {smaller} images by {detector.dim} features each; so few bias a distance upwards",
                    file=sys.stderr,
                )
            if self.extrapolate and metric.count // GROUPS <= detector.dim:
                print(
                    f"note: {metric} is extrapolated from {metric.count // GROUPS} images and up, by {detector.dim} features "
                    "each; with so few the line is bent, and the estimate too high",
                    file=sys.stderr,
                )
