"""One sentence on where a run stands and where it is going, from its scores."""

import math

import numpy as np

from torch_utils.score_names import caveat

FEW = 3  # scores in the recent half of a run, below which there is no trend
NOISE = 0.03  # relative: distances of 1000 images scatter by about a hundredth


def verdict(metric: str, records: list[dict], planned_kimg: float | None) -> str:
    """records: {"nimg", "way_left", …} in the order of `nimg`; "" where no `way_left` is known.

    The trend is a straight line through the logarithms of the scores in the second half of the run so far. It counts where
    its change over that half is larger than twice the scatter around it, and it is drawn on by no more than what it was
    measured on.
    """
    points = [(record["nimg"] / 1000, record["way_left"]) for record in records if record["way_left"] is not None]
    if not points:
        return ""
    kimg, left = points[-1]
    if kimg == 0:
        return f"Too early to say: {metric} has only seen the untrained network."
    named = "; ".join(filter(None, (metric, caveat(records[-1]))))
    state = f"{_percent(left)} of the way from the untrained network to real images is left ({named})"
    if left > 1:
        state = f"{metric} is worse than the untrained network's, which is common within the first few kimg"
    recent = [point for point in points if point[0] >= max(kimg / 2, 1e-3)]
    if len(recent) < FEW:
        return f"{state}. It is too early for a trend."
    if min(value for _, value in recent) <= 0.02:
        return f"{state}: at these counts the generated images are as close to real ones as those are to each other."
    return f"{state}. {_trend(recent, planned_kimg)}"


def _trend(recent: list[tuple[float, float]], planned_kimg: float | None) -> str:
    kimg, left = (np.array(values) for values in zip(*recent))
    slope, start = np.polyfit(kimg, np.log(left), 1)
    scatter = math.sqrt(np.square(np.log(left) - slope * kimg - start).sum() / (len(recent) - 2))
    span = kimg[-1] - kimg[0]
    threshold = max(2 * scatter, NOISE)
    if slope * span > threshold:
        best = kimg[left.argmin()]
        return f"It has been getting worse since {best:.4g} kimg, when {_percent(left.min())} was left."
    if slope * span > -threshold:
        return f"It stands still: from {kimg[0]:.4g} to {kimg[-1]:.4g} kimg it moved by no more than scores scatter."
    ahead = min(span, planned_kimg - kimg[-1]) if planned_kimg and planned_kimg > kimg[-1] else span
    forecast = left[-1] * math.exp(slope * ahead)
    return (
        f"At the pace of the last {span:.3g} kimg, {ahead:.3g} kimg more would leave {_percent(forecast)}; "
        "curves flatten, so that is the best to hope for."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
