"""Time as an argument.

Everything in the kit that needs the time takes `clock=`, a callable without arguments that returns seconds as a float.
Production passes the monotonic clock (the default); tests and simulations pass a `ManualClock` and never sleep.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from principal_kit.core.errors import InvalidArgument, ServiceError

Clock = Callable[[], float]

monotonic: Clock = time.monotonic


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds: float = 60.0,
    clock: Clock = monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Poll until `condition` holds. Raises ServiceError, saying `what` was waited for, after `seconds`."""
    deadline = clock() + seconds
    while not condition():
        if clock() > deadline:
            raise ServiceError(f"{what}: not within {seconds:g} s")
        wait(0.05)


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
