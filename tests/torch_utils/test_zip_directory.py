"""The directory of a zip file, held against what `zipfile` finds in it."""

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zip_fixtures import end, png, record
from torch_utils import zip_directory
from torch_utils.archive import Archive
from torch_utils.files import InputError
from torch_utils.zip_directory import COLUMNS, find_directory, read_directory

ENTRY = dict(offset="header_offset", packed="compress_size", size="file_size", crc="CRC")
ENTRY |= dict(flags="flag_bits", method="compress_type")


def ours(data: bytes) -> dict[str, tuple] | str:
    """Name -> values, or what is wrong."""
    file = io.BytesIO(data)
    try:
        names, columns = read_directory(file, find_directory(file))
    except InputError as error:
        return str(error)
    columns["flags"] &= 0xFFFF
    return {name: tuple(int(columns[key][i]) for key in COLUMNS) for i, name in enumerate(names)}


class File(io.BytesIO):
    def seek(self, offset, whence=0):
        if whence == 2 and offset < -len(self.getbuffer()):
            raise OSError("as in any file, but not in BytesIO")
        return super().seek(offset, whence)


def theirs(data: bytes) -> dict[str, tuple] | str:
    try:
        entries = zipfile.ZipFile(File(data)).infolist()
    except Exception as error:
        return str(error)
    entries = [entry for entry in entries if not entry.filename.endswith("/") and "\0" not in entry.orig_filename]
    for entry in entries:
        entry.filename = entry.filename.removeprefix("./")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        return "twice"
    entries.sort(key=lambda entry: entry.filename)
    return {entry.filename: tuple(getattr(entry, ENTRY[key]) for key in COLUMNS) for entry in entries}


def compare(data: bytes) -> dict[str, tuple] | str:
    mine, expected = ours(data), theirs(data)
    assert isinstance(mine, str) == isinstance(expected, str), (mine, expected)
    if isinstance(mine, dict):
        assert mine == expected and list(mine) == list(expected)
    return mine


def wide(*values: int, kind: int = 1) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", kind, 8 * len(values), *values)


U32 = st.one_of(st.integers(0, 100), st.just(0xFFFFFFFF), st.integers(0, 2**32 - 1))
FIELD = st.one_of(
    st.lists(st.integers(0, 2**40), max_size=4).map(lambda values: wide(*values)),
    st.tuples(st.integers(0, 9), st.binary(max_size=9)).map(
        lambda field: struct.pack("<2H", field[0], len(field[1])) + field[1]
    ),
    st.binary(max_size=5),
)
RECORDS = st.lists(
    st.builds(
        record,
        name=st.one_of(
            st.text(max_size=6).map(str.encode), st.binary(max_size=6), st.sampled_from([b"a/", b"a\0b", b"a\\b", b"./a"])
        ),
        crc=st.integers(0, 2**32 - 1),
        size=U32,
        offset=U32,
        packed=U32,
        extra=st.lists(FIELD, max_size=3).map(b"".join),
        comment=st.binary(max_size=3),
        version=st.sampled_from([10, 20, 45, 63, 64]),
        flags=st.sampled_from([0, 1, 8, 1 << 11]),
        method=st.sampled_from([0, 8, 14]),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=150)
@given(RECORDS, st.binary(max_size=40), st.binary(max_size=9), st.integers(0, 3), st.data())
def test_any_directory_is_read_or_refused_as_the_library_does(records, before, comment, cut, data):
    directory = b"".join(records)
    whole = bytearray(before + directory + end(len(records), len(directory), max(len(before) - cut, 0), comment))
    if data.draw(st.booleans()):  # damage
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    mine, expected = ours(bytes(whole)), theirs(bytes(whole))
    if isinstance(mine, str) and isinstance(expected, dict):  # we refuse a record that ends behind the directory's end
        assert mine == "Truncated central directory"
    else:
        compare(bytes(whole))


def real_zip(count: int = 40, **options) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for i in reversed(range(count)):
            archive.writestr(f"{i % 3}/ä{i}.png" if i % 2 else f"{i}.png", bytes(i))
    return buffer.getvalue()


def test_files_of_the_library_in_several_blocks_with_text_around_them(monkeypatch):
    for data in (real_zip(), real_zip(compression=zipfile.ZIP_DEFLATED), b"#!/bin/sh\n" + real_zip(), real_zip(0)):
        for block in (1, 60, 1000, 1 << 22):
            monkeypatch.setattr(zip_directory, "BLOCK", block)
            assert isinstance(compare(data), dict)
    data = real_zip(2)
    for cut in range(len(data)):
        compare(data[:cut])


def test_more_than_65535_entries_and_offsets_beyond_4_gb():
    rows = [record(b"%06d" % i, i, 0xFFFFFFFF, 0xFFFFFFFF, wide(i, i + 1, 2**33 + i)) for i in range(65_600)]
    directory = b"".join(rows)
    found = compare(directory + end(len(rows), len(directory), 0))
    assert found["000007"][:4] == (2**33 + 7, 8, 7, 7)
    damaged = bytearray(directory + end(len(rows), len(directory), 0))
    locator = damaged.rindex(b"PK\6\7")
    damaged[locator + 16] = 2
    assert compare(bytes(damaged)) == "it spans several disks"


def local(name: bytes, data: bytes) -> bytes:
    return (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0) + name + data
    )


