"""Watermarks: the minimum over live sources, never back; idle sources step aside, times from the future are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.streaming import BEGINNING, Watermarks

steps = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-100, 100)), max_size=30)


@given(steps, st.integers(0, 20))
def test_it_is_the_least_newest_time_minus_the_bound_and_never_moves_back(observed, bound):
    marks, newest, before = Watermarks("abc", out_of_orderness=bound), {}, BEGINNING
    for source, time in observed:
        assert marks.observe(source, time)
        newest[source] = max(time, newest.get(source, time))
        expected = min(newest.values()) - bound if len(newest) == 3 else BEGINNING
        assert marks.current() == expected
        assert marks.current() >= before
        before = marks.current()


@given(steps, st.integers(0, 20))
def test_no_event_within_the_bound_of_its_source_is_behind_the_watermark(observed, bound):
    """Delay every event of a source by at most the bound: none is ever older than the watermark it meets."""
    marks, newest = Watermarks("abc", out_of_orderness=bound), {}
    for n, (source, time) in enumerate(observed):
        newest[source] = max(newest.get(source, -(10**6)), time)
        disordered = newest[source] - n * 7 % (bound + 1)
        assert disordered >= marks.current()
        marks.observe(source, disordered)


@given(steps, st.integers(0, 20))
def test_a_batch_equals_a_loop(observed, ahead):
    one, many = (Watermarks("abc", out_of_orderness=3, ahead_max=ahead) for _ in range(2))
    for source in "abc":
        times = [time for name, time in observed if name == source]
        believed = [one.observe(source, time, 0) for time in times]
        assert many.observe_many(source, np.array(times, dtype=np.int64), 0).tolist() == believed
    assert one.current(0) == many.current(0)
    assert one.refused == many.refused == sum(time > ahead for _, time in observed)


def test_an_idle_source_steps_aside_and_comes_back():
    marks = Watermarks("ab", out_of_orderness=0, idle_after=10)
    marks.observe("a", 100, now=0)
    marks.observe("b", 50, now=0)
    assert (marks.current(0), marks.slowest(0)) == (50, "b")
    marks.observe("a", 200, now=9)
    assert marks.current(9) == 50
    assert (marks.current(10), marks.idle(10), marks.slowest(10)) == (200, ["b"], "a")
    marks.observe("b", 60, now=11)
    assert marks.current(11) == 200, "a watermark never moves back"
    assert marks.slowest(11) == "b"
    marks.observe("b", 300, now=12)
    assert marks.current(12) == 200


def test_a_source_never_heard_holds_the_watermark_until_it_counts_as_idle():
    marks = Watermarks("ab", out_of_orderness=0, idle_after=10)
    marks.observe("a", 100, now=0)
    assert marks.current(0) == BEGINNING
    assert marks.current(9) == BEGINNING
    assert marks.current(10) == BEGINNING, "now both are silent: nobody to learn from"
    marks.observe("a", 101, now=10)
    assert marks.current(10) == 101


def test_a_time_from_the_future_is_refused_and_counted():
    marks = Watermarks("a", out_of_orderness=5, ahead_max=60)
    assert marks.observe("a", 1000, now=1000)
    assert not marks.observe("a", 4600, now=1000)
    assert marks.observe_many("a", [1001, 9999, 1060], now=1000).tolist() == [True, False, True]
    assert (marks.current(1000), marks.refused) == (1055, 2)


def test_bad_arguments():
    marks = Watermarks("a", out_of_orderness=0, idle_after=1)
    for call in (
        lambda: Watermarks([], out_of_orderness=0),
        lambda: Watermarks("a", out_of_orderness=-1),
        lambda: Watermarks("a", out_of_orderness=0.5),
        lambda: Watermarks("a", out_of_orderness=0, idle_after=0),
        lambda: Watermarks("a", out_of_orderness=0, ahead_max=-1),
        lambda: marks.observe("b", 1, 1),
        lambda: marks.observe(["a"], 1, 1),
        lambda: marks.observe("a", 1.5, 1),
        lambda: marks.observe("a", 1),
        lambda: marks.current(),
        lambda: marks.observe_many("a", [1.5], 1),
    ):
        with pytest.raises(InvalidArgument):
            call()
    assert marks.current(0) == BEGINNING


@given(st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=4))
def test_tallies_merge_like_one(parts):
    from principal_kit.streaming import Tally

    merged, whole, loop = Tally(), Tally(), Tally()
    for part in parts:
        tally = Tally()
        tally.add_many(part)
        merged.merge(Tally.from_bytes(tally.to_bytes()))
        for x in part:
            loop.add(x)
    whole.add_many([x for part in parts for x in part])
    assert merged == whole == loop
    for bad in ([1, float("nan")], [float("inf")], ["x"]):
        with pytest.raises(InvalidArgument):
            whole.add_many(bad)
    with pytest.raises(InvalidArgument):
        whole.add("x")
    assert merged == whole
