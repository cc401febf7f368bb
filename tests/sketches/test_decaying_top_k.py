"""Decayed counts against a sum over all elements: bounds, order, merges, bytes, and what a bad time does."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import DecayingTopK

events = st.lists(
    st.tuples(st.sampled_from("abcdefg") | st.integers(0, 5), st.integers(0, 5000), st.integers(1, 9)), max_size=80
)
HALF = 50.0


def decayed(stream, now):
    exact = Counter()
    for x, at, count in stream:
        exact[x] += count * 2.0 ** ((at - now) / HALF)
    return exact


def fed(stream, k=4):
    sketch = DecayingTopK(k, HALF)
    for x, at, count in stream:
        sketch.add(x, count, at=at)
    return sketch


def promises(sketch, stream, now):
    exact = decayed(stream, now)
    total = sum(exact.values())
    slack = 1e-9 * total + 1e-300
    assert sketch.total(now) == pytest.approx(total, rel=1e-9, abs=1e-300)
    assert sketch.error(now) <= total / (sketch.k + 1) + slack
    for x in [*exact, "never"]:
        low, high = sketch.bounds(x, now)
        assert low - slack <= exact[x] <= high + slack
    assert len(sketch.top(99, now)) <= sketch.k


@given(events, st.integers(0, 3000), st.integers(1, 6))
def test_bounds_hold_in_any_order_of_time(stream, wait, k):
    now = max((at for _, at, _ in stream), default=0) + wait
    promises(fed(stream, k), stream, now)


@given(events, events, events)
def test_bounds_hold_after_merges(one, two, three):
    sketch = fed(one).merge(fed(two).merge(fed(three)))
    promises(sketch, one + two + three, 5000)


@given(events)
def test_merging_with_itself_doubles(stream):
    sketch = fed(stream)
    promises(sketch.merge(sketch), stream * 2, 5000)


@given(events, events)
def test_batches_keep_the_bounds(first, stream):
    sketch = fed(first)
    for kind in (str, int):
        part = [e for e in stream if isinstance(e[0], kind)]
        keys = [x for x, _, _ in part]
        keys = np.array(keys, dtype=np.uint64) if kind is int else keys
        sketch.add_many(keys, [c for _, _, c in part], at=[t for _, t, _ in part])
    promises(sketch, first + stream, 5000)


def test_the_new_overtakes_the_old():
    clock = ManualClock()
    trends = DecayingTopK(10, half_life=60, clock=clock)
    trends.add_many(["old"] * 800)
    clock.advance(300)
    trends.add_many(["new"] * 50)
    assert [hit.key for hit in trends.top(2)] == ["new", "old"]
    assert trends.estimate("old") == pytest.approx(800 / 2**5)
    clock.advance(3000)  # both fade alike: silence changes no ranking
    assert [hit.key for hit in trends.top(2)] == ["new", "old"]


def test_a_clock_that_steps_back_does_not_raise_counts():
    trends = DecayingTopK(10, half_life=60)
    trends.add("a", at=1000.0)
    assert trends.estimate("a", at=0) == 1.0
    assert trends.estimate("a", at=1060) == 0.5


def test_ages_of_weights_do_not_overflow_or_lose_what_is_recent():
    trends = DecayingTopK(5, half_life=1)
    for at in range(0, 100_000, 500):
        trends.add("a", at=at)
    trends.add("late", at=0)
    assert trends.estimate("a", at=99_500) == pytest.approx(1.0)
    assert trends.estimate("late", at=99_500) == 0.0


@given(events)
def test_bytes_round_trip(stream):
    sketch = fed(stream)
    for copy in (DecayingTopK.from_bytes(sketch.to_bytes()), pickle.loads(pickle.dumps(sketch))):
        assert copy == sketch
        assert copy.top(9, 6000) == sketch.top(9, 6000)
    data = bytearray(sketch.to_bytes())
    data[len(data) // 2] ^= 16
    with pytest.raises(CorruptionError):
        DecayingTopK.from_bytes(bytes(data))


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.add(None, at=1),
        lambda s: s.add("a", 0, at=1),
        lambda s: s.add("a", float("inf"), at=1),
        lambda s: s.add("a", True, at=1),
        lambda s: s.add("a", at=float("nan")),
        lambda s: s.add("a", at="now"),
        lambda s: s.add_many(["a", 1.5], at=1),
        lambda s: s.add_many(["a", "b"], [1, 0], at=1),
        lambda s: s.add_many(["a", "b"], [1], at=1),
        lambda s: s.add_many(["a", "b"], at=[1, float("inf")]),
        lambda s: s.add_many(["a", "b"], at=[1, 2, 3]),
        lambda s: s.top(-1, 5),
        lambda s: s.merge(DecayingTopK(4, 60)),
        lambda s: s.merge(DecayingTopK(5, HALF)),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(call):
    sketch = fed([("a", 5, 1), ("b", 7, 2)])
    before = sketch.to_bytes()
    with pytest.raises(InvalidArgument):
        call(sketch)
    assert sketch.to_bytes() == before


@pytest.mark.parametrize("k, half_life", [(0, 1), (True, 1), (1.5, 1), (3, 0), (3, -1), (3, float("nan")), (3, "60")])
def test_bad_parameters(k, half_life):
    with pytest.raises(InvalidArgument):
        DecayingTopK(k, half_life)


def test_empty_is_nothing():
    sketch = DecayingTopK(3, 60)
    sketch.add_many([])
    sketch.add_many(np.array([], dtype=np.uint64), at=5)
    assert sketch == DecayingTopK(3, 60)
    assert (sketch.top(5, 1), sketch.total(1), sketch.bounds("a", 1)) == ([], 0.0, (0.0, 0.0))
    assert sketch.merge(DecayingTopK(3, 60)) == DecayingTopK(3, 60)
