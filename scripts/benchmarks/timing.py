"""How long a piece of work takes, how much memory, and in which number format. Imports nothing of this project."""

import contextlib
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import click
import numpy as np
import torch

Key = TypeVar("Key", bound=Hashable)

FORMATS = ("fp32", "tf32", "bf16")
PRECISION = click.option(
    "--precision",
    type=click.Choice([*FORMATS, "both"]),
    default="both",
    help="number format of this project's networks; both: fp32 and bf16, and on CUDA tf32",
)


def formats_of(choice: str, device: torch.device) -> tuple[str, ...]:
    """Of `--precision`: the one named; `both` is float32 and bf16, and TF32 between them where the device has it."""
    if choice != "both":
        return (choice,)
    return FORMATS if device.type == "cuda" else ("fp32", "bf16")


def allow_tf32(number_format: str) -> None:
    """Of the whole process: float32 is to mean float32, though CUDA's default for convolutions is TF32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = number_format != "fp32"


def autocast(number_format: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Where networks run; the backward is started outside of it."""
    return torch.autocast(device.type, torch.bfloat16) if number_format == "bf16" else contextlib.nullcontext()


def timed(function: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def in_turns(
    jobs: Mapping[Key, Callable[[], float]], seconds: float, least: int = 3, most: int = 50, warm_up: bool = False
) -> dict[Key, list[float]]:
    """What each job says it took, by round, within about `seconds`; every other round in reverse order.

    So a machine whose speed drifts slows all of them. Jobs have been run before, or `warm_up` runs each once.
    """
    for job in jobs.values() if warm_up else ():
        job()
    times, began, rounds = {key: [] for key in jobs}, time.monotonic(), 0
    while rounds < least or (time.monotonic() - began < seconds and rounds < most):
        for key in jobs if rounds % 2 == 0 else reversed(list(jobs)):
            times[key].append(jobs[key]())
        rounds += 1
    return times


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratio within each round."""
    return statistics.median(a / b for a, b in zip(times, others))


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """Most memory that tensors take during `function`, over what they take before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    level = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(level.max(initial=0))


def machine(device: torch.device) -> dict:
    """What numbers are worth nothing without. The units are those by which bf16 is fast on a CPU."""
    units = [name for name in ("avx512_bf16", "amx_tile") if getattr(torch.cpu, f"_is_{name}_supported", lambda: False)()]
    return dict(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine(),
        cpu=torch.backends.cpu.get_cpu_capability(),
        bf16_units=units,
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
    )
