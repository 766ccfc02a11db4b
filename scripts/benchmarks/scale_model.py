"""What a step costs with N processes: a sum of three terms, for `python -m scripts.bench scale`.

    step(N) = fixed + n · per_image + messages(N)          n images on each process, N · n in a step

Gradients go round a ring: each of N neighbours sends 2 (N − 1) / N of them, in 2 (N − 1) messages (Patarasuk and Yuan 2009).
With several machines, first round the processes of each machine, then round the machines, as NCCL does where links differ.
Nothing overlaps with the computation, as nothing does in `training/gan/steps.py`.
"""

import math
from dataclasses import dataclass

BYTES = 4  # of a gradient: float32, also where networks compute in sixteen bits


@dataclass(frozen=True)
class Link:
    """Between two processes or two machines, in one direction."""

    bandwidth: float  # bytes a second
    latency: float = 0  # seconds for each message

    def ring(self, size: float, count: int) -> float:
        """Seconds until `count` neighbours have the sum of `size` bytes from each."""
        return 2 * (count - 1) * (size / count / self.bandwidth + self.latency)


@dataclass(frozen=True)
class Costs:
    """Of one process that works alone, and of the links."""

    fixed: float  # seconds of a step, however many images it has
    per_image: float  # seconds
    parameters: tuple[int, ...]  # of each network: one message for each
    inside: Link  # a machine
    between: Link  # machines
    per_machine: int = 8  # processes

    def messages(self, world: int) -> float:
        """Seconds of a step in which gradients travel."""
        here, machines = min(world, self.per_machine), math.ceil(world / self.per_machine)
        sizes = [BYTES * count for count in self.parameters]
        return sum(self.inside.ring(size, here) + self.between.ring(size, machines) for size in sizes)

    def step(self, world: int, images: int) -> float:
        """Seconds of a step with `images` on each of `world` processes."""
        return self.fixed + images * self.per_image + self.messages(world)


@dataclass(frozen=True)
class Row:
    world: int
    batch: int  # images of a step, all processes together
    sec_per_kimg: float
    speed: float  # times that of one process with the first batch
    talking: float  # share of a step in which gradients travel

    @property
    def efficiency(self) -> float:
        return self.speed / self.world


def rows(costs: Costs, worlds: list[int], batch: int, least: int) -> list[Row]:
    """Of a run with `batch` images a step, shared out as long as each process has `least`; from there on the batch grows."""
    alone, found = costs.step(1, batch) / batch, []
    for world in worlds:
        images = max(batch // world, least)
        seconds = costs.step(world, images)
        per_image = seconds / (images * world)
        found.append(Row(world, images * world, 1000 * per_image, alone / per_image, costs.messages(world) / seconds))
    return found


def fit(small: tuple[int, float], large: tuple[int, float]) -> tuple[float, float]:
    """(size, seconds) of two measurements -> (seconds at size 0, seconds for each unit of size), neither below 0."""
    per_unit = max((large[1] - small[1]) / (large[0] - small[0]), 0)
    return max(small[1] - small[0] * per_unit, 0), per_unit
