"""Directions in a generator's space of styles, in a file: `.npz` with the arrays that `Directions` has, without pickles."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from torch_utils.files import InputError, atomic_write
from torch_utils.npz_file import read_arrays

MAX_BYTES, MAX_NAME = 2**28, 40  # of a file; characters of a name


class Directions(NamedTuple):
    names: list[str]  # [K], all different
    directions: torch.Tensor  # [K, w_dim] float32, of unit length
    layers: list[int]  # the ws that they move
    scale: torch.Tensor  # [K] float32: the standard deviation of w along each, which a step of 1 goes
    parts: list[str] = []  # of kernels that they move, such as "spatial" (AdaConv only); none: whole styles

    def find(self, name: str) -> int:
        """Of a name, or of a number that is no name. `InputError` where there is none."""
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise InputError(f"found no direction {name!r}, wanted {', '.join(self.names)[:200]}, or a number from 0")

    def renamed(self, names: Mapping[str, str]) -> "Directions":
        """With new names for old ones, or for numbers. `InputError` for a name that cannot be one, or is taken."""
        changed = list(self.names)
        for old, new in names.items():
            changed[self.find(old)] = new
        return self._replace(names=checked_names(changed))


def checked_names(names: list[str]) -> list[str]:
    """`InputError` unless they can stand on a command line, as FILE:NAME=STEP, and are told apart."""
    for name in names:
        if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip() or set(name) & set(":="):
            raise InputError(
                f"{name!r} cannot name a direction: wanted 1 to {MAX_NAME} characters, and no colon or equals sign"
            )
        if names.count(name) > 1:
            raise InputError(f"two directions would be called {name!r}")
    return names


def save_directions(path: Path, found: Directions) -> None:
    arrays = dict(names=np.array(found.names), layers=np.array(found.layers), parts=np.array(found.parts, dtype="<U16"))
    tensors = {name: getattr(found, name).float().cpu().numpy() for name in ("directions", "scale")}
    with atomic_write(path) as file:
        np.savez(file, **arrays, **tensors)  # type: ignore[arg-type]


def load_directions(path: Path, num_ws: int, w_dim: int, parts: Sequence[str]) -> Directions:
    """For a network with these layers, sizes and parts of kernels (if it predicts any). `InputError` for anything else."""
    fields = Directions._fields
    arrays = dict(zip(fields, read_arrays(path, fields, "directions", "scripts.directions", MAX_BYTES)))
    names, directions, layers, scale, moved = arrays.values()
    for name, kind, ndim in (
        ("names", "U", 1),
        ("directions", "f", 2),
        ("layers", "i", 1),
        ("scale", "f", 1),
        ("parts", "U", 1),
    ):
        if arrays[name].dtype.kind != kind or arrays[name].ndim != ndim:
            raise InputError(f"{path}: found `{name}` {arrays[name].dtype} {list(arrays[name].shape)}, wanted {ndim} axes")
    if directions.shape != (len(names), w_dim) or scale.shape != names.shape or not len(names):
        found = f"{len(names)} names, directions {list(directions.shape)}, {len(scale)} scales"
        raise InputError(f"{path}: found {found}, wanted [K, {w_dim}] for this network")
    if not (np.isfinite(directions).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{path}: found directions that are not finite, or scales not above 0")
    if not np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-3):
        raise InputError(f"{path}: found directions that are not of unit length")
    if not len(layers) or layers.min() < 0 or layers.max() >= num_ws or len(set(layers.tolist())) < len(layers):
        raise InputError(f"{path}: found layers {layers.tolist()[:20]}, wanted numbers from 0 to {num_ws - 1}")
    if not set(moved.tolist()) <= set(parts) or len(set(moved.tolist())) < len(moved):
        raise InputError(
            f"{path}: moves {', '.join(moved.tolist())[:80]} alone, and this network has {', '.join(parts) or 'no such parts'}"
        )
    tensors = [torch.from_numpy(array.astype(np.float32)) for array in (directions, scale)]
    return Directions(checked_names(names.tolist()), tensors[0], layers.tolist(), tensors[1], moved.tolist())


def steps_along(texts: Sequence[str], num_ws: int, w_dim: int, parts: Sequence[str]) -> list[tuple[Directions, int, float]]:
    """`FILE:NAME=STEP`, each read for a network as `load_directions` does -> directions, which of them, and how many steps.

    A file may have colons in its name, as on Windows. `InputError` for anything else.
    """
    steps, files = [], {}
    for text in texts:
        before, _, number = text.rpartition("=")
        path, _, name = before.rpartition(":")
        try:
            step = float(number)
        except ValueError:
            step = math.nan
        if not path or not name or not math.isfinite(step):
            raise InputError(
                f"{text} does not read as a step along a direction; write FILE:NAME=STEP, as out/directions.npz:0=2.5"
            )
        if path not in files:
            files[path] = load_directions(Path(path), num_ws, w_dim, parts)
        try:
            steps.append((files[path], files[path].find(name), step))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return steps
