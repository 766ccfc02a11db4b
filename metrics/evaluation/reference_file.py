"""What generated images are held against as one file, which takes the place of the real images: safetensors, no pickle.

It answers for the metrics that it was saved for and no other: floors and subsets are drawn for a metric's own counts.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.detectors.base import Detector
from metrics.evaluation.metric_name import MetricName
from metrics.evaluation.real_images import Reals
from metrics.evaluation.reference import Reference, cuts, moments
from metrics.evaluation.scores import AGAINST_REALS, BY_MOMENTS
from torch_utils import array_file
from torch_utils.files import InputError, first_line, sha256

FORMAT = "adaconv-reference/1"


@dataclass(frozen=True, eq=False)
class SavedReference:
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
        """Raises `InputError` for a metric that the file does not answer for."""
        for metric in metrics:
            if metric.kind in AGAINST_REALS and str(metric) not in self.references:
                raise InputError(
                    f"--reference {self.path} is for {', '.join(self.references)} and not for {metric}: "
                    "save one for it, or give the real images by --data"
                )

    def on(self, metrics: list[MetricName], detector: Detector) -> dict[MetricName, Reference]:
        """The metrics' references, if they were measured by just this detector; else `InputError`."""
        metrics = [metric for metric in metrics if metric.kind in AGAINST_REALS]
        self.require(metrics)
        for what, value in (("hash", detector.hash), ("resizing", detector.resizing)) if metrics else ():
            if (found := self.detectors[detector.name][what]) != value:
                raise InputError(
                    f"--reference {self.path} was measured by {detector.name} with {what} {found!r}, and here it is {value!r}"
                )
        return {metric: self.references[str(metric)] for metric in metrics}


def save(
    path: Path,
    references: dict[MetricName, Reference],
    detectors: dict[str, Detector],
    reals: Reals,
    mirror: bool,
    shape: tuple[int, int, int],
    labels: list[int] | None = None,
) -> None:
    """Write the file, whole or not at all. Raises `OSError`."""
    arrays, metrics = {}, {}
    for metric, reference in references.items():
        used = cuts(metric, reals.count)[0]
        if metric.kind in BY_MOMENTS:
            arrays |= {f"{metric.detector}.{used}.{key}": value for key, value in reference.statistics.state_dict().items()}
        elif used > len(arrays.get(f"{metric.detector}.features", ())):
            arrays[f"{metric.detector}.features"] = reference.features  # the shorter ones are its beginning
        metrics[str(metric)] = dict(
            kind=metric.kind,
            detector=metric.detector,
            used=used,
            floor=reference.floor,
            floor_counts=reference.floor_counts,
            between_reals=reference.between_reals,
        )
    if labels is not None:
        arrays["labels"] = np.array(labels, dtype=np.int32)
    array_file.write(
        path,
        arrays,
        format=FORMAT,
        metrics=metrics,
        detectors={name: dict(hash=d.hash, resizing=d.resizing) for name, d in detectors.items()},
        real_count=reals.count,
        content=reals.key,
        seed=reals.seed,
        mirror=mirror,
        shape=shape,
    )


def load(path: Path) -> SavedReference:
    """Raises `InputError` for anything but a file that `save` wrote and nobody changed."""
    if not path.is_file():
        raise InputError(f"--reference {path}: no such file; --save-reference FILE writes one")
    try:
        arrays, header = array_file.read(path)
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}, wanted {FORMAT!r}")
        found = {name: _reference(entry, arrays) for name, entry in header["metrics"].items()}
        height, width, channels = header["shape"]
        return SavedReference(
            path,
            sha256(path),
            found,
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
            f"--reference {path} is none, or damaged ({first_line(error)}): --save-reference FILE writes one"
        ) from None


def _reference(entry: dict, arrays: dict[str, np.ndarray]) -> Reference:
    if entry["kind"] in BY_MOMENTS:
        of = f"{entry['detector']}.{entry['used']}."
        return moments({key: arrays[of + key] for key in ("count", "mean", "scatter")}, entry, len(arrays[of + "mean"]))
    features = arrays[f"{entry['detector']}.features"][: entry["used"]]
    if features.ndim != 2 or len(features) != entry["used"] or not np.isfinite(features).all():
        raise ValueError("its features are not those of its images")
    return Reference(None, entry["floor"], tuple(entry["floor_counts"]), features, entry["between_reals"])
