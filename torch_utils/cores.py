"""Trainings on one machine share out its cores: with more threads than cores, they would mostly wait for one another."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock
import torch


@contextlib.contextmanager
def claimed_cores() -> Iterator[int]:
    """How many of the threads that PyTorch would use here no other training of this user has claimed. They are this process's
    until the end, or until it dies; 0 where none was left."""
    wanted = torch.get_num_threads()
    with contextlib.ExitStack() as claims:
        try:
            folder = Path(tempfile.gettempdir()) / f"adaconv-cores-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
            folder.mkdir(exist_ok=True)
        except OSError:
            yield wanted  # no place to agree on it
            return
        count = 0
        for core in range(max(os.cpu_count() or 1, wanted)):
            lock = filelock.FileLock(folder / f"{core}.lock")
            with contextlib.suppress(filelock.Timeout, OSError):
                if count < wanted:
                    lock.acquire(timeout=0)
                    claims.callback(lock.release)
                    count += 1
        yield count


def use_threads(threads: int | None, processes: int = 1) -> None:
    """So many in all of these processes together, one of which this is; None: as PyTorch likes."""
    if threads is not None:
        torch.set_num_threads(max(threads // processes, 1))


def threads_in_words(threads: int | None) -> str:
    """To be said behind the device's name."""
    if threads is None:
        return ""
    cores = max(os.cpu_count() or 1, threads)
    return f", {threads} of {cores} cores" + (" (the others are left to other programs)" if threads < cores else "")
