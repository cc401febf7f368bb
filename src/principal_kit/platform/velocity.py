"""The velocity rule for one card, by hand: what `MATCH_RECOGNIZE` in `jobs/fraud.sql` does, as a state machine.

Orders come in the order of arrival and wait until event time has passed them; then they are looked at in the order of
their own times. Standard library only: `jobs/velocity_function.py` takes this file along into Flink's Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Alert(NamedTuple):
    """The orders of one match: when the first and the last were (ms), how many, and their cents."""

    first_ms: int
    last_ms: int
    orders: int
    cents: int


class Card:
    """One card's orders, as far as they still matter.

    Args:
        waiting: event id to (event time in ms, cents), of orders that time has not passed.
        recent: (event time, cents) of orders that may begin or continue a match, in the order of time.
        orders, within_ms: so many orders in less than this are an alert; the search goes on behind it.

    Memory: what arrives within the allowed lateness, and `orders` - 1 more.
    """

    def __init__(
        self,
        waiting: Mapping[str, tuple[int, int]] | None = None,
        recent: Iterable[tuple[int, int]] = (),
        *,
        orders: int,
        within_ms: int,
    ) -> None:
        self.waiting, self.recent = dict(waiting or {}), list(recent)
        self._orders, self._within_ms = orders, within_ms

    def arrive(self, event_id: str, t: int, cents: int, watermark: int) -> bool:
        """Take an order; True if `advance` must be called when time has passed `t`. O(1).

        A copy of one that waits changes nothing. What time has passed already is too late, or a copy of one that was
        looked at: a copy that is in time itself can only come before that.
        """
        if t <= watermark or event_id in self.waiting:
            return False
        self.waiting[event_id] = (t, cents)
        return True

    def advance(self, watermark: int) -> list[Alert]:
        """Look at the orders up to `watermark`; returns the alerts. O(orders that wait, sorted)."""
        due = sorted((t, id, cents) for id, (t, cents) in self.waiting.items() if t <= watermark)
        alerts = []
        for t, id, cents in due:
            del self.waiting[id]
            self._forget(t)
            self.recent.append((t, cents))
            if len(self.recent) == self._orders:
                alerts.append(Alert(self.recent[0][0], t, self._orders, sum(cents for _, cents in self.recent)))
                self.recent.clear()
        self._forget(watermark)
        return alerts

    def _forget(self, now: int) -> None:
        self.recent = [(t, cents) for t, cents in self.recent if now - t < self._within_ms]

    @property
    def forget_at(self) -> int | None:
        """When (event time, ms) nothing of `recent` matters any more; None if it is empty."""
        return self.recent[-1][0] + self._within_ms if self.recent else None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not self.waiting and not self.recent
