"""Work in threads, ahead of whoever takes its results."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from vitcam.threads import map_ahead


def test_results_keep_their_order_whichever_is_done_first():
    def slow_at_first(item):
        time.sleep(0.02 if item == 0 else 0)
        return item

    assert list(map_ahead(slow_at_first, range(20), ahead=5)) == list(range(20))


def test_two_are_worked_on_at_a_time_and_not_in_the_callers_thread():
    both = threading.Barrier(2, timeout=30)

    def meet(item):
        both.wait()
        return threading.current_thread()

    assert threading.current_thread() not in map_ahead(meet, range(2), ahead=2)


def test_no_more_than_asked_for_is_taken_ahead():
    taken = []
    items = (taken.append(item) or item for item in range(100))
    with closing(map_ahead(str, items, ahead=7)) as results:
        assert next(results) == "0"
        assert len(taken) == 1 + 7
        assert next(results) == "1"
        assert len(taken) == 2 + 7
    assert len(taken) == 2 + 7


def test_closed_it_finishes_what_was_begun_and_begins_no_more():
    begun, finished = [], []

    def work(item):
        begun.append(item)
        time.sleep(0.01)
        finished.append(item)

    results = map_ahead(work, range(100), ahead=50)
    next(results)
    results.close()
    assert begun
    assert begun == sorted(finished)
    time.sleep(0.05)
    assert len(begun) < 50


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_comes_in_its_place(error):
    def work(item):
        if item == 2:
            raise error("two")
        return item

    results = map_ahead(work, range(5), ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(error, match="two"):
        next(results)
    assert list(results) == []
