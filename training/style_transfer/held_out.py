"""Which images a run holds out, in its directory: a resume must hold out the same ones.

What is held out follows from the options and from the names in a folder, and both may have changed since.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch_utils.files import InputError, read_json, write_json
from torch_utils.run_dir import HELD_OUT

KINDS = ("content", "style")
MAX_BYTES = 1 << 26  # of the file: folders of any size may be held out


def write_held_out(run_dir: Path, names: Mapping[str, Sequence[str]]) -> None:
    """Of a run that begins: {"content": names, "style": names}."""
    write_json(run_dir / HELD_OUT, {kind: list(names[kind]) for kind in KINDS})


def read_held_out(run_dir: Path) -> dict[str, list[str]] | None:
    """As `write_held_out` was given them; None for a run of before there was this file. `InputError` for a damaged one."""
    path = run_dir / HELD_OUT
    if not os.path.lexists(path):
        return None
    found = read_json(path, MAX_BYTES, links=False)
    if not isinstance(found, dict) or not all(_are_names(found.get(kind)) for kind in KINDS):
        raise InputError(f'{path}: found no lists of names in it, wanted {{"content": […], "style": […]}}')
    return {kind: found[kind] for kind in KINDS}


def check_held_out(run_dir: Path, names: Mapping[str, Sequence[str]]) -> None:
    """`InputError` where a run that goes on would hold out other images than `run_dir` says."""
    stored = read_held_out(run_dir)
    for kind in KINDS if stored else ():
        before, now = set(stored[kind]), set(names[kind])
        if moved := sorted(before ^ now):
            was = "was held out when the run began, and is not now"
            is_now = "is held out now, and was not when the run began"
            wanted = f"wanted --{kind} and --hold-out-{kind}… as they were, or a new run"
            raise InputError(f"{run_dir}: the {kind} {moved[0]} {was if moved[0] in before else is_now}; {wanted}")


def _are_names(value) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
