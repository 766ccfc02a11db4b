"""Styles of a generator in a file: `.npz` with `w` [N, num_ws, w_dim], as StyleGAN's projector writes it."""

from pathlib import Path

import numpy as np
import torch

from torch_utils.files import InputError, atomic_write
from torch_utils.npz_file import read_arrays

MAX_BYTES = 2**30


def save_ws(path: Path, ws: torch.Tensor) -> None:
    with atomic_write(path) as file:
        np.savez(file, w=ws.detach().float().cpu().numpy())


def load_ws(path: Path, num_ws: int, w_dim: int) -> torch.Tensor:
    """[N, num_ws, w_dim], float32; [N, 1, w_dim] in the file is one style for all layers. `InputError` for anything else."""
    (ws,) = read_arrays(path, ("w",), "styles", "generate.py --save-ws or scripts.projector", MAX_BYTES)
    if ws.ndim != 3 or ws.shape[1] not in (1, num_ws) or ws.shape[2] != w_dim or not len(ws) or ws.dtype.kind != "f":
        raise InputError(f"{path}: found {ws.dtype} {list(ws.shape)}, wanted float [N, {num_ws}, {w_dim}] for this network")
    if not np.isfinite(ws).all():
        raise InputError(f"{path}: is not finite")
    return torch.from_numpy(ws.astype(np.float32)).expand(-1, num_ws, -1).contiguous()
