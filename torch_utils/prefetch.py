"""Work that threads do before its result is needed: the same results in the same order, whatever the number of threads.

Threads and not processes: Pillow decodes and resizes outside of Python's lock, nothing has to be copied between processes,
and it is the same on every system.
"""

import collections
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 16


def default_workers() -> int:
    return min(os.cpu_count() or 1, MAX_WORKERS)


@contextlib.contextmanager
def threads(workers: int) -> Iterator[concurrent.futures.Executor | None]:
    """A pool of `workers` threads, None for 0. At the end, work that has not started is dropped."""
    if not workers:
        yield None
        return
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def submit(pool: concurrent.futures.Executor | None, function: Callable[[Item], Result], item: Item) -> Callable[[], Result]:
    """A callable that returns `function(item)`. A thread of the pool computes it; without a pool, the call does."""
    return pool.submit(function, item).result if pool else lambda: function(item)


def prefetch(function: Callable[[Item], Result], items: Iterable[Item], workers: int, depth: int) -> Iterator[Result]:
    """`function` of each item, in the items' order; threads compute at most `depth` results beyond the last one taken."""
    with threads(workers) as pool:
        waiting = collections.deque()
        for item in items:
            waiting.append(submit(pool, function, item))
            if len(waiting) > (depth if workers else 0):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def prefetch_one(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each when the next has been drawn: work that drawing an item starts then runs in the meantime."""
    waiting = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting
