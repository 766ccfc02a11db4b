"""Images of a folder, of a zip file, or a single one, by name, as 8-bit Pillow images.

Nothing here imports torch, so that a tool that only converts images starts at once.
"""

import contextlib
import hashlib
import io
import os
import stat
import warnings
import zipfile
from collections.abc import Container, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from PIL import Image, UnidentifiedImageError, features

from torch_utils.files import InputError, first_line, parse_json, read_all, sha256
from torch_utils.image_labels import MAX_CLASSES, TABLES, labels_of_tables

AVIF = features.check("avif")  # Pillow has it since 11.3, where its builder had the library
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp") + (".avif",) * AVIF
# Never let Pillow guess further: some of its readers start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP") + ("AVIF",) * AVIF
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # what 8 bits a channel hold without loss
METADATA = "dataset.json"
MAX_ENTRY_BYTES = 1 << 28  # of one file, unpacked; more is a mistake or an attack
SPARE_BYTES = 1 << 24  # of an image file, whatever its size in pixels: profiles, previews, text
MAX_PIXEL_BYTES = 16  # of each pixel beyond that
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may ask for any amount of memory before the first byte
TURNS = {  # EXIF orientation -> what sets the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Shape(NamedTuple):
    channels: int  # 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    height: int
    width: int

    def __str__(self):
        return f"{self.width}x{self.height} pixels with {self.channels} channel{'s' * (self.channels > 1)}"


class Archive:
    """The images of a folder (with its subfolders) or of a zip file, and the labels in its `dataset.json`, if it has one.

    Hidden files are left out. Images are turned upright as their EXIF data say, in a PNG where those stand before the pixels;
    of an animation the first frame is the image. May be pickled and may be used after a fork: every process opens the zip
    file for itself, at its first read. All methods raise `InputError` with the file's name where a file cannot be used.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._handle: zipfile.ZipFile | None = None
        self._owner = 0
        if not os.path.exists(self.path):  # unlike Path.exists, without an error of its own for a name that is too long
            raise InputError(f"{self.path}: does not exist; wanted a folder or a zip file of images")
        self.zipped = os.path.isfile(self.path)
        files = self._list_zip() if self.zipped else self._list_folder()
        self.names = sorted(name for name in files if name.lower().endswith(SUFFIXES) and not _hidden(name))
        if not self.names:
            raise InputError(f"{self.path}: found no images among {len(files)} files; wanted {', '.join(SUFFIXES)}")
        self.has_metadata = METADATA in files  # then nothing else is asked for labels
        self._metadata = self._read_metadata() if self.has_metadata else {}
        self._tables = [name for name in files if PurePosixPath(name).name in TABLES and not _hidden(name)]
        self.label_names: list[str] | None = self._metadata.get("label_names")

    def shape(self, name: str) -> Shape:
        """From the file's header alone: cheap, and blind to damage further on."""
        with self._decoding(name), self._open(name) as file, _header(file) as (image, mode, orientation):
            width, height = reversed(image.size) if orientation >= 5 else image.size
            return Shape(len(mode), height, width)

    def image(self, name: str) -> Image.Image:
        """The decoded image in mode L, LA, RGB or RGBA."""
        with self._decoding(name):
            with self._open(name) as file:
                data = file.read(SPARE_BYTES)
                if more := file.read(1):  # seldom: then what there is must have something to do with the picture
                    with _header(io.BytesIO(data)) as (image, _, _):
                        most = SPARE_BYTES + MAX_PIXEL_BYTES * image.width * image.height
                    data = data + more + read_all(file, most, "far more than its pixels can need")
            with _header(io.BytesIO(data)) as (image, mode, orientation):
                image = image.convert(mode)
                return image.transpose(TURNS[orientation]) if orientation in TURNS else image

    def read(self, name: str) -> bytes:
        with self._decoding(name), self._open(name) as file:
            return read_all(file, MAX_ENTRY_BYTES)

    def labels(self) -> dict[str, int] | None:
        """Class of every image, or None where the archive has no labels.

        From `dataset.json`, else from `metadata.csv` or `metadata.jsonl`, of which `label_names` may then be.
        """
        where, entries = f"{self.path}: {METADATA}", self._metadata.get("labels")
        if not entries:
            if self.has_metadata:
                return None
            found = labels_of_tables(self.names, {name: self._read_table(name) for name in self._tables}, self.path)
            if found and found[1]:
                self.label_names = found[1]
            return found and found[0]
        classes = min(len(self.label_names or ()) or MAX_CLASSES, MAX_CLASSES)
        labels = {}
        for entry in entries.items() if isinstance(entries, dict) else entries:
            if not isinstance(entry, (list, tuple)) or len(entry) != 2 or not isinstance(entry[0], str):
                raise InputError(f"{where}: found label {str(entry)[:80]!r}, wanted [file name, class]")
            name, label = entry[0].replace("\\", "/"), entry[1]
            if type(label) is not int or not 0 <= label < classes:  # a bool is an int to isinstance
                raise InputError(f"{where}: {name}: found label {str(label)[:80]}, wanted a whole number below {classes}")
            if name in labels:
                raise InputError(f"{where}: found two labels for {name}, wanted one")
            labels[name] = label
        for name in self.names:
            if name not in labels:
                raise InputError(f"{where}: found no label for {name}, wanted one for every image")
        return {name: labels[name] for name in self.names}

    def content_hash(self, without: Container[str] = ()) -> str:
        """Of a zip: SHA-256 of the file. Of a folder: SHA-256 over the sorted names and bytes of its images alone.

        In a folder, images in `without` are as if they were not there.
        """
        if self.zipped:
            return sha256(self.path)
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
        digest = hashlib.sha256(_times(self.path) if self.zipped else b"")
        for name in names:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            if not self.zipped:
                with self._decoding(name):
                    digest.update(_times(self.path / name))
        return digest.hexdigest()

    def __getstate__(self):
        return self.__dict__ | {"_handle": None}

    def _list_folder(self) -> set[str]:
        def fail(error: OSError):  # os.walk would pass over a folder that it may not read
            raise InputError(f"{error.filename}: {error.strerror}") from None

        files, seen = set(), set()
        for folder, subfolders, names in os.walk(self.path, onerror=fail, followlinks=True):
            if os.path.realpath(folder) in seen:  # links may lead round in a circle
                subfolders.clear()
                continue
            seen.add(os.path.realpath(folder))
            relative = Path(folder).relative_to(self.path)
            files.update((relative / name).as_posix() for name in names)
        return files

    def _list_zip(self) -> set[str]:
        files = set()
        try:
            entries = self._zip().infolist()
        except Exception as error:  # on damaged bytes zipfile raises almost anything
            reason = getattr(error, "strerror", None) or first_line(error)
            raise InputError(f"{self.path}: {reason}; wanted a folder or a zip file of images") from None
        for entry in entries:
            if entry.filename in files:
                raise InputError(f"{self.path}: found {entry.filename} twice; wanted every name once")
            if not entry.filename.endswith("/"):  # a folder; is_dir() fails on an empty name
                files.add(entry.filename)
        return files

    def _read_metadata(self) -> dict:
        where = f"{self.path}: {METADATA}"
        metadata = parse_json(self._read_table(METADATA), where)
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
        """To be read from within `_decoding`. Refuses what is no ordinary file or has more than `max_bytes`."""
        max_bytes = MAX_ENTRY_BYTES if max_bytes is None else max_bytes
        if self.zipped:
            entry = self._zip().getinfo(name)
            size = entry.file_size
            if entry.flag_bits & 1 or entry.compress_type not in PACKINGS:
                how = "encrypted" if entry.flag_bits & 1 else f"packed by method {entry.compress_type}"
                raise InputError(f"found it {how}, wanted it stored or deflated")
        else:
            status = os.stat(self.path / name)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode):  # a pipe would keep us waiting, a device might never end
                raise InputError("found no ordinary file, wanted one")
        if size > max_bytes:
            raise InputError(f"found {size} bytes{' unpacked' if self.zipped else ''}, wanted {max_bytes} at most")
        if not self.zipped:
            return open(self.path / name, "rb")
        file = self._zip().open(name)
        # At once: else read() unpacks an entry that lies about its size up to 2 GB, and cuts it then.
        file.MAX_N = 1 << 20  # type: ignore[attr-defined]  # private to ZipExtFile
        return file

    def _zip(self) -> zipfile.ZipFile:
        if self._handle is None or self._owner != os.getpid():  # forked processes would share one file position
            self._handle, self._owner = zipfile.ZipFile(self.path), os.getpid()
        return self._handle

    @contextlib.contextmanager
    def _decoding(self, name: str, what: str = "image") -> Iterator[None]:
        try:
            yield
        except InputError as error:
            problem = str(error)
        except UnidentifiedImageError:
            problem = f"found no image in it, wanted {', '.join(FORMATS)}"
        except Exception as error:  # on damaged bytes Pillow and zipfile raise almost anything
            from_system = isinstance(error, OSError) and error.strerror  # gone, or not ours to read
            problem = from_system or f"found a damaged {what} ({error}), wanted a whole one"
        else:
            return
        raise InputError(f"{self.path}: {name}: {problem}")


