"""Writes a new dataset, a folder or a zip file, of which nothing is left when writing fails."""

import contextlib
import functools
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from torch_utils.files import TEMPORARY, InputError, atomic_write


@contextlib.contextmanager
def new_dataset(dest: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Gives `write(name, data)`. The zip file or folder appears when the block ends; when it fails, nothing is left behind."""
    dest = Path(os.path.abspath(dest))
    missing = [folder for folder in dest.parents if not os.path.exists(folder)]
    temporary = dest.with_name(f".{dest.name}.{os.getpid()}{TEMPORARY}")

    def write_entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
        # With a fixed date and system, the same images give the same bytes, and so the same hash.
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, 0o644 << 16
        archive.writestr(entry, data)

    def write_file(name: str, data: bytes) -> None:
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).write_bytes(data)

    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        if dest.suffix.lower() == ".zip":
            with atomic_write(dest) as file, zipfile.ZipFile(file, "w") as archive:
                yield functools.partial(write_entry, archive)
        else:
            temporary.mkdir()
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


def png(image: Image.Image) -> bytes:
    image.info.clear()  # a colour profile, a comment or a date would be written, too
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
