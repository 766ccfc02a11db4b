"""What the study's page says in numbers: means over seeds, their intervals, ranks, where a distance is reached, and pace."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable

import numpy as np
from scipy import stats

ENOUGH = 3  # seeds, from which on there are intervals and ranks


def interval(values: list[float]) -> tuple[float, float] | None:
    """95 %, of the mean over seeds, by Student's t; None of fewer than ENOUGH seeds.

    A bootstrap of three or four values is far too sure: what it calls 95 % covers 77 to 82.
    """
    if len(values) < ENOUGH:
        return None
    mean, half = statistics.mean(values), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(mean - half), float(mean + half)


def ranks(values: dict[str, list[float]]) -> dict[str, int]:
    """Of each row of distances 1 and the number of rows that are better: what is not separated is not ranked.

    Tukey's range test at 5 % for all pairs together, on logarithms, as larger distances also differ more between seeds. Rows of
    fewer than ENOUGH seeds take no part, and have rank 1.
    """
    names = [row for row, own in values.items() if len(own) >= ENOUGH]
    found = dict.fromkeys(values, 1)
    if len(names) > 1:
        means = np.array([statistics.mean(map(math.log, values[row])) for row in names])
        apart = stats.tukey_hsd(*(np.log(values[row]) for row in names)).pvalue < 0.05
        for row, mean, others in zip(names, means, apart):
            found[row] += int((others & (means < mean)).sum())
    return found


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