@contextlib.contextmanager
def _header(file: IO[bytes]) -> Iterator[tuple[Image.Image, str, int]]:
    """Open lazily: (image, the mode of 1 to 4 letters that holds it without loss, EXIF orientation)."""
    kinds = "wanted 8 bits a channel: grey, grey with alpha, RGB, RGBA or palette"
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(file, formats=FORMATS)
    with image:
        # Of 16-bit colour Pillow drops the low bytes without a word; only its name for the packed pixels tells.
        if image.format == "PNG" and any("16" in str(tile[3]) for tile in image.tile or ()):
            raise InputError(f"found 16 bits a channel, {kinds}")
        if image.mode not in MODES:
            raise InputError(f"found mode {image.mode}, {kinds}")
        mode = ("L" if image.mode in ("1", "L", "LA") else "RGB") + ("A" if image.has_transparency_data else "")
        # Where a PNG has no EXIF data before its pixels, getexif would decode it to its end to look for some there.
        orientation = 1 if image.format == "PNG" and "exif" not in image.info else image.getexif().get(0x0112, 1)
        yield image, mode, orientation if orientation in TURNS else 1


def _times(path: Path) -> bytes:
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns}\0".encode()


def _hidden(name: str) -> bool:
    """Hidden files, and the `__MACOSX` copies that macOS adds to zip files."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


class SingleImage(Archive):
    """An archive of one file: the folder around it is not looked at."""

    def __init__(self, path: str | Path):
        self._file = Path(path).name
        super().__init__(Path(path).parent)

    def _list_folder(self) -> set[str]:
        return {self._file}


def open_images(path: str | Path) -> Archive:
    """An image file, a folder or a zip file of images; `InputError` for anything else."""
    if not os.path.exists(path):
        raise InputError(f"{path}: does not exist; wanted an image, or a folder or a zip file of images")
    single = Path(path).suffix.lower() in SUFFIXES and os.path.isfile(path)
    return SingleImage(path) if single else Archive(path)
