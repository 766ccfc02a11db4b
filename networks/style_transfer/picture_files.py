"""Which files pictures are written to."""

import os
from pathlib import Path

from networks.style_transfer.style_files import Style, flat
from torch_utils.archive import SUFFIXES
from torch_utils.files import InputError

MAX_NAME = 200  # bytes; file systems take 255, and the temporary name is longer


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
