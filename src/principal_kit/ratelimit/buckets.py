"""Token bucket, leaky bucket and GCRA: one contract, three ways to remember it.

Each admits at most `burst + rate * T` in any interval of length T. The token bucket stores what is left, the leaky
bucket what was poured in, GCRA the single moment at which the bucket is full again. All three make the same decision,
always.
"""

from __future__ import annotations

from numbers import Real

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import CapacityError
from principal_kit.ratelimit.decision import (
    READY,
    SECONDS_PER_TICK,
    Decision,
    ExactRate,
    Limiter,
    nanoseconds,
    new_decision,
    positive_count,
    spare_seconds,
)


class _Bucket(Limiter):
    """Arguments and time, common to the three buckets.

    Time never moves back for a limiter: an earlier reading of the clock counts as no time passed.
    """

    __slots__ = ("_cap", "_delay", "_earn", "_last", "_read", "_spare", "_token", "burst", "rate")

    def __init__(self, rate: Real, burst: int, *, clock: Clock = monotonic) -> None:
        exact = ExactRate.per_second(rate)
        self.burst = positive_count("burst", burst)
        self.rate = rate
        self._earn, self._token = exact
        self._cap = self.burst * self._token
        self._delay = SECONDS_PER_TICK / self._earn  # s a missing credit takes; waits are floats, decisions never
        self._read = nanoseconds(clock)
        self._last = self._read()
        self._spare = spare_seconds(clock, self._last)
        self.reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rate={self.rate!r}, burst={self.burst})"

    @property
    def idle_after(self) -> float:
        """Seconds until `idle` if nobody asks in between; 0.0 when idle."""
        return self.peek(self.burst).retry_after

    def _now(self) -> int:
        now = self._read()
        return now if now > self._last else self._last

    def _refused(self, missing: int, spare: int) -> Decision:
        """Refuse for want of `missing` credits (> 0) with `spare` credits in hand."""
        wait = missing * self._delay + self._spare
        return Decision(False, spare // self._token, wait)


class TokenBucket(_Bucket):
    """A bucket of `burst` tokens, refilled at `rate`; a request takes `n` tokens or is refused.

    Args:
        rate: tokens per second, positive and finite; a fraction is kept exactly.
        burst: tokens in a full bucket (>= 1), and so the largest cost of one request.
        clock: seconds as a float; monotonic by default.

    O(1) time and memory. Raises InvalidArgument on bad arguments, having changed nothing.

    >>> from principal_kit.core.clock import ManualClock
    >>> clock = ManualClock()
    >>> bucket = TokenBucket(rate=10, burst=2, clock=clock)
    >>> [bucket.acquire().allowed for _ in range(3)]
    [True, True, False]
    >>> _ = clock.advance(0.1)
    >>> bucket.acquire()
    Decision(allowed=True, remaining=0, retry_after=0.0)
    """

    __slots__ = ("_credit",)

    def reset(self) -> None:
        """Fill the bucket."""
        self._credit = self._cap

    def acquire(self, n: int = 1) -> Decision:
        """Take `n` tokens, or refuse and take none. O(1). Raises InvalidArgument if n < 1 or n > burst."""
        token = self._token
        cost = token if n == 1 else token * positive_count("n", n, self.burst)
        now = self._read()
        credit = self._credit
        if now > self._last:
            credit += (now - self._last) * self._earn
            if credit > self._cap:
                credit = self._cap
            self._last = now
        if cost <= credit:
            self._credit = credit = credit - cost
            left = credit // token
            return READY[left] if left < 4096 else new_decision(Decision, (True, left, 0.0))
        self._credit = credit
        wait = (cost - credit) * self._delay + self._spare
        return new_decision(Decision, (False, 0 if credit < token else credit // token, wait))

    def peek(self, n: int = 1) -> Decision:
        """Say what `acquire(n)` would answer now. O(1)."""
        n = positive_count("n", n, self.burst)
        credit = min(self._cap, self._credit + (self._now() - self._last) * self._earn)
        if (cost := n * self._token) <= credit:
            return Decision(True, (credit - cost) // self._token, 0.0)
        return self._refused(cost - credit, credit)

    @property
    def idle(self) -> bool:
        """True when the bucket is full."""
        return self._credit + (self._now() - self._last) * self._earn >= self._cap


class LeakyBucket(_Bucket):
    """A bucket that holds `burst` requests and leaks `rate` of them per second; what would overflow is refused.

    As a meter (`acquire`) it decides exactly as the token bucket does, of which it is the mirror image. As a queue
    (`enqueue`) it also spaces out what it admits: requests leave at `rate`, never in a burst.

    Source: J. Turner, New directions in communications, IEEE Communications Magazine 24(10), 1986.
    O(1) time and memory. Raises InvalidArgument on bad arguments, having changed nothing.

    >>> from principal_kit.core.clock import ManualClock
    >>> bucket = LeakyBucket(rate=10, burst=3, clock=ManualClock())
    >>> [bucket.enqueue() for _ in range(3)]
    [0.0, 0.1, 0.2]
    """

    __slots__ = ("_level",)

    def reset(self) -> None:
        """Empty the bucket."""
        self._level = 0

    def acquire(self, n: int = 1) -> Decision:
        """Pour in `n` requests, or refuse if they would overflow. O(1). InvalidArgument if n < 1 or n > burst."""
        token = self._token
        cost = token if n == 1 else token * positive_count("n", n, self.burst)
        now = self._read()
        level = self._level
        if now > self._last:
            level -= (now - self._last) * self._earn
            if level < 0:
                level = 0
            self._last = now
        poured = level + cost
        if poured <= self._cap:
            self._level = poured
            left = (self._cap - poured) // token
            return READY[left] if left < 4096 else new_decision(Decision, (True, left, 0.0))
        self._level = level
        spare = self._cap - level
        wait = (cost - spare) * self._delay + self._spare
        return new_decision(Decision, (False, 0 if spare < token else spare // token, wait))

    def enqueue(self, n: int = 1) -> float:
        """Admit `n` requests as one item and return the seconds to hold it before it leaves. O(1).

        Raises CapacityError, with `retry_after`, when the queue is full.
        """
        decision = self.acquire(n)
        if not decision.allowed:
            raise CapacityError(f"the queue of {self.burst} is full", retry_after=decision.retry_after)
        return (self._level - n * self._token) / self._earn / 1e9

    def peek(self, n: int = 1) -> Decision:
        """Say what `acquire(n)` would answer now. O(1)."""
        n = positive_count("n", n, self.burst)
        level = max(0, self._level - (self._now() - self._last) * self._earn)
        if (poured := level + n * self._token) <= self._cap:
            return Decision(True, (self._cap - poured) // self._token, 0.0)
        return self._refused(poured - self._cap, self._cap - level)

    @property
    def idle(self) -> bool:
        """True when the bucket is empty."""
        return self._level <= (self._now() - self._last) * self._earn


class GCRA(_Bucket):
    """The generic cell rate algorithm: remember only the theoretical arrival time (TAT), when the bucket would be
    full again.

    A request of cost `n` moves TAT later by `n / rate`, starting from now if TAT has passed. It conforms if TAT is
    then at most `burst / rate` ahead of now. Decisions equal the token bucket's; the state is one number, which is
    why it vectorises.

    Source: ITU-T Recommendation I.371, generic cell rate algorithm, virtual scheduling form; here with costs and an
    exact clock. O(1) time and memory. Raises InvalidArgument on bad arguments, having changed nothing.

    >>> from principal_kit.core.clock import ManualClock
    >>> limiter = GCRA(rate=10, burst=2, clock=ManualClock())
    >>> [limiter.acquire().remaining for _ in range(2)]
    [1, 0]
    >>> round(limiter.acquire().retry_after, 6)
    0.1
    """

    __slots__ = ("_tat",)

    def reset(self) -> None:
        """Let the theoretical arrival time be now."""
        self._tat = self._last * self._earn

    def acquire(self, n: int = 1) -> Decision:
        """Admit a cost of `n`, or refuse and leave TAT alone. O(1). Raises InvalidArgument if n < 1 or n > burst."""
        token = self._token
        cost = token if n == 1 else token * positive_count("n", n, self.burst)
        now = self._read()
        if now > self._last:
            self._last = now
        else:
            now = self._last
        now *= self._earn  # time on the credit axis, where one token is `token` wide, whatever the rate
        tat = self._tat
        after = (tat if tat > now else now) + cost
        spare = now + self._cap - after  # how much further ahead TAT might be
        if spare >= 0:
            self._tat = after
            left = spare // token
            return READY[left] if left < 4096 else new_decision(Decision, (True, left, 0.0))
        wait = -spare * self._delay + self._spare
        spare += cost
        return new_decision(Decision, (False, 0 if spare < token else spare // token, wait))

    def peek(self, n: int = 1) -> Decision:
        """Say what `acquire(n)` would answer now. O(1)."""
        n = positive_count("n", n, self.burst)
        now = self._now() * self._earn
        ahead = max(0, self._tat - now) + n * self._token
        if ahead <= self._cap:
            return Decision(True, (self._cap - ahead) // self._token, 0.0)
        return self._refused(ahead - self._cap, self._cap - ahead + n * self._token)

    @property
    def idle(self) -> bool:
        """True when the theoretical arrival time has passed."""
        return self._tat <= self._now() * self._earn
