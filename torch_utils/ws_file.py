"""Styles of a generator in a file: `.npz` with `w` [N, num_ws, w_dim], as StyleGAN's projector writes it.

Where parts of the kernels come from other styles, those are beside it under the parts' names, in the same shape.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from torch_utils.files import InputError, atomic_write
from torch_utils.npz_file import read_arrays

MAX_BYTES = 2**30


def ws_bytes(ws: torch.Tensor, parts: Mapping[str, torch.Tensor] | None = None) -> bytes:
    """The contents of a file."""
    buffer = io.BytesIO()
    arrays = {name: value.detach().float().cpu().numpy() for name, value in {"w": ws, **(parts or {})}.items()}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes `allow_pickle` for one of them
    return buffer.getvalue()


def save_ws(path: Path, ws: torch.Tensor, parts: Mapping[str, torch.Tensor] | None = None) -> None:
    with atomic_write(path) as file:
        file.write(ws_bytes(ws, parts))


def load_ws(path: Path, num_ws: int, w_dim: int) -> torch.Tensor:
    """[N, num_ws, w_dim], float32; [N, 1, w_dim] in the file is one style for all layers. `InputError` for anything else."""
    (ws,) = read_arrays(path, ("w",), "styles", "generate.py --save-ws or scripts.projector", MAX_BYTES)
    if ws.ndim != 3 or ws.shape[1] not in (1, num_ws) or ws.shape[2] != w_dim or not len(ws) or ws.dtype.kind != "f":
        raise InputError(f"{path}: found {ws.dtype} {list(ws.shape)}, wanted float [N, {num_ws}, {w_dim}] for this network")
    return _finite(path, ws).expand(-1, num_ws, -1).contiguous()


def load_parts(path: Path, names: Sequence[str], shape: Sequence[int]) -> dict[str, torch.Tensor]:
    """Those of the parts' styles that a file of `load_ws` has: float32 of `shape`, that of its result; else `InputError`."""
    with np.load(path, allow_pickle=False) as file:
        names = [name for name in names if name in file]
    parts = dict(zip(names, read_arrays(path, tuple(names), "styles of parts", "scripts.viewer", MAX_BYTES)))
    for name, ws in parts.items():
        if ws.shape != tuple(shape) or ws.dtype.kind != "f":
            raise InputError(f"{path}: found {name} {ws.dtype} {list(ws.shape)}, wanted float {list(shape)} as `w` has")
    return {name: _finite(path, ws) for name, ws in parts.items()}


def _finite(path: Path, ws: np.ndarray) -> torch.Tensor:
    if not np.isfinite(ws).all():
        raise InputError(f"{path}: is not finite")
    return torch.from_numpy(ws.astype(np.float32))
