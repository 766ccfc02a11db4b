"""Several zip files in one folder that are one archive: each has its part of the images, and of the labels."""

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import IO

import numpy as np

from torch_utils.file_source import METADATA, Folder, Source, Zip, hidden, open_handles
from torch_utils.files import InputError, read_json
from torch_utils.image_labels import TABLES
from torch_utils.name_list import NameList

SHARDS = "shards.json"  # beside the shards: which ones there are, and how many images each has
MAX_SHARDS = 1 << 16
MAX_OPEN = 64  # files that stay open: systems allow a process 256 or 1024


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.zip"


def open_folder(path: Path, skip_bad: bool) -> Source:
    """A folder of images or, where it has a `shards.json`, or zip files and no images, of shards."""
    if not os.path.lexists(path / SHARDS):
        folder = Folder(path)
        if len(folder.images) or not _zips(path):
            return folder
    return Shards(path, skip_bad)


def shards_table(counts: dict[str, int]) -> dict:
    """What `shards.json` holds, of the number of images in each file."""
    return {"shards": [{"file": name, "images": count} for name, count in counts.items()]}


class Shards(Source):
    """The images of all zip files in a folder, sorted by name as those of one zip file would be.

    With `skip_bad` a shard that is missing or damaged is left out, and `left_out` says why; else it is an `InputError`.
    """

    zipped = False

    def __init__(self, path: Path, skip_bad: bool):
        self.path = path
        self.left_out: dict[str, str] = {}
        wanted, shards = self._wanted(), {}
        for name, images in wanted.items():
            try:
                shards[name] = self._open_shard(name, images)
            except InputError as error:
                if not skip_bad:
                    raise
                self.left_out[name] = str(error) + (f"; it had {images} images" if images is not None else "")
        if not shards:
            raise InputError(
                f"{path}: none of {len(wanted)} shards can be read; the first: {next(iter(self.left_out.values()))}"
            )
        self._shards = shards
        self._join()

    def open(self, name: str, max_bytes: int) -> IO[bytes]:
        if name in self._tables:
            shard, name = self._place(name)
            return shard.open(name, max_bytes)
        return self.shard(name).open(name, max_bytes)

    def folder_of(self, table: str) -> str:
        return super().folder_of(self._place(table)[1])

    def _place(self, table: str) -> tuple[Zip, str]:
        shard, _, name = table.partition("/")
        return self._shards[shard], name

    def shard(self, name: str) -> Zip:
        """The one that an image is in."""
        return self._opened[self._shard_of[self.images.row(name)]]

    def reopen(self, name: str) -> None:
        if name not in self._tables:
            self.shard(name).reopen(name)

    def not_read(self) -> Counter[str]:
        return sum((shard.not_read() for shard in self._opened), Counter())

    def times(self, name: str | None) -> bytes:
        return b"" if name else b"".join(shard.times(None) for shard in self._shards.values())

    def whole_hash(self) -> str | None:
        """SHA-256 of those of the shards."""
        return hashlib.sha256("".join(shard.whole_hash() or "" for shard in self._shards.values()).encode()).hexdigest()

    def holder(self, name: str) -> Path:
        return self.path if name in self._tables else self.shard(name).path

    def __getstate__(self):
        return {"path": self.path, "left_out": self.left_out, "_shards": self._shards}

    def __setstate__(self, state: dict):
        self.__dict__.update(state)
        self._join()

    def _wanted(self) -> dict[str, int | None]:
        """The files, and how many images each is to have."""
        where = self.path / SHARDS
        if not os.path.lexists(where):
            return dict.fromkeys(_zips(self.path))
        return self.read_table(read_json(where, 1 << 24), where)

    def _open_shard(self, name: str, images: int | None) -> Zip:
        if not os.path.isfile(self.path / name):
            raise InputError(f"{self.path / name}: this shard is missing")
        return self.counted(Zip(self.path / name), images)

    @staticmethod
    def counted(shard: Zip, images: int | None) -> Zip:
        if images is not None and len(shard.images) != images:
            raise InputError(f"{shard.path}: found {len(shard.images)} images in this shard, wanted {images}")
        return shard

    def _join(self) -> None:
        """All names in one list, and which shard each is in."""
        self._opened, handles = list(self._shards.values()), open_handles(MAX_OPEN)
        for shard in self._opened:
            shard.handles = handles
        lists = [shard.images for shard in self._opened]
        self._shard_of = np.repeat(np.arange(len(lists), dtype=np.uint16), [len(names) for names in lists])
        joined = NameList.joined(lists)
        if joined is None:
            names = [name for part in lists for name in part.as_bytes()]
            order = sorted(range(len(names)), key=names.__getitem__)
            self._shard_of = self._shard_of[order]
            joined = NameList.of_bytes([names[i] for i in order])
            self._refuse_twice(joined)
        self.images = joined
        self.count = sum(shard.count for shard in self._opened)
        inside = lambda kind: [f"{name}/{table}" for name, shard in self._shards.items() for table in getattr(shard, kind)]
        self.metadata, self.tables, self.unread = inside("metadata"), inside("tables"), inside("unread")
        if not self.remote:
            self.unread += [name for name in (METADATA, *TABLES) if os.path.lexists(self.path / name)]
        self._tables = {*self.metadata, *self.tables}

    def _refuse_twice(self, names: NameList) -> None:
        last = None
        for i, name in enumerate(names):
            if name == last:
                first, second = (list(self._shards)[self._shard_of[row]] for row in (i - 1, i))
                raise InputError(f"{self.path}: found {name} in {first} and in {second}; wanted every name once")
            last = name

    @staticmethod
    def read_table(table, where: Path | str) -> dict[str, int | None]:
        """Of what a `shards.json` holds."""
        entries = table.get("shards") if isinstance(table, dict) else None
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_SHARDS:
            raise InputError(f'{where}: wanted {{"shards": …}}, a list of 1 to {MAX_SHARDS} files')
        counts: dict[str, int | None] = {}
        for entry in entries:
            name, images = (entry.get("file"), entry.get("images")) if isinstance(entry, dict) else (None, None)
            if not isinstance(name, str) or Path(name).name != name or "\\" in name or "\0" in name or name in counts:
                raise InputError(f"{where}: found {str(entry)[:80]}, wanted a file of this folder, each once")
            if type(images) is not int or images < 0:
                raise InputError(f"{where}: {name}: found {str(images)[:80]} images, wanted a whole number")
            counts[name] = images
        return counts


def _zips(path: Path) -> list[str]:
    names = sorted(name for name in os.listdir(path) if name.lower().endswith(".zip") and not hidden(name))
    if len(names) > MAX_SHARDS:
        raise InputError(f"{path}: found {len(names)} zip files, wanted {MAX_SHARDS} shards at most")
    return names
