"""Work that threads do ahead of somebody who computes: the same results in the same order, however many threads there are.

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
    """So many threads, or None for 0. At the end, what has not begun is dropped."""
    if not workers:
        yield None
        return
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def begin(pool: concurrent.futures.Executor | None, function: Callable[[Item], Result], item: Item) -> Callable[[], Result]:
    """Something that gives `function(item)` when called; a thread is at it already, where there are threads."""
    return pool.submit(function, item).result if pool else lambda: function(item)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int) -> Iterator[Result]:
    """`function` of each item, in the items' order; the threads are at most `ahead` items before what was asked for."""
    with threads(workers) as pool:
        waiting = collections.deque()
        for item in items:
            waiting.append(begin(pool, function, item))
            if len(waiting) > (ahead if workers else 0):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def one_ahead(begun: Iterable[Begun]) -> Iterator[Begun]:
    """The same items, each when the one after it has been drawn: so what drawing it begins goes on in the meantime."""
    waiting = []
    for item in begun:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting
