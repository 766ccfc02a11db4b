"""Threads that work ahead: the same results in the same order, errors where they belong, nothing done too early."""

import threading
import time

import pytest

from torch_utils.prefetch import begin, in_order, one_ahead, threads


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_the_order_of_the_items(workers):
    def slow_at_first(i: int) -> int:
        time.sleep(0.02 if i < 2 else 0)
        return i * i

    assert list(in_order(slow_at_first, range(12), workers, ahead=5)) == [i * i for i in range(12)]
    assert list(in_order(slow_at_first, [], workers, ahead=5)) == []


@pytest.mark.parametrize("workers", [0, 3])
def test_an_error_comes_at_its_item(workers):
    found = in_order(lambda i: 1 / (2 - i), range(9), workers, ahead=3)
    assert [next(found), next(found)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_no_more_is_begun_than_was_said():
    begun = []
    found = in_order(begun.append, range(100), workers=2, ahead=3)
    next(found)
    found.close()
    assert len(begun) <= 5


def test_the_next_item_is_begun_before_this_one_is_finished():
    seen = []
    for item in one_ahead(seen.append(i) or i for i in range(4)):
        assert seen == list(range(min(item + 2, 4)))
    assert list(one_ahead(iter(()))) == []


def test_without_threads_everything_happens_here():
    with threads(0) as pool:
        assert pool is None and begin(pool, lambda _: threading.current_thread(), None)() is threading.current_thread()
    with threads(1) as pool:
        assert begin(pool, lambda _: threading.current_thread(), None)() is not threading.current_thread()
