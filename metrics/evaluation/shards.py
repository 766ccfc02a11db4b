"""Several processes measure as one: each takes every so-many-th batch, and the first gets all results, in the batches' order.

So the first does just what a single process would do with them, and the numbers are the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shards:
    """Said and not looked up: in a training with several processes the first scores alone."""

    rank: int = 0  # this process
    world: int = 1  # of so many

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gathered(self, mine: Iterable[Item]) -> Iterator[Item]:
        """In the first process the items of all, the first of each before the second of any; in the others nothing.

        `mine` are this process's items, every `world`-th of the row, from its rank on. All processes have to iterate.
        """
        if self.world == 1:
            yield from mine
            return
        mine, nothing = iter(mine), None
        while True:
            found = [nothing] * self.world
            dist.all_gather_object(found, next(mine, nothing))
            if self.first:
                yield from (item for item in found if item is not nothing)
            if found[-1] is nothing:  # a row ends in the last process first
                return

    def from_first(self, value: Item) -> Item:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


ALONE = Shards()
