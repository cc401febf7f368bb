"""What every limiter answers, and how it reads time and rates without losing a bit.

The idea: a rate is kept as a fraction of integers and time as integer nanoseconds. Then "has a token arrived yet?" is
integer arithmetic, and two algorithms that are equal on paper are equal in every decision, not only up to rounding.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import ClassVar, NamedTuple

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import InvalidArgument

NANOSECONDS = 1_000_000_000


class Decision(NamedTuple):
    """One answer of a limiter.

    Attributes:
        allowed: whether the request may pass. A refused request has changed nothing.
        remaining: whole requests of cost 1 that would still pass at this instant.
        retry_after: seconds after which the same request passes if nobody else asks in between; 0.0 when allowed.
    """

    allowed: bool
    remaining: int
    retry_after: float


# What every wait adds, so that it is never short. A spare nanosecond covers rounding up. A clock in float seconds is
# off by half a last digit (2**-53 of what it shows) at each of: reading it now, adding the wait, reading it again. The
# product of nanoseconds and a float factor is off by a few such halves of itself.
SPARE_SECONDS = 1.4e-9
CLOCK_SLACK = 4.5e-25  # seconds per nanosecond that the clock shows: four halves
SECONDS_PER_TICK = 1e-9 * (1 + 1e-15)

new_decision = tuple.__new__  # skips NamedTuple's argument parsing, which costs more than deciding does

# Admissions carry no wait, so most of them are one of few values; handing out a ready one is four times cheaper.
READY = tuple(Decision(True, remaining, 0.0) for remaining in range(4096))


class Limiter(ABC):
    """The interface of every limiter. Instances are not thread-safe: one per thread, or one lock around it."""

    __slots__ = ()

    local: ClassVar[bool] = True  # decides in this process, without asking a server

    @abstractmethod
    def acquire(self, n: int = 1) -> Decision:
        """Admit a request of cost `n` and charge for it, or refuse it and change nothing."""

    @abstractmethod
    def peek(self, n: int = 1) -> Decision:
        """Say what `acquire(n)` would answer now, without charging."""

    @abstractmethod
    def reset(self) -> None:
        """Forget every past request."""

    @property
    @abstractmethod
    def idle(self) -> bool:
        """True when the state equals that of a new limiter, so that it can be dropped without admitting more."""

    @property
    def idle_after(self) -> float:
        """Seconds until `idle` if nobody asks in between; 0.0 when idle."""
        return 0.0 if self.idle else self.peek().retry_after


class ExactRate(NamedTuple):
    """A rate in integer credits: a nanosecond earns `earn` credits, a token costs `token`.

    For 100/s a token takes 10 ms, so `earn` is 1 and `token` is 10,000,000. For 3/s, a third of a second is no whole
    number of nanoseconds; `earn` is 3 and `token` 1,000,000,000, and nothing is ever rounded.
    """

    earn: int
    token: int

    @classmethod
    def per_second(cls, rate: Real, unit: int = NANOSECONDS) -> ExactRate:
        """Turn tokens per second into credits, `unit` ticks to the second. A float counts as the decimal it prints as.

        Raises InvalidArgument unless `rate` is a positive, finite number.

        >>> ExactRate.per_second(3)
        ExactRate(earn=3, token=1000000000)
        >>> ExactRate.per_second(0.1)
        ExactRate(earn=1, token=10000000000)
        """
        fraction = positive_fraction("rate", rate, "tokens per second")
        earn, token = fraction.numerator, fraction.denominator * unit
        divisor = math.gcd(earn, token)
        return cls(earn // divisor, token // divisor)


def positive_fraction(name: str, value: Real, what: str) -> Fraction:
    """Return `value` as an exact fraction. Raises InvalidArgument unless it is a positive, finite real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgument(f"{name} is {value!r}, expected a number of {what}")
    if not (math.isfinite(value) and value > 0):
        raise InvalidArgument(f"{name} is {value!r}, expected a positive, finite number of {what}")
    if isinstance(value, Rational):  # numpy's integers too, which would wrap around as numerator and denominator
        return Fraction(int(value.numerator), int(value.denominator))
    return Fraction(repr(float(value)))


