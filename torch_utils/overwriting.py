"""That no file is written over one that is read, or twice."""

import os
from collections.abc import Iterable
from pathlib import Path

from torch_utils.files import InputError
from torch_utils.image_header import SUFFIXES

Named = tuple[str, Path | str]  # the option that a path was given with, and the path

READ = (*SUFFIXES, ".zip")  # suffixes of what is read in a folder of images


def check_files(written: Iterable[Named], read: Iterable[Named]) -> None:
    """`InputError` where a file would be written twice, or is one that is read, or lies among images in a folder that is."""
    seen: dict[str | tuple[int, int], str] = {}
    read = [(option, path) for option, path in read if os.path.exists(path)]  # not what lies behind a URL
    files = {identity(path): f"{option} {path}" for option, path in read if os.path.isfile(path)}
    folders = [(Path(path).resolve(), f"{option} {path}") for option, path in read if os.path.isdir(path)]
    for option, path in written:
        key, where = identity(path), Path(path).resolve()
        if key in seen:
            raise InputError(f"{option} {path}: is written for {seen[key]} already, wanted another file")
        if key in files:
            raise InputError(f"{option} {path}: is the file of {files[key]}, wanted another one, as that is read")
        for folder, reader in folders:
            if where.is_relative_to(folder) and where.suffix.lower() in READ and where.exists():
                raise InputError(f"{option} {path}: is one of the files of {reader}, wanted another one, as they are read")
        seen[key] = option


def identity(path: Path | str) -> str | tuple[int, int]:
    """The same for all names of a file; of one that is not there yet, without regard to capitals, as some systems have it."""
    try:
        status = os.stat(path)
        return status.st_dev, status.st_ino
    except OSError:
        return str(Path(path).resolve()).casefold()
