"""Windows: the log is exact, the counter is exact per aligned window and bounded elsewhere, the fixed window is not."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument
from principal_kit.ratelimit import (
    GCRA,
    FixedWindow,
    LeakyBucket,
    SlidingWindowCounter,
    SlidingWindowLog,
    TokenBucket,
    most_in_window,
)

WINDOWS = [SlidingWindowLog, SlidingWindowCounter, FixedWindow]
SECOND = 10**9


class Ticks:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> float:
        return self.ns / 1e9


class EveryLimiterKeepsItsContract(RuleBasedStateMachine):
    """All limiters see one schedule of bursts, pauses and clock steps; each is judged by its own contract."""

    @initialize(
        limit=st.integers(1, 12),
        rate=st.sampled_from([1, 3, 7, 0.5, 10]),
        window_ms=st.sampled_from([1, 10, 333, 1000]),
        start=st.integers(0, 3 * SECOND),
    )
    def build(self, limit, rate, window_ms, start):
        self.clock = Ticks()
        self.clock.ns = self.latest = start
        self.limit, self.rate, self.width = limit, rate, window_ms * 10**6
        window = window_ms / 1000
        self.buckets = [kind(rate, limit, clock=self.clock) for kind in (TokenBucket, LeakyBucket, GCRA)]
        self.windows = [kind(limit, window, clock=self.clock) for kind in WINDOWS]
        self.admitted = {limiter: [] for limiter in [*self.buckets, *self.windows]}

    @rule(n=st.integers(1, 4), times=st.integers(1, 15))
    def burst(self, n, times):
        self.latest = max(self.latest, self.clock.ns)  # time as a limiter sees it: at requests, never backwards
        for _ in range(times):
            for limiter, trace in self.admitted.items():
                cost = min(n, self.limit)
                if limiter.acquire(cost).allowed:
                    trace.append((self.latest, cost))

    @rule(ns=st.one_of(st.integers(0, 5 * SECOND), st.integers(0, 1000)))
    def wait(self, ns):
        self.clock.ns += ns

    @rule()
    def wait_to_the_next_boundary(self):
        self.clock.ns += self.width - self.clock.ns % self.width

    @rule()
    def wait_until_just_before_the_boundary(self):
        self.clock.ns += self.width - self.clock.ns % self.width - 1

    @rule(ns=st.integers(0, 2 * SECOND))
    def clock_steps_back(self, ns):
        self.clock.ns = max(0, self.clock.ns - ns)

    def _most(self, limiter):
        trace = self.admitted[limiter]
        return most_in_window([t for t, _ in trace], self.width, [n for _, n in trace])

    @invariant()
    def contracts_hold(self):
        for bucket in getattr(self, "buckets", []):
            total, base = 0, None  # running form of: admitted(s, t] <= burst + rate * (t - s) for all s <= t
            for t, n in self.admitted[bucket]:
                allowance = self.rate * t / SECOND
                base = total - allowance if base is None else min(base, total - allowance)
                total += n
                assert total - allowance - base <= self.limit + 1e-6
        if hasattr(self, "windows"):
            log, counter, fixed = self.windows
            assert self._most(log) <= self.limit
            assert self._most(counter) <= max(1, 2 * self.limit - 1)
            assert self._most(fixed) <= 2 * self.limit
            for limiter in (counter, fixed):
                per_window = {}
                for t, n in self.admitted[limiter]:
                    per_window[t // self.width] = per_window.get(t // self.width, 0) + n
                assert all(n <= self.limit for n in per_window.values())


EveryLimiterKeepsItsContract.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestEveryLimiterKeepsItsContract = EveryLimiterKeepsItsContract.TestCase


class _Oracle:
    """The definition of a sliding window, without any cleverness."""

    def __init__(self, limit, width):
        self.limit, self.width, self.trace = limit, width, []

    def acquire(self, now, n):
        used = sum(cost for t, cost in self.trace if now - t < self.width)
        if used + n > self.limit:
            return False
        self.trace.append((now, n))
        return True


@given(
    st.integers(1, 10),
    st.sampled_from([1, 10**6, SECOND]),
    st.lists(st.tuples(st.integers(0, 2 * SECOND) | st.integers(0, 5), st.integers(1, 4))),
)
def test_log_agrees_with_the_definition(limit, width, schedule):
    clock = Ticks()
    log, oracle = SlidingWindowLog(limit, width / SECOND, clock=clock), _Oracle(limit, width)
    for step, n in schedule:
        clock.ns += step
        assert log.acquire(min(n, limit)).allowed == oracle.acquire(clock.ns, min(n, limit))
        assert len(log._times) <= limit


@pytest.mark.parametrize("kind", WINDOWS)
@given(
    st.integers(1, 10),
    st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 4)), max_size=30),
    st.integers(1, 4),
)
def test_waiting_retry_after_succeeds_and_waiting_less_does_not(kind, limit, schedule, n):
    clock = Ticks()
    limiter = kind(limit, 1.0, clock=clock)
    n = min(n, limit)
    for step, cost in schedule:
        clock.ns += step
        limiter.acquire(min(cost, limit))
    while (refusal := limiter.peek(n)).allowed:
        limiter.acquire(n)
    assert limiter.acquire(n) == refusal
    start, wait = clock.ns, round(refusal.retry_after * 1e9)
    clock.ns = start + wait - 2
    assert not limiter.peek(n).allowed
    clock.ns = start + wait
    assert limiter.acquire(n).allowed


def test_fixed_window_lets_twice_the_limit_through_a_boundary():
    clock = ManualClock(0.999)
    fixed = FixedWindow(100, 1.0, clock=clock)
    before = sum(fixed.acquire().allowed for _ in range(200))
    clock.now = 1.0
    after = sum(fixed.acquire().allowed for _ in range(200))
    assert (before, after) == (100, 100)


def test_the_bound_of_the_counter_is_tight():
    clock = Ticks()
    counter, admitted = SlidingWindowCounter(10, 1.0, clock=clock), []
    for clock.ns in [SECOND - 1] * 10 + list(range(SECOND, 2 * SECOND, SECOND // 1000)):
        if counter.acquire().allowed:
            admitted.append(clock.ns)
    assert most_in_window(admitted, SECOND) == 2 * 10 - 1


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("window", [0, -1, float("nan"), float("inf"), 1e-12, "1", None])
def test_bad_window_is_refused(kind, window):
    with pytest.raises(InvalidArgument, match="window"):
        kind(1, window)


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("limit", [0, -3, 1.5, None])
def test_bad_limit_is_refused(kind, limit):
    with pytest.raises(InvalidArgument, match="limit"):
        kind(limit, 1.0)


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("n", [0, -1, 4, 1.5])
def test_bad_cost_is_refused_and_changes_nothing(kind, n):
    limiter = kind(3, 1.0, clock=ManualClock())
    limiter.acquire()
    with pytest.raises(InvalidArgument):
        limiter.acquire(n)
    assert limiter.peek().remaining == 1


@pytest.mark.parametrize("kind", WINDOWS)
def test_idle_means_as_good_as_new(kind):
    clock = ManualClock()
    limiter = kind(2, 1.0, clock=clock)
    assert limiter.idle
    limiter.acquire()
    assert not limiter.idle
    clock.advance(2.0)
    assert limiter.idle
    limiter.acquire(2)
    limiter.reset()
    assert limiter.idle


@given(st.integers(1, 20), st.lists(st.floats(0, 0.4), min_size=1, max_size=120))
@settings(deadline=None)
def test_log_agrees_with_the_moving_window_of_limits(limit, gaps):
    from limits import RateLimitItemPerSecond
    from limits.storage import memory
    from limits.strategies import MovingWindowRateLimiter

    clock = ManualClock(1_000_000.0)
    peer_time = type("time", (), {"time": staticmethod(lambda: clock.now)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "time", peer_time)
        storage = memory.MemoryStorage()
        patch.setattr(storage, "_MemoryStorage__schedule_expiry", lambda: None)  # no background thread
        peer, item = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(limit)
        log = SlidingWindowLog(limit, 1.0, clock=clock)
        admitted = []
        for gap in gaps:
            clock.advance(gap)
            # limits counts an event exactly one window old, we do not: leave the boundary out
            assume(all(abs(clock.now - t - 1.0) > 1e-6 for t in admitted))
            allowed = log.acquire().allowed
            assert allowed == peer.hit(item, "tenant")
            if allowed:
                admitted.append(clock.now)


@pytest.mark.parametrize("kind", [SlidingWindowLog, SlidingWindowCounter, FixedWindow])
@pytest.mark.parametrize("window", [0.001, 1 / 7, 1.0, 1e8])
def test_retry_after_is_not_short_on_a_wall_clock(kind, window):
    for i in range(200):
        clock = ManualClock(1.76e9 + i * 0.0123457)
        limiter = kind(1, window, clock=clock)
        limiter.acquire()
        clock.advance(limiter.acquire().retry_after)
        assert limiter.acquire().allowed


@pytest.mark.parametrize("kind", [SlidingWindowLog, SlidingWindowCounter, FixedWindow])
def test_a_numpy_cost_counts_like_pythons(kind):
    limiter = kind(np.int64(10), 1.0, clock=ManualClock())
    assert type(limiter.acquire(np.int64(1)).remaining) is int
    with pytest.raises(InvalidArgument):
        limiter.acquire(1.0)
    assert limiter.peek().remaining == 8
