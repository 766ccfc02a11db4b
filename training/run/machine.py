"""Options that the machine decides where nobody has: the number format, and the number of threads.

Once, when a run is begun. A run that goes on keeps what it has, on whatever machine.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import click
import torch

from torch_utils.cores import claimed_cores
from torch_utils.precision import AUTO, resolve_precision
from training.run.run_dir import stored_options


def decide(options: dict, device: torch.device) -> tuple[set[str], str]:
    """Fill in `precision` and `threads` where they were left open; -> their names, and why it is this precision.

    The cores are claimed until the command that runs comes to its end.
    """
    unasked = {"precision"} if options["precision"] == AUTO else set()
    options["precision"], why = resolve_precision(options["precision"], device)
    if options["threads"] is None and device.type == "cpu":
        unasked.add("threads")
        options["threads"] = max(click.get_current_context().with_resource(claimed_cores()), 1)
    return unasked, why


def as_begun(config, run_dir: Path, unasked: Iterable[str]):
    """`config`, with those of the unasked options that this run was begun with."""
    stored = stored_options(type(config), run_dir)
    return dataclasses.replace(config, **{name: getattr(stored, name) for name in unasked})
