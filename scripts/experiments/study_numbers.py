"""What the study's page says in numbers: means over seeds, their intervals, ranks, where a distance is reached, and pace."""

import statistics
from collections import Counter
from collections.abc import Iterable

import numpy as np

ENOUGH = 3  # seeds, from which on there are intervals
RESAMPLES = 10_000


def interval(values: list[float]) -> tuple[float, float] | None:
    """95 %, of the mean over seeds, by bootstrap (percentiles); None of fewer than ENOUGH seeds."""
    if len(values) < ENOUGH:
        return None
    low, high = np.percentile(_resampled(values, 0), (2.5, 97.5))
    return float(low), float(high)


def better(one: list[float], other: list[float]) -> bool:
    """Whether the bootstrap separates the means, and the first is the smaller one."""
    if min(len(one), len(other)) < ENOUGH:
        return False
    return bool(np.percentile(_resampled(one, 0) - _resampled(other, 1), 97.5) < 0)


def ranks(values: dict[str, list[float]]) -> dict[str, int]:
    """Of each row 1 and the number of rows that are better: what is not separated is not ranked."""
    return {row: 1 + sum(better(other, own) for other in values.values()) for row, own in values.items()}


def aligned(records: list[dict]) -> list[dict]:
    """With only those snapshots that all have: runs may have been scored more often or less."""
    shared = set.intersection(*({point["kimg"] for point in record["points"]} for record in records))
    return [record | dict(points=[point for point in record["points"] if point["kimg"] in shared]) for record in records]


def reached(records: list[dict], metric: str, level: float) -> float | None:
    """Kimg at which the mean over seeds comes down to a level, along lines between snapshots. None: never."""
    before = None
    for points in zip(*(record["points"] for record in records)):
        now = statistics.mean(point["scores"][metric]["value"] for point in points), statistics.mean(p["kimg"] for p in points)
        if now[0] <= level:
            if before is None:
                return now[1]
            return before[1] + (before[0] - level) / (before[0] - now[0]) * (now[1] - before[1])
        before = now
    return None


def timed_on(records: Iterable[dict]) -> tuple[str, str] | None:
    """Machine and number format of most records: seconds compare on one machine only. None where no record has a machine."""
    places = Counter((record["machine"], record["precision"]) for record in records if record["machine"])
    return places.most_common(1)[0][0] if places else None


def pace(records: list[dict], place: tuple[str, str] | None) -> float | None:
    """Seconds for a kimg of the fastest of a row's runs in that place; None where none was trained there."""
    ends = [record["points"][-1] for record in records if (record["machine"], record["precision"]) == place]
    return min((end["seconds"] / end["kimg"] for end in ends), default=None)


def _resampled(values: list[float], seed: int) -> np.ndarray:
    """Means of RESAMPLES draws of as many values, with replacement."""
    picks = np.random.RandomState(seed).randint(len(values), size=(RESAMPLES, len(values)))
    return np.asarray(values)[picks].mean(axis=1)
