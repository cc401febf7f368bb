"""Rate limiting: may this request pass?

Buckets, windows and tables of them need no server. `RedisTokenBucket`, `RedisSlidingWindowLog` and `LeasedLimiter`
share one limit between processes; they need the `redis` extra and are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from principal_kit.ratelimit.buckets import GCRA, LeakyBucket, TokenBucket
from principal_kit.ratelimit.conformance import most_in_window, required_burst
from principal_kit.ratelimit.decision import Counters, Decision, Limiter, Observer
from principal_kit.ratelimit.keyed import KeyedLimiter, VectorGCRA
from principal_kit.ratelimit.windows import FixedWindow, SlidingWindowCounter, SlidingWindowLog

if TYPE_CHECKING:
    from principal_kit.ratelimit.lease import LeasedLimiter
    from principal_kit.ratelimit.redis import RedisSlidingWindowLog, RedisTokenBucket

__all__ = [
    "GCRA",
    "Counters",
    "Decision",
    "FixedWindow",
    "KeyedLimiter",
    "LeakyBucket",
    "LeasedLimiter",
    "Limiter",
    "Observer",
    "RedisSlidingWindowLog",
    "RedisTokenBucket",
    "SlidingWindowCounter",
    "SlidingWindowLog",
    "TokenBucket",
    "VectorGCRA",
    "most_in_window",
    "required_burst",
]


def __getattr__(name: str) -> object:
    if name in ("RedisTokenBucket", "RedisSlidingWindowLog"):
        from principal_kit.ratelimit import redis

        return getattr(redis, name)
    if name == "LeasedLimiter":
        from principal_kit.ratelimit.lease import LeasedLimiter

        return LeasedLimiter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
