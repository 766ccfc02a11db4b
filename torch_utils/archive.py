"""Images of a folder, of a zip file, of several zip files, or a single one, by name, as 8-bit Pillow images.

Nothing here imports torch, so that a tool that only converts images starts at once.
"""

import contextlib
import functools
import hashlib
import io
import os
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from torch_utils.attempts import Attempts
from torch_utils.file_source import METADATA as METADATA  # callers find it beside the images
from torch_utils.file_source import Folder, Source, Zip
from torch_utils.files import InputError, is_url, name_of_url, out_of_files, parse_json, read_all
from torch_utils.image_header import FORMATS as FORMATS
from torch_utils.image_header import SUFFIXES, TURNS, Shape, read_header
from torch_utils.image_labels import MAX_CLASSES, labels_of_all, labels_of_tables
from torch_utils.name_list import NameList
from torch_utils.ordered_labels import read_in_order
from torch_utils.remote import open_remote
from torch_utils.shards import open_folder

MAX_ENTRY_BYTES = 1 << 28  # of one file, unpacked; more is a mistake or an attack
SPARE_BYTES = 1 << 24  # of an image file, whatever its size in pixels: profiles, previews, text
MAX_PIXEL_BYTES = 16  # of each pixel beyond that
SHOWN = 5  # files that an error names


