"""Buckets: three algorithms, one decision; never more than burst + rate * T; bad input changes nothing."""

import math
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.clock import ManualClock, monotonic
from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.ratelimit import GCRA, LeakyBucket, TokenBucket, required_burst
from principal_kit.ratelimit.decision import spare_seconds

BUCKETS = [TokenBucket, LeakyBucket, GCRA]

rates = st.one_of(
    st.integers(1, 10**7),
    st.floats(0.001, 1e6, allow_nan=False),
    st.fractions(Fraction(1, 997), 1000, max_denominator=997),
)
bursts = st.integers(1, 50)
# Steps of the clock in nanoseconds, backwards too; mostly near the interesting scales.
steps = st.one_of(st.just(0), st.integers(-(10**9), 10**9), st.integers(0, 10**13), st.integers(0, 100))
schedules = st.lists(st.tuples(steps, st.integers(1, 5)), max_size=60)


class NanoClock:
    """A clock in exact fractions of seconds, so that a test decides to the nanosecond."""

    def __init__(self, ns: int = 0) -> None:
        self.ns = ns

    def __call__(self) -> float:
        return self.ns / 1e9  # exact enough to recover ns: |ns| < 2**53


@given(rates, bursts, schedules)
def test_token_bucket_leaky_bucket_and_gcra_decide_alike(rate, burst, schedule):
    clock = NanoClock(10**12)
    limiters = [kind(rate, burst, clock=clock) for kind in BUCKETS]
    for step, n in schedule:
        clock.ns = max(0, clock.ns + step)
        token, leaky, gcra = (limiter.acquire(min(n, burst)) for limiter in limiters)
        assert token == leaky == gcra


@pytest.mark.parametrize("kind", BUCKETS)
@given(rates, bursts, schedules)
def test_contract_holds_in_every_interval(kind, rate, burst, schedule):
    clock = NanoClock()
    limiter = kind(rate, burst, clock=clock)
    exact_rate = Fraction(repr(rate)) if isinstance(rate, float) else Fraction(rate)
    trace = []
    latest = 0
    for step, n in schedule:
        clock.ns = max(0, clock.ns + step)
        latest = max(latest, clock.ns)
        if limiter.acquire(min(n, burst)).allowed:
            trace.append((latest, min(n, burst)))
    for first, (start, _) in enumerate(trace):
        admitted = 0
        for end, n in trace[first:]:
            admitted += n
            assert admitted <= burst + exact_rate * Fraction(end - start, 10**9)


@pytest.mark.parametrize("kind", BUCKETS)
@given(rates, bursts, schedules, st.integers(1, 5))
def test_waiting_retry_after_succeeds_and_waiting_less_does_not(kind, rate, burst, schedule, n):
    clock = NanoClock(10**9)
    limiter = kind(rate, burst, clock=clock)
    n = min(n, burst)
    for step, cost in schedule:
        clock.ns = max(0, clock.ns + abs(step))
        limiter.acquire(min(cost, burst))
    while (refusal := limiter.peek(n)).allowed:
        limiter.acquire(n)
    assert limiter.acquire(n) == refusal
    start, wait = clock.ns, round(refusal.retry_after * 1e9)
    assert start + wait < 2**52
    spare = math.ceil(spare_seconds(clock, 10**9) * 1e9)  # what a float clock's rounding may cost, as documented
    clock.ns = start + wait - spare - 1
    assert not limiter.peek(n).allowed
    clock.ns = start + wait
    assert limiter.acquire(n).allowed


@pytest.mark.parametrize("kind", BUCKETS)
@given(st.floats(0, 1e6), rates, bursts)
def test_waiting_retry_after_succeeds_on_a_float_clock(kind, start, rate, burst):
    clock = ManualClock(start)
    limiter = kind(rate, burst, clock=clock)
    assert limiter.acquire(burst).allowed
    refusal = limiter.acquire()
    if not refusal.allowed:
        clock.advance(refusal.retry_after)
        assert limiter.acquire().allowed


@pytest.mark.parametrize("kind", BUCKETS)
@given(rates, bursts, schedules)
def test_peek_and_refusal_change_nothing(kind, rate, burst, schedule):
    clock = NanoClock(10**9)
    probed, plain = kind(rate, burst, clock=clock), kind(rate, burst, clock=clock)
    for step, n in schedule:
        clock.ns = max(0, clock.ns + step)
        n = min(n, burst)
        foretold = probed.peek(n)
        with pytest.raises(InvalidArgument):
            probed.acquire(burst + 1)
        assert probed.acquire(n) == plain.acquire(n) == foretold


@pytest.mark.parametrize("kind", BUCKETS)
def test_remaining_is_what_can_still_be_taken(kind):
    limiter = kind(1, 10, clock=ManualClock())
    remaining = limiter.acquire(3).remaining
    assert remaining == 7
    assert limiter.acquire(remaining).allowed
    assert not limiter.acquire().allowed


