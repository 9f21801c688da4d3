"""A mailbox holds the newest thing only, wakes who waits, and tells an end from a failure."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from mobilescope.core.errors import DeviceError
from mobilescope.core.mailbox import Mailbox
from mobilescope.core.pacing import Pace, newest_due


def in_a_thread(work):
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_the_newest_replaces_what_was_not_taken():
    box = Mailbox()
    assert not box.put(1)
    assert box.put(2)
    assert box.take() == 2
    assert not box.put(3)


def test_taking_waits_for_something_to_come():
    box = Mailbox()
    thread, taken = in_a_thread(box.take)
    box.put("late")
    thread.join(10)
    assert taken == ["late"]


def test_what_is_inside_at_the_end_can_still_be_taken():
    box = Mailbox()
    box.put(1)
    box.end()
    box.put(2)
    assert box.take() == 1
    assert box.take() is None


def test_a_failure_comes_after_what_is_inside_and_each_time():
    box = Mailbox()
    box.put(1)
    box.end(DeviceError("the cable is out"))
    box.end()
    assert box.take() == 1
    for _ in range(2):
        with pytest.raises(DeviceError, match="cable"):
            box.take()


def test_closing_lets_go_what_is_inside_and_wakes_all_who_wait():
    box = Mailbox()
    thread, taken = in_a_thread(box.take)
    box.close()
    thread.join(10)
    assert taken == [None]
    full = Mailbox()
    full.put(1)
    thread, emptied = in_a_thread(full.wait_until_taken)
    full.close()
    thread.join(10)
    assert emptied == [False]
    assert full.take() is None


def test_waiting_until_taken_ends_with_the_taking():
    box = Mailbox()
    assert box.wait_until_taken()
    box.put(1)
    thread, emptied = in_a_thread(box.wait_until_taken)
    assert box.take() == 1
    thread.join(10)
    assert emptied == [True]


@pytest.mark.parametrize(("elapsed_s", "expected"), [(0.0, 0), (0.099, 0), (0.1, 1), (0.1 - 1e-12, 1), (1.05, 10)])
def test_the_newest_frame_due_follows_from_the_time(elapsed_s, expected):
    assert newest_due(elapsed_s, 0.1) == expected


def test_a_pace_on_demand_gives_each_number_at_once_until_it_is_closed():
    pace = Pace(None)
    assert [pace.wait_after(index) for index in range(-1, 3)] == [0, 1, 2, 3]
    pace.close()
    assert pace.wait_after(3) is None


def test_a_pace_never_gives_a_number_twice():
    pace = Pace(1e-4)
    given = [-1]
    for _ in range(50):
        given.append(pace.wait_after(given[-1]))
    assert given[1] == 0
    assert all(earlier < later for earlier, later in pairwise(given))


def test_closing_wakes_who_waits_for_a_frame_that_is_far_off():
    pace = Pace(1000.0)
    assert pace.wait_after(-1) == 0
    thread, got = in_a_thread(lambda: pace.wait_after(0))
    pace.close()
    thread.join(10)
    assert got == [None]


@pytest.mark.parametrize("interval_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pace_that_is_none_is_refused(interval_s):
    with pytest.raises(ValueError, match="interval"):
        Pace(interval_s)
