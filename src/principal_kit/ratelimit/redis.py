"""One limit for many processes: the state lives in Redis, and a Lua script reads the time, decides and charges in one
step.

Redis runs a script to its end before the next command, so N processes cannot both take the last token. The time is
the server's own (`TIME`), so a client with a wrong clock changes nothing. What Redis cannot answer is answered by a
policy chosen beforehand.
"""

from __future__ import annotations

import hashlib
import math
from importlib.resources import files
from numbers import Real
from typing import ClassVar, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import InvalidArgument, ServiceError, Unavailable
from principal_kit.ratelimit.decision import (
    Decision,
    ExactRate,
    Limiter,
    Observer,
    positive_count,
    positive_fraction,
)

MICROSECONDS = 1_000_000
# Errors that say "not now" rather than "your program is wrong": by class, or by the first word of a reply that redis-py
# has no class for.
UNAVAILABLE = (
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    OutOfMemoryError,
)
UNAVAILABLE_REPLIES = frozenset({"BUSY", "MISCONF", "NOREPLICAS", "LOADING", "OOM"})


def is_unavailable(error: RedisError) -> bool:
    """Say whether Redis cannot serve now, as opposed to refusing this very request."""
    return isinstance(error, UNAVAILABLE) or str(error).partition(" ")[0] in UNAVAILABLE_REPLIES


class Grant(NamedTuple):
    """What a script answered.

    Attributes:
        granted: tokens given; 0 is a refusal.
        remaining: whole tokens left.
        retry_after: seconds until the request could pass; 0.0 when granted.
        at: time of the decision in seconds since 1970, by the Redis server's clock; NaN if made without Redis.
    """

    granted: int
    remaining: int
    retry_after: float
    at: float


def connect(url: str, *, timeout: float = 0.05) -> redis.Redis:
    """Return a client fit for a request path: it gives up after `timeout` seconds and never retries on its own.

    redis-py's default client retries a lost connection with growing pauses; behind a rate limiter that turns an
    outage of Redis into an outage of everything. Does not connect yet.
    """
    return redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0), protocol=2
    )


class Script:
    """A Lua file of this package, sent once and then called by its SHA-1; sent again when Redis has forgotten it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, keys: tuple[str, ...], args: tuple[object, ...], observer: Observer) -> list:
        """Run the script. One round trip; two after SCRIPT FLUSH, a restart or a failover (NOSCRIPT, then EVAL)."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            observer.script_loaded()
            return client.eval(self.text, len(keys), *keys, *args)