def positive_count(name: str, value: object, at_most: int | None = None) -> int:
    """Return `value` as an int >= 1. Raises InvalidArgument otherwise, or above `at_most`, which can never be met."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidArgument(f"{name} is {value!r}, expected a whole number >= 1")
    if value < 1:
        raise InvalidArgument(f"{name} is {value}, expected >= 1")
    if at_most is not None and value > at_most:
        raise InvalidArgument(f"{name} is {value}, but at most {at_most} ever pass at once: waiting cannot help")
    return int(value)


def window_ns(seconds: Real) -> int:
    """Return a window length in nanoseconds. Raises InvalidArgument unless it is positive, finite and at least 1 ns."""
    length = round(positive_fraction("window", seconds, "seconds") * NANOSECONDS)
    if length < 1:
        raise InvalidArgument(f"window is {seconds!r} s, expected at least one nanosecond")
    return length


def nanoseconds(clock: Clock) -> Callable[[], int]:
    """Return a reader of `clock` in whole nanoseconds; the kit's default clock is read without passing through a float.

    A float holds single nanoseconds up to 2**53 ns, 104 days. A wall clock in seconds since 1970 is exact to about
    0.2 us.
    """
    if clock is monotonic:
        return time.monotonic_ns
    return lambda: int(clock() * 1e9 + 0.5)


def spare_seconds(clock: Clock, start: int) -> float:
    """Return what a bucket adds to every wait: fixed when it is made, so that refusing costs one addition.

    The kit's default clock counts whole nanoseconds and needs no more than SPARE_SECONDS. For a clock in float seconds
    the slack covers readings up to 2**27 s (four years) or at least twice `start`, whichever is more: 60 ns, or 1.9 us
    on a wall clock that counts from 1970. A power of two, so that buckets made moments apart answer alike.
    """
    if clock is monotonic:
        return SPARE_SECONDS
    latest = 2 ** max(27, (abs(start) // NANOSECONDS).bit_length() + 1)
    return SPARE_SECONDS + latest * NANOSECONDS * CLOCK_SLACK


def seconds_until(ticks: int, now: int) -> float:
    """Return a wait of `ticks` nanoseconds in seconds, never short on a clock that shows `now` nanoseconds."""
    return (ticks + 1) * SECONDS_PER_TICK + now * CLOCK_SLACK


class Observer:
    """Where limiters report what operators count. Every method is a no-op; override what you need."""

    def evicted(self, key: object) -> None:
        """An idle id left a full table."""

    def capacity_reached(self, key: object) -> None:
        """A new id was refused because the table is full of busy ones."""

    def unavailable(self, error: Exception) -> None:
        """Redis did not answer, or answered that it cannot serve."""

    def degraded(self, policy: str) -> None:
        """A decision was made without Redis, by `policy`."""

    def breaker_opened(self) -> None:
        """Redis is left alone for a while."""

    def breaker_closed(self) -> None:
        """Redis answers again."""

    def script_loaded(self) -> None:
        """The script cache had lost the script, and it was sent again."""

    def leased(self, tokens: int) -> None:
        """A batch of tokens came from Redis."""

    def lease_expired(self, tokens: int) -> None:
        """Leased tokens were dropped unspent."""


class Counters(Observer):
    """An observer that counts events by name, and adds up tokens.

    >>> seen = Counters()
    >>> seen.leased(64); seen.leased(10)
    >>> seen.events["leased"], seen.tokens["leased"]
    (2, 74)
    """

    def __init__(self) -> None:
        self.events: dict[str, int] = {}
        self.tokens: dict[str, int] = {}

    def _count(self, event: str, tokens: int = 0) -> None:
        self.events[event] = self.events.get(event, 0) + 1
        if tokens:
            self.tokens[event] = self.tokens.get(event, 0) + tokens

    def evicted(self, key: object) -> None:
        """Count it."""
        self._count("evicted")

    def capacity_reached(self, key: object) -> None:
        """Count it."""
        self._count("capacity_reached")

    def unavailable(self, error: Exception) -> None:
        """Count it."""
        self._count("unavailable")

    def degraded(self, policy: str) -> None:
        """Count it by policy."""
        self._count(f"degraded_{policy}")

    def breaker_opened(self) -> None:
        """Count it."""
        self._count("breaker_opened")

    def breaker_closed(self) -> None:
        """Count it."""
        self._count("breaker_closed")

    def script_loaded(self) -> None:
        """Count it."""
        self._count("script_loaded")

    def leased(self, tokens: int) -> None:
        """Count it and add up the tokens."""
        self._count("leased", tokens)

    def lease_expired(self, tokens: int) -> None:
        """Count it and add up the tokens."""
        self._count("lease_expired", tokens)
