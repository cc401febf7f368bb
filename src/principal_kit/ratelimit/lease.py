"""A global limit at local speed: take a batch of tokens from Redis, spend it without asking again, drop it when it
expires.

Tokens are counted once, when they are leased; a worker can only spend what it has leased. So what the fleet admits is
what Redis has granted, shifted by at most the life of a lease.
"""

from __future__ import annotations

import os
from numbers import Real
from typing import ClassVar
from weakref import WeakSet

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import InvalidArgument
from principal_kit.ratelimit.decision import (
    NANOSECONDS,
    READY,
    Decision,
    Limiter,
    Observer,
    nanoseconds,
    new_decision,
    positive_count,
    window_ns,
)
from principal_kit.ratelimit.redis import RedisTokenBucket

_leases: WeakSet[LeasedLimiter] = WeakSet()


def _drop_in_child() -> None:
    """A lease is one process's: a forked child that kept a copy would spend the same tokens again."""
    for lease in list(_leases):
        lease.reset()


os.register_at_fork(after_in_child=_drop_in_child)


class LeasedLimiter(Limiter):
    """One worker's share of a RedisTokenBucket, leased `batch` tokens at a time.

    Args:
        bucket: the global limit; its policy for a missing Redis decides what a lease gets then.
        batch: most tokens this worker holds at once (1 <= batch <= bucket.burst).
        ttl: seconds after which unspent tokens are dropped; they are not given back.
        id: which of the bucket's ids this worker spends from.
        clock: seconds as a float; only its speed matters, not what it shows. One that steps back ends the lease.
        observer: told of leases and of tokens dropped.

    Bound: with W workers, what is admitted in any interval of length T is at most
    `burst + rate * T + min(W * batch, rate * ttl)`. For a token spent in the interval was leased in it, of which
    there are at most `burst + rate * T`, or was held when it began: no more than W * batch are held at once, and all
    of them were leased in the `ttl` before, which widens the interval by that much.

    O(1); one round trip to Redis for `batch` decisions. When Redis
    gives less than asked for, its bucket is empty: the worker asks again once half a batch may have been refilled (at
    most a quarter of `ttl` later) and refuses locally until then. `remaining` counts this worker's lease, and
    `retry_after` is a lower bound, since other workers compete.
    """

    local: ClassVar[bool] = False

    __slots__ = (
        "__weakref__",
        "_begun",
        "_dry_until",
        "_expires",
        "_observer",
        "_pause",
        "_read",
        "_tokens",
        "_ttl",
        "batch",
        "bucket",
        "id",
    )

    def __init__(
        self,
        bucket: RedisTokenBucket,
        batch: int,
        *,
        ttl: Real = 1.0,
        id: object = "",
        clock: Clock = monotonic,
        observer: Observer | None = None,
    ) -> None:
        self.batch = positive_count("batch", batch)
        if self.batch > bucket.burst:
            raise InvalidArgument(f"batch is {batch}, but the bucket never holds more than its burst of {bucket.burst}")
        self._ttl = window_ns(ttl)
        self.bucket = bucket
        self.id = id
        self._read = nanoseconds(clock)
        _leases.add(self)
        self._observer = observer or Observer()
        self._pause = min(int(self.batch / float(bucket.rate) * NANOSECONDS / 2), self._ttl // 4)
        self.reset()

    def reset(self) -> None:
        """Drop the lease. The tokens are lost, not returned."""
        self._tokens = 0
        self._begun = self._expires = self._dry_until = -(2**63)

    @property
    def idle(self) -> bool:
        """True when there is no unexpired token."""
        return not self._tokens or not self._begun <= self._read() < self._expires

    def acquire(self, n: int = 1) -> Decision:
        """Spend `n` leased tokens, leasing more if need be. Raises InvalidArgument if n < 1 or n > batch."""
        if n.__class__ is not int or not 0 < n <= self.batch:
            n = positive_count("n", n, self.batch)
        now = self._read()
        left = self._tokens - n
        if left >= 0 and self._begun <= now < self._expires:
            self._tokens = left
            return READY[left] if left < 4096 else new_decision(Decision, (True, left, 0.0))
        if self._begun <= now < self._dry_until and not self._tokens:
            return new_decision(Decision, (False, 0, (self._dry_until - now + 1) * 1e-9))
        return self._renew(n, now)

    def acquire_many(self, n: int) -> int:
        """Decide `n` requests of cost 1 that arrive together, and return how many of them, the first, are admitted.

        O(1) for what the lease holds and one round trip per further `batch`. Same result as `n` calls of `acquire()`.
        """
        wanted = left = positive_count("n", n)
        while left:
            if not self.acquire().allowed:
                break
            left -= 1
            more = min(left, self._tokens)
            self._tokens -= more
            left -= more
        return wanted - left

    def peek(self, n: int = 1) -> Decision:
        """Say whether the current lease covers `n`, without asking Redis."""
        n = positive_count("n", n, self.batch)
        held = 0 if self.idle else self._tokens
        wait = max(0, self._dry_until - self._read()) / NANOSECONDS
        return Decision(held >= n, max(0, held - n) if held >= n else held, 0.0 if held >= n else wait)

    def _renew(self, n: int, now: int) -> Decision:
        if now < self._begun:  # the clock stepped back: what it said before no longer counts
            self._begun = self._expires = self._dry_until = now
        if self._tokens and now >= self._expires:
            self._observer.lease_expired(self._tokens)
            self._tokens = 0
        if now < self._dry_until:
            return Decision(False, self._tokens, (self._dry_until - now + 1) / NANOSECONDS)
        wanted = self.batch - self._tokens
        grant = self.bucket.take(wanted, self.id)
        if grant.granted:
            self._observer.leased(grant.granted)
            # The lease runs from before the request was sent. Tokens that join older ones expire with the older ones.
            if not self._tokens:
                self._begun, self._expires = now, now + self._ttl
            self._tokens += grant.granted
        if grant.granted < wanted:  # the bucket is drained: asking again at once would get crumbs, a round trip each
            self._dry_until = now + max(self._pause, int(grant.retry_after * NANOSECONDS))
        if n <= self._tokens:
            self._tokens -= n
            return Decision(True, self._tokens, 0.0)
        return Decision(False, self._tokens, max(0, self._dry_until - now + 1) / NANOSECONDS)
