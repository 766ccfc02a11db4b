"""Where the files of an archive lie: in a folder, or in a zip file. Each lists its files and opens one by name."""

import functools
import io
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from torch_utils.files import InputError, first_line, open_file, out_of_files, sha256
from torch_utils.image_header import OTHERS, SUFFIXES
from torch_utils.image_labels import TABLES
from torch_utils.name_list import NameList
from torch_utils.zip_directory import DOTTED, ENCRYPTED, STRAY
from torch_utils.zip_index import open_index

METADATA = "dataset.json"
OTHER, IMAGE, TABLE, LABELS, NOT_READ = range(5)  # kinds of files: tables have labels, LABELS are METADATA in any folder,
# NOT_READ are images of other formats
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may ask for any amount of memory before the first byte
RULES = f"{SUFFIXES} {OTHERS} {TABLES} {METADATA}"  # of `kind_of`
NOTHING = b"PK\5\6" + bytes(18)  # a zip file without entries


def kind_of(name: str) -> int:
    if name.lower().endswith((*SUFFIXES, *OTHERS)):
        return OTHER if hidden(name) else IMAGE if name.lower().endswith(SUFFIXES) else NOT_READ
    if not name.endswith((METADATA, *TABLES)) or hidden(name):
        return OTHER
    file = PurePosixPath(name).name
    return LABELS if file == METADATA else TABLE if file in TABLES else OTHER


def hidden(name: str) -> bool:
    """Hidden files, and the `__MACOSX` copies that macOS adds to zip files."""
    if not name.startswith(".") and "/." not in name and "__MACOSX" not in name:  # nearly every one of a million
        return False
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def split_metadata(found: list[str], images: NameList) -> tuple[list[str], list[str]]:
    """Of all files called `dataset.json`: the one to read, at the top or in a folder that holds all images; and the rest."""
    if METADATA in found:
        return [METADATA], []
    folder = found[0].removesuffix(METADATA) if len(found) == 1 and len(images) else None
    if folder and images[0].startswith(folder) and images[-1].startswith(folder):  # and so what is sorted between the two
        return found, []
    return [], found


def times(path: Path) -> bytes:
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns}\0".encode()


class Source:
    """Files by name. All methods may raise what the system and damaged files make their readers raise."""

    path: Path
    zipped: bool
    remote = False  # then `path` is a URL
    images: NameList
    metadata: list[str]  # a dataset.json, or one for each shard: then nothing else is asked for labels
    tables: list[str]  # others with labels
    unread: list[str]  # files of labels that lie where they are not read
    count: int  # of all files

    def not_read(self) -> Counter[str]:
        """Suffixes of images of other formats, and how many files each has."""
        raise NotImplementedError

    def open(self, name: str, max_bytes: int) -> IO[bytes]:
        """`InputError` for what is no ordinary file or has more than `max_bytes`."""
        raise NotImplementedError

    def fetch(self, names: Sequence[str]) -> None:
        """These will be opened next, images or tables: a remote source fetches them all at once."""

    def reopen(self, name: str) -> None:
        """Let go of what is open of it: reading has failed, and is going to be tried again."""

    def times(self, name: str | None) -> bytes:
        """Size and time of change of a file or, for None, of what holds them all; empty where that says nothing."""
        raise NotImplementedError

    def folder_of(self, table: str) -> str:
        """What the names of images in a file of labels are relative to: empty, or with a / at its end."""
        return table[: table.rfind("/") + 1]

    def holder(self, name: str) -> Path:
        """What an error about this file names first."""
        return self.path

    def whole_hash(self) -> str | None:
        """SHA-256 of the file that holds them all; None for a folder."""
        raise NotImplementedError


class Folder(Source):
    zipped = False

    def __init__(self, path: Path, files: set[str] | None = None):
        self.path = path
        files = self._list() if files is None else files
        self.count = len(files)
        self.images = NameList.of(name for name in files if kind_of(name) == IMAGE)
        self.metadata, self.unread = split_metadata(sorted(name for name in files if kind_of(name) == LABELS), self.images)
        self.tables = [name for name in files if kind_of(name) == TABLE]
        self._not_read = Counter(PurePosixPath(name).suffix.lower() for name in files if kind_of(name) == NOT_READ)

    def open(self, name: str, max_bytes: int) -> IO[bytes]:
        status = os.stat(self.path / name)
        if not stat.S_ISREG(status.st_mode):  # a pipe would keep us waiting, a device might never end
            raise InputError("found no ordinary file, wanted one")
        if status.st_size > max_bytes:
            raise InputError(f"found {status.st_size} bytes, wanted {max_bytes} at most")
        return open(self.path / name, "rb")

    def not_read(self) -> Counter[str]:
        return self._not_read

    def times(self, name: str | None) -> bytes:
        return times(self.path / name) if name else b""

    def whole_hash(self) -> str | None:
        return None

    def _list(self) -> set[str]:
        def fail(error: OSError):  # os.walk would pass over a folder that it may not read
            raise InputError(f"{error.filename}: {error.strerror}") from None

        files, seen = set(), set()
        roots = [str(self.path)]  # and links to folders, which come after all that are none, whatever order the disk has
        for root in roots:
            for folder, subfolders, names in os.walk(root, onerror=fail):
                if os.path.realpath(folder) in seen:  # links may lead round in a circle
                    subfolders.clear()
                    continue
                seen.add(os.path.realpath(folder))
                subfolders.sort()
                roots += filter(os.path.islink, (os.path.join(folder, name) for name in subfolders))
                relative = Path(folder).relative_to(self.path)
                files.update((relative / name).as_posix() for name in names)
        return files


