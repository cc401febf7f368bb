"""A fleet of servers that measure latencies, and events that arrive late: the workload of distributed aggregation.

Nobody's production data: servers differ in load and speed, one rack is hot and slow, events reach the aggregator after
a short delay mostly and a long one sometimes. Times are milliseconds; fixed seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer

MINUTE = 60_000
HOT_RACK, HOT_LOAD, HOT_SLOWNESS = 7, 3.5, 6.0  # this rack takes 3.5 times the usual load, six times as slowly


class Fleet(NamedTuple):
    """Servers, their racks, requests a minute and how slow each is (1 is usual); parallel."""

    names: list[str]
    racks: np.ndarray
    load: np.ndarray
    slowness: np.ndarray

    @property
    def hot(self) -> np.ndarray:
        """Whether a server stands in the hot rack. O(servers)."""
        return self.racks == HOT_RACK

    def calm(self) -> Fleet:
        """The same servers before their rack went hot. O(servers)."""
        load = np.where(self.hot, np.maximum(1, self.load / HOT_LOAD), self.load).astype(np.int64)
        return self._replace(load=load, slowness=np.where(self.hot, self.slowness / HOT_SLOWNESS, self.slowness))


def fleet(count: int = 1000, *, seed: int, racks: int = 25, load: int = 200) -> Fleet:
    """`count` servers, spread evenly over racks, with about `load` requests a minute each in the median.

    O(count). Raises InvalidArgument on fewer servers than racks, or fewer racks than one behind the hot one.
    """
    for name, value, least in (("racks", racks, HOT_RACK + 1), ("count", count, racks), ("load", load, 1)):
        if not is_integer(value) or value < least:
            raise InvalidArgument(f"{name}={value!r}: expected an integer >= {least}")
    rng = np.random.default_rng([seed, 11])
    place = np.arange(count) * racks // count
    hot = place == HOT_RACK
    loads = np.maximum(1, rng.lognormal(np.log(load), 0.7, count) * np.where(hot, HOT_LOAD, 1.0)).astype(np.int64)
    slowness = rng.lognormal(0.0, 0.15, count) * np.where(hot, HOT_SLOWNESS, 1.0)
    return Fleet([f"web-{n:05}" for n in range(count)], place, loads, slowness)


def latencies(servers: Fleet, *, seed: int, minute: int = 0) -> list[np.ndarray]:
    """One minute's latencies in ms, an array for each server. O(requests)."""
    rng = np.random.default_rng([seed, 12, minute])
    values = rng.lognormal(3.0, 0.6, int(servers.load.sum())) * np.repeat(servers.slowness, servers.load)
    return np.split(values, np.cumsum(servers.load)[:-1])


class Stream(NamedTuple):
    """Events in order of arrival: when they happened, when and over which partition they came, whose, and a value."""

    time: np.ndarray
    arrival: np.ndarray
    partition: np.ndarray
    key: np.ndarray
    value: np.ndarray


def stream(count: int, *, seed: int, minutes: int = 10, partitions: int = 4, keys: int = 5) -> Stream:
    """`count` events over some minutes: most arrive within seconds, one in fifty after a median of 20 s.

    The late ones are phones that were out of reach. O(count log count).
    """
    rng = np.random.default_rng([seed, 13])
    time = rng.integers(0, minutes * MINUTE, count)
    offline = rng.random(count) < 0.02
    delay = np.where(offline, rng.lognormal(np.log(20_000), 1.0, count), rng.exponential(800, count)).astype(np.int64)
    order = np.argsort(time + delay, kind="stable")
    values = rng.integers(1, 1000, count)  # integers, so that sums are exact
    partition, key = rng.integers(0, partitions, count), rng.integers(0, keys, count)
    return Stream(time[order], (time + delay)[order], partition[order], key[order], values[order])
