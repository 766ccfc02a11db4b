"""Choosing a device, and making the CPU a good one."""

import ctypes
import functools
import os
import sys

import torch

from torch_utils.files import InputError, first_line


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the best one here; `InputError` where the named one does not exist."""
    if name in (None, "auto"):
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("tensors on it have no values")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"--device {name}: {first_line(error)}") from None
    return device


@functools.cache
def has_amx() -> bool:
    """Whether oneDNN multiplies sixteen-bit matrices with this CPU's AMX tiles: five to eight times as fast as in float32.

    `ONEDNN_MAX_CPU_ISA` may forbid it, as oneDNN's documentation of its CPU dispatcher says.
    """
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    allowed = "AMX" in most or most in ("", "ALL", "DEFAULT")
    return allowed and getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks for the next step instead of handing them back to the system.

    On Linux every large tensor is otherwise mapped, page-faulted and unmapped anew: half of the time of a convolution
    network on a CPU. Does nothing where the C library is not glibc.
    """
    libc = _libc()
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold, top_pad = -1, -3, -2
        if not libc.mallopt(mmap_threshold, 1 << 30):
            libc.mallopt(mmap_threshold, 1 << 25)  # the most that older ones accept
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(top_pad, 1 << 26)


def release_freed_memory() -> None:
    """Hand back what was kept, after work that took much memory and does not come again soon."""
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None) if sys.platform == "linux" else None
    except OSError:
        return None
