"""The directory of a zip file as arrays: 50 bytes for an entry, of which `zipfile` makes an object of 600.

Read and checked as `zipfile` does it, which `tests/torch_utils/test_zip_directory.py` holds it against. What lies at an entry's
offset is checked when it is opened. Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.12 to 4.5.3.
"""

import hashlib
import operator
import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from torch_utils.files import InputError
from torch_utils.name_list import ENCODING, NameList

END = struct.Struct("<4s4H2LH")
END64, LOCATOR64 = struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
RECORD = np.dtype(
    [("signature", "S4"), ("made_by", "<u2"), ("version", "u1"), ("system", "u1"), ("flags", "<u2"), ("method", "<u2")]
    + [("time", "<u4"), ("crc", "<u4"), ("packed", "<u4"), ("size", "<u4"), ("name", "<u2"), ("extra", "<u2")]
    + [("comment", "<u2"), ("disk", "<u2"), ("internal", "<u2"), ("external", "<u4"), ("offset", "<u4")]
)
COLUMNS = dict(offset="<i8", packed="<i8", size="<u8", crc="<u4", flags="<u4", method="<u2")
ENCRYPTED, UTF8 = 1, 1 << 11
DOTTED = 1 << 17  # the file has ./ before this name
STRAY = 1 << 16  # beside the 16 flags of the format: its bytes are those of another entry too, or outside of the file
MAX_VERSION = 63
BLOCK = 1 << 22  # bytes of the directory that are in memory at once
HEADER = 30  # bytes before each entry's name


class Place(NamedTuple):
    start: int  # of the directory, in the file
    size: int
    shift: int  # what the file has before the zip begins


class Directory(NamedTuple):
    names: NameList  # of all that is no folder
    columns: dict[str, np.ndarray]  # each [number of names], as in COLUMNS


def find_directory(file: IO[bytes]) -> Place:
    """`InputError` where the file is no zip file, or only a part of one."""
    length = file.seek(0, 2)
    first = max(length - (1 << 16) - END.size, 0)
    file.seek(first)
    tail = file.read()
    at = len(tail) - END.size  # where there is no comment, which may have anything in it
    if at < 0 or tail[at : at + 4] != b"PK\5\6" or tail[-2:] != b"\0\0":
        at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + END.size:
        raise InputError("File is not a zip file")
    size, offset = END.unpack_from(tail, at)[5:7]
    end = at + first
    if end >= LOCATOR64.size:
        file.seek(end - LOCATOR64.size)
        locator = LOCATOR64.unpack(file.read(LOCATOR64.size))
        if locator[0] == b"PK\6\7":
            before = end - LOCATOR64.size - END64.size
            if before < 0 or locator[1] or locator[3] > 1:
                raise InputError("it spans several disks" if before >= 0 else "File is not a zip file")
            file.seek(before)
            extended = END64.unpack(file.read(END64.size))
            if extended[0] == b"PK\6\6":
                end, size, offset = before, extended[8], extended[9]
    if size > end:
        raise InputError("Bad offset for central directory")
    return Place(end - size, size, end - size - offset)


def digest(file: IO[bytes], place: Place) -> bytes:
    """Of the directory and where it lies."""
    total, left = hashlib.blake2b(repr(place).encode(), digest_size=32), place.size
    file.seek(place.start)
    while left:
        block = file.read(min(left, BLOCK))
        if not block:
            raise InputError("Truncated central directory")
        total.update(block)
        left -= len(block)
    return total.digest()


def read_directory(file: IO[bytes], place: Place) -> Directory:
    """`InputError` for a damaged one, and for one that has a name twice. Names with a zero in them are passed over, and those
    that begin with ./ are given without it."""
    lists: list[NameList] = []
    parts: list[dict[str, np.ndarray]] = []
    rising = True
    for block, starts in _blocks(file, place):
        columns, found = _entries(np.frombuffer(block, np.uint8), starts), _names(block, starts)
        columns["offset"] += place.shift
        kept = [i for i, name in enumerate(found) if not name.endswith(b"/") and b"\0" not in name]
        if len(kept) < len(found):
            columns, found = {key: column[kept] for key, column in columns.items()}, [found[i] for i in kept]
        if dotted := [i for i, name in enumerate(found) if name.startswith(b"./")]:
            columns["flags"][dotted] |= DOTTED
            found = [name.removeprefix(b"./") for name in found]
        rising = rising and all(map(operator.lt, found, found[1:]))
        lists.append(NameList.of_bytes(found))
        parts.append(columns)
        del found  # else two blocks are in memory at once
    names, order = NameList.joined(lists) if rising else None, None
    if names is None:
        names, order = _sorted(lists)
    del lists
    joined = {}
    for key in [*COLUMNS, "length"]:
        column = np.concatenate([np.zeros(0, COLUMNS.get(key)), *(part.pop(key) for part in parts)])
        joined[key] = column if order is None else column[order]
    _mark_strays(joined, place.start)
    del joined["length"]
    return Directory(names, joined)


