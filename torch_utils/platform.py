"""The device to compute on, what the CPU can do, and how it keeps memory."""

import ctypes
import os
import platform
import re
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


def machine_in_words(device: torch.device) -> str:
    """What a run's time depends on: the processor or GPU, the system, and the version of PyTorch."""
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        processor = f"{_cpu_name()} ({_arithmetic()})"
    return f"{processor}, {platform.system()}, PyTorch {torch.__version__}"


def _cpu_name() -> str:
    """As its maker calls it, where the system knows; else its kind, such as arm64."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            named = re.search(r"^model name\s*: (.+)$", file.read(), re.M)
    except OSError:  # not Linux
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()


def _arithmetic() -> str:
    """What decides a processor's pace, which its name may not say: the widest instructions that PyTorch uses."""
    return "AMX" if has_amx() else "AVX512_BF16" if has_avx512_bf16() else torch.backends.cpu.get_cpu_capability()


def has_amx() -> bool:
    """Whether this CPU has AMX, whose tiles multiply bf16 five to eight times as fast as its vector units float32."""
    return _cpu_has("_is_amx_tile_supported") and _onednn_may_use("AMX")


def has_avx512_bf16() -> bool:
    """Whether this CPU's vector units multiply bf16, twice as fast as float32."""
    return _cpu_has("_is_avx512_bf16_supported") and _onednn_may_use("BF16", "FP16", "AVX10", "AMX")


def _cpu_has(name: str) -> bool:
    return getattr(torch.cpu, name, lambda: False)()  # private: not in every version of PyTorch


def _onednn_may_use(*names: str) -> bool:
    """Whether oneDNN, which multiplies matrices, is not limited by an environment variable to older instruction sets."""
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    return limit in ("ALL", "DEFAULT") or any(name in limit for name in names)


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks for the next step instead of handing them back to the system.

    On Linux every large tensor is otherwise mapped, page-faulted and unmapped anew: half of the time of a convolution
    network on a CPU. Does nothing where the C library is not glibc.
    """
    libc = _libc()
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold, top_pad = -1, -3, -2
        if not libc.mallopt(mmap_threshold, 1 << 30):
            libc.mallopt(mmap_threshold, 1 << 25)  # the largest value that older ones accept
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(top_pad, 1 << 26)


def release_freed_memory() -> None:
    """Hand kept blocks back to the system, after work that took much memory and is not repeated soon."""
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None) if sys.platform == "linux" else None
    except OSError:
        return None
