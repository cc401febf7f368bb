"""The exact running quantile: two heaps that meet at it. What a sketch replaces, and the yardstick for it.

The lower heap holds the ceil(q n) smallest values with its greatest on top: the quantile. Every value is kept, which is
what makes it exact and what a stream cannot afford.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from principal_kit.core.errors import InvalidArgument


class RunningQuantile:
    """The smallest value seen so far that at least a share `q` of the values do not exceed.

    Args:
        q: in (0, 1]; a decimal such as 0.95 is taken as 95/100, without binary rounding.

    `add` is O(log n), `value` O(1), memory O(n). Equal to `numpy.quantile(values, q, method="inverted_cdf")`.
    Raises InvalidArgument for another q, NaN and what is not a number.

    >>> p95 = RunningQuantile(0.95)
    >>> p95.add_many(range(1, 101))
    >>> p95.value
    95
    """

    def __init__(self, q: float = 0.5) -> None:
        if not isinstance(q, Real) or not 0 < q <= 1:
            raise InvalidArgument(f"q={q!r}: expected a number in (0, 1]")
        self.q = Fraction(str(float(q)))
        self._low: list[float] = []  # negated: a heap's top is its least
        self._high: list[float] = []

    def __len__(self) -> int:
        return len(self._low) + len(self._high)

    def add(self, x: float) -> None:
        """Take in a number. O(log n)."""
        x = _number(x)
        heapq.heappush(self._high, -heapq.heappushpop(self._low, -x))  # through the lower heap, so both stay apart
        while len(self._low) < math.ceil(self.q * len(self)):
            heapq.heappush(self._low, -heapq.heappop(self._high))

    def add_many(self, xs: Iterable[float]) -> None:
        """Take in many numbers; a bad one is refused before anything changes. O(n log n)."""
        for x in [_number(x) for x in xs]:
            self.add(x)

    @property
    def value(self) -> float:
        """The quantile. O(1). Raises InvalidArgument when nothing was added."""
        if not self._low:
            raise InvalidArgument("no quantile of no values")
        return -self._low[0]


class RunningMedian(RunningQuantile):
    """The median: the middle value, or the mean of the two in the middle.

    >>> median = RunningMedian()
    >>> median.add_many([5, 1, 4, 2])
    >>> median.value
    3.0
    """

    def __init__(self) -> None:
        super().__init__(0.5)

    @property
    def value(self) -> float:
        """The median. O(1). Raises InvalidArgument when nothing was added."""
        if len(self._low) == len(self._high) and self._low:
            return (self._high[0] - self._low[0]) / 2
        return super().value


def _number(x: Any) -> int | float:
    """A Python number, so that negating it is exact. Raises InvalidArgument for NaN and anything else."""
    x = x.item() if isinstance(x, np.generic) else x
    if not isinstance(x, (int, float)) or x != x:
        raise InvalidArgument(f"{x!r}: expected a number")
    return x
