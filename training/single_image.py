"""One image file where a folder or a zip file of images may stand, too."""

import os
from pathlib import Path

from training.archive import SUFFIXES, Archive


class SingleImage(Archive):
    """An archive of one file: the folder around it is not looked at."""

    def __init__(self, path: str | Path):
        self._file = Path(path).name
        super().__init__(Path(path).parent)

    def _list_folder(self) -> set[str]:
        return {self._file}


def open_images(path: str | Path) -> Archive:
    """An image file, a folder or a zip file of images; `InputError` for anything else."""
    single = Path(path).suffix.lower() in SUFFIXES and os.path.isfile(path)
    return SingleImage(path) if single else Archive(path)
