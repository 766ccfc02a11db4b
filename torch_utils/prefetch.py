"""Threads that prepare items ahead of the code that uses them: the same results in the same order for any number of threads.

Threads and not processes: Pillow decodes and resizes outside of Python's lock, nothing has to be copied between processes,
and it is the same on every system.
"""

import collections
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item, Result, Begun = TypeVar("Item"), TypeVar("Result"), TypeVar("Begun")

MAX_WORKERS = 16


def default_workers() -> int:
    return min(os.cpu_count() or 1, MAX_WORKERS)


@contextlib.contextmanager
def threads(workers: int) -> Iterator[concurrent.futures.Executor | None]:
    """A pool of `workers` threads, or None for 0. At the end, tasks that have not begun are dropped."""
    if not workers:
        yield None
        return
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def begin(pool: concurrent.futures.Executor | None, function: Callable[[Item], Result], item: Item) -> Callable[[], Result]:
    """A function that returns `function(item)`; where there are threads, one computes it from now on."""
    return pool.submit(function, item).result if pool else lambda: function(item)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int) -> Iterator[Result]:
    """`function` of each item, in the order of `items`; threads compute at most `ahead` items in advance."""
    with threads(workers) as pool:
        waiting = collections.deque()
        for item in items:
            waiting.append(begin(pool, function, item))
            if len(waiting) > (ahead if workers else 0):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def one_ahead(begun: Iterable[Begun]) -> Iterator[Begun]:
    """The same items, each yielded after the next one has been drawn, so that work which drawing starts runs meanwhile."""
    waiting = []
    for item in begun:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting
