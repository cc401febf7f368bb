"""Windows: count what was admitted in the last `window` seconds, exactly (log), roughly (counter) or naively (fixed).

The log remembers every admission and is exact. The counter remembers two numbers and assumes that the previous window
was even. The fixed window remembers one, and lets two windows' worth through around a boundary.
"""

from __future__ import annotations

from collections import deque
from numbers import Real

from principal_kit.core.clock import Clock, monotonic
from principal_kit.ratelimit.decision import (
    CLOCK_SLACK,
    READY,
    SECONDS_PER_TICK,
    Decision,
    Limiter,
    nanoseconds,
    new_decision,
    positive_count,
    seconds_until,
    window_ns,
)


class _Window(Limiter):
    """Arguments and time, common to the windows. Time never moves back for a limiter."""

    __slots__ = ("_last", "_read", "_width", "limit", "window")

    def __init__(self, limit: int, window: Real, *, clock: Clock = monotonic) -> None:
        self.limit = positive_count("limit", limit)
        self._width = window_ns(window)
        self.window = window
        self._read = nanoseconds(clock)
        self._last = self._read()
        self.reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(limit={self.limit}, window={self.window!r})"

    def _advance(self) -> int:
        now = self._read()
        if now > self._last:
            self._last = now
        return self._last

    @property
    def idle_after(self) -> float:
        """Seconds until `idle` if nobody asks in between; 0.0 when idle."""
        return self.peek(self.limit).retry_after

    def _answer(self, n: int, charge: bool) -> Decision:
        raise NotImplementedError

    def acquire(self, n: int = 1) -> Decision:
        """Admit a request of cost `n`, or refuse it. Raises InvalidArgument if n < 1 or n > limit."""
        return self._answer(positive_count("n", n, self.limit), True)

    def peek(self, n: int = 1) -> Decision:
        """Say what `acquire(n)` would answer now."""
        return self._answer(positive_count("n", n, self.limit), False)


class SlidingWindowLog(_Window):
    """At most `limit` in any half-open window of `window` seconds, by remembering when each unit was admitted.

    Args:
        limit: most units admitted in any window (>= 1).
        window: length in seconds, positive and finite.
        clock: seconds as a float; monotonic by default.

    Memory O(limit); time amortised O(n) per call, O(limit) at worst. Raises InvalidArgument on bad arguments.

    >>> from principal_kit.core.clock import ManualClock
    >>> clock = ManualClock()
    >>> log = SlidingWindowLog(limit=2, window=1.0, clock=clock)
    >>> [log.acquire().allowed for _ in range(3)]
    [True, True, False]
    >>> _ = clock.advance(1.0)
    >>> log.acquire().allowed
    True
    """

    __slots__ = ("_blocked", "_times")

    def reset(self) -> None:
        """Forget every admission."""
        self._times: deque[int] = deque()
        self._blocked = self._last  # until then, a request of cost 1 is refused without looking further

    def acquire(self, n: int = 1) -> Decision:
        """Admit a request of cost `n`, or refuse it. Raises InvalidArgument if n < 1 or n > limit."""
        if n.__class__ is not int or n != 1:
            n = positive_count("n", n, self.limit)
        now = self._read()
        if now > self._last:
            self._last = now
        else:
            now = self._last
        if n == 1 and now < self._blocked:
            return new_decision(Decision, (False, 0, (self._blocked - now + 1) * SECONDS_PER_TICK + now * CLOCK_SLACK))
        expired = now - self._width
        times = self._times
        while times and times[0] <= expired:
            times.popleft()
        free = self.limit - len(times) - n
        if free >= 0:
            if n == 1:
                times.append(now)
            else:
                times.extend([now] * n)
            return READY[free] if free < 4096 else new_decision(Decision, (True, free, 0.0))
        if n == 1:
            self._blocked = times[0] + self._width
        return self._full(n, now)

    def _full(self, n: int, now: int) -> Decision:
        spare = self.limit - len(self._times)
        last_to_leave = self._times[n - spare - 1]
        return new_decision(Decision, (False, spare, seconds_until(last_to_leave + self._width - now, now)))

    def _answer(self, n: int, charge: bool) -> Decision:
        now = self._advance()
        while self._times and self._times[0] <= now - self._width:
            self._times.popleft()
        free = self.limit - len(self._times) - n
        return Decision(True, free, 0.0) if free >= 0 else self._full(n, now)

    @property
    def idle(self) -> bool:
        """True when no admission is younger than a window."""
        return not self._times or self._times[-1] <= self._advance() - self._width


class SlidingWindowCounter(_Window):
    """Two counters, this window's and the previous one's, the latter weighted by how much of it the sliding window
    still covers.

    Exact over aligned windows, and exact everywhere if the previous window was evenly spread. It is not exact in
    general: an adversary gets up to `2 * limit - 1` into one window (a burst at the very end of one, then the limit
    spread over the next).

    Source: J. Desgats, How we built rate limiting capable of scaling to millions of domains, Cloudflare, 2017.
    O(1) time and memory. Raises InvalidArgument on bad arguments.

    >>> from principal_kit.core.clock import ManualClock
    >>> clock = ManualClock()
    >>> counter = SlidingWindowCounter(limit=4, window=1.0, clock=clock)
    >>> sum(counter.acquire().allowed for _ in range(9))
    4
    >>> _ = clock.advance(1.5)                      # half of the previous window still counts: 4 / 2
    >>> sum(counter.acquire().allowed for _ in range(9))
    2
    """

    __slots__ = ("_blocked", "_current", "_previous", "_start")

    def reset(self) -> None:
        """Forget both windows."""
        self._start = self._last - self._last % self._width
        self._blocked = self._last  # until then, a request of cost 1 is refused without looking further
        self._previous = self._current = 0

    def _roll(self) -> int:
        """Move to the window that holds now, and return how far into it now is."""
        passed, elapsed = divmod(self._last - self._start, self._width)
        if passed:
            self._previous = self._current if passed == 1 else 0
            self._current = 0
            self._start += passed * self._width
        return elapsed

    def acquire(self, n: int = 1) -> Decision:
        """Admit a request of cost `n`, or refuse it. O(1). Raises InvalidArgument if n < 1 or n > limit."""
        if n.__class__ is not int or n != 1:
            n = positive_count("n", n, self.limit)
        now = self._read()
        if now > self._last:
            self._last = now
        else:
            now = self._last
        if n == 1 and now < self._blocked:
            return new_decision(Decision, (False, 0, (self._blocked - now + 1) * SECONDS_PER_TICK + now * CLOCK_SLACK))
        width = self._width
        elapsed = now - self._start
        if elapsed >= width:
            elapsed = self._roll()
        # Everything times `width`, so that the weight (width - elapsed) / width stays an integer.
        room = self.limit - self._current - n
        free = room * width - self._previous * (width - elapsed)
        if free >= 0:
            self._current += n
            free //= width
            return READY[free] if free < 4096 else new_decision(Decision, (True, free, 0.0))
        refusal = self._full(n, elapsed)
        if n == 1:
            self._blocked = now + self._wait(n, elapsed)
        return refusal

    def _full(self, n: int, elapsed: int) -> Decision:
        free = (self.limit - self._current) * self._width - self._previous * (self._width - elapsed)
        return Decision(False, max(0, free) // self._width, seconds_until(self._wait(n, elapsed), self._last))

    def _wait(self, n: int, elapsed: int) -> int:
        """Nanoseconds until a refused request of cost `n` passes if nobody else asks."""
        width, room = self._width, self.limit - self._current - n
        if room >= 0:  # the previous window only has to fade far enough
            return width - room * width // self._previous - elapsed
        fade = width - (self.limit - n) * width // self._current  # this one is full: the next one, and its fading
        return width - elapsed + max(0, fade)

    def _answer(self, n: int, charge: bool) -> Decision:
        self._advance()
        elapsed = self._roll()
        free = (self.limit - self._current - n) * self._width - self._previous * (self._width - elapsed)
        return Decision(True, free // self._width, 0.0) if free >= 0 else self._full(n, elapsed)

    @property
    def idle(self) -> bool:
        """True when neither this window nor the previous one admitted anything."""
        self._advance()
        self._roll()
        return not (self._current or self._previous)


class FixedWindow(_Window):
    """One counter, set to zero at every multiple of `window`. Kept as the counter-example: `2 * limit` pass around a
    boundary.

    O(1) time and memory. Raises InvalidArgument on bad arguments.
    """

    __slots__ = ("_current", "_index")

    def reset(self) -> None:
        """Forget the current window."""
        self._index = self._last // self._width
        self._current = 0

    def _answer(self, n: int, charge: bool) -> Decision:
        index, elapsed = divmod(self._advance(), self._width)
        if index != self._index:
            self._index, self._current = index, 0
        free = self.limit - self._current - n
        if free < 0:
            return Decision(False, self.limit - self._current, seconds_until(self._width - elapsed, self._last))
        if charge:
            self._current += n
        return Decision(True, free, 0.0)

    @property
    def idle(self) -> bool:
        """True when this window has admitted nothing."""
        return self._advance() // self._width != self._index or not self._current
