"""Run directories: a new one, the one to go on with, and that only one training writes there."""

import contextlib
import dataclasses
import re
from collections.abc import Container, Iterator
from pathlib import Path

import filelock

from torch_utils.files import InputError, read_json, remove_unfinished
from training.run.saved_state import states

OPTIONS = "training_options.json"
FREE = {"kimg", "tick", "snap", "save_every", "metrics", "workers", "threads"}  # how long, how chatty and how greedy a run is


def new_run_dir(outdir: Path, *traits: str) -> Path:
    """OUTDIR/00000-<trait>-<trait>-…, with the next free number."""
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        numbers = [int(match[1]) for path in outdir.iterdir() if (match := re.match(r"(\d{5})-", path.name))]
        name = "-".join([f"{max(numbers, default=-1) + 1:05d}", *(re.sub(r"[^\w.-]", "_", trait) for trait in traits)])
        run_dir = outdir / name
        run_dir.mkdir()
    except OSError as error:
        raise InputError(f"--outdir {outdir}: {error.strerror}") from None
    return run_dir


def stored_options(kind: type, run_dir: Path):
    """The options of an earlier run, as `kind`, a dataclass with `from_json` and BEFORE."""
    values = read_json(run_dir / OPTIONS)
    return kind.from_json(kind.BEFORE | values if isinstance(values, dict) else values, run_dir / OPTIONS)


def find_run(outdir: Path, config, unasked: Container[str] = ()) -> Path | None:
    """The newest run directory with these options; how long and how chatty a run is does not count, nor do the `unasked`
    options, which nobody has chosen and another machine may have set otherwise.

    Where none has a saved state, one that ended before it had any is begun anew.
    """
    wanted, begun = _what_counts(config, unasked), []
    for path in sorted(outdir.glob("[0-9]" * 5 + "-*"), reverse=True):
        try:
            found = stored_options(type(config), path)
        except InputError:
            continue  # not a run of this kind
        if _what_counts(found, unasked) == wanted:
            if states(path):
                return path
            if not any(path.glob("network-snapshot-*")):  # else somebody has thrown its state away
                begun.append(path)
    return begun[0] if begun else None


def _what_counts(config, unasked: Container[str]) -> dict:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in FREE and name not in unasked}


@contextlib.contextmanager
def only_trainer(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock, which dies with this process, and clear away what a killed one left half-written."""
    lock = filelock.FileLock(run_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"{run_dir}: another training is writing there") from None
    try:
        remove_unfinished(run_dir)
        yield
    finally:
        lock.release()
