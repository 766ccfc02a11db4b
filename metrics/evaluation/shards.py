"""Several processes measure as one: process r of W takes the batches r, r + W, …, and the first gets all results, in order.

It then does with them what a single process would do, so the numbers are the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shards:
    """Given by the caller, not asked of torch.distributed: in a training run of several processes the first scores alone."""

    rank: int = 0  # this process
    world: int = 1  # number of processes

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gathered(self, mine: Iterable[Item]) -> Iterator[Item]:
        """In the first process the items of all, the first of each before the second of any; in the others nothing.

        `mine` are this process's items: every `world`-th of all, from its rank on. All processes have to iterate.
        """
        if self.world == 1:
            yield from mine
            return
        mine, nothing = iter(mine), None
        while True:
            items = [nothing] * self.world
            dist.all_gather_object(items, next(mine, nothing))
            if self.first:
                yield from (item for item in items if item is not nothing)
            if items[-1] is nothing:  # the last process is the first to run out
                return

    def from_first(self, value: Item) -> Item:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


ALONE = Shards()
