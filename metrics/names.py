"""Names of metrics: `fid50k_full`, `fd10k_full-efficientnet_lite0`."""

import re
from dataclasses import dataclass

from metrics.features import DETECTORS
from torch_utils.files import InputError

KINDS = {
    "fid": "Fréchet distance on Inception's features",
    "fd": "Fréchet distance on another detector's features",
}
DEFAULT_DETECTOR = "efficientnet_lite0"
EXAMPLES = "fid50k_full or fd10k_full-efficientnet_lite0"


@dataclass(frozen=True)
class MetricName:
    """One metric. `str()` gives the canonical name, in which only Inception goes without saying."""

    kind: str  # one of KINDS
    count: int  # generated images, a multiple of 1000
    full: bool  # against all real images; otherwise against `count` of them
    detector: str  # one of DETECTORS

    def __str__(self) -> str:
        detector = "" if self.kind == "fid" else f"-{self.detector}"
        return f"{self.kind}{self.count // 1000}k{'_full' if self.full else ''}{detector}"


def parse_metric(name: str, detector: str = DEFAULT_DETECTOR) -> MetricName:
    """Read `<metric><count>k[_full][-<detector>]`; `detector` stands in where an `fd` names none. Raises `InputError`."""
    match = re.fullmatch(r"([a-z]+)([1-9]\d*)k(_full)?(?:-(.+))?", name)
    if not match:
        raise InputError(f"{name!r} is no metric: write <metric><count>k[_full][-<detector>], as in {EXAMPLES}. {listing()}")
    kind, count, full, named = match.groups()
    if kind not in KINDS:
        raise InputError(f"{name!r}: there is no metric {kind!r} here. {listing()} An example is {EXAMPLES}")
    size = f"{count}k{full or ''}"
    if kind == "fid":
        if named not in (None, "inception"):
            raise InputError(f"{name!r}: fid means Inception and only that; on another detector it is fd{size}-{named}")
        chosen = "inception"
    else:
        chosen = named or detector
        if chosen == "inception":
            raise InputError(f"{name!r}: the Fréchet distance on Inception is called fid{size}")
        if chosen not in DETECTORS:
            known = ", ".join(name for name in DETECTORS if name != "inception")
            raise InputError(f"{name!r}: no detector is called {chosen!r}; fd runs on {known}")
    return MetricName(kind, int(count) * 1000, full is not None, chosen)


def listing() -> str:
    return "There are " + ", ".join(f"{kind} ({meaning})" for kind, meaning in KINDS.items()) + "."
