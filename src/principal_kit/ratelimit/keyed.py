"""Many ids, bounded memory: a table of limiters, and one array of GCRA states for batches.

A limiter whose state equals that of a new one can be forgotten without admitting one request more. That is the only
eviction done here; when every id is busy, a new id is refused with CapacityError rather than let in uncounted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.ratelimit.decision import (
    Decision,
    ExactRate,
    Limiter,
    Observer,
    nanoseconds,
    positive_count,
)


class KeyedLimiter:
    """One limiter per id, at most `capacity` of them.

    Args:
        make: builds the limiter of a new id, given the id.
        capacity: most ids held at once (>= 1).
        observer: told of evictions and of refusals for want of room.

    A new id in a full table looks at `PROBES` ids, in turn, and evicts the first idle one; if all of those are busy
    it raises CapacityError, whose `retry_after` says when the first of those will be
    idle. So the table never admits more than one limiter per id would, at any
    size. `acquire` is O(1).

    >>> from principal_kit.ratelimit import GCRA
    >>> table = KeyedLimiter(lambda tenant: GCRA(rate=1, burst=2), capacity=1000)
    >>> [table.acquire("acme").allowed for _ in range(3)], table.acquire("other").allowed
    ([True, True, False], True)
    """

    PROBES = 8

    def __init__(self, make: Callable[[Hashable], Limiter], capacity: int, *, observer: Observer | None = None) -> None:
        self.capacity = positive_count("capacity", capacity)
        self._make = make
        self._limiters: dict[Hashable, Limiter] = {}  # in the order in which they will be looked at
        self._observer = observer or Observer()

    def __len__(self) -> int:
        return len(self._limiters)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._limiters

    def acquire(self, key: Hashable, n: int = 1) -> Decision:
        """Ask the limiter of `key`. O(1). Raises CapacityError if `key` is new and no idle id can make room."""
        limiter = self._limiters.get(key)
        if limiter is None:
            return self._admit(key, n)
        return limiter.acquire(n)

    def _admit(self, key: Hashable, n: int) -> Decision:
        full = len(self._limiters) >= self.capacity
        if full:
            idle = self._find_idle(key)
        limiter = self._make(key)
        decision = limiter.acquire(n)  # a bad cost raises here, before anybody has made room or entered
        if full:
            del self._limiters[idle]
            self._observer.evicted(idle)
        self._limiters[key] = limiter
        return decision

    def _find_idle(self, wanted: Hashable) -> Hashable:
        soonest = float("inf")
        for _ in range(min(self.PROBES, len(self._limiters))):
            key, limiter = next(iter(self._limiters.items()))
            if limiter.idle:
                return key
            self._limiters[key] = self._limiters.pop(key)  # to the end of the line: the next call looks at others
            soonest = min(soonest, limiter.idle_after)
        self._observer.capacity_reached(wanted)
        raise CapacityError(
            f"all {self.capacity} places are taken by ids with recent requests, expected an idle one",
            retry_after=soonest,
        )


class VectorGCRA:
    """GCRA for `n_ids` ids in one array of 64-bit theoretical arrival times; a batch of requests is one call.

    Args:
        n_ids: ids are the integers 0 ... n_ids - 1 (hash or dictionary-encode yours).
        rate: tokens per second and id, positive and finite.
        burst: most tokens of one id at once (>= 1).
        clock: seconds as a float; monotonic by default.

    Decisions equal those of `n_ids` scalar GCRAs asked in the order of the batch, also when an id appears many times.
    Memory is 8 bytes an id for the state and 4 for scratch. Raises InvalidArgument if rate and burst do not fit
    64-bit arithmetic.

    >>> limiter = VectorGCRA(n_ids=3, rate=1, burst=2)
    >>> limiter.acquire_many([0, 0, 0, 2], now=0.0).tolist()
    [True, True, False, True]
    """

    _LARGEST = 2**61
    _BLOCK = 2**15  # requests whose intermediate arrays stay in the processor's cache

    def __init__(self, n_ids: int, rate: Real, burst: int, *, clock: Clock = monotonic) -> None:
        self.n_ids = positive_count("n_ids", n_ids)
        self.burst = positive_count("burst", burst)
        self.rate = rate
        self._earn, self._token = ExactRate.per_second(rate)
        self._cap = self.burst * self._token
        if self._cap + self._earn >= self._LARGEST:
            raise InvalidArgument(f"rate {rate!r} with burst {burst} needs over 61 bits; round the rate, lower burst")
        self._read = nanoseconds(clock)
        self._epoch: int | None = None  # ns; arrival times are kept relative to it, so that they fit 64 bits
        self._last = 0
        self._tat = np.zeros(self.n_ids, dtype=np.int64)
        self._asked = np.zeros(self.n_ids, dtype=np.int32)

    def __len__(self) -> int:
        return self.n_ids

    def acquire_many(self, ids: ArrayLike, now: float | None = None, *, n: int | ArrayLike = 1) -> NDArray[np.bool_]:
        """Decide a batch that arrives at one instant, in order.

        Args:
            ids: integers, shape (m,).
            now: seconds, on the scale of `clock`; read from the clock if None. Earlier than a previous call counts as
                no time passed.
            n: cost of each request, one number or shape (m,).

        Returns: bool array, shape (m,). O(m) for one cost. With an array of costs, O(m) plus one pass per
        repetition of the most frequent id. Raises InvalidArgument on ids or costs out of range, having changed
        nothing.
        """
        ids = self._checked_ids(ids)
        costs = self._checked_costs(n, ids.shape)
        at = self._credit_time(now)
        if isinstance(costs, int):
            return self._same_cost(ids, costs * self._token, at)
        return self._any_cost(ids, costs * self._token, at)

    def remaining_many(self, ids: ArrayLike, now: float | None = None) -> NDArray[np.int64]:
        """Return how many requests of cost 1 each id could still make at this instant. O(m)."""
        ids = self._checked_ids(ids)
        at = self._credit_time(now)
        return (self._cap - np.maximum(self._tat[ids] - at, 0)) // self._token

    def _checked_ids(self, ids: ArrayLike) -> NDArray[np.int64]:
        array = np.asarray(ids)
        if array.size == 0:
            return np.zeros(0, dtype=np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InvalidArgument(f"ids are {array.dtype} of shape {array.shape}, expected integers of one dimension")
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= self.n_ids:
            raise InvalidArgument(f"ids run from {low} to {high}, expected 0 to {self.n_ids - 1}")
        return array.astype(np.int64, copy=False)

    def _checked_costs(self, n: int | ArrayLike, shape: tuple[int, ...]) -> int | NDArray[np.int64]:
        if isinstance(n, int):
            return positive_count("n", n, self.burst)
        costs = np.asarray(n)
        if costs.ndim == 0:
            return positive_count("n", costs.item(), self.burst)
        if costs.shape != shape or costs.dtype.kind not in "iu":
            raise InvalidArgument(f"n is {costs.dtype} of shape {costs.shape}, expected integers of shape {shape}")
        if costs.size and (int(costs.min()) < 1 or int(costs.max()) > self.burst):
            raise InvalidArgument(f"costs run from {costs.min()} to {costs.max()}, expected 1 to burst = {self.burst}")
        return costs.astype(np.int64, copy=False)

    def _credit_time(self, now: float | None) -> int:
        """Advance to `now` and return it on the credit axis of the array."""
        if now is None:
            ticks = self._read()
        elif now - now == 0:  # finite
            ticks = int(now * 1e9 + 0.5)
        else:
            raise InvalidArgument(f"now is {now!r}, expected finite seconds")
        if self._epoch is None:
            self._epoch = self._last = ticks
        self._last = max(self._last, ticks)
        at = (self._last - self._epoch) * self._earn
        if at + self._cap >= self._LARGEST:  # move the epoch; an arrival time in the past is as good as now
            np.subtract(self._tat, min(at, self._LARGEST), out=self._tat)
            np.maximum(self._tat, 0, out=self._tat)
            self._epoch, at = self._last, 0
        return at

    def _same_cost(self, ids: NDArray[np.int64], cost: int, at: int) -> NDArray[np.bool_]:
        allowed = np.empty(ids.size, dtype=bool)
        for begin in range(0, ids.size, self._BLOCK):
            block = slice(begin, begin + self._BLOCK)
            allowed[block] = self._same_cost_block(ids[block], cost, at)
        return allowed

    def _same_cost_block(self, ids: NDArray[np.int64], cost: int, at: int) -> NDArray[np.bool_]:
        asked = self._asked
        np.add.at(asked, ids, np.int32(1))  # typed: a plain 1 would be converted at every element
        wanted = asked[ids]  # requests of this id in the block: the same number at each of them
        asked[ids] = 0
        start = np.maximum(self._tat[ids], at)
        spare = (self._cap + at) - start
        # More than the burst is refused anyway; without the cap on the count the product might not fit 64 bits.
        charge = np.minimum(wanted, np.int64(self._cap // cost + 1)) * np.int64(cost)
        allowed = charge <= spare
        if not allowed.all():
            over = np.flatnonzero(~allowed)
            quota = spare[over] // cost  # how many of its requests such an id may still make: the first ones
            charge[over] = quota * cost
            partly = over[quota > 0]
            allowed[partly] = _rank(ids[partly]) < quota[quota > 0]
        self._tat[ids] = start + charge
        return allowed

    def _any_cost(self, ids: NDArray[np.int64], costs: NDArray[np.int64], at: int) -> NDArray[np.bool_]:
        allowed = np.zeros(ids.size, dtype=bool)
        rank = _rank(ids)
        order = np.argsort(rank, kind="stable")
        edges = np.cumsum(np.bincount(rank)) if ids.size else []
        for turn in np.split(order, edges[:-1]):  # first requests of all ids, then second ones, ...
            after = np.maximum(self._tat[ids[turn]], at) + costs[turn]
            ok = after <= at + self._cap
            self._tat[ids[turn][ok]] = after[ok]
            allowed[turn] = ok
        return allowed


def _rank(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each position, how many times its id occurred before. O(m) per 16 bits of the largest id.

    A radix sort, 16 bits at a time: numpy sorts 16-bit integers in linear time.
    """
    order = np.argsort((ids & 0xFFFF).astype(np.uint16), kind="stable")
    for shift in range(16, int(ids.max(initial=0)).bit_length(), 16):
        digit = (ids[order] >> shift & 0xFFFF).astype(np.uint16)
        order = order[np.argsort(digit, kind="stable")]
    grouped = ids[order]
    first = np.ones(ids.size, dtype=bool)
    np.not_equal(grouped[1:], grouped[:-1], out=first[1:])
    position = np.arange(ids.size)
    rank = np.empty(ids.size, dtype=np.int64)
    rank[order] = position - np.maximum.accumulate(np.where(first, position, 0))
    return rank
