"""Arrays kept on disk because they are expensive: whole, unchanged, or computed anew."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from torch_utils.files import atomic_write, cache_dir, first_line, parse_json

Kept = TypeVar("Kept")
VERSION = 2  # goes up whenever the same images would give other numbers


def cache_path(folder: str, **key) -> Path:
    """A file name that changes with everything in the key."""
    digest = hashlib.sha256(json.dumps(dict(version=VERSION) | key, sort_keys=True).encode()).hexdigest()
    return cache_dir() / folder / f"{digest}.safetensors"


def save(path: Path, arrays: dict[str, np.ndarray], **header) -> None:
    """Keep the arrays. Without a place to keep them the numbers are still right, so that is a note and not an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, arrays, **header)
    except OSError as error:
        print(f"note: what was measured of the real images could not be kept ({error})", file=sys.stderr)


def load(
    path: Path, *names: str, understand: Callable[[dict[str, np.ndarray], dict], Kept] = lambda *kept: kept
) -> Kept | None:
    """What `understand` makes of the named arrays and the header; None where no file is, or (with a note) none that is whole.

    Whatever `understand` raises counts as damage.
    """
    if not path.is_file():
        return None
    try:
        arrays, header = read(path)
        if set(arrays) != set(names):
            raise ValueError(f"it has {', '.join(arrays)}, wanted {', '.join(names)}")
        return understand(arrays, header)
    except Exception as error:  # whatever a damaged file makes its readers say
        print(f"note: {path} is damaged ({first_line(error)}); computing it anew", file=sys.stderr)
        return None


def write(path: Path, arrays: dict[str, np.ndarray], **header) -> None:
    """One safetensors file, with a checksum over everything. Raises `OSError`."""
    header = json.loads(json.dumps(header))  # as it will be read
    with atomic_write(path) as file:
        # One entry: safetensors shuffles several, and then equal references would not be equal files.
        reference = json.dumps(header | {"digest": digest(arrays, header)})
        file.write(safetensors.numpy.save(arrays, metadata={"reference": reference}))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the header that `write` was given; raises almost anything for another file, or a changed one."""
    with safetensors.safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        header = parse_json(file.metadata()["reference"], "its header")
    if header.pop("digest") != digest(arrays, header):
        raise ValueError("its contents have changed")
    return arrays, header


def digest(arrays: dict[str, np.ndarray], header: dict) -> str:
    """sha256 of everything: a flipped bit in a covariance, or a changed digit, would otherwise pass as a number."""
    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        total.update(np.ascontiguousarray(arrays[name]).data)
    return total.hexdigest()
