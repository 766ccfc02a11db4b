"""What `torchrun`, or a scheduler that does as it does, says of this process: who it is, and how many there are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch_utils.files import InputError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
MAX_PROCESSES = 2**16


@dataclass(frozen=True)
class Place:
    rank: int  # of all processes; the first one, 0, writes and prints
    world: int
    local_rank: int  # of those on this machine
    local_world: int


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Of this process; None where nobody has started several. `InputError` where the environment contradicts itself."""
    if not all(environment.get(name) for name in NEEDED):
        return None
    number = lambda name, other: _number(name, environment.get(name, other))
    rank, world = number("RANK", ""), number("WORLD_SIZE", "")
    local_rank = number("LOCAL_RANK", "0")
    local_world = number("LOCAL_WORLD_SIZE", "1" if "LOCAL_RANK" not in environment else str(world))
    if not (rank < world and local_rank < local_world <= world and local_rank <= rank):
        found = f"RANK={rank} of {world}, LOCAL_RANK={local_rank} of {local_world}"
        raise InputError(f"the environment has {found}, which no process can be; start with torchrun, or unset RANK")
    return Place(rank, world, local_rank, local_world)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_PROCESSES):
        raise InputError(f"the environment has {name}={text[:40]!r}, wanted a whole number to {MAX_PROCESSES}")
    return int(text)


def processes(gpus: int | None) -> int | None:
    """As many as torchrun has started; `InputError` where --gpus says otherwise. By itself, what --gpus says."""
    there = place()
    if there is None:
        return gpus
    if gpus not in (None, there.world):
        raise InputError(f"--gpus {gpus}: torchrun has started {there.world}; leave --gpus out")
    return there.world


def check_alone(what: str) -> None:
    """`InputError` where torchrun has started several processes of a command that is one."""
    there = place()
    if there and there.world > 1:
        raise InputError(f"{what} is one process, and torchrun has started {there.world}: start it with python")


def on_this_machine(world: int) -> int:
    """How many of `world` processes."""
    there = place()
    return there.local_world if there and there.world == world else world