@pytest.mark.parametrize("kind", BUCKETS)
def test_time_never_moves_back(kind):
    clock = ManualClock(100.0)
    limiter = kind(1, 1, clock=clock)
    assert limiter.acquire().allowed
    clock.now = 0.0
    assert not limiter.acquire().allowed
    clock.now = 100.0
    assert not limiter.acquire().allowed, "the hour that was lived twice earns nothing"
    clock.now = 101.0
    assert limiter.acquire().allowed


@pytest.mark.parametrize("kind", BUCKETS)
def test_idle_means_as_good_as_new(kind):
    clock = ManualClock()
    limiter = kind(2, 3, clock=clock)
    assert limiter.idle
    limiter.acquire(2)
    assert not limiter.idle
    clock.advance(1.0)
    assert limiter.idle
    limiter.acquire(3)
    limiter.reset()
    assert limiter.idle


@pytest.mark.parametrize("kind", BUCKETS)
@pytest.mark.parametrize("rate", [0, -1, -0.5, float("nan"), float("inf"), "10", None, True])
def test_bad_rate_is_refused(kind, rate):
    with pytest.raises(InvalidArgument, match="rate"):
        kind(rate, 1)


@pytest.mark.parametrize("kind", BUCKETS)
@pytest.mark.parametrize("burst", [0, -1, 1.5, 0.5, float("inf"), "3", None, True])
def test_bad_burst_is_refused(kind, burst):
    with pytest.raises(InvalidArgument, match="burst"):
        kind(1, burst)


@pytest.mark.parametrize("kind", BUCKETS)
@pytest.mark.parametrize("n", [0, -1, 4, 2.5, "1", None])
def test_bad_cost_is_refused_and_changes_nothing(kind, n):
    limiter = kind(1, 3, clock=ManualClock())
    limiter.acquire()
    with pytest.raises(InvalidArgument):
        limiter.acquire(n)
    assert limiter.peek().remaining == 1


@given(rates, bursts, st.lists(st.integers(0, 10**9), max_size=40))
def test_queue_leaves_at_the_rate_never_faster(rate, burst, gaps):
    clock = NanoClock()
    queue = LeakyBucket(rate, burst, clock=clock)
    departures = []
    for gap in gaps:
        clock.ns += gap
        with suppress(CapacityError):
            departures.append(clock.ns / 1e9 + queue.enqueue())
    for earlier, later in pairwise(departures):
        assert later - earlier >= 1 / float(rate) - 1e-6
    assert required_burst(departures, float(rate)) <= 1 + 1e-3 * float(rate)


def test_full_queue_says_when_to_come_back():
    clock = ManualClock()
    queue = LeakyBucket(2, 1, clock=clock)
    queue.enqueue()
    with pytest.raises(CapacityError) as full:
        queue.enqueue()
    clock.advance(full.value.retry_after)
    assert queue.enqueue() == 0


def test_a_third_of_a_second_is_not_rounded():
    clock = NanoClock()
    bucket = TokenBucket(3, 1, clock=clock)
    admitted = 0
    for clock.ns in range(0, 10**9 + 1, 10**9 // 3000):
        admitted += bucket.acquire().allowed
    assert admitted == 3, "at 0, 1/3 and 2/3 s; 3,000 short steps lose nothing and gain nothing"


@pytest.mark.parametrize("kind", [TokenBucket, LeakyBucket, GCRA])
def test_numpy_integers_count_like_pythons_and_never_wrap_around(kind):
    clock = ManualClock(0.0)
    limiter = kind(np.int64(10**9 + 7), 5, clock=clock)
    clock.advance(10)
    assert limiter.acquire().allowed
    assert type(limiter.acquire().remaining) is int


@pytest.mark.parametrize("kind", [TokenBucket, LeakyBucket, GCRA])
@pytest.mark.parametrize("rate", [3, 7, 1000, 3e-9])
def test_retry_after_is_not_short_on_a_wall_clock(kind, rate):
    for i in range(200):
        clock = ManualClock(1.76e9 + i * 0.0123457)
        limiter = kind(rate, 1, clock=clock)
        limiter.acquire()
        clock.advance(0.1 / rate)
        clock.advance(limiter.acquire().retry_after)
        assert limiter.acquire().allowed


def test_the_spare_is_a_nanosecond_on_the_default_clock_and_below_two_microseconds_on_a_wall_clock():
    assert spare_seconds(monotonic, 10**15) < 2e-9
    assert spare_seconds(lambda: 0.0, 0) < 1e-7
    assert spare_seconds(lambda: 1.76e9, 1_760_000_000 * 10**9) < 2e-6
