"""A counter-example: the token bucket that most of us write first, with its state in Redis and its logic in the client.

It reads, decides on the client's own clock, and writes back. Between the read and the write another process reads the
same tokens; and every pair of clocks that disagree makes time run twice. Do not use it; the chapter breaks it in both
ways.
"""

from __future__ import annotations

import time
from numbers import Real

import redis

from principal_kit.core.clock import Clock
from principal_kit.ratelimit.decision import positive_count, positive_fraction
from principal_kit.ratelimit.redis import Grant


class ClientSideBucket:
    """A token bucket that is neither atomic nor safe from clock skew.

    Args:
        client: a Redis client.
        name: key of the bucket.
        rate: tokens per second.
        burst: tokens in a full bucket.
        clock: the client's own idea of the time, in seconds since 1970.
    """

    def __init__(self, client: redis.Redis, name: str, rate: Real, burst: int, *, clock: Clock = time.time) -> None:
        positive_fraction("rate", rate, "tokens per second")
        self.rate, self.burst = float(rate), positive_count("burst", burst)
        self._client, self._key, self._clock = client, f"{name}:", clock

    def grant(self, n: int = 1) -> Grant:
        """Take `n` tokens, if nobody else is looking. Two round trips."""
        positive_count("n", n, self.burst)
        now = self._clock()
        tokens, last = (float(x) if x else None for x in self._client.hmget(self._key, "tokens", "last"))
        if tokens is None:
            tokens, last = float(self.burst), now
        tokens = min(self.burst, tokens + max(0.0, now - last) * self.rate)
        granted = n if tokens >= n else 0
        self._client.hset(self._key, mapping={"tokens": tokens - granted, "last": now})
        return Grant(granted, int(tokens - granted), 0.0, now)
