"""What a report page draws: charts of curves, as JSON for its script."""

import itertools
import math
import re
from collections.abc import Callable

from torch_utils.score_names import caveat
from training.run.run_records import RunRecords, is_finite, mean_names

MAX_POINTS = 2000  # of a curve
TITLES = {  # charts of means in their order, and the names that belong to them; what is not known stands before the last two
    "Losses": "loss_.*",
    "Gradient penalties": "r[12].*",
    "Mean logits": ".*_logits",
    "Signs of overfitting": "signs",
    "Strength of augmentation": "p",
    "Learning rates": "[gd]lr",
    "Path lengths": "path_length",
    "Gradient norms": "gradient_.*",
    "Seconds per kimg": "sec_per_kimg",
    "Share of time that waits for images": "data_share",
    "Memory, MB": ".*_mb",
}
LAST = ["Seconds per kimg", "Share of time that waits for images", "Memory, MB"]
LEFT = "Normalized distance (untrained: 100 %)"


def sorted_means(stats: list[dict]) -> list[str]:
    """Names of what is reported, in the order of the charts."""
    rank = {title: i for i, title in enumerate(TITLES)}
    position = lambda title: (rank.get(title, len(TITLES) - len(LAST) - 0.5), title)
    return sorted(mean_names(stats), key=lambda name: (position(title_of(name)), name))


def title_of(name: str) -> str:
    """The chart that a mean belongs to; one that is not known here has a chart of its own."""
    for title, pattern in TITLES.items():
        if re.fullmatch(pattern, name):
            return title
    return name


def charts_of(run: RunRecords) -> list[dict]:
    """Of one run: scores first, machinery last."""
    charts = [
        chart(_marked(name, records), [curve("distance", records, "value", run.seconds)], zero=True, floor=records[-1]["floor"])
        for name, records in run.scores.items()
    ]
    known = {_marked(name, records): with_way_left(records) for name, records in run.scores.items()}
    left = [curve(name, records, "way_left", run.seconds) for name, records in known.items() if records]
    if left:
        charts.append(chart(LEFT, left, zero=True, percent=True))
    for title, names in itertools.groupby(sorted_means(run.stats), title_of):
        curves = [mean_curve(name, name, run) for name in names]
        charts.append(chart(title, curves, zero=title in LAST))
    return charts


def metrics_of(runs: dict[str, RunRecords]) -> list[str]:
    """Those that most runs have first; before all, those on features that no run's training has looked at."""
    names = dict.fromkeys(metric for records in runs.values() for metric in records.scores)
    scored = {metric: [records.scores[metric] for records in runs.values() if metric in records.scores] for metric in names}
    return sorted(names, key=lambda metric: (any(caveat(scores[-1]) for scores in scored[metric]), -len(scored[metric])))


def charts_of_all(runs: dict[str, RunRecords]) -> list[dict]:
    """Of several runs by name: a chart for each score and each mean, with a curve for each run that has it."""
    charts = []
    for metric in metrics_of(runs):
        scored = {name: run for name, run in runs.items() if metric in run.scores}
        floors = {run.scores[metric][-1]["floor"] for run in scored.values()}
        curves = [curve(_marked(name, rs := run.scores[metric]), rs, "value", run.seconds) for name, run in scored.items()]
        charts.append(chart(metric, curves, zero=True, floor=floors.pop() if len(floors) == 1 else None))
        known = {name: with_way_left(run.scores[metric]) for name, run in scored.items()}
        left = [curve(_marked(name, rs), rs, "way_left", runs[name].seconds) for name, rs in known.items() if rs]
        if left:
            charts.append(chart(f"{metric}, normalized", left, zero=True, percent=True))
    for mean in sorted_means([record for run in runs.values() for record in run.stats]):
        curves = [mean_curve(name, mean, run) for name, run in runs.items() if any(mean in record for record in run.stats)]
        charts.append(chart(mean, curves, zero=title_of(mean) in LAST))
    return charts


def _marked(name: str, records: list[dict]) -> str:
    return f"{name} (not independent)" if caveat(records[-1]) else name


def chart(title: str, curves: list[dict], zero: bool, floor: float | None = None, percent: bool = False) -> dict:
    """zero: the axis begins there. floor: a dashed line, the distance of real images from real images."""
    return dict(title=title, curves=curves, zero=zero, floor=floor, percent=percent)


def with_way_left(records: list[dict]) -> list[dict]:
    return [record for record in records if record["way_left"] is not None]


def mean_curve(name: str, mean: str, run: RunRecords) -> dict:
    return curve(name, [record for record in run.stats if mean in record], mean, run.seconds)


def curve(name: str, records: list[dict], key: str, seconds: Callable[[float], float]) -> dict:
    """Lists of one length; a value is None where it is not finite. seconds: images seen -> training time."""
    values = [record[key] if is_finite(record[key]) else None for record in records]
    kept = _thin(values)
    nimg = [records[i]["nimg"] for i in kept]
    return dict(
        name=name,
        nimg=nimg,
        seconds=[seconds(n) for n in nimg],
        value=[None if values[i] is None else float(f"{values[i]:.6g}") for i in kept],
    )


def _thin(values: list[float | None]) -> list[int]:
    """Which values to draw, MAX_POINTS at most: of each stretch the least, the greatest and a gap, so that spikes stay."""
    if len(values) <= MAX_POINTS:
        return list(range(len(values)))
    kept = {0, len(values) - 1}
    length = math.ceil(len(values) / (MAX_POINTS // 3 - 1))
    for begin in range(0, len(values), length):
        stretch = range(begin, min(begin + length, len(values)))
        finite = [i for i in stretch if values[i] is not None]
        kept.update([i for i in stretch if values[i] is None][:1])
        kept.update(choose(finite, key=values.__getitem__) for choose in (min, max) if finite)
    return sorted(kept)