def open_handles(most: int):
    """`handle(path, process)` of which that many stay open, those that were used last; what is being read stays open, too."""

    @functools.lru_cache(most)
    def handle(path: Path, process: int) -> zipfile.ZipFile:
        handle = zipfile.ZipFile(io.BytesIO(NOTHING))
        handle.fp = open(path, "rb")
        return handle

    return handle


class Zip(Source):
    """May be pickled and may be used after a fork: every process opens the file for itself, at its first read."""

    zipped = True

    def __init__(self, path: Path):
        self.path = path
        self.handles = open_handles(1)
        try:
            with open_file(path) as file:
                self._index = open_index(path, file, kind_of, RULES)
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise InputError(f"{path}: {reason}; wanted a folder or a zip file of images") from None
        except Exception as error:  # on damaged bytes
            if out_of_files(error):
                raise
            reason = getattr(error, "strerror", None) or first_line(error)
            raise InputError(f"{path}: {reason}; wanted a folder or a zip file of images") from None
        self._list()

    def open(self, name: str, max_bytes: int) -> IO[bytes]:
        return self.unpack(self.handle(), self.entry(name, max_bytes))

    def entry(self, name: str, max_bytes: int | None = None) -> zipfile.ZipInfo:
        """`InputError` for what should not be unpacked."""
        row = self._index.names.row(name)
        entry = {key: int(column[row]) for key, column in self._index.columns.items()}
        if entry["flags"] & ENCRYPTED or entry["method"] not in PACKINGS:
            how = "encrypted" if entry["flags"] & ENCRYPTED else f"packed by method {entry['method']}"
            raise InputError(f"found it {how}, wanted it stored or deflated")
        if entry["flags"] & STRAY:
            raise InputError("found it damaged: its bytes are outside of the zip file, or those of another entry, too")
        if max_bytes is not None and entry["size"] > max_bytes:
            raise InputError(f"found {entry['size']} bytes unpacked, wanted {max_bytes} at most")
        info = zipfile.ZipInfo(name)
        info.orig_filename = "./" * bool(entry["flags"] & DOTTED) + name
        info.header_offset, info.compress_size, info.file_size = entry["offset"], entry["packed"], entry["size"]
        info.CRC, info.flag_bits, info.compress_type = entry["crc"], entry["flags"] & ~DOTTED, entry["method"]
        return info

    @staticmethod
    def unpack(handle: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
        file = handle.open(entry)
        # At once: else read() unpacks an entry that lies about its size up to 2 GB, and cuts it then.
        file.MAX_N = 1 << 20  # type: ignore[attr-defined]  # private to ZipExtFile
        return file

    def reopen(self, name: str) -> None:
        self.handles.cache_clear()

    def not_read(self) -> Counter[str]:
        names = self._index.names.take(np.flatnonzero(self._index.kinds == NOT_READ))
        return Counter(PurePosixPath(name).suffix.lower() for name in names)

    def times(self, name: str | None) -> bytes:
        return b"" if name else times(self.path)

    def whole_hash(self) -> str | None:
        return sha256(self.path)

    def handle(self) -> zipfile.ZipFile:
        """The file of this process, without the directory, which we have."""
        return self.handles(self.path, os.getpid())  # forked processes would share one file position

    def __getstate__(self):
        return {"path": self.path, "_index": self._index}

    def __setstate__(self, state: dict):
        self.__dict__.update(state, handles=open_handles(1))
        self._list()

    def _list(self) -> None:
        names, kinds = self._index.names, self._index.kinds
        self.count = len(names)
        self.images = names.take(np.flatnonzero(kinds == IMAGE))
        self.metadata, self.unread = split_metadata(list(names.take(np.flatnonzero(kinds == LABELS))), self.images)
        self.tables = list(names.take(np.flatnonzero(kinds == TABLE)))
