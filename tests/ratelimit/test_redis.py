"""Limits shared through a real Redis: atomic, on the server's clock, bounded for every way to lose it."""

import math
import threading
import time
from functools import partial

import pytest
from redis.exceptions import ResponseError

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument, ServiceError, Unavailable
from principal_kit.ratelimit import (
    GCRA,
    Counters,
    KeyedLimiter,
    LeasedLimiter,
    RedisSlidingWindowLog,
    RedisTokenBucket,
    most_in_window,
    required_burst,
)
from principal_kit.ratelimit.hammer import hammer
from principal_kit.ratelimit.redis import connect

pytestmark = pytest.mark.integration


@pytest.fixture
def client(shared_redis):
    with connect(shared_redis.url, timeout=5) as client:
        yield client


def wait_for_redis_time(client, seconds):
    """Return once Redis's own clock has moved `seconds` further, with a bound on asking."""
    second, micro = client.time()
    target = second * 10**6 + micro + math.ceil(seconds * 1e6)
    for _ in range(200_000):
        second, micro = client.time()
        if second * 10**6 + micro >= target:
            return
    raise AssertionError("Redis's clock did not move")


# ── Semantics ────────────────────────────────────────────────────────────────────────────────────


def test_bucket_starts_full_and_refuses_when_empty(client, name):
    bucket = RedisTokenBucket(client, name, rate=1, burst=3)
    decisions = [bucket.acquire() for _ in range(4)]
    assert [d.allowed for d in decisions] == [True, True, True, False]
    assert [d.remaining for d in decisions] == [2, 1, 0, 0]
    assert 0 < decisions[-1].retry_after <= 1


def test_waiting_retry_after_succeeds(client, name):
    for limiter in (
        RedisTokenBucket(client, name, rate=40, burst=4),
        RedisSlidingWindowLog(client, name + "-log", limit=4, window=0.05),
    ):
        while (refusal := limiter.acquire(2)).allowed:
            pass
        wait_for_redis_time(client, refusal.retry_after)
        assert limiter.acquire(2).allowed


def test_take_gives_what_there_is(client, name):
    bucket = RedisTokenBucket(client, name, rate=0.01, burst=10)
    assert bucket.take(7).granted == 7
    grant = bucket.take(7)
    assert (grant.granted, grant.remaining) == (3, 0)
    assert bucket.take(1).granted == 0
    assert bucket.take(1).retry_after > 0


def test_ids_are_independent_and_reset_forgets(client, name):
    for limiter in (
        RedisTokenBucket(client, name, rate=0.01, burst=1),
        RedisSlidingWindowLog(client, name + "-log", limit=1, window=60),
    ):
        assert limiter.acquire(id="a").allowed
        assert limiter.acquire(id="b").allowed
        assert not limiter.acquire(id="a").allowed
        limiter.reset("a")
        assert limiter.acquire(id="a").allowed
        assert limiter.idle


def test_idle_ids_leave_redis(client, name):
    bucket = RedisTokenBucket(client, name, rate=10, burst=20)
    log = RedisSlidingWindowLog(client, name + "-log", limit=20, window=2)
    bucket.acquire(20)
    log.acquire(20)
    assert 2000 < client.pttl(f"{name}:") <= 3001, "two seconds to be full again, and one to spare"
    assert 2000 < client.pttl(f"{name}-log:") <= 3001


def test_log_keeps_one_member_a_unit_and_no_more_than_the_limit(client, name):
    log = RedisSlidingWindowLog(client, name, limit=50, window=60)
    with client.pipeline() as pipe:  # many in the same microsecond: members must still differ
        for _ in range(20):
            pipe.evalsha(log.script.sha, 1, f"{name}:", 50, 60_000_000, 2)
        client.script_load(log.script.text)
        granted = [reply[0] for reply in pipe.execute()]
    assert granted == [2] * 20
    assert client.zcard(f"{name}:") == 40
    assert sum(log.acquire().allowed for _ in range(100)) == 10
    assert client.zcard(f"{name}:") == 50