def _sorted(lists: list[NameList]) -> tuple[NameList, np.ndarray]:
    """All names, and where each has been."""
    names = [name for part in lists for name in part.as_bytes()]
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    names = [names[i] for i in order]
    for before, after in zip(names, names[1:]):
        if before == after:
            raise InputError(f"found {str(before, **ENCODING)} twice; wanted every name once")
    return NameList.of_bytes(names), order


def _blocks(file: IO[bytes], place: Place) -> Iterator[tuple[bytes, np.ndarray]]:
    """Whole records, and where in these bytes each begins."""
    lengths, data, left = struct.Struct("<3H").unpack_from, b"", place.size
    file.seek(place.start)
    while left or data:
        more = file.read(min(left, BLOCK))
        left -= len(more)
        data += more
        starts, at, last = [], 0, len(data) - RECORD.itemsize
        while at <= last:
            name, extra, comment = lengths(data, at + 28)
            if at + RECORD.itemsize + name + extra + comment > len(data):
                break
            starts.append(at)
            at += RECORD.itemsize + name + extra + comment
        if starts:
            yield data[:at], np.array(starts)
        elif not more:
            raise InputError("Truncated central directory")
        data = data[at:]


def _entries(data: np.ndarray, starts: np.ndarray) -> dict[str, np.ndarray]:
    records = data[starts[:, None] + np.arange(RECORD.itemsize)].view(RECORD)[:, 0]
    if (records["signature"] != b"PK\1\2").any():
        raise InputError("Bad magic number for central directory")
    if records["version"].max() > MAX_VERSION:
        raise InputError(f"zip file version {records['version'].max() / 10:.1f}")
    columns = {key: records[key].astype("<u8") for key in ("size", "packed", "offset")}
    _read_extra(data, starts + RECORD.itemsize + records["name"], records["extra"], columns)
    for key in ("packed", "offset"):  # what does not fit into int64 is outside of every file, too
        columns[key] = np.minimum(columns[key], 1 << 62)
    columns["length"] = records["name"].astype(np.int64)  # of the name in the file
    columns |= {key: records[key] for key in ("crc", "flags", "method")}
    return {key: columns[key].astype(kind) for key, kind in (COLUMNS | {"length": "<i8"}).items()}


def _read_extra(data: np.ndarray, at: np.ndarray, lengths: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    """Sizes and offsets of more than 32 bits stand in fields of kind 1; all records go forward by one field at a time."""
    ends, rows = at + lengths, np.arange(len(at))
    while len(rows := rows[at[rows] + 4 <= ends[rows]]):
        kind, length = _little(data, at[rows], 2), _little(data, at[rows] + 2, 2)
        if (at[rows] + 4 + length > ends[rows]).any():
            raise InputError("Corrupt extra field")
        wide, field = rows[kind == 1], at[rows[kind == 1]] + 4
        field_ends = field + length[kind == 1]
        for key in ("size", "packed", "offset"):
            short = columns[key][wide] == 0xFFFFFFFF
            if key == "size":
                short |= columns[key][wide] == 0xFFFFFFFF_FFFFFFFF
            if (field[short] + 8 > field_ends[short]).any():
                raise InputError("Corrupt zip64 extra field")
            columns[key][wide[short]] = _little(data, field[short], 8)
            field[short] += 8
        at[rows] += 4 + length


def _little(data: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """The unsigned number of `count` bytes at each place."""
    values = data[at[:, None] + np.arange(count)]
    return values.view(f"<u{count}")[:, 0].astype("<u8" if count == 8 else np.int64)


def _names(block: bytes, starts: np.ndarray) -> list[bytes]:
    """In UTF-8."""
    lengths = np.frombuffer(block, np.uint8)[starts[:, None] + [28, 29]].view("<u2")[:, 0].astype(np.int64)
    begins = starts + RECORD.itemsize
    names = [block[begin:end] for begin, end in zip(begins.tolist(), (begins + lengths).tolist())]
    if not all(map(bytes.isascii, names)):
        for i, start in enumerate(starts.tolist()):
            if not names[i].isascii():
                utf8 = int.from_bytes(block[start + 8 : start + 10], "little") & UTF8
                try:
                    names[i] = names[i].decode("utf-8" if utf8 else "cp437").encode()
                except UnicodeDecodeError as error:
                    raise InputError(f"found a name that cannot be read ({error})") from None
    return names


def _mark_strays(columns: dict[str, np.ndarray], start: int) -> None:
    """Entries that share bytes make gigabytes of kilobytes; newer versions of `zipfile` refuse those, too."""
    order = np.argsort(columns["offset"], kind="stable")
    offsets, packed = columns["offset"][order], columns["packed"][order]
    nexts = np.append(offsets[1:], start)
    room = nexts - offsets - HEADER - columns["length"][order]
    columns["flags"][order[(offsets < 0) | (nexts > start) | (packed > room)]] |= STRAY
