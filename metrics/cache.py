"""Arrays kept on disk because they are expensive: whole, unchanged, or computed anew."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from torch_utils.files import atomic_write, cache_dir

VERSION = 1  # goes up whenever the same images would give other numbers


def cache_path(folder: str, **key) -> Path:
    """A file name that changes with everything in the key."""
    digest = hashlib.sha256(json.dumps(dict(version=VERSION) | key, sort_keys=True).encode()).hexdigest()
    return cache_dir() / folder / f"{digest}.safetensors"


def save(path: Path, arrays: dict[str, np.ndarray], **header) -> None:
    """Keep the arrays. Without a place to keep them the numbers are still right, so that is a note and not an error."""
    header["digest"] = digest(arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            # One entry: safetensors shuffles several, and then equal references would not be equal files.
            file.write(safetensors.numpy.save(arrays, metadata={"reference": json.dumps(header)}))
    except OSError as error:
        print(f"note: what was measured of the real images could not be kept ({error})", file=sys.stderr)


def load(path: Path, *names: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """The named arrays and the header; None where there are none, or (with a note) none that are whole."""
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            header = json.loads(file.metadata()["reference"])
        if header["digest"] != digest(arrays) or set(names) != set(arrays):
            raise ValueError("its contents have changed")
        return arrays, header
    except Exception as error:  # whatever a damaged file makes its readers say
        print(f"note: {path} is damaged ({error}); computing it anew", file=sys.stderr)
        return None


def digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 of the arrays' bytes: a flipped bit in a covariance would otherwise pass as a number."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(np.ascontiguousarray(arrays[name]).data)
    return total.hexdigest()
