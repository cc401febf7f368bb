"""Time as an argument.

Everything in the kit that needs the time takes `clock=`, a callable without arguments that returns seconds as a float.
Production passes the monotonic clock (the default); tests and simulations pass a `ManualClock` and never sleep.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from principal_kit.core.errors import InvalidArgument

Clock = Callable[[], float]

monotonic: Clock = time.monotonic


class ManualClock:
    """A clock that moves only when told to.

    >>> clock = ManualClock()
    >>> clock.advance(1.5)
    1.5
    >>> clock()
    1.5
    """

    __slots__ = ("now",)

    def __init__(self, start: float = 0.0) -> None:
        self.now = float(start)

    def __call__(self) -> float:
        """The current time in seconds. O(1)."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Move forward by `seconds` (>= 0) and return the new time. O(1). Raises InvalidArgument on a negative step."""
        if not seconds >= 0:
            raise InvalidArgument(f"a clock moves forward only: advance({seconds!r}), expected seconds >= 0")
        self.now += seconds
        return self.now
