"""Which files pictures are written to, and that none of them is another one, or one that is read."""

import os
from collections.abc import Iterable
from pathlib import Path

from networks.style_transfer.style_files import Style, flat
from torch_utils.archive import SUFFIXES
from torch_utils.files import InputError

MAX_NAME = 200  # bytes; file systems take 255, and the temporary name is longer
Named = tuple[str, Path | str]  # the option that a path was given with, and the path

READ = (*SUFFIXES, ".zip")  # suffixes of what is read in a folder of images


def plan(output: Path, contents: list[str], styles: list[Style]) -> list[list[Path]]:
    """Where each content (row) in each style (column) goes. `InputError` for names that cannot be."""
    suffix = output.suffix.lower()
    if suffix in SUFFIXES and not output.is_dir():
        if suffix != ".png" or len(contents) * len(styles) > 1:
            found = f"{len(contents)} contents in {len(styles)} styles"
            raise InputError(f"--output {output}: found {found}, wanted a folder for them, or a .png for one in one")
        return [[output]]
    files, seen = [[output / f"{flat(name)}-{style.name}.png" for style in styles] for name in contents], set()
    for path in sum(files, []):
        if path.name.casefold() in seen:  # some file systems do not tell capitals from small letters
            raise InputError(f"--output {output}: two pictures would be {path.name}, wanted names that differ")
        if len(os.fsencode(path.name)) > MAX_NAME:
            raise InputError(f"--output {output}: {path.name[:80]}… is too long for the name of a file")
        seen.add(path.name.casefold())
    return files


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