def test_a_server_clock_that_stepped_back_admits_nothing_extra(client, name):
    ahead = (client.time()[0] + 3600) * 10**6
    bucket = RedisTokenBucket(client, name, rate=1000, burst=5)
    client.hset(f"{name}:", mapping={"credit": 0, "last": ahead})
    assert not bucket.acquire().allowed
    log = RedisSlidingWindowLog(client, name + "-log", limit=1, window=1)
    client.zadd(f"{name}-log:", {f"{ahead}-1": ahead})
    refused = log.acquire()
    assert not refused.allowed
    assert refused.retry_after == pytest.approx(1, abs=1e-3)


def test_times_and_credits_keep_all_their_digits(client, name):
    bucket = RedisTokenBucket(client, name, rate=3, burst=600_000)  # credits near 10^12, times near 10^15
    before = client.time()
    bucket.acquire(599_999)
    after = client.time()
    credit, last = (int(x) for x in client.hmget(f"{name}:", "credit", "last"))
    assert before[0] * 10**6 + before[1] <= last <= after[0] * 10**6 + after[1]
    assert credit == 1_000_000, "one token at 3/s is 10^6 credits"


def test_skewed_client_clocks_change_nothing(client, name, monkeypatch):
    burst, admitted = 20, 0
    for skew in (-3600.0, 0.0, 3600.0, 1e9):
        real = time.time
        monkeypatch.setattr(time, "time", lambda real=real, skew=skew: real() + skew)
        worker = RedisTokenBucket(client, name, rate=0.01, burst=burst, clock=ManualClock(skew))
        admitted += sum(worker.acquire().allowed for _ in range(burst))
        monkeypatch.undo()
    assert admitted == burst


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "rate, burst", [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (1, 0), (1, 0.5), (0.1234567, 2**31)]
)
def test_bad_buckets_are_refused(client, name, rate, burst):
    with pytest.raises(InvalidArgument):
        RedisTokenBucket(client, name, rate, burst)


def test_other_bad_arguments_are_refused_and_nothing_is_written(client, name):
    with pytest.raises(InvalidArgument, match="on_error"):
        RedisTokenBucket(client, name, 1, 1, on_error="shrug")
    with pytest.raises(InvalidArgument, match="after_loss"):
        RedisTokenBucket(client, name, 1, 1, after_loss="half")
    with pytest.raises(InvalidArgument, match="name"):
        RedisTokenBucket(client, "", 1, 1)
    with pytest.raises(InvalidArgument, match="cooldown"):
        RedisTokenBucket(client, name, 1, 1, cooldown=0)
    with pytest.raises(InvalidArgument, match="window"):
        RedisSlidingWindowLog(client, name, 1, 1e-9)
    bucket = RedisTokenBucket(client, name, 1, 5)
    for n in (0, -1, 6, 1.5):
        with pytest.raises(InvalidArgument):
            bucket.acquire(n)
    with pytest.raises(InvalidArgument, match="peek"):
        bucket.peek()
    assert not client.exists(f"{name}:")


def test_a_key_of_another_type_is_a_clear_error(client, name):
    client.set(f"{name}:", "not a bucket")
    with pytest.raises(ServiceError, match="WRONGTYPE"):
        RedisTokenBucket(client, name, 1, 1).acquire()


# ── Many processes ───────────────────────────────────────────────────────────────────────────────


def test_processes_together_never_exceed_the_bucket(shared_redis, name):
    make = partial(RedisTokenBucket, name=name, rate=10, burst=25)
    times = hammer(make, shared_redis.url, processes=4, calls=200).times
    assert len(times) >= 25
    assert required_burst(times, rate=10) <= 25 + 1e-3


