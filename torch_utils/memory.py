"""Memory: networks that take none, to look at their sizes first; and how much there is."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from torch_utils.files import InputError

CGROUP = Path("/sys/fs/cgroup")  # of a container, which sees its own here


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """What is built here has sizes and no values: it is on the meta device, and takes neither memory nor time."""
    with torch.device("meta"), _SizesOnly():
        yield


class _SizesOnly(TorchFunctionMode):
    """What constructors fill their weights with. For the meta device PyTorch has these in Python, and imports its compiler for
    them, which takes two seconds."""

    def __torch_function__(self, func: Callable, types, args=(), kwargs=None):
        if func is torch.randn:
            return torch.empty(*args, **(kwargs or {}), device="meta")
        if func is torch.eye:
            return torch.empty(args[0], args[0], device="meta")
        if func is torch.Tensor.repeat and len(args) == 1 + args[0].ndim:
            return torch.empty([side * times for side, times in zip(args[0].shape, args[1:])], device="meta")
        if func in (torch.Tensor.div, torch.Tensor.mul) and isinstance(args[1], (int, float)):
            return args[0]
        return func(*args, **(kwargs or {}))


def available_bytes(device: torch.device | str = "cpu") -> int | None:
    """What this process could take now, swap included, or what is free on a GPU; None where the system does not say."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [size for size in (_machine(), _container(), _process()) if size is not None]
    return max(min(known), 0) if known else None


def _machine() -> int | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return sum(int(rows[name].split()[0]) for name in ("MemAvailable", "SwapFree")) << 10
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not Linux: all that there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    return None


def _container() -> int | None:
    """By its cgroup, of either version; files that were read may be dropped again."""
    for limit, usage, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max" is no number: no limit
            most, used = (int((CGROUP / name).read_text()) for name in (limit, usage))
            rows = dict(line.split() for line in (CGROUP / limit).with_name("memory.stat").read_text().splitlines())
            return most - used + int(rows[dropped])
    return None


def _process() -> int | None:
    """By `ulimit -v`."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            return most - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return None


def training_bytes(network: torch.nn.Module) -> int:
    """Of a network that learns by Adam, in float32: its values; and of those that change, gradients and two means."""
    held = [*network.parameters(), *network.buffers()]
    return 4 * sum(tensor.numel() * (4 if tensor.requires_grad else 1) for tensor in held)


def check_memory(what: str, needed: float, device: torch.device | str, advice: str) -> None:
    """`InputError` where that takes more bytes than there are; `needed` is the least that it can be, so that nothing is refused
    that would run."""
    there = available_bytes(device)
    if there is not None and needed > there:
        of = "of the GPU" if torch.device(device).type == "cuda" else "of memory"
        raise InputError(f"{what} take {_gigabytes(needed)} {of} at least, and {_gigabytes(there)} are there; {advice}")


def _gigabytes(size: float) -> str:
    return f"{math.floor(size / 1e8) / 10:,} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
