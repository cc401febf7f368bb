"""Leases: burst + rate * T + min(workers * batch, rate * ttl) holds, and Redis is asked rarely."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument
from principal_kit.ratelimit import Counters, LeasedLimiter, RedisTokenBucket, TokenBucket, required_burst
from principal_kit.ratelimit.redis import Grant, connect


class BucketInProcess:
    """Stands in for RedisTokenBucket, on a clock that the test moves."""

    def __init__(self, rate, burst, clock):
        self.rate, self.burst, self.asked = rate, burst, 0
        self._bucket = TokenBucket(rate, burst, clock=clock)

    def take(self, n, id=""):
        self.asked += 1
        spare = self._bucket.peek().remaining + self._bucket.peek().allowed
        granted = min(n, spare)
        if granted:
            self._bucket.acquire(granted)
            return Grant(granted, spare - granted, 0.0, 0.0)
        return Grant(0, 0, self._bucket.peek().retry_after, 0.0)


@given(
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(0, 12),
    st.sampled_from([0.05, 0.5, 2.0]),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 600), st.integers(1, 6)), max_size=60),
)
@settings(deadline=None)
def test_bound_holds_for_any_schedule(workers, batch, extra, ttl, schedule):
    clock, rate, burst = ManualClock(), 10, batch + extra
    bucket = BucketInProcess(rate, burst, clock)
    fleet = [LeasedLimiter(bucket, batch, ttl=ttl, clock=clock) for _ in range(workers)]
    times = []
    for who, step_ms, requests in schedule:
        clock.advance(step_ms / 1000)
        times += [clock.now for _ in range(requests) if fleet[who % workers].acquire().allowed]
    assert required_burst(times, rate) <= burst + min(workers * batch, rate * ttl) + 1e-6


def test_one_question_per_batch():
    clock = ManualClock()
    bucket = BucketInProcess(1, 1000, clock)
    worker = LeasedLimiter(bucket, 100, clock=clock)
    assert sum(worker.acquire().allowed for _ in range(1000)) == 1000
    assert bucket.asked == 10


def test_an_empty_bucket_is_not_asked_at_every_request():
    clock = ManualClock()
    bucket = BucketInProcess(10, 10, clock)
    worker = LeasedLimiter(bucket, 10, ttl=10, clock=clock)
    decisions = [worker.acquire() for _ in range(1000)]
    assert sum(d.allowed for d in decisions) == 10
    assert bucket.asked == 2
    clock.advance(decisions[-1].retry_after)
    assert worker.acquire().allowed


def test_a_drained_bucket_is_not_asked_for_crumbs():
    clock = ManualClock()
    bucket = BucketInProcess(1000, 100, clock)
    worker = LeasedLimiter(bucket, 100, clock=clock)
    for _ in range(1000):  # one millisecond earns one token; half a batch takes fifty
        worker.acquire()
        worker.acquire()
        clock.advance(0.001)
    assert bucket.asked <= 25


def test_expired_tokens_are_dropped_and_counted():
    clock, seen = ManualClock(), Counters()
    worker = LeasedLimiter(BucketInProcess(1, 10, clock), 10, ttl=1, clock=clock, observer=seen)
    worker.acquire(3)
    assert worker.peek(7).allowed
    clock.advance(1.0)
    assert worker.idle
    assert not worker.peek(7).allowed
    assert not worker.acquire(7).allowed
    assert seen.tokens["lease_expired"] == 7


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(1, 60), st.integers(0, 300)), max_size=20))
def test_batch_of_requests_is_that_many_requests(batch, schedule):
    clocks = ManualClock(), ManualClock()
    one, many = (LeasedLimiter(BucketInProcess(20, 60, c), batch, clock=c) for c in clocks)
    for n, step_ms in schedule:
        for clock in clocks:
            clock.advance(step_ms / 1000)
        assert many.acquire_many(n) == sum(one.acquire().allowed for _ in range(n))


@pytest.mark.parametrize("batch", [0, -1, 11, 2.5])
def test_bad_batch_is_refused(batch):
    with pytest.raises(InvalidArgument, match="batch"):
        LeasedLimiter(BucketInProcess(1, 10, ManualClock()), batch)


def test_bad_cost_is_refused_and_changes_nothing():
    worker = LeasedLimiter(BucketInProcess(1, 10, ManualClock()), 5)
    worker.acquire()
    for n in (0, 6, 1.5):
        with pytest.raises(InvalidArgument):
            worker.acquire(n)
    assert worker.peek().remaining == 3


@pytest.mark.integration
def test_redis_gone_falls_to_the_policy_of_the_bucket(own_redis, name):
    clock = ManualClock()
    closed = LeasedLimiter(RedisTokenBucket(connect(own_redis.url), name, 1, 10, on_error="closed"), 10, clock=clock)
    opened = LeasedLimiter(RedisTokenBucket(connect(own_redis.url), name, 1, 10, on_error="open"), 10, clock=clock)
    assert closed.acquire().allowed
    own_redis.kill()
    assert sum(closed.acquire().allowed for _ in range(50)) == 9, "what was leased is still good"
    assert sum(opened.acquire().allowed for _ in range(50)) == 50


def test_a_clock_that_steps_back_ends_the_lease():
    clock = ManualClock(100.0)
    lease = LeasedLimiter(BucketInProcess(0.001, 100, clock), 100, ttl=1.0, clock=clock)
    assert lease.acquire().allowed
    clock.now = 50.0
    assert lease.idle
    assert not lease.acquire().allowed


def test_a_forked_child_has_no_copy_of_its_parents_lease():
    clock = ManualClock()
    lease = LeasedLimiter(BucketInProcess(0.001, 100, clock), 100, ttl=60.0, clock=clock)
    assert lease.acquire().allowed
    child = os.fork()
    if child == 0:
        os._exit(0 if lease.idle else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not lease.idle
