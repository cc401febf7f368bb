"""Hot keys: find them with a bounded counter, then spread them over several names.

Space-Saving keeps m counters for any number of keys. A newcomer takes over the smallest counter and inherits its
count, so a count is never too low, and too high by at most total / m: no frequent key can hide.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.core.hashing import is_integer


@dataclass(frozen=True)
class HotKey:
    """A key and what is known of its count: `count - error` <= true count <= `count`."""

    key: Hashable
    count: int
    error: int


class SpaceSaving:
    """The most frequent keys of a stream, in bounded memory.

    Args:
        capacity: counters kept, >= 1. Every key with more than total / capacity occurrences is among them.

    Complexity: amortised O(log capacity) an `add`; memory O(capacity).

    Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
    ICDT 2005.

    >>> counter = SpaceSaving(2)
    >>> counter.add_many("a b a c a".split())
    >>> counter.top(1)[0].key
    'a'
    """

    def __init__(self, capacity: int) -> None:
        if not is_integer(capacity) or capacity < 1:
            raise InvalidArgument(f"capacity={capacity!r}: expected an integer >= 1")
        self._capacity = int(capacity)
        self._counts: dict[Hashable, int] = {}
        self._errors: dict[Hashable, int] = {}
        self._heap: list[tuple[int, int, Hashable]] = []  # (count when pushed, tie-breaker, key): lags behind _counts
        self._pushed = 0
        self.total = 0

    def add(self, key: Hashable, count: int = 1) -> None:
        """Count `key` `count` times. Raises InvalidArgument on a count that is no integer >= 1 or an unhashable key."""
        if (type(count) is not int and not is_integer(count)) or count < 1:
            raise InvalidArgument(f"count={count!r}: expected an integer >= 1")
        try:
            known = key in self._counts
        except TypeError:
            raise InvalidArgument(f"key {key!r} of type {type(key).__name__} is not hashable") from None
        self.total += count
        if known:
            self._counts[key] += count
            return
        inherited = self._evict() if len(self._counts) == self._capacity else 0
        self._counts[key] = inherited + count
        self._errors[key] = inherited
        self._push(key)

    def add_many(self, keys: Iterable[Hashable]) -> None:
        """`add` each key once, in order."""
        for key in keys:
            self.add(key)

    def top(self, n: int) -> list[HotKey]:
        """The `n` largest counts, largest first; equal counts by the key's text. O(capacity log n)."""
        order = heapq.nsmallest(n, self._counts, key=lambda key: (-self._counts[key], str(key)))
        return [HotKey(key, self._counts[key], self._errors[key]) for key in order]

    def hotter_than(self, share: float) -> list[HotKey]:
        """Keys that certainly have more than `share` of all occurrences (their lower bound says so), largest first.

        Raises InvalidArgument unless 0 < share < 1. O(capacity log capacity).
        """
        if not 0 < share < 1:
            raise InvalidArgument(f"share={share!r}: expected 0 < share < 1")
        return [hot for hot in self.top(len(self._counts)) if hot.count - hot.error > share * self.total]

    def _evict(self) -> int:
        """Remove the smallest counter and return its count; stale heap entries are brought up to date on the way."""
        while True:
            count, _, key = self._heap[0]
            if count == self._counts[key]:
                heapq.heappop(self._heap)
                del self._counts[key], self._errors[key]
                return count
            heapq.heappop(self._heap)
            self._push(key)

    def _push(self, key: Hashable) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (self._counts[key], self._pushed, key))


class SplitKeys:
    """Several names for a hot key, so that several nodes can answer for it.

    A read goes to one name, chosen at random; a write must reach all of them. Reads scale with `copies`, and so does
    the cost of a write: split what is read often and written rarely.

    The further names are the key, the separator and a number, so keys that end in separator and number are refused
    everywhere with InvalidArgument: such a key could be another one's copy. Pick a separator your keys do not use.

    Args:
        copies: names per hot key, >= 1.
        capacity: hot keys kept at most; a split that is never undone is a leak.
        rng: numpy Generator that picks the copy to read.
        separator: text between a key and the number of its copy, at least one character and no digits.

    >>> split = SplitKeys(copies=2, rng=np.random.default_rng(0))
    >>> split.split("post:1"); split.write_names("post:1")
    ['post:1', 'post:1#1']
    >>> split.write_names("post:2")
    ['post:2']
    """

    def __init__(
        self, copies: int, *, capacity: int = 1024, rng: np.random.Generator | None = None, separator: str = "#"
    ) -> None:
        for name, value in (("copies", copies), ("capacity", capacity)):
            if not is_integer(value) or value < 1:
                raise InvalidArgument(f"{name}={value!r}: expected an integer >= 1")
        if not isinstance(separator, str) or not separator or any(letter.isdecimal() for letter in separator):
            raise InvalidArgument(f"separator={separator!r}: expected text without digits")
        self._separator = separator
        self._copies = int(copies)
        self._capacity = int(capacity)
        self._rng = np.random.default_rng() if rng is None else rng
        self._hot: set[str] = set()

    @property
    def hot(self) -> frozenset[str]:
        """The keys that are split now."""
        return frozenset(self._hot)

    def split(self, key: str) -> None:
        """Start splitting `key`. Raises CapacityError when `capacity` keys are split already."""
        self._check(key)
        if key not in self._hot and len(self._hot) >= self._capacity:
            raise CapacityError(f"{self._capacity} keys are split already; merge one first")
        self._hot.add(key)

    def merge(self, key: str) -> list[str]:
        """Stop splitting `key` and return the names to delete. Raises InvalidArgument if it is not split."""
        self._check(key)
        if key not in self._hot:
            raise InvalidArgument(f"key {key!r} is not split")
        names = self.write_names(key)
        self._hot.remove(key)
        return names[1:]

    def read_name(self, key: str) -> str:
        """The name to read `key` under this time. O(1)."""
        self._check(key)
        if key not in self._hot:
            return key
        copy = int(self._rng.integers(self._copies))
        return f"{key}{self._separator}{copy}" if copy else key

    def write_names(self, key: str) -> list[str]:
        """Every name a write of `key` must reach, the key itself first. O(copies)."""
        self._check(key)
        further = range(1, self._copies) if key in self._hot else ()
        return [key, *(f"{key}{self._separator}{copy}" for copy in further)]

    def _check(self, key: str) -> None:
        if not isinstance(key, str):
            raise InvalidArgument(f"key {key!r} of type {type(key).__name__}: expected str")
        if self._separator in key and key.rpartition(self._separator)[2].isdecimal():
            raise InvalidArgument(f"key {key!r} ends like a copy's name: choose a separator that no key ends with")
