"""The fleet of processes that judges the others: it must see a broken limiter break, and a sound one hold."""

from functools import partial

import pytest

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument
from principal_kit.ratelimit import RedisTokenBucket, required_burst
from principal_kit.ratelimit.hammer import hammer, hammer_leases
from principal_kit.ratelimit.naive import ClientSideBucket

pytestmark = pytest.mark.integration


def test_the_trace_of_a_sound_bucket_keeps_its_contract(shared_redis, name):
    make = partial(RedisTokenBucket, name=name, rate=5, burst=20)
    trace = hammer(make, shared_redis.url, processes=3, calls=60)
    assert trace.decisions == 180
    assert trace.per_second > 0
    assert 20 <= trace.counts.sum() <= 180
    assert required_burst(trace.times, 5) <= 20 + 1e-3


@pytest.mark.parametrize("at_once", [False, True])
def test_a_fleet_of_leases_stays_within_the_bound(shared_redis, name, at_once):
    make = partial(RedisTokenBucket, name=name, rate=20_000, burst=5_000)
    trace = hammer_leases(make, shared_redis.url, 500, processes=2, seconds=0.3, at_once=at_once)
    assert trace.decisions >= trace.counts.sum() > 0
    # one slice of 256 decisions of each process is stamped late
    assert required_burst(trace.times, 20_000, trace.counts) <= 5_000 + 2 * 500 + 2 * 256


def test_client_clocks_that_disagree_break_the_client_side_bucket(shared_redis, name):
    client = shared_redis.client()
    fast, slow = ManualClock(1_000_030.0), ManualClock(1_000_000.0)
    pair = [ClientSideBucket(client, name, rate=1, burst=10, clock=clock) for clock in (slow, fast)]
    assert sum(pair[turn % 2].grant().granted for turn in range(100)) == 100
    alone = ClientSideBucket(client, name + "-alone", rate=1, burst=10, clock=slow)
    assert sum(alone.grant().granted for _ in range(100)) == 10


def test_bad_arguments_are_refused_before_a_process_starts(name):
    with pytest.raises(InvalidArgument):
        hammer(None, "redis://127.0.0.1:1", processes=0, calls=1)
    with pytest.raises(InvalidArgument):
        hammer(None, "redis://127.0.0.1:1", processes=1, calls=0)
    with pytest.raises(InvalidArgument):
        ClientSideBucket(None, name, rate=-1, burst=1)