def test_entries_that_share_bytes_or_lie_outside_are_not_opened(tmp_path):
    """An entry within another one, as in David Fifield's zip bomb, and one whose offset is that of the directory."""
    data = png()
    inner = local(b"b.png", data)
    outer = local(b"a.png", inner)
    sound = local(b"c.png", data)
    directory = (
        record(b"a.png", zlib.crc32(inner), len(inner), 0)
        + record(b"b.png", zlib.crc32(data), len(data), len(outer) - len(inner))
        + record(b"c.png", zlib.crc32(data), len(data), len(outer))
        + record(b"d.png", zlib.crc32(data), len(data), len(outer) + len(sound))
        + record(b"e.png", zlib.crc32(data), len(data), 0x7FFFFFFF)
        + record(b"f.png", 0, 0xFFFFFFFF, 0, wide(2**64 - 1, 2**64 - 1), packed=0xFFFFFFFF)
    )
    path = tmp_path / "a.zip"
    path.write_bytes(outer + sound + directory + end(6, len(directory), len(outer) + len(sound)))
    archive = Archive(path)
    assert archive.image("c.png").size == (6, 4)
    for name in ("a.png", "d.png", "e.png", "f.png"):
        with pytest.raises(InputError, match=f"a.zip: {name}: found it damaged: its bytes are outside"):
            archive.image(name)


def test_an_entry_that_is_another_one_in_the_file_is_damaged(tmp_path):
    """The name in front of an entry is compared with that in the directory."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png())
    data = path.read_bytes()
    path.write_bytes(data[:30] + b"x.png" + data[35:])
    with pytest.raises(InputError, match="a.png: found a damaged image .*differ"):
        Archive(path).image("a.png")


@pytest.mark.parametrize("name", ["ä.png", "日本/é.png", "🙂.png", "a\\b.png", "\xe7.png"])
@pytest.mark.parametrize("unicode", [True, False])
def test_names_beyond_ascii_are_opened(tmp_path, name, unicode):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, png())
    if not unicode:  # as programs did before there was a bit for it: the bytes of UTF-8 are read as those of MS-DOS
        data = bytearray(path.read_bytes())
        data[7] = data[data.index(b"PK\1\2") + 9] = 0
        path.write_bytes(data)
        name = name.encode().decode("cp437")
    assert list(Archive(path).names) == [name] and Archive(path).image(name).size == (6, 4)
