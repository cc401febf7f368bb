"""Tables: bounded, never over-admitting; the vectorised GCRA decides as a loop of scalar ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.ratelimit import GCRA, Counters, KeyedLimiter, SlidingWindowLog, VectorGCRA

batches = st.lists(
    st.tuples(
        st.integers(-(10**9), 3 * 10**9) | st.integers(0, 10**16),
        st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), max_size=25),
    ),
    max_size=8,
)
rates = st.one_of(st.integers(1, 10**9), st.sampled_from([0.5, 0.1, 1000003, 999_999_937, 2.5]))


def _scalars(vector, clock):
    return [GCRA(vector.rate, vector.burst, clock=clock) for _ in range(len(vector))]


@given(rates, st.integers(1, 8), batches, st.integers(1, 4))
def test_one_cost_decides_as_scalar_limiters_in_order(rate, burst, schedule, n):
    clock, n = ManualClock(), min(n, burst)
    vector = VectorGCRA(7, rate, burst, clock=clock)
    scalars = _scalars(vector, clock)
    for step, requests in schedule:
        now = max(0.0, clock.now + step / 1e9)
        clock.now = max(now, clock.now)  # the ids of a vector share one time, which does not move back
        ids = [i for i, _ in requests]
        expected = [scalars[i].acquire(n).allowed for i in ids]
        assert vector.acquire_many(np.array(ids, dtype=np.int64), now, n=n).tolist() == expected
        assert vector.remaining_many(np.arange(7), now).tolist() == [_left(s) for s in scalars]


@given(rates, st.integers(1, 8), batches)
def test_any_costs_decide_as_scalar_limiters_in_order(rate, burst, schedule):
    clock = ManualClock()
    vector = VectorGCRA(7, rate, burst, clock=clock)
    scalars = _scalars(vector, clock)
    for step, requests in schedule:
        clock.now += abs(step) / 1e9
        ids = np.array([i for i, _ in requests], dtype=np.int64)
        costs = np.array([min(n, burst) for _, n in requests], dtype=np.int64)
        expected = [scalars[i].acquire(int(n)).allowed for i, n in zip(ids, costs)]
        assert vector.acquire_many(ids, clock.now, n=costs).tolist() == expected


def _left(scalar):
    peek = scalar.peek()
    return peek.remaining + peek.allowed


def test_batches_longer_than_a_block_and_ids_beyond_16_bits():
    rng, clock = np.random.default_rng(5), ManualClock()
    vector = VectorGCRA(100_000, 1, 3, clock=clock)
    hot = np.array([3, 3 + 65_536, 99_999])
    ids = np.where(rng.random(100_000) < 0.5, rng.choice(hot, 100_000), rng.integers(0, 100_000, 100_000))
    allowed = vector.acquire_many(ids)
    taken = dict.fromkeys(ids.tolist(), 0)
    for i, ok in zip(ids.tolist(), allowed.tolist()):
        assert ok == (taken[i] < 3)
        taken[i] += ok


def test_far_future_does_not_overflow():
    vector = VectorGCRA(2, 999_999_937, 1000)
    assert vector.acquire_many([0] * 1001, 0.0).sum() == 1000
    for year in range(1, 200):
        assert vector.acquire_many([0] * 1001, year * 31_556_952.0).sum() == 1000


@pytest.mark.parametrize(
    "ids, n",
    [([-1], 1), ([3], 1), ([0.5], 1), ([[0]], 1), ([0], 0), ([0], 6), ([0, 1], [1]), ([0], [9]), ([0], [0.5])],
)
def test_bad_batches_change_nothing(ids, n):
    vector = VectorGCRA(3, 1, 5)
    with pytest.raises(InvalidArgument):
        vector.acquire_many(ids, 0.0, n=n)
    assert vector.remaining_many([0, 1, 2], 0.0).tolist() == [5, 5, 5]


def test_bad_now_and_bad_sizes_are_refused():
    with pytest.raises(InvalidArgument, match="now"):
        VectorGCRA(1, 1, 1).acquire_many([0], float("nan"))
    with pytest.raises(InvalidArgument, match="n_ids"):
        VectorGCRA(0, 1, 1)
    with pytest.raises(InvalidArgument, match="61 bits"):
        VectorGCRA(1, 0.123456789, 10**9)
    assert VectorGCRA(1, 1, 1).acquire_many([]).shape == (0,)


def test_idle_ids_make_room_and_busy_ones_do_not():
    clock, seen = ManualClock(), Counters()
    table = KeyedLimiter(lambda key: GCRA(1, 1, clock=clock), capacity=2, observer=seen)
    assert table.acquire("a").allowed
    assert table.acquire("b").allowed
    with pytest.raises(CapacityError) as full:
        table.acquire("c")
    assert "c" not in table
    assert seen.events == {"capacity_reached": 1}
    clock.advance(full.value.retry_after)
    assert table.acquire("c").allowed
    assert len(table) == 2
    assert seen.events["evicted"] == 1


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000)), max_size=80))
def test_a_small_table_never_admits_more_than_an_unbounded_one(capacity, schedule):
    clock = ManualClock()
    small = KeyedLimiter(lambda key: SlidingWindowLog(2, 1.0, clock=clock), capacity)
    large = KeyedLimiter(lambda key: SlidingWindowLog(2, 1.0, clock=clock), 1000)
    for key, step_ms in schedule:
        clock.advance(step_ms / 1000)
        try:
            decision = small.acquire(key)
        except CapacityError:
            continue
        # It may be stricter in nothing but the refusals above, so every admission is one the unbounded table makes too.
        assert decision.allowed <= large.acquire(key).allowed
        assert len(small) <= capacity


def test_capacity_is_checked():
    with pytest.raises(InvalidArgument, match="capacity"):
        KeyedLimiter(lambda key: GCRA(1, 1), 0)


@pytest.mark.parametrize("n", [0, 11])
def test_a_bad_cost_neither_enters_nor_evicts(n):
    table = KeyedLimiter(lambda key: GCRA(1, 10, clock=ManualClock()), 1)
    with pytest.raises(InvalidArgument):
        table.acquire("x", n)
    assert "x" not in table
    clock = ManualClock()
    table = KeyedLimiter(lambda key: GCRA(1, 10, clock=clock), 1)
    table.acquire("idle soon")
    clock.advance(1.0)
    with pytest.raises(InvalidArgument):
        table.acquire("x", n)
    assert "idle soon" in table


@pytest.mark.parametrize("make", [lambda c: GCRA(1, 10, clock=c), lambda c: SlidingWindowLog(10, 3.0, clock=c)])
def test_a_full_table_says_when_an_id_will_be_idle(make):
    clock = ManualClock()
    table = KeyedLimiter(lambda key: make(clock), 1)
    table.acquire("a", 2)  # not drained, and yet not idle
    with pytest.raises(CapacityError) as full:
        table.acquire("b")
    assert full.value.retry_after > 0
    clock.advance(full.value.retry_after)
    assert table.acquire("b").allowed
