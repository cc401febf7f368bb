"""How long a call takes, for a chapter that compares two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from principal_kit.core.clock import Clock, monotonic


def median_ms(call: Callable[[], object], rounds: int, *, clock: Clock = monotonic) -> float:
    """The median time of `rounds` calls, in milliseconds: one that the machine interrupted does not count.

    >>> ticks = iter([0.0, 0.010, 1.0, 1.500, 2.0, 2.011])
    >>> round(median_ms(lambda: None, 3, clock=lambda: next(ticks)), 3)
    11.0
    """
    took = []
    for _ in range(rounds):
        begun = clock()
        call()
        took.append(1000 * (clock() - begun))
    return float(np.median(took))
