"""The options of `calc_metrics.py`, checked before an image or a network is read."""

import sys
from dataclasses import dataclass
from pathlib import Path

from metrics.detectors import lpips, torchscript
from metrics.detectors.load import require_detector
from metrics.detectors.names import DEFAULT_DETECTOR, DETECTORS, INCEPTION, detector_name
from metrics.evaluation.evaluator import require_detectors
from metrics.evaluation.metric_name import parse_metric
from metrics.evaluation.scores import AGAINST_REAL
from torch_utils.files import InputError
from torch_utils.prefetch import default_workers
from torch_utils.score_names import PATH_LENGTHS

DEFAULT_METRIC = "fid50k_full"


@dataclass
class Request:
    metrics: list[str] | None  # None: DEFAULT_METRIC, or where Inception is missing the same on `detector`
    network: Path | None = None
    images: Path | None = None
    data: Path | None = None
    reference: Path | None = None
    save_reference: Path | None = None
    mirror: bool | None = None
    detector: str = DEFAULT_DETECTOR
    inception: Path | None = None
    resizing: str = "clean"
    vgg: Path | None = None
    trust_code: bool = False
    extrapolate: bool = False
    nearest: Path | None = None
    baselines: bool = False
    outdir: Path | None = None
    seed: int = 0
    workers: int | None = None

    def __post_init__(self):
        """Raises `InputError` for options that do not go together, missing folders and missing detectors."""
        self.workers = default_workers() if self.workers is None else self.workers
        self.file = self._detector_file()
        if self.file:
            self.detector = detector_name(self.file)
        if self.metrics is None:
            self.metrics = [self._default_metric()]
        self._parse_metrics()
        self._check_combination()
        self._check_folders()
        if self.path_lengths:
            official = any(metric.kind == "ppl2_wend" for metric in self.path_lengths)
            lpips.find(self.vgg, official, self.trust_code)
        require_detectors([parse_metric(name, more=[self.detector]) for name in self.names], self.inception, self.file)
        if self.file:
            torchscript.check_trust(self.file, "--detector", self.trust_code)

    @property
    def looks_at_real_images(self) -> bool:
        """Whether a score or a picture does; a conditional generator needs their labels even where none does."""
        against = any(parse_metric(name, more=[self.detector]).kind in AGAINST_REAL for name in self.names)
        return bool(against or self.names and (self.save_reference or self.nearest or self.baselines))

    def _detector_file(self) -> Path | None:
        file = None if self.detector in DETECTORS else Path(self.detector)
        if file and not file.is_file():
            known = ", ".join(name for name in DETECTORS if name != INCEPTION)
            raise InputError(f"--detector {file}: no such file, and no detector of that name; there are {known}")
        return file

    def _default_metric(self) -> str:
        if self.inception or self.reference:
            return DEFAULT_METRIC
        try:
            require_detector(INCEPTION)
        except InputError as error:
            try:
                require_detector(self.detector, file=self.file)
            except InputError:
                return DEFAULT_METRIC  # whose own message is the one to show
            name = DEFAULT_METRIC.replace("fid", "fd") + f"-{self.detector}"
            print(f"note: scoring {name} instead of {DEFAULT_METRIC}: {error}", file=sys.stderr)
            return name
        return DEFAULT_METRIC

    def _parse_metrics(self) -> None:
        more = [self.detector] if self.vgg is None else [self.detector, lpips.network_name(self.vgg)]
        metrics = list(dict.fromkeys(parse_metric(name, self.detector, more) for name in self.metrics))
        if not metrics:
            raise InputError("--metrics none: there is nothing to score")
        self.path_lengths = [metric for metric in metrics if metric.kind in PATH_LENGTHS]
        self.names = [str(metric) for metric in metrics if metric.kind not in PATH_LENGTHS]
        self.max_count = max(metric.count for metric in metrics)

    def _check_combination(self) -> None:
        if self.network and self.images or not (self.network or self.images or self.save_reference):
            raise InputError("give either --network or --images")
        if (self.nearest or self.baselines) and not (self.network or self.images):
            raise InputError("--nearest and --baselines stand beside generated images: give --network or --images, too")
        if self.path_lengths and not self.network:
            raise InputError(f"{self.path_lengths[0]} needs the generator itself: give --network, not --images")
        if self.reference and (self.data or self.save_reference or self.nearest or self.baselines or self.mirror is not None):
            raise InputError(
                "--reference replaces the real images, which --data, --mirror, --nearest, --baselines and --save-reference need"
            )
        for option in ("save_reference", "nearest"):
            if getattr(self, option) and not self.names:
                raise InputError(f"--{option.replace('_', '-')} needs another metric: a path length looks at no real images")

    def _check_folders(self) -> None:
        files = ((self.nearest, "--nearest"), (self.save_reference, "--save-reference"))
        folders = [(self.outdir, "--outdir"), *((file.absolute().parent, option) for file, option in files if file)]
        for folder, option in folders:
            if folder and not folder.is_dir():
                raise InputError(f"{option}: there is no folder {folder}")
