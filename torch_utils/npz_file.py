"""Arrays from a `.npz` file of unknown origin: no pickle is loaded, and no more memory taken than is allowed."""

import zipfile
from pathlib import Path

import numpy as np

from torch_utils.files import InputError, first_line


def read_arrays(path: Path, names: tuple[str, ...], what: str, origin: str, max_bytes: int) -> list[np.ndarray]:
    """The arrays of these names. `InputError` for anything else; it calls the content `what`, and says who writes it."""
    if not path.is_file():
        raise InputError(f"{path}: no such file with {what}")
    try:
        with zipfile.ZipFile(path) as archive:  # first: what is no zip file, NumPy would call a pickle
            if sum(entry.file_size for entry in archive.infolist()) > max_bytes:
                raise InputError(f"{path}: found more than {max_bytes >> 20} MB of {what}")
        with np.load(path, allow_pickle=False) as file:
            for name in names:
                if name not in file:
                    raise InputError(f"{path}: found no `{name}`, wanted {what} of {origin}")
            return [file[name] for name in names]
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes its readers say
        raise InputError(f"{path}: cannot be read as {what} ({first_line(error)[:200]})") from None
