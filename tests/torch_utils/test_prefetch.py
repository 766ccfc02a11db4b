"""Prefetching threads: the same results in the same order, errors where they belong, nothing done too early."""

import threading
import time

import pytest

from torch_utils.prefetch import prefetch, prefetch_one, submit, threads


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_the_order_of_the_items(workers):
    def slow_at_first(i: int) -> int:
        time.sleep(0.02 if i < 2 else 0)
        return i * i

    assert list(prefetch(slow_at_first, range(12), workers, depth=5)) == [i * i for i in range(12)]
    assert list(prefetch(slow_at_first, [], workers, depth=5)) == []


@pytest.mark.parametrize("workers", [0, 3])
def test_an_error_comes_at_its_item(workers):
    found = prefetch(lambda i: 1 / (2 - i), range(9), workers, depth=3)
    assert [next(found), next(found)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_no_more_than_the_depth_is_prefetched():
    started = []
    found = prefetch(started.append, range(100), workers=2, depth=3)
    next(found)
    found.close()
    assert len(started) <= 5


def test_the_next_item_is_started_before_this_one_is_finished():
    seen = []
    for item in prefetch_one(seen.append(i) or i for i in range(4)):
        assert seen == list(range(min(item + 2, 4)))
    assert list(prefetch_one(iter(()))) == []


def test_without_threads_everything_happens_here():
    with threads(0) as pool:
        assert pool is None and submit(pool, lambda _: threading.current_thread(), None)() is threading.current_thread()
    with threads(1) as pool:
        assert submit(pool, lambda _: threading.current_thread(), None)() is not threading.current_thread()