def test_processes_together_never_exceed_the_window(shared_redis, name):
    make = partial(RedisSlidingWindowLog, name=name, limit=30, window=1)
    times = hammer(make, shared_redis.url, processes=4, calls=150).times
    assert len(times) >= 30
    assert most_in_window([round(t * 1e6) for t in times], 10**6) <= 30


# ── Losing the script, the state, the server ─────────────────────────────────────────────────────


def test_script_flush_costs_one_round_trip_and_no_state(client, name):
    seen = Counters()
    bucket = RedisTokenBucket(client, name, rate=0.01, burst=4, observer=seen)
    log = RedisSlidingWindowLog(client, name + "-log", limit=4, window=60, observer=seen)
    for limiter in (bucket, log):
        assert limiter.acquire(3).remaining == 1
        seen.events.clear()
        client.script_flush()
        assert limiter.acquire().allowed
        assert seen.events == {"script_loaded": 1}
        assert not limiter.acquire().allowed
        assert seen.events == {"script_loaded": 1}


def test_restart_admits_at_most_one_more_burst(own_redis, name):
    bucket = RedisTokenBucket(connect(own_redis.url, timeout=5), name, rate=0.01, burst=10)
    admitted = sum(bucket.acquire().allowed for _ in range(30))
    assert admitted == 10
    for losses in (1, 2):
        own_redis.kill()
        own_redis.restart()
        admitted += sum(_grant_after_outage(bucket).granted for _ in range(30))
        assert admitted == (1 + losses) * 10


def test_after_loss_empty_admits_nothing_extra(own_redis, name):
    client = connect(own_redis.url, timeout=5)
    bucket = RedisTokenBucket(client, name, rate=100, burst=10, after_loss="empty")
    times = []
    for _ in range(2):
        grants = [_grant_after_outage(bucket) for _ in range(300)]
        times += [grant.at for grant in grants if grant.granted]
        own_redis.kill()
        own_redis.restart()
    assert times
    assert required_burst(times, rate=100) <= 10 + 1e-3
    # A returning id that was merely idle finds a full bucket: long enough has passed since the state began.
    _grant_after_outage(bucket)
    wait_for_redis_time(client, 0.12)
    assert bucket.grant(10, id="returning").granted == 10


