"""Names of metrics: `fid50k_full`, `fd10k_full-efficientnet_lite0`, `pr50k_full`."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from metrics.detectors.names import DEFAULT_DETECTOR, DETECTORS, INCEPTION, VGG16
from torch_utils.files import InputError
from torch_utils.score_names import PATH_LENGTHS

KINDS = {
    "fid": "Fréchet distance on Inception's features",
    "fd": "Fréchet distance on another detector's features",
    "kid": "kernel distance",
    "mind": "Monge distance",
    "pr": "precision and recall",
    "dc": "density and coverage",
    "is": "inception score",
    "ppl2_wend": "perceptual path length on NVIDIA's VGG16",
    "ppl": "perceptual path length on another network",
}
EXAMPLES = "fid50k_full or fd10k_full-efficientnet_lite0"


@dataclass(frozen=True)
class MetricName:
    """One metric. `str()` gives the canonical name, which leaves out Inception."""

    kind: str  # one of KINDS
    count: int  # generated images, a multiple of 1000
    full: bool  # against all real images; otherwise against `count` of them
    detector: str  # one of DETECTORS, or the name of a TorchScript file; for a path length the perceptual network

    def __str__(self) -> str:
        unnamed = VGG16 if self.kind == "ppl2_wend" else INCEPTION
        detector = "" if self.detector == unnamed else f"-{self.detector}"
        return f"{self.kind}{self.count // 1000}k{'_full' if self.full else ''}{detector}"


def parse_metric(name: str, detector: str = DEFAULT_DETECTOR, more: Collection[str] = ()) -> MetricName:
    """Read `<metric><count>k[_full][-<detector>]`. Raises `InputError`.

    Without a detector in the name it is Inception, or for `fd` the argument `detector`. `more` are detectors beside DETECTORS.
    """
    name = "ppl2_wend50k" if name == "ppl2_wend" else name  # as the field spells it
    match = re.fullmatch(r"(ppl2_wend|[a-z]+)([1-9][0-9]{0,5})k(3?)(_full)?(?:-(.+))?", name)
    if not match:
        raise InputError(f"{name!r} is no metric: write <metric><count>k[_full][-<detector>], as in {EXAMPLES}. {listing()}")
    kind, count, neighbours, full, named = match.groups()
    if kind not in KINDS:
        raise InputError(f"{name!r}: there is no metric {kind!r} here. {listing()} An example is {EXAMPLES}")
    size = f"{count}k{full or ''}"
    if neighbours and kind != "pr":
        raise InputError(f"{name!r} is no metric: only pr counts 3 neighbours in its name, and this is {kind}{size}")
    if kind == "is" and full:
        raise InputError(f"{name!r}: the inception score compares with no real images; it is called is{count}k")
    if kind in PATH_LENGTHS and full:
        raise InputError(f"{name!r}: a path length compares with no real images; write {kind}{count}k")
    if kind == "ppl2_wend" and named not in (None, VGG16):
        raise InputError(f"{name!r}: ppl2_wend means NVIDIA's VGG16 and only that; on another network it is ppl{size}-{named}")
    if kind == "ppl" and (named is None or named == VGG16 or named not in more):
        raise InputError(f"{name!r}: on NVIDIA's VGG16 write ppl2_wend{size}; else ppl{size}-<name>, with --vgg <name>.pt")
    if kind in PATH_LENGTHS:
        return MetricName(kind, int(count) * 1000, False, named or VGG16)
    if kind == "fid" and named not in (None, INCEPTION):
        raise InputError(f"{name!r}: fid means Inception and only that; on another detector it is fd{size}-{named}")
    if kind == "is" and named not in (None, INCEPTION):
        raise InputError(f"{name!r}: the inception score is Inception's and has no meaning on {named}")
    chosen = named or (detector if kind == "fd" else INCEPTION)
    if kind == "fd" and chosen == INCEPTION:
        raise InputError(f"{name!r}: the Fréchet distance on Inception is called fid{size}")
    if chosen not in (*DETECTORS, *more):
        known = ", ".join(name for name in (*DETECTORS, *more) if kind != "fd" or name != INCEPTION)
        raise InputError(f"{name!r}: no detector is called {chosen!r}; {kind} runs on {known}")
    return MetricName(kind, int(count) * 1000, full is not None, chosen)


def alternative(metric: MetricName, seen: Collection[str] = ()) -> MetricName | None:
    """The same on the detector that PyPI has, or where training has `seen` it on the one that is shipped; None for a metric
    that is defined on one network only."""
    if metric.kind in ("is", *PATH_LENGTHS):
        return None
    detector = VGG16 if DEFAULT_DETECTOR in seen else DEFAULT_DETECTOR
    return replace(metric, kind="fd" if metric.kind == "fid" else metric.kind, detector=detector)


def listing() -> str:
    return "There are " + ", ".join(f"{kind} ({meaning})" for kind, meaning in KINDS.items()) + "."
