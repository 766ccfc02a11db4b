"""A file that replaces the real images: what metrics compare with, and the detectors that measured it. Safetensors, no pickle.

It serves the metrics that it was saved for and no other: subsets of the real images are drawn for a metric's own counts.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.detectors.base import Detector
from metrics.evaluation.metric_name import MetricName, parse_metric
from metrics.evaluation.real_images import RealImages
from metrics.evaluation.reference import Reference, moments
from metrics.evaluation.scores import AGAINST_REAL, BY_MOMENTS, Sample
from torch_utils import array_file
from torch_utils.files import InputError, first_line, sha256
from torch_utils.image_labels import MAX_CLASSES

FORMAT, WITH_STRANGE_TWINS = "adaconv-reference/2", "adaconv-reference/1"  # the older one is good where nothing was mirrored


@dataclass(frozen=True, eq=False)
class ReferenceFile:
    path: Path
    hash: str  # sha256 of the file, in hex
    references: dict[str, Reference]  # by the metric's canonical name
    detectors: dict[str, dict]  # name -> {"hash": …, "resizing": …}
    real_count: int
    content: str  # key of the real images
    seed: int  # of their permutation
    mirror: bool
    shape: tuple[int, int, int]  # (height, width, channels) of the real images
    labels: list[int] | None  # class of each of them, where they were read

    def require(self, metrics: list[MetricName]) -> None:
        """Raises `InputError` for a metric that the file was not saved for."""
        for metric in metrics:
            if metric.kind in AGAINST_REAL and str(metric) not in self.references:
                raise InputError(
                    f"--reference {self.path} is for {', '.join(self.references)} and not for {metric}: "
                    "save one for it, or give the real images by --data"
                )

    def references_for(self, metrics: list[MetricName], detector: Detector) -> dict[MetricName, Reference]:
        """By metric; `InputError` where they were measured by other weights than this detector's, or with other resizing."""
        metrics = [metric for metric in metrics if metric.kind in AGAINST_REAL]
        self.require(metrics)
        for key, here in (("hash", detector.hash), ("resizing", detector.resizing)) if metrics else ():
            if (there := self.detectors[detector.name][key]) != here:
                raise InputError(
                    f"--reference {self.path} was measured by {detector.name} with {key} {there!r}, and here it is {here!r}"
                )
        return {metric: self.references[str(metric)] for metric in metrics}


def save(
    path: Path,
    references: dict[MetricName, Reference],
    detectors: dict[str, Detector],
    real: RealImages,
    mirror: bool,
    shape: tuple[int, int, int],
    labels: list[int] | None = None,
) -> None:
    """Write the file, whole or not at all. Raises `OSError`."""
    arrays, metrics = {}, {}
    for metric, reference in references.items():
        sample, name = reference.sample, metric.detector
        if metric.kind in BY_MOMENTS:
            arrays |= {f"{name}.{sample.count}.{key}": value for key, value in sample.statistics.state_dict().items()}
        elif sample.count > len(arrays.get(f"{name}.features", ())):
            arrays[f"{name}.features"] = sample.features  # shorter ones are the beginning of these
        real_vs_real = None if metric.kind in BY_MOMENTS else reference.real_vs_real  # of these the distance says it all
        entry = dict(kind=metric.kind, detector=name, used=sample.count, floor=reference.distance)
        metrics[str(metric)] = entry | dict(floor_counts=reference.counts, between_reals=real_vs_real)
    if labels is not None:
        arrays["labels"] = np.array(labels, dtype=np.int32)
    measured_by = {name: dict(hash=detector.hash, resizing=detector.resizing) for name, detector in detectors.items()}
    images = dict(real_count=real.count, content=real.key, seed=real.seed, mirror=mirror, shape=shape)
    array_file.write(path, arrays, format=FORMAT, metrics=metrics, detectors=measured_by, **images)


def load(path: Path) -> ReferenceFile:
    """Raises `InputError` for anything but an unchanged file of `save`."""
    if not path.is_file():
        raise InputError(f"--reference {path}: no such file; --save-reference FILE writes one")
    try:
        arrays, header = array_file.read(path)
        if header["format"] == WITH_STRANGE_TWINS and header["mirror"] is not False:
            raise ValueError("its format is an older one, in which real images were compared with their own mirror images")
        if header["format"] not in (FORMAT, WITH_STRANGE_TWINS):
            raise ValueError(f"its format is {header['format']!r}, wanted {FORMAT!r}")
        _check(header, arrays)
        height, width, channels = header["shape"]
        return ReferenceFile(
            path,
            sha256(path),
            {name: _reference(entry, arrays) for name, entry in header["metrics"].items()},
            header["detectors"],
            int(header["real_count"]),
            header["content"],
            int(header["seed"]),
            bool(header["mirror"]),
            (height, width, channels),
            arrays["labels"].tolist() if "labels" in arrays else None,
        )
    except Exception as error:  # whatever a foreign or damaged file makes its readers say
        raise InputError(
            f"--reference {path} is no reference, or damaged ({first_line(error)}): --save-reference FILE writes one"
        ) from None


def _check(header: dict, arrays: dict[str, np.ndarray]) -> None:
    """`ValueError` or the like for what `save` never writes; the digest only says that somebody wrote it."""
    limits = dict(zip(("height", "width", "channels"), header["shape"], strict=True))
    limits |= {name: header[name] for name in ("real_count", "seed")}
    for name, value in limits.items():
        least, most = {"channels": (1, 4), "seed": (0, 2**32 - 1), "real_count": (1, 2**40)}.get(name, (1, 2**16))
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"found {name} {value!r}, wanted {least} to {most}")
    if not isinstance(header["content"], str):
        raise ValueError("its key of the real images is no text")
    for name, entry in header["metrics"].items():
        metric, measured = parse_metric(name, more=list(header["detectors"])), header["detectors"][entry["detector"]]
        if (metric.kind, metric.detector) != (entry["kind"], entry["detector"]):
            raise ValueError(f"found {entry['kind']} on {entry['detector']} as {name}")
        if not all(isinstance(measured[key], str) for key in ("hash", "resizing")):
            raise ValueError(f"found no hash or resizing of {entry['detector']}")
        numbers = [entry["floor"], *entry["floor_counts"], *(entry["between_reals"] or {}).values()]
        if len(entry["floor_counts"]) != 2 or not all(n is None or type(n) in (int, float) and np.isfinite(n) for n in numbers):
            raise ValueError(f"found {name} of real images that is no number")
    labels = arrays.get("labels", np.zeros(0, np.int32))
    if labels.ndim != 1 or labels.dtype.kind != "i" or labels.size and not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
        raise ValueError("its labels are no classes")


def _reference(entry: dict, arrays: dict[str, np.ndarray]) -> Reference:
    if entry["kind"] in BY_MOMENTS:
        prefix = f"{entry['detector']}.{entry['used']}."
        return moments({key: arrays[prefix + key] for key in ("count", "mean", "scatter")}, entry, len(arrays[prefix + "mean"]))
    features = arrays[f"{entry['detector']}.features"][: entry["used"]]
    if features.ndim != 2 or len(features) != entry["used"] or not np.isfinite(features).all():
        raise ValueError("its features are not those of its images")
    return Reference(Sample(features=features), tuple(entry["floor_counts"]), entry["between_reals"])
