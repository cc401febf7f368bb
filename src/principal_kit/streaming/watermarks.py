"""Watermarks: up to which event time has everybody been heard? The slowest source decides.

A source that has shown time t promises nothing older than t - out_of_orderness. The watermark is the least of those
promises. Two defences: a source silent for too long no longer holds it back, and a time from the future is refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer

BEGINNING = -(1 << 63)  # the watermark before anything was heard
END = (1 << 63) - 1  # the watermark when no more input will come
TIME_MAX = 1 << 60  # event times lie within ± this, so that no sum with a window's length leaves 64 bits


class Watermarks:
    """The watermark over several sources (partitions, servers), as their minimum.

    Args:
        sources: who will be heard, at least one; one that was never heard holds the watermark at `BEGINNING`.
        out_of_orderness: how far behind its newest event a source may still deliver (>= 0).
        idle_after: a source silent for this long, by the caller's clock, is left out until it speaks; None: never.
        ahead_max: an event more than this ahead of the caller's clock is refused; None: every time is believed.

    All times are integers in one unit, milliseconds say. `now` is the caller's clock; it is needed with `idle_after` or
    `ahead_max`. The watermark never moves back, so what an idle source brings later may be late.
    O(1) an event, O(sources) for `current`. Raises InvalidArgument on bad arguments; nothing has changed then.

    Source: Akidau et al., "The Dataflow Model", PVLDB 8(12), 2015, section 2.3; bounded out-of-orderness as in Flink.

    >>> marks = Watermarks(["p0", "p1"], out_of_orderness=5)
    >>> marks.observe("p0", 100), marks.current() == BEGINNING      # p1 may hold anything
    (True, True)
    >>> marks.observe("p1", 60), marks.current()
    (True, 55)
    """

    def __init__(
        self,
        sources: Iterable[Hashable],
        *,
        out_of_orderness: int,
        idle_after: int | None = None,
        ahead_max: int | None = None,
    ) -> None:
        self.out_of_orderness = duration("out_of_orderness", out_of_orderness, least=0)
        self.idle_after = None if idle_after is None else duration("idle_after", idle_after)
        self.ahead_max = None if ahead_max is None else duration("ahead_max", ahead_max, least=0)
        self._newest: dict[Hashable, int] = dict.fromkeys(sources, BEGINNING)
        if not self._newest:
            raise InvalidArgument("no sources: a watermark needs at least one")
        self._spoke: dict[Hashable, int] = {}
        self._watermark = BEGINNING
        self.refused = 0
        """Events refused because their time lay too far in the future."""

    def observe(self, source: Hashable, time: int, now: int | None = None) -> bool:
        """Take note of an event; False if its time is refused, in which case it must not be windowed either. O(1)."""
        newest = self._of(source)
        time, now = event_time(time), self._now(now)
        if self.ahead_max is not None and time > now + self.ahead_max:
            self.refused += 1
            return False
        if time > newest:
            self._newest[source] = time
        self._spoke[source] = now
        return True

    def observe_many(self, source: Hashable, times: Any, now: int | None = None) -> np.ndarray:
        """`observe` for a batch: a boolean array, False where a time is refused. O(n)."""
        newest, now = self._of(source), self._now(now)
        times = event_times(times)
        believed = np.ones(times.size, dtype=bool)
        if self.ahead_max is not None:
            believed = times <= now + self.ahead_max
            self.refused += int(times.size - believed.sum())
        if believed.any():
            self._newest[source] = max(newest, int(times[believed].max()))
            self._spoke[source] = now
        return believed

    def current(self, now: int | None = None) -> int:
        """The watermark: no event before it is expected any more. O(sources)."""
        now = self._now(now)
        live = [newest for source, newest in self._newest.items() if not self._idle(source, now)]
        if live and min(live) > BEGINNING:  # nobody live: nobody to learn from, so it stays where it is
            self._watermark = max(self._watermark, min(live) - self.out_of_orderness)
        return self._watermark

    def idle(self, now: int) -> list[Hashable]:
        """Sources that are left out at the moment. O(sources)."""
        now = self._now(now)
        return [source for source in self._newest if self._idle(source, now)]

    def slowest(self, now: int | None = None) -> Hashable | None:
        """The source that holds the watermark, the one to look at when it stalls; None if all are idle. O(sources)."""
        now = self._now(now)
        live = [source for source in self._newest if not self._idle(source, now)]
        return min(live, key=self._newest.__getitem__) if live else None

    def _idle(self, source: Hashable, now: int) -> bool:
        if self.idle_after is None:
            return False
        # A source never heard counts from the first time anybody asked.
        return now - self._spoke.setdefault(source, now) >= self.idle_after

    def _of(self, source: Hashable) -> int:
        try:
            return self._newest[source]
        except (KeyError, TypeError):
            raise InvalidArgument(f"source {source!r} is unknown; known: {list(self._newest)[:10]}") from None

    def _now(self, now: int | None) -> int:
        if now is None:
            if self.idle_after is None and self.ahead_max is None:
                return 0
            raise InvalidArgument("now is missing: idle_after and ahead_max compare with the caller's clock")
        return event_time(now)


def duration(name: str, value: Any, least: int = 1) -> int:
    """An integer length of time. Raises InvalidArgument unless least <= value <= TIME_MAX."""
    if not is_integer(value) or not least <= value <= TIME_MAX:
        raise InvalidArgument(f"{name}={value!r}: expected an integer in [{least}, 2^60]")
    return int(value)


def event_time(time: Any) -> int:
    """An integer moment. Raises InvalidArgument for anything else, or outside ± TIME_MAX."""
    if time.__class__ is int and -TIME_MAX <= time <= TIME_MAX:
        return time
    if not is_integer(time) or not -TIME_MAX <= time <= TIME_MAX:
        raise InvalidArgument(f"time={time!r}: expected an integer (milliseconds, say) within ±2^60")
    return int(time)


def event_times(times: Any) -> np.ndarray:
    """A batch of moments as int64, one dimension. Raises InvalidArgument as `event_time` does."""
    array = np.asarray(times)
    if array.size == 0 and array.ndim == 1:
        return array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgument(f"times of type {array.dtype}, shape {array.shape}: expected integers in one dimension")
    if int(array.min()) < -TIME_MAX or int(array.max()) > TIME_MAX:
        raise InvalidArgument(f"times from {array.min()} to {array.max()}: expected within ±2^60")
    return array.astype(np.int64, copy=False)
