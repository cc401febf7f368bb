"""The fleet is what its description says, and the same every time."""

import numpy as np
import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.workloads import servers


def test_a_fleet_is_deterministic_and_its_hot_rack_is_small_in_servers_and_large_in_traffic():
    one, two = servers.fleet(seed=7), servers.fleet(seed=7)
    assert np.array_equal(one.load, two.load)
    assert np.array_equal(one.slowness, two.slowness)
    assert one.hot.mean() == 0.04
    share = one.load[one.hot].sum() / one.load.sum()
    assert 0.09 < share < 0.2
    minute = servers.latencies(one, seed=7)
    assert [len(values) for values in minute] == one.load.tolist()
    assert not np.array_equal(minute[0], servers.latencies(one, seed=7, minute=1)[0])
    slow, usual = (np.median(np.concatenate([v for v, hot in zip(minute, one.hot) if hot == side])) for side in (1, 0))
    assert 5 < slow / usual < 7


def test_a_calm_fleet_differs_in_the_hot_rack_only():
    hot = servers.fleet(seed=7)
    calm = hot.calm()
    assert np.array_equal(calm.load[~hot.hot], hot.load[~hot.hot])
    assert np.array_equal(calm.slowness[~hot.hot], hot.slowness[~hot.hot])
    for values in (calm.load, calm.slowness):
        assert 0.7 < np.median(values[hot.hot]) / np.median(values[~hot.hot]) < 1.4


def test_a_stream_is_in_order_of_arrival_and_not_of_time():
    events = servers.stream(20_000, seed=7)
    assert (np.diff(events.arrival) >= 0).all()
    assert (np.diff(events.time) < 0).any()
    assert (events.arrival >= events.time).all()
    delay = events.arrival - events.time
    assert 0.015 < (delay > 8000).mean() < 0.025


@pytest.mark.parametrize("bad", [{"count": 3}, {"racks": 5}, {"load": 0}, {"count": 1000.0}])
def test_bad_arguments(bad):
    with pytest.raises(InvalidArgument):
        servers.fleet(**{"seed": 1, **bad})
