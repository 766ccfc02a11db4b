"""What a zip file of images has, by name. For a large one it is kept in the cache, where other processes share its memory."""

import hashlib
import os
import sys
from pathlib import Path
from typing import IO

import numpy as np

from torch_utils.files import InputError, atomic_write, cache_dir, first_line, open_file
from torch_utils.name_list import NameList
from torch_utils.zip_directory import COLUMNS, Directory, digest, find_directory, read_directory

VERSION = 2  # goes up whenever the same file would give another index
KEPT_FROM = 1 << 19  # bytes of a directory, about 8,000 images; smaller ones are read at once
KEY, HEAD = 32, 80  # bytes: of a digest; of two digests, the number of names and the number of bytes of all of them


class ZipIndex:
    """Names and places of all files in a zip, and what `kind` says of each name.

    A kept one is pickled as the name of its file: a process that unpickles it maps the same memory.
    """

    def __init__(self, path: Path | str, key: bytes, kept: Path | None, directory: Directory, kinds: np.ndarray):
        self.path, self.key, self._kept = path, key, kept
        self.names, self.columns = directory
        self.kinds = kinds  # uint8

    def __reduce__(self):
        if self._kept:
            return _again, (self.path, self.key, self._kept)
        return ZipIndex, (self.path, self.key, None, Directory(self.names, self.columns), self.kinds)


def open_index(path: Path | str, file: IO[bytes], kind, rules: str) -> ZipIndex:
    """Of the zip file at `path`, of which `file` has at least the directory and what follows.

    `kind(name)` is a number below 256, and `rules` changes whenever that does. `InputError`, without the name of the file, for
    one that is damaged. Read from the cache by the digest of the file's directory, so that a file that has changed never finds
    what was kept of it.
    """
    place = find_directory(file)
    key = hashlib.blake2b(f"{VERSION} {rules} ".encode() + digest(file, place), digest_size=KEY).digest()
    kept = cache_dir() / "zip-indices" / f"{key.hex()}.npy" if place.size >= KEPT_FROM else None
    if kept and (index := _load(path, key, kept)):
        return index
    directory = read_directory(file, place)
    kinds = np.fromiter(map(kind, directory.names), np.uint8, len(directory.names))
    own = ZipIndex(path, key, None, directory, kinds)
    if kept and _save(own, kept) and (shared := _load(path, key, kept, checked=True)):
        return shared
    return own


def _again(path: Path | str, key: bytes, kept: Path) -> ZipIndex:
    """In another process, which trusts what the first one has checked."""
    index = _load(path, key, kept, checked=True)
    if index is None:
        raise InputError(f"{kept}: what was kept of {path} is gone; start again")
    return index


def _layout(count: int, size: int) -> dict[str, tuple[np.dtype, int, int]]:
    """Type, first byte and number of each array in the file; those of larger numbers come first."""
    arrays: list[tuple[str, np.dtype, int]] = [("ends", np.dtype("<i8"), count + 1)]
    arrays += [(key, np.dtype(kind), count) for key, kind in COLUMNS.items()]
    arrays += [("kinds", np.dtype("u1"), count), ("text", np.dtype("u1"), size)]
    layout, at = {}, HEAD
    for name, kind, length in sorted(arrays, key=lambda entry: -entry[1].itemsize):
        layout[name] = kind, at, length
        at += kind.itemsize * length
    return layout


def _save(index: ZipIndex, kept: Path) -> bool:
    arrays = index.columns | dict(ends=index.names.ends, text=index.names.text, kinds=index.kinds)
    layout = _layout(len(index.names), len(index.names.text))
    parts = [np.ascontiguousarray(arrays[name], kind).view(np.uint8) for name, (kind, _, _) in layout.items()]
    first = index.key + np.array([len(index.names), len(index.names.text)], "<i8").tobytes()
    head = np.frombuffer(first + _sum(first, *parts), np.uint8)
    described = dict(descr="|u1", fortran_order=False, shape=(sum(map(len, [head, *parts])),))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept) as file:
            np.lib.format.write_array_header_1_0(file, described)  # type: ignore[no-untyped-call]
            for part in (head, *parts):  # one by one: together they would be in memory twice
                file.write(part.data)
    except (OSError, InputError) as error:  # no place to keep it: every process reads the zip file's own
        print(f"note: the index of a large zip file could not be kept ({first_line(error)})", file=sys.stderr)
        return False
    return True


def _load(path: Path | str, key: bytes, kept: Path, checked: bool = False) -> ZipIndex | None:
    """None where there is none or, with a note, a damaged one."""
    try:
        if not os.path.lexists(kept):
            return None
        open_file(kept).close()  # a pipe would be waited for
        data = np.load(kept, mmap_mode="r", allow_pickle=False)
        if data.dtype != np.uint8 or data.ndim != 1 or len(data) < HEAD or data[:KEY].tobytes() != key:
            raise ValueError("it belongs to another file")
        count, size = (int(number) for number in data[KEY : KEY + 16].view("<i8"))
        layout = _layout(count, size)
        if count < 0 or size < 0 or len(data) != HEAD + sum(kind.itemsize * length for kind, _, length in layout.values()):
            raise ValueError("it has another size than it says")
        arrays = {name: data[at : at + kind.itemsize * length].view(kind) for name, (kind, at, length) in layout.items()}
        if not checked:
            _check(data, arrays)
    except Exception as error:  # whatever a damaged file makes its readers say
        print(f"note: {kept} is damaged ({first_line(error)[:200]}); making it anew", file=sys.stderr)
        return None
    names = NameList(arrays.pop("text"), arrays.pop("ends"))
    kinds = arrays.pop("kinds")
    return ZipIndex(path, key, kept, Directory(names, arrays), kinds)


def _check(data: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
    """`ValueError` for changed bytes and, whoever has written them, for names outside of the text."""
    if data[HEAD - KEY : HEAD].tobytes() != _sum(data[: HEAD - KEY].tobytes(), data[HEAD:]):
        raise ValueError("its contents have changed")
    ends = arrays["ends"]
    if ends[0] != 0 or ends[-1] != len(arrays["text"]) or (np.diff(ends) < 0).any():
        raise ValueError("its names overlap")


def _sum(first: bytes, *parts: np.ndarray) -> bytes:
    total = hashlib.blake2b(first, digest_size=KEY)
    for part in parts:
        total.update(part.data)
    return total.digest()