class Breaker:
    """Leave Redis alone for `cooldown` seconds after a failure, then let one call try.

    Without it, every request waits for its own timeout during an outage.
    """

    def __init__(self, cooldown: float, clock: Clock, observer: Observer) -> None:
        self._cooldown = float(positive_fraction("cooldown", cooldown, "seconds"))
        self._clock = clock
        self._observer = observer
        self._until: float | None = None

    @property
    def wait(self) -> float:
        """Seconds until Redis is tried again; 0.0 if it may be tried now."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    def failed(self) -> None:
        """Note that Redis did not answer."""
        if self._until is None:
            self._observer.breaker_opened()
        self._until = self._clock() + self._cooldown

    def answered(self) -> None:
        """Note that Redis answered."""
        if self._until is not None:
            self._until = None
            self._observer.breaker_closed()


class _RedisLimiter(Limiter):
    """Connection, script and failure policy, common to the limiters on Redis."""

    script: Script
    local: ClassVar[bool] = False
    most: int  # largest cost of one request

    def __init__(
        self,
        client: redis.Redis | str,
        name: str,
        *,
        on_error: str | Limiter = "closed",
        cooldown: float = 0.25,
        clock: Clock = monotonic,
        observer: Observer | None = None,
    ) -> None:
        if not name:
            raise InvalidArgument("name is empty, expected the prefix of the limiter's keys")
        if isinstance(on_error, Limiter):
            if not on_error.local:
                raise InvalidArgument(f"on_error is {on_error!r}, which asks Redis too; expected a local limiter")
        elif not isinstance(on_error, str) or on_error not in ("open", "closed", "raise"):
            raise InvalidArgument(f"on_error is {on_error!r}, expected 'open', 'closed', 'raise' or a local limiter")
        self.name = name
        self._key("")  # raises if the name is no text that Redis could store
        self.on_error = on_error
        self._client = connect(client) if isinstance(client, str) else client
        self._observer = observer or Observer()
        self._breaker = Breaker(cooldown, clock, self._observer)

    def acquire(self, n: int = 1, id: object = "") -> Decision:
        """Admit a request of cost `n` under `id`, or refuse it. One round trip, O(1) in Redis for the bucket.

        Raises InvalidArgument if n < 1 or larger than could ever pass, and Unavailable if Redis does not answer and
        `on_error` is "raise". A call that times out may still have been charged in Redis: the limit errs on the
        strict side.
        """
        n = positive_count("n", n, self.most)
        grant = self._ask(n, id, partial=False)
        return Decision(grant.granted == n, grant.remaining, grant.retry_after)

    def grant(self, n: int = 1, id: object = "") -> Grant:
        """Do what `acquire` does, and say at which time of Redis it happened."""
        return self._ask(positive_count("n", n, self.most), id, partial=False)

    def reset(self, id: object = "") -> None:
        """Delete the state of `id`. Raises Unavailable if Redis does not answer."""
        try:
            self._client.delete(self._key(id))
        except RedisError as error:
            if is_unavailable(error):
                raise Unavailable(f"Redis cannot serve {self.name!r}: {error}") from error
            raise ServiceError(f"Redis refused to delete {self._key(id)!r}: {error}") from error

    @property
    def idle(self) -> bool:
        """True: this object holds no state of its own; Redis expires what it holds."""
        return True

    def _key(self, id: object) -> str:
        key = f"{self.name}:{id}"
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"key is {key!r}, expected a name and an id that UTF-8 can encode") from error
        return key

    def _call(self, n: int, key: str, partial: bool) -> list[int]:
        raise NotImplementedError

    def _ask(self, n: int, id: object, partial: bool) -> Grant:
        key = self._key(id)
        wait = self._breaker.wait
        if wait > 0:
            return self._without_redis(n, partial, wait, None)
        try:
            granted, remaining, retry_us, at = self._call(n, key, partial)
        except RedisError as error:
            if not is_unavailable(error):
                raise ServiceError(f"Redis refused {self.script.name!r} for {key!r}: {error}") from error
            self._observer.unavailable(error)
            self._breaker.failed()
            return self._without_redis(n, partial, self._breaker.wait, error)
        self._breaker.answered()
        return Grant(granted, remaining, (retry_us + 1) / MICROSECONDS if retry_us else 0.0, at / MICROSECONDS)

    def _without_redis(self, n: int, partial: bool, wait: float, error: Exception | None) -> Grant:
        policy = self.on_error
        if policy == "open":
            self._observer.degraded("open")
            return Grant(n, 0, 0.0, math.nan)
        if policy == "closed":
            self._observer.degraded("closed")
            return Grant(0, 0, wait, math.nan)
        if policy == "raise":
            self._observer.degraded("raise")
            raise Unavailable(f"Redis cannot serve {self.name!r}; next try in {wait:.2f}s", retry_after=wait) from error
        self._observer.degraded("local")
        if partial:
            spare = policy.peek()
            n = min(n, spare.remaining + spare.allowed) or 1
        try:
            local = policy.acquire(n)
        except InvalidArgument:  # more than the local limiter can ever admit: wait for Redis
            return Grant(0, 0, wait, math.nan)
        return Grant(n if local.allowed else 0, local.remaining, local.retry_after, math.nan)


class RedisTokenBucket(_RedisLimiter):
    """A token bucket per id in Redis, shared by every process that uses the same name.

    Args:
        client: a client (give it short timeouts and no retries, as `connect` does) or a redis:// URL.
        name: prefix of the keys. In Redis Cluster, wrap it in braces ("{api}") if `after_loss` is "empty".
        rate: tokens per second and id.
        burst: tokens in a full bucket (>= 1).
        after_loss: what a bucket that Redis does not know starts with. "full": each loss of state (restart without
            persistence, failover to a lagging replica) can let one more burst through. "empty": it starts with what it
            would have earned since Redis's state began, so a restart that lost everything admits nothing extra, and
            new ids wait after it. The loss of one key while the rest survives (eviction by maxmemory, DEL) is not
            noticed: that bucket starts full if Redis's state is old. Keep limiters on a Redis that does not evict.
        on_error: without Redis, "open" admits, "closed" refuses, "raise" raises Unavailable, and a limiter decides
            locally.
        cooldown: seconds to leave Redis alone after a failure.
        clock: of the breaker only; seconds as a float.
        observer: told of failures, degraded decisions and script loads.

    Bound: in any interval of length T of Redis's time, an id is admitted at most `(1 + losses) * burst + rate * T`;
        with "empty", `burst + rate * T` as long as state is lost only as a whole. O(1) time
        and about 100 bytes an id, gone when the bucket would be full
        again. If Redis's clock steps back, a bucket earns nothing until the clock has caught up.

    What is stored is credit in units that follow from `rate`. Limiters of one name must agree on `rate` and `burst`: a
        changed rate reads the same credit as another number of tokens, at most a burst, until the id is idle. Give a
        changed limit a new name.
    """

    script = Script("token_bucket")

    def __init__(
        self,
        client: redis.Redis | str,
        name: str,
        rate: Real,
        burst: int,
        *,
        after_loss: str = "full",
        on_error: str | Limiter = "closed",
        cooldown: float = 0.25,
        clock: Clock = monotonic,
        observer: Observer | None = None,
    ) -> None:
        if after_loss not in ("full", "empty"):
            raise InvalidArgument(f"after_loss is {after_loss!r}, expected 'full' or 'empty'")
        self.burst = self.most = positive_count("burst", burst)
        self.rate = rate
        exact = ExactRate.per_second(rate, MICROSECONDS)
        cap = exact.token * self.burst
        if cap + exact.earn >= 2**51:
            raise InvalidArgument(
                f"rate {rate!r} with burst {burst} needs over 51 bits in Lua; round the rate or lower the burst"
            )
        super().__init__(client, name, on_error=on_error, cooldown=cooldown, clock=clock, observer=observer)
        self._arguments = (exact.token, exact.earn, cap)
        self._after_loss = after_loss

    def take(self, n: int, id: object = "") -> Grant:
        """Take up to `n` tokens, as many as there are. One round trip, O(1). InvalidArgument if n < 1 or n > burst."""
        return self._ask(positive_count("n", n, self.burst), id, partial=True)

    def peek(self, n: int = 1, id: object = "") -> Decision:
        """Not offered: a look at shared state is stale before it returns. Raises InvalidArgument."""
        raise InvalidArgument("a shared bucket has no peek: what it says may be gone when you act on it; use acquire")

    def _call(self, n: int, key: str, partial: bool) -> list[int]:
        keys = (key, f"{self.name}@began")
        return self.script.run(
            self._client, keys, (*self._arguments, n, int(partial), self._after_loss), self._observer
        )


class RedisSlidingWindowLog(_RedisLimiter):
    """An exact sliding window per id in Redis: at most `limit` in any `window` seconds of the server's time.

    Args:
        client, name, on_error, cooldown, clock, observer: as for RedisTokenBucket.
        limit: most units admitted in any window (>= 1).
        window: seconds, at least one microsecond.

    O(n log limit) time for a request of cost n, in which Redis serves nobody else (a cost of 10,000 takes it
        milliseconds), and O(limit) memory an id, gone a second after the window. A loss of state admits up to `limit`
    more.
    """

    script = Script("sliding_window_log")

    def __init__(
        self,
        client: redis.Redis | str,
        name: str,
        limit: int,
        window: Real,
        *,
        on_error: str | Limiter = "closed",
        cooldown: float = 0.25,
        clock: Clock = monotonic,
        observer: Observer | None = None,
    ) -> None:
        self.limit = self.most = positive_count("limit", limit)
        self.window = window
        width = round(positive_fraction("window", window, "seconds") * MICROSECONDS)
        if not 1 <= width < 2**51:
            raise InvalidArgument(f"window is {window!r} s, expected one microsecond to 71 years")
        super().__init__(client, name, on_error=on_error, cooldown=cooldown, clock=clock, observer=observer)
        self._width = width

    def peek(self, n: int = 1, id: object = "") -> Decision:
        """Not offered: a look at shared state is stale before it returns. Raises InvalidArgument."""
        raise InvalidArgument("a shared window has no peek: what it says may be gone when you act on it; use acquire")

    def _call(self, n: int, key: str, partial: bool) -> list[int]:
        return self.script.run(self._client, (key,), (self.limit, self._width, n), self._observer)
