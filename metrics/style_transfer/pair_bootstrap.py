"""How far scores would move with other contents and other styles: the bootstrap of pairs."""

import numpy as np

DRAWS = 2000


def pair_weights(pairs: list[tuple[str, str]], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """[draws, pairs]: how often each pair of (content, style) is in each draw.

    Contents and styles are drawn by name, each with repetition, and a pair counts their product (Owen 2007, "The pigeonhole
    bootstrap"): pairs that share a painting are not independent. Intervals are rather too wide than too narrow. Draws without
    any pair, which happen where few of the possible pairs were scored, are left out.
    """
    random = np.random.RandomState(seed)
    counts = np.ones((draws, len(pairs)), dtype=np.int64)
    for names in zip(*pairs):
        distinct, which = np.unique(names, return_inverse=True)
        drawn = random.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)), size=draws)
        counts *= drawn[:, which]
    return counts[counts.sum(axis=1) > 0]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of [draws]: a statistic, computed from each draw."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
