"""Writes a new dataset, a folder, a zip file or a folder of zip files, of which nothing is left when writing fails."""

import contextlib
import functools
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath, PureWindowsPath

from PIL import Image

from torch_utils.file_source import METADATA
from torch_utils.files import InputError, atomic_write, temporary_beside, write_json
from torch_utils.shards import SHARDS, shard_name, shards_table


@contextlib.contextmanager
def new_dataset(dest: Path, per_shard: int | None = None) -> Iterator[Callable[[str, bytes], None]]:
    """Gives `write(name, data)`. The zip file or folder appears when the block ends; when it fails, nothing is left behind.

    With `per_shard` a folder of zip files with that many images each; then `dataset.json` is to be written last. `write` raises
    `InputError` for a name that leads out of the dataset: names may come from somebody else's zip file.
    """
    dest = Path(os.path.abspath(dest))
    missing = [folder for folder in dest.parents if not os.path.exists(folder)]
    temporary = temporary_beside(dest)

    def write_file(name: str, data: bytes) -> None:
        _check_name(name)
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).write_bytes(data)

    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        if dest.suffix.lower() == ".zip":
            with atomic_write(dest) as file, zipfile.ZipFile(file, "w") as archive:
                yield functools.partial(_write_entry, archive)
        else:
            temporary.mkdir()
            if per_shard:
                with contextlib.closing(_Shards(temporary, per_shard)) as shards:
                    yield shards.write
            else:
                yield write_file
            if dest.exists():
                dest.rmdir()  # an empty one, which Windows would not replace
            temporary.rename(dest)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:  # innermost first
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"{dest}: cannot be written: {error.strerror or error}") from None
        raise


def _check_name(name: str) -> None:
    """`InputError` for `/x.png`, `a/../../x.png` and, as others may unpack what is written, `a\\..\\..\\x.png`."""
    if PurePath(name).anchor or ".." in PureWindowsPath(name).parts:  # the anchor of this system; C: is a name elsewhere
        raise InputError(f"{name}: leads out of the data set, wanted a name within it")


def _write_entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    _check_name(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name}: found a name that is not UTF-8, wanted one that is, or a folder to write to") from None
    # With a fixed date and system, the same images give the same bytes, and so the same hash.
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    archive.writestr(entry, data)


class _Shards:
    """Zip files of `size` images each, one after the other; at the end each gets its part of the labels."""

    def __init__(self, folder: Path, size: int):
        self._folder, self._size = folder, size
        self._archive: zipfile.ZipFile | None = None
        self._counts: list[int] = []  # images in each shard

    def write(self, name: str, data: bytes) -> None:
        if name == METADATA:
            self.close()
            self._finish(json.loads(data))
            return
        if self._archive is None or self._counts[-1] == self._size:
            self.close()
            self._archive = zipfile.ZipFile(self._folder / shard_name(len(self._counts)), "w")
            self._counts.append(0)
        _write_entry(self._archive, name, data)
        self._counts[-1] += 1

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _finish(self, metadata: dict) -> None:
        """Labels are in the order of the images."""
        start = 0
        for number, count in enumerate(self._counts):
            labels = metadata["labels"] and metadata["labels"][start : start + count]
            with zipfile.ZipFile(self._folder / shard_name(number), "a") as archive:
                _write_entry(archive, METADATA, json.dumps(metadata | {"labels": labels}).encode())
            start += count
        names = [shard_name(number) for number in range(len(self._counts))]
        write_json(self._folder / SHARDS, shards_table(dict(zip(names, self._counts))))


def png(image: Image.Image) -> bytes:
    image.info.clear()  # a colour profile, a comment or a date would be written, too
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
