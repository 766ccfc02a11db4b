"""Scores generated images: what a command builds and hands to the loop, which only has to bring images."""

import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from metrics.detector import Detector
from metrics.features import load_detector, require_detector
from metrics.fid import frechet_distance
from metrics.names import MetricName, parse_metric
from metrics.reference import Reals, Reference, references
from metrics.statistics import Spans
from torch_utils.cli import Progress
from torch_utils.files import InputError


class Evaluator:
    """Holds the metrics' names, the real images and, from the first use on, the detectors and the reals' statistics."""

    def __init__(
        self,
        names: list[str],  # as `parse_metric` reads them; repetitions are dropped
        real_batches: Callable[[], Iterable[torch.Tensor]],  # uint8 [N, C, H, W], in the same order every time
        real_count: int,  # images that `real_batches` gives
        content_key: str,  # names the real images' content: another key, other statistics
        device: torch.device | str,  # of the detectors
        inception_path: str | Path | None = None,
        seed: int = 0,  # of the real images' subsets
        batch_size: int = 32,  # of the detectors
    ):
        """Raises `InputError` for a name that is no metric, a detector that is not here and fewer than two real images."""
        self.metrics = list(dict.fromkeys(parse_metric(name) for name in names))
        if self.metrics and real_count < 2:
            raise InputError(f"a distance needs two real images at least, and the data has {real_count}")
        for name in self._detector_names():
            require_detector(name, inception_path)
        self.reals = Reals(real_batches, real_count, content_key, seed)
        self.device, self.inception_path, self.batch_size = device, inception_path, batch_size
        self.detectors: dict[str, Detector] = {}
        self.references: dict[MetricName, Reference] = {}

    def prepare(self, progress: bool = True) -> None:
        """Load the detectors and measure the real images, or find them measured. Calling does it where it is not done yet."""
        for name in self._detector_names():
            if name not in self.detectors:
                detector = load_detector(name, self.device, self.inception_path, self.batch_size)
                self.references |= references(self._metrics_on(name), detector, self.reals, progress)
                self.detectors[name] = detector
                self._note_small_counts(detector)

    def __call__(self, fake_batches: Callable[[int], Iterable[torch.Tensor]], progress: bool = True) -> list[dict]:
        """One record per metric, in the order of the names.

        `fake_batches(count)` gives uint8 [N, C, H, W], `count` images or more in all; it is called once, and what is over is
        dropped. Raises `InputError` where it gives fewer.
        """
        if not self.metrics:
            return []
        self.prepare(progress)
        began = time.monotonic()
        spans = self._measure(fake_batches, progress)
        drawn = time.monotonic() - began
        records = []
        for metric in self.metrics:
            began = time.monotonic()
            detector, reference = self.detectors[metric.detector], self.references[metric]
            real, fake = reference.statistics, spans[metric.detector].span(0, metric.count)
            records.append(
                {
                    "metric": str(metric),
                    "value": frechet_distance(fake.mean, fake.cov, real.mean, real.cov),
                    "floor": reference.floor,
                    "floor_counts": list(reference.floor_counts),
                    "generated": fake.count,
                    "real": real.count,
                    "detector": detector.name,
                    "detector_hash": detector.hash,
                    "resizing": detector.resizing,
                    "seed": self.reals.seed,
                    "seconds": round(drawn + time.monotonic() - began, 3),  # all metrics share one drawing of images
                    "versions": {"torch": torch.__version__, "clean-fid": importlib.metadata.version("clean-fid")},
                }
            )
        return records

    def _measure(self, fake_batches: Callable[[int], Iterable[torch.Tensor]], progress: bool) -> dict[str, Spans]:
        """Statistics of the generated images on every detector, in one pass."""
        count = max(metric.count for metric in self.metrics)
        spans = {
            name: Spans(detector.dim, [metric.count for metric in self._metrics_on(name)])
            for name, detector in self.detectors.items()
        }
        bar = Progress("generated images", count, "img") if progress else None
        seen = 0
        for images in fake_batches(count):
            for name, span in spans.items():
                position = np.arange(seen, min(seen + len(images), span.end))
                if len(position):
                    span.update(position, self.detectors[name](images[: len(position)]))
            seen += len(images)
            if bar:
                bar.update(min(seen, count))
            if seen >= count:
                break
        if bar:
            bar.close()
        if seen < count:
            names = ", ".join(str(metric) for metric in self.metrics if metric.count > seen)
            raise InputError(f"{names}: {count} images are to be scored, and there are {seen}")
        return spans

    def _detector_names(self) -> list[str]:
        return list(dict.fromkeys(metric.detector for metric in self.metrics))

    def _metrics_on(self, name: str) -> list[MetricName]:
        return [metric for metric in self.metrics if metric.detector == name]

    def _note_small_counts(self, detector: Detector) -> None:
        for metric in self._metrics_on(detector.name):
            smaller = min(metric.count, self.references[metric].statistics.count)
            if smaller <= detector.dim:
                print(
                    f"note: {metric} compares {smaller} images by {detector.dim} features each; so few bias a distance upwards",
                    file=sys.stderr,
                )