def _grant_after_outage(bucket):
    """Ask again while the breaker is open, within a bound."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        grant = bucket.grant()
        if not math.isnan(grant.at):
            return grant
    raise AssertionError("Redis did not come back")


def _dead(own_redis, name, clock, seen, on_error, **more):
    limiter = RedisTokenBucket(
        connect(own_redis.url), name, rate=1, burst=5, on_error=on_error, clock=clock, observer=seen, cooldown=1, **more
    )
    own_redis.kill()
    return limiter


def test_open_admits_closed_refuses_raise_raises_local_decides(own_redis, name):
    clock = ManualClock()
    policies = {"open": [True] * 8, "closed": [False] * 8, GCRA(1, 2, clock=clock): [True, True] + [False] * 6}
    own_redis.kill()
    for policy, expected in policies.items():
        for limiter in (
            RedisTokenBucket(connect(own_redis.url), name, 1, 5, on_error=policy, clock=clock),
            RedisSlidingWindowLog(connect(own_redis.url), name, 5, 1, on_error=policy, clock=clock),
        ):
            if hasattr(policy, "reset"):
                policy.reset()
            assert [limiter.acquire().allowed for _ in range(8)] == expected
    strict = RedisTokenBucket(connect(own_redis.url), name, 1, 5, on_error="raise", clock=clock, cooldown=2)
    for _ in range(2):
        with pytest.raises(Unavailable) as error:
            strict.acquire()
        assert error.value.retry_after == 2
    with pytest.raises(Unavailable):
        strict.reset()


def test_take_from_a_fallback_gives_what_it_has(own_redis, name):
    clock = ManualClock()
    own_redis.kill()
    bucket = RedisTokenBucket(connect(own_redis.url), name, 1, 50, on_error=GCRA(1, 5, clock=clock), clock=clock)
    assert bucket.take(3).granted == 3
    assert bucket.take(10).granted == 2
    assert bucket.take(10).granted == 0
    assert not bucket.acquire(10).allowed, "too large for the fallback, so it waits for Redis"


def test_breaker_asks_once_per_cooldown_and_notices_the_return(own_redis, name):
    clock, seen = ManualClock(), Counters()
    bucket = RedisTokenBucket(
        connect(own_redis.url, timeout=2), name, 1, 5, on_error="closed", clock=clock, observer=seen, cooldown=1
    )
    own_redis.kill()
    for _ in range(100):
        assert not bucket.acquire().allowed
    assert seen.events["unavailable"] == 1, "99 of 100 requests did not wait for a dead server"
    assert seen.events["degraded_closed"] == 100
    clock.advance(1.0)
    assert bucket.acquire().retry_after == 1.0
    assert seen.events["unavailable"] == 2
    own_redis.restart()
    assert not bucket.acquire().allowed, "still cooling down"
    clock.advance(1.0)
    assert bucket.acquire().allowed
    assert seen.events["breaker_opened"] == seen.events["breaker_closed"] == 1


def test_a_server_that_hangs_is_given_up_on(own_redis, name):
    seen = Counters()
    bucket = RedisTokenBucket(connect(own_redis.url, timeout=0.05), name, 1, 5, on_error="open", observer=seen)
    assert bucket.acquire().allowed
    with connect(own_redis.url, timeout=5) as admin:
        admin.client_pause(400)  # commands are accepted and not answered, which is worse than a refused connection
        assert bucket.acquire().allowed
        assert seen.events["degraded_open"] == 1
        admin.client_unpause()


def test_open_counts_every_unlimited_decision(own_redis, name):
    clock, seen = ManualClock(), Counters()
    limiter = _dead(own_redis, name, clock, seen, "open")
    assert all(limiter.acquire().allowed for _ in range(50))
    assert seen.events["degraded_open"] == 50


def test_no_id_is_the_name_of_the_limiters_own_bookkeeping(client, name):
    RedisTokenBucket(client, name, 0.01, 5).acquire(1, "@began")
    RedisTokenBucket(client, name, 1, 5, after_loss="empty").acquire(1, "innocent")  # was WRONGTYPE
    assert RedisTokenBucket(client, name, 1, 5, after_loss="empty").acquire(1, "@began").remaining >= 0


class Replying:
    """A client whose server answers every script with one error."""

    def __init__(self, message):
        self.message = message

    def evalsha(self, *_):
        raise ResponseError(self.message)


@pytest.mark.parametrize("reply", ["BUSY running a script", "MISCONF cannot persist", "NOREPLICAS too few to write"])
def test_a_server_that_cannot_serve_is_the_policys_to_answer(reply):
    assert RedisTokenBucket(Replying(reply), "x", 1, 5, on_error="open").acquire().allowed
    with pytest.raises(Unavailable):
        RedisTokenBucket(Replying(reply), "x", 1, 5, on_error="raise").acquire()


def test_a_fallback_is_a_local_limiter(client, name):
    shared = RedisTokenBucket(client, name, 1, 5)
    for odd in (threading.Lock(), shared, LeasedLimiter(shared, 2), KeyedLimiter(lambda key: GCRA(1, 1), 2), None):
        with pytest.raises(InvalidArgument, match="on_error"):
            RedisTokenBucket(client, name, 1, 5, on_error=odd)


def test_a_name_or_id_that_is_no_text_is_refused(client, name):
    with pytest.raises(InvalidArgument, match="UTF-8"):
        RedisTokenBucket(client, name, 1, 5).acquire(1, "\ud800")
    with pytest.raises(InvalidArgument, match="UTF-8"):
        RedisSlidingWindowLog(client, "\ud800", 1, 5)
