"""Sources of images are the sub-folders that they lie in: how often each is seen, and which are held out."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from torch_utils.files import InputError

MAX_LISTED = 20  # folders that an error names


def by_source(names: Sequence[str]) -> dict[str, list[int]]:
    """Which of the names lie in each folder, in order; "" is the archive itself."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name.rpartition("/")[0], []).append(i)
    return groups


def hold_out(names: Sequence[str], last: int, folders: Sequence[str], path: Path | str) -> tuple[list[str], list[str]]:
    """Names to train on, and those held out: all in these folders, and the `last` ones of the others. `InputError` for a folder
    without images, and where nothing is left."""
    inside = within(names, folders, path)
    others = [name for name in names if name not in inside]
    if last >= len(others):
        raise InputError(f"{path}: found {len(names)} images, of which {len(inside) + last} cannot be held out")
    kept = others[: len(others) - last]
    return kept, sorted(set(names) - set(kept))


def within(names: Sequence[str], folders: Sequence[str], path: Path | str) -> set[str]:
    """Names in these folders of the archive at `path`, or below them; `InputError` for a folder without any."""
    found: set[str] = set()
    for folder in folders:
        below = {name for name in names if name.startswith(folder.rstrip("/") + "/")}
        if not below:
            sources = [source for source in by_source(names) if source]
            there = ", ".join(sources[:MAX_LISTED]) + ", …" * (len(sources) > MAX_LISTED)
            raise InputError(f"{path}: has no images in a sub-folder {folder}; it has {there or 'no sub-folders'}")
        found |= below
    return found


class Balance:
    """Shows sources by the square root of their numbers: one with 100 images ten times as often as one with a single image.

    Within a source, images are seen equally often. Call it with (index, position) as `training.dataset.batches` hands them out,
    an epoch being `count` positions with every index once; -> the number of an image.
    """

    def __init__(self, names: Sequence[str]):
        self.count, self._groups = len(names), list(by_source(names).values())
        shares = np.cumsum(np.sqrt([len(group) for group in self._groups]))
        self._ends = np.rint(shares / shares[-1] * self.count).astype(int)  # of the indices that stand for each source

    def __call__(self, index: int, position: int) -> int:
        source = int(np.searchsorted(self._ends, index, side="right"))
        start = self._ends[source - 1] if source else 0
        group, places = self._groups[source], self._ends[source] - start
        return group[(position // self.count * places + index - start) % len(group)]  # goes on where the last epoch ended


def spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of the names, in their order: as many of each source as of any other, as far as it has them, and evenly
    spaced within it; where there are more sources, of evenly spaced ones."""
    groups = list(by_source(names).values())
    if len(groups) > count:
        groups = [groups[i * len(groups) // count] for i in range(count)]
    turns = sorted((turn, source) for source, group in enumerate(groups) for turn in range(len(group)))[:count]
    quota = Counter(source for _, source in turns)
    return [names[i] for i in sorted(groups[s][j * len(groups[s]) // n] for s, n in quota.items() for j in range(n))]
