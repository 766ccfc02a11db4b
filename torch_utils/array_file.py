"""Named arrays with a JSON header in one safetensors file with a checksum; and a cache of such files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from torch_utils.files import atomic_write, cache_dir, first_line, parse_json
from torch_utils.tensor_file import digest

Parsed = TypeVar("Parsed")
VERSION = 2  # of the cache; goes up whenever the same images would give other numbers


def write(path: Path, arrays: dict[str, np.ndarray], **header) -> None:
    """Write the file. Raises `OSError`."""
    header = json.loads(json.dumps(header))  # as it will be read
    with atomic_write(path) as file:
        # One entry: safetensors shuffles several, and then equal references would not be equal files.
        reference = json.dumps(header | {"digest": _checksum(arrays, header)})
        file.write(safetensors.numpy.save(arrays, metadata={"reference": reference}))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the header that `write` was given; raises almost anything for another file, or a changed one."""
    with safetensors.safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        header = parse_json(file.metadata()["reference"], "its header")
    if header.pop("digest") != _checksum(arrays, header):
        raise ValueError("its contents have changed")
    return arrays, header


def _checksum(arrays: dict[str, np.ndarray], header: dict) -> str:
    """Of everything: a flipped bit in a covariance, or a changed digit, would otherwise pass as a number."""
    parts: list[bytes | memoryview] = [json.dumps(header, sort_keys=True).encode()]
    for name in sorted(arrays):
        parts += [f"{name} {arrays[name].dtype} {arrays[name].shape}".encode(), np.ascontiguousarray(arrays[name]).data]
    return digest(parts)


def cache_path(folder: str, **key) -> Path:
    """A file in the cache, whose name changes with everything in the key."""
    text = json.dumps(dict(version=VERSION) | key, sort_keys=True)
    return cache_dir() / folder / f"{digest([text.encode()])}.safetensors"


def save(path: Path, arrays: dict[str, np.ndarray], **header) -> None:
    """Keep the arrays. Where that fails the caller still has them, so it is a note and not an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, arrays, **header)
    except OSError as error:
        print(f"note: what was measured of the real images could not be kept ({error})", file=sys.stderr)


def load(path: Path, parse: Callable[[dict[str, np.ndarray], dict], Parsed]) -> Parsed | None:
    """`parse(arrays, header)` of a file in the cache; None where there is none or, with a note, a damaged one."""
    try:
        return parse(*read(path)) if path.is_file() else None
    except Exception as error:  # whatever a damaged file makes its readers say
        print(f"note: {path} is damaged ({first_line(error)}); computing it anew", file=sys.stderr)
        return None
