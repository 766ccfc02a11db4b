"""Sorted names of files in two arrays: a million of them take 30 MB, of which a list of strings would take 100."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

ENCODING = dict(encoding="utf-8", errors="surrogatepass")  # every name has one, and its bytes sort as the names do
BLOCK = 1 << 12  # names that are decoded at once


class NameList(Sequence[str]):
    """Names in order, each once. A part of it shares its memory."""

    def __init__(
        self,
        text: np.ndarray,  # uint8 [bytes]: all names, one after the other
        ends: np.ndarray,  # int64 [1 + number of names]: 0, and where each name ends
        rows: np.ndarray | None = None,  # int64, rising: which of them this list has; None: all
    ):
        self.text, self.ends, self._rows = text, ends, rows

    @classmethod
    def of(cls, names: Iterable[str]) -> "NameList":
        return cls.of_bytes([name.encode(**ENCODING) for name in sorted(names)])

    @classmethod
    def of_bytes(cls, names: Sequence[bytes]) -> "NameList":
        """Of names that are sorted."""
        ends = np.zeros(len(names) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, names), np.int64, len(names)), out=ends[1:])
        return cls(np.frombuffer(b"".join(names), np.uint8), ends)

    @classmethod
    def joined(cls, lists: "Sequence[NameList]") -> "NameList | None":
        """Of lists of which each begins where the one before has ended; None where they do not."""
        lists = [names for names in lists if len(names)]
        if any(before._bytes(len(before) - 1) >= names._bytes(0) for before, names in zip(lists, lists[1:])):
            return None
        whole = [names if names._rows is None else cls.of_bytes(list(names.as_bytes())) for names in lists]
        lengths = [np.zeros(1, np.int64), *(np.diff(names.ends) for names in whole)]
        text = np.concatenate([np.zeros(0, np.uint8), *(names.text for names in whole)])
        return cls(text, np.cumsum(np.concatenate(lengths)))

    def take(self, rows: np.ndarray) -> "NameList":
        """The names in these rows, which rise."""
        return NameList(self.text, self.ends, rows if self._rows is None else self._rows[rows])

    def row(self, name: str) -> int:
        """Of this name; `KeyError` where it is not there."""
        wanted, low, high = name.encode(**ENCODING), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == len(self) or self._bytes(low) != wanted:
            raise KeyError(name)
        return low

    def __len__(self) -> int:
        return len(self.ends) - 1 if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[str]": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            rows = np.arange(len(self))[index]
            return [self[row] for row in rows] if index.step and index.step < 0 else self.take(rows)
        if not -len(self) <= index < len(self):
            raise IndexError(f"name {index} of {len(self)}")
        return str(self._bytes(index % len(self)), **ENCODING)

    def __iter__(self) -> Iterator[str]:
        for name in self.as_bytes():
            yield str(name, **ENCODING)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self.row(name) >= 0
        except KeyError:
            return False

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        try:
            return range(len(self))[start:stop].index(self.row(value)) + range(len(self))[start:stop].start
        except KeyError:
            raise ValueError(f"{value!r} is not there") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other))

    __hash__ = None  # type: ignore[assignment]  # as lists have none

    def _bytes(self, index: int) -> bytes:
        row = index if self._rows is None else self._rows[index]
        return self.text[self.ends[row] : self.ends[row + 1]].tobytes()

    def as_bytes(self) -> Iterator[bytes]:
        for start in range(0, len(self), BLOCK):  # else a number object for every name at once
            rows = np.arange(start, min(start + BLOCK, len(self))) if self._rows is None else self._rows[start : start + BLOCK]
            text = self.text.data
            for begin, end in zip(self.ends[rows].tolist(), self.ends[rows + 1].tolist()):
                yield bytes(text[begin:end])
