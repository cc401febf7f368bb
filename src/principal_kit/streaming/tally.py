"""The plain aggregate: how many, their sum, the least and the greatest. It merges exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import InvalidArgument
from principal_kit.sketches.sketch import Sketch


class Tally(Sketch):
    """Count, total, least and greatest of finite numbers. O(1) time and memory; `add_many` is O(n) in numpy.

    The total of floats depends on their order in its last digits; that of integers below 2^53 is exact.
    Raises InvalidArgument for what is not a finite number; nothing has changed then.

    >>> tally = Tally()
    >>> tally.add_many([3, 1, 2])
    >>> tally.count, tally.total, tally.least, tally.greatest
    (3, 6.0, 1.0, 3.0)
    """

    KIND = b"TALY"
    __slots__ = ("count", "greatest", "least", "total")

    def __init__(self) -> None:
        self.count, self.total, self.least, self.greatest = 0, 0.0, math.inf, -math.inf

    @property
    def mean(self) -> float:
        """The average; NaN when nothing was added."""
        return self.total / self.count if self.count else math.nan

    @property
    def parameters(self) -> dict[str, Any]:
        """None: any two tallies merge."""
        return {}

    @property
    def nbytes(self) -> int:
        """Four numbers of eight bytes."""
        return 32

    def add(self, x: float) -> None:
        """Take in one number. O(1)."""
        try:
            x = float(x)
        except (TypeError, ValueError):
            x = math.nan
        if not math.isfinite(x):
            raise InvalidArgument("a tally takes finite numbers only")
        self.count += 1
        self.total += x
        if x < self.least:
            self.least = x
        if x > self.greatest:
            self.greatest = x

    def add_many(self, xs: Any) -> None:
        """Take in an array or a list of numbers. O(n)."""
        try:
            xs = np.asarray(xs, dtype=np.float64).ravel()
        except (TypeError, ValueError):
            raise InvalidArgument("a tally takes finite numbers only") from None
        if not xs.size:
            return
        least, greatest = float(xs.min()), float(xs.max())  # NaN and infinities show in one of them
        if not math.isfinite(least) or not math.isfinite(greatest):
            raise InvalidArgument("a tally takes finite numbers only")
        self.count += int(xs.size)
        self.total += float(xs.sum())
        self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)

    def _absorb(self, other: Tally) -> None:
        self.count += other.count
        self.total += other.total
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)

    def _write(self, writer: Writer) -> None:
        writer.pack("qddd", self.count, self.total, self.least, self.greatest)

    @classmethod
    def _read(cls, reader: Reader) -> Tally:
        tally = cls()
        tally.count, tally.total, tally.least, tally.greatest = reader.unpack("qddd")
        if tally.count < 0 or (tally.count and not tally.least <= tally.greatest):
            raise InvalidArgument(f"count {tally.count}, from {tally.least} to {tally.greatest}")
        return tally