class Archive:
    """The images of a folder (with its subfolders), of a zip file or of a folder of zip files, and the labels in its
    `dataset.json`, if it has one. A zip file, or a folder of them, may lie behind a URL.

    Hidden files are left out. Images are turned upright as their EXIF data say, in a PNG where those stand before the pixels;
    of an animation the first frame is the image. May be pickled and, unless it is behind a URL, used after a fork: every
    process opens the zip file for itself, at its first read. All methods raise `InputError` with the file's name where a file
    cannot be used.
    """

    def __init__(self, path: str | Path, skip_bad: bool = False):
        self.path: Path | str = str(path) if is_url(path) else Path(path)
        if not is_url(path) and not os.path.exists(
            self.path
        ):  # unlike Path.exists, without an error of its own for a name that is too long
            raise InputError(f"{self.path}: does not exist; wanted a folder or a zip file of images")
        self._source = self._open_source(skip_bad)
        self.remote = self._source.remote
        self.zipped = self._source.zipped
        self.left_out: dict[str, str] = getattr(self._source, "left_out", {})  # with `skip_bad`: shard -> why
        if not self.names:
            others = self.not_read() and f"; {self.not_read()}"
            found = f"{self.path}: found no images among {self._source.count} files; wanted {', '.join(SUFFIXES)}"
            raise InputError(found + others)
        self.has_metadata = bool(self._source.metadata)  # then nothing else is asked for labels
        self._classes: array | None = None  # of all images in order, where dataset.json lists them so
        self.label_names: list[str] | None = self._find_label_names()

    @property
    def name(self) -> str:
        """Of the whole, for people."""
        if isinstance(self.path, str):
            return name_of_url(self.path)
        path = self.path.resolve()
        return path.stem if path.is_file() else path.name

    @property
    def names(self) -> NameList:
        """Of all images, sorted."""
        return self._source.images

    def not_read(self) -> str:
        """Files with images of other formats, in words; empty where there are none."""
        counts = self._source.not_read()
        listed = ", ".join(f"{suffix} ({count:,})" for suffix, count in counts.most_common())
        return f"{counts.total():,} file{'s' * (counts.total() > 1)} not looked at: {listed}" if counts else ""

    def shape(self, name: str) -> Shape:
        """From the file's header alone: cheap, and blind to damage further on."""
        with self._decoding(name), self._open(name) as file, read_header(file) as (image, mode, orientation):
            width, height = reversed(image.size) if orientation >= 5 else image.size
            return Shape(len(mode), height, width)

    def image(self, name: str) -> Image.Image:
        """The decoded image in mode L, LA, RGB or RGBA. What the system cannot read is tried again."""
        with self._decoding(name):
            data = Attempts()(lambda: self._image_file(name), lambda: self._source.reopen(name))
            with read_header(io.BytesIO(data)) as (image, mode, orientation):
                image = image.convert(mode)
                return image.transpose(TURNS[orientation]) if orientation in TURNS else image

    def fetch(self, names: Sequence[str]) -> None:
        """These images are read next: those behind a URL are fetched, all at once."""
        self._source.fetch(names)

    def read(self, name: str) -> bytes:
        with self._decoding(name), self._open(name) as file:
            return read_all(file, MAX_ENTRY_BYTES)

    def labels(self) -> dict[str, int] | None:
        """Class of every image, or None where the archive has no labels.

        From `dataset.json`, else from `metadata.csv` or `metadata.jsonl`, of which `label_names` may then be.
        """
        if not self.has_metadata:
            tables = {name: self._read_table(name) for name in self._source.tables}
            found = labels_of_tables(self.names, tables, self.path, self._source.folder_of)
            if not found and self._source.unread:
                where = f"{self.path}: {', '.join(self._source.unread[:SHOWN])}{' …' * (len(self._source.unread) > SHOWN)}"
                raise InputError(
                    f"{where}: found labels where none are read, wanted one {METADATA}, in a folder with all images"
                )
            if found and found[1]:
                self.label_names = found[1]
            return found and found[0]
        if self._classes:
            return dict(zip(self.names, self._classes))
        labels: dict[str, int] = {}
        self._source.fetch(self._source.metadata)
        for part in self._source.metadata:
            self._add_labels(labels, self._parse_metadata(self._read_table(part), part).get("labels") or [], part)
        if not labels:
            return None
        return labels_of_all(self.names, labels, f"{self.path}: {METADATA}")

    def content_hash(self, without: Container[str] = ()) -> str:
        """Of a zip: SHA-256 of the file. Of a folder: SHA-256 over the sorted names and bytes of its images alone.

        In a folder, images in `without` are as if they were not there.
        """
        if whole := self._source.whole_hash():
            return whole
        digest = hashlib.sha256()
        for name in self.names:
            if name in without:
                continue
            # Two digests of fixed length for each file: no name can run into the bytes of the next.
            digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
            digest.update(hashlib.sha256(self.read(name)).digest())
        return digest.hexdigest()

    def fingerprint(self, names: Iterable[str]) -> str:
        """SHA-256 over names, sizes and modification times of the zip, or of these files. No file is read."""
        digest = hashlib.sha256(self._source.times(None))
        for name in names:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            with self._decoding(name):
                digest.update(self._source.times(name))
        return digest.hexdigest()

    def _open_source(self, skip_bad: bool) -> Source:
        if isinstance(self.path, str):
            return open_remote(self.path, skip_bad)
        return Zip(self.path) if os.path.isfile(self.path) else open_folder(self.path, skip_bad)

    def _image_file(self, name: str) -> bytes:
        with self._open(name) as file:
            data = file.read(SPARE_BYTES)
            if not (more := file.read(1)):
                return data
            # Seldom: then what there is must have something to do with the picture.
            with read_header(io.BytesIO(data)) as (image, _, _):
                most = SPARE_BYTES + MAX_PIXEL_BYTES * image.width * image.height
            return data + more + read_all(file, most, "far more than its pixels can need")

    @functools.cached_property
    def _with_backslash(self) -> set[str]:
        """Names as some programs for Windows pack them."""
        return {name for name in self.names if "\\" in name}

    def _add_labels(self, labels: dict[str, int], entries: dict | list, part: str) -> None:
        where, folder, classes = f"{self.path}: {part}", self._source.folder_of(part), _max_classes(self.label_names)
        for entry in entries.items() if isinstance(entries, dict) else entries:
            if not isinstance(entry, (list, tuple)) or len(entry) != 2 or not isinstance(entry[0], str):
                raise InputError(f"{where}: found label {str(entry)[:80]!r}, wanted [file name, class]")
            name, label = folder + entry[0].removeprefix("./"), entry[1]
            name = name if name in self._with_backslash else name.replace("\\", "/")
            if type(label) is not int or not 0 <= label < classes:  # a bool is an int to isinstance
                raise InputError(f"{where}: {name}: found label {str(label)[:80]}, wanted a whole number below {classes}")
            if name in labels:
                raise InputError(f"{where}: found two labels for {name}, wanted one")
            labels[name] = label

    def _find_label_names(self) -> list[str] | None:
        """Shards all have the same ones. Keeps the labels, too, where they are in order."""
        self._source.fetch(self._source.metadata)
        found, names, classes, in_order = [], iter(self.names), array("i"), True
        for part in self._source.metadata:
            data = self._read_table(part)
            folder = self._source.folder_of(part)
            below = (name.removeprefix(folder) for name in names) if folder else names
            rest = read_in_order(data, below, classes) if in_order else None
            in_order = rest is not None
            found.append(
                (self._check_metadata(rest, part) if in_order else self._parse_metadata(data, part)).get("label_names")
            )
            if found[-1] != found[0]:
                raise InputError(f"{self.path}: {part}: found other label_names than in {self._source.metadata[0]}")
        if in_order and len(classes) == len(self.names) and max(classes) < _max_classes(found[0]):
            self._classes = classes
        return found[0] if found else None

    def _parse_metadata(self, data: bytes, part: str) -> dict:
        return self._check_metadata(parse_json(data, f"{self.path}: {part}"), part)

    def _check_metadata(self, metadata, part: str) -> dict:
        where = f"{self.path}: {part}"
        if not isinstance(metadata, dict):
            raise InputError(f'{where}: found a {type(metadata).__name__}, wanted an object {{"labels": …}}')
        if not isinstance(metadata.get("labels"), (list, dict, type(None))):
            raise InputError(f"{where}: found labels {str(metadata['labels'])[:80]!r}, wanted a list of [file name, class]")
        names = metadata.get("label_names")
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise InputError(f"{where}: found label_names {str(names)[:80]!r}, wanted a list of names")
        if names and len(names) > MAX_CLASSES:
            raise InputError(f"{where}: found {len(names)} label_names, wanted {MAX_CLASSES} at most")
        return metadata

    def _read_table(self, name: str) -> bytes:
        max_bytes = (1 << 20) + 1024 * len(self.names)  # a label takes less; three bytes of JSON can take a hundred of memory
        with self._decoding(name, "file"), self._open(name, max_bytes) as file:
            return file.read()

    def _open(self, name: str, max_bytes: int | None = None) -> IO[bytes]:
        """To be read from within `_decoding`."""
        return self._source.open(name, MAX_ENTRY_BYTES if max_bytes is None else max_bytes)

    @contextlib.contextmanager
    def _decoding(self, name: str, what: str = "image") -> Iterator[None]:
        try:
            yield
        except InputError as error:
            problem = str(error)
        except UnidentifiedImageError:
            problem = f"found no image in it, wanted {', '.join(FORMATS)}"
        except Exception as error:  # on damaged bytes Pillow and zipfile raise almost anything
            if out_of_files(error):
                raise
            from_system = isinstance(error, OSError) and error.strerror  # gone, or not ours to read
            problem = from_system or f"found a damaged {what} ({error}), wanted a whole one"
        else:
            return
        raise InputError(f"{self._source.holder(name)}: {name}: {problem}")


def _max_classes(label_names: list[str] | None) -> int:
    return len(label_names or ()) or MAX_CLASSES


class SingleImage(Archive):
    """An archive of one file: the folder around it is not looked at."""

    def __init__(self, path: str | Path):
        self._file = Path(path).name
        super().__init__(Path(path).parent)

    def _open_source(self, skip_bad: bool) -> Source:
        return Folder(Path(self.path), {self._file})


def open_images(path: str | Path) -> Archive:
    """An image file, a folder or a zip file of images; `InputError` for anything else."""
    if is_url(path):
        return Archive(path)
    if not os.path.exists(path):
        raise InputError(f"{path}: does not exist; wanted an image, or a folder or a zip file of images")
    single = Path(path).suffix.lower() in SUFFIXES and os.path.isfile(path)
    return SingleImage(path) if single else Archive(path)
