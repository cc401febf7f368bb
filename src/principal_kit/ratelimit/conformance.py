"""Judging a trace of admissions against a contract, without trusting the limiter that made it.

Two contracts: at most `burst + rate * T` in any interval of length T (the buckets), and at most `limit` in any window
(the log). The first is the arrival curve of network calculus; the smallest burst that fits a trace is found in one
pass.
"""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from principal_kit.core.errors import InvalidArgument
from principal_kit.ratelimit.decision import positive_fraction


def _trace(times: ArrayLike, counts: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    t = np.asarray(times)
    c = np.ones(t.size, dtype=np.int64) if counts is None else np.asarray(counts)
    if t.ndim != 1 or c.shape != t.shape:
        raise InvalidArgument(f"times and counts have shapes {t.shape} and {c.shape}, expected equal, 1-d ones")
    order = np.argsort(t, kind="stable")
    return t[order], c[order]


def most_in_window(times: ArrayLike, window: Real, counts: ArrayLike | None = None) -> int:
    """Return the most that was admitted in any half-open window [t, t + window).

    Args:
        times: when something was admitted, any order, shape (m,); same unit as `window`.
        window: length, positive.
        counts: how much was admitted each time; 1 if None.

    O(m log m). Raises InvalidArgument on a bad window or shapes that differ.

    >>> most_in_window([0.0, 0.9, 1.0, 1.5], window=1.0)
    3
    """
    positive_fraction("window", window, "time units")
    t, c = _trace(times, counts)
    if not t.size:
        return 0
    total = np.r_[0, np.cumsum(c)]
    ends = np.searchsorted(t, t + window, side="left")
    return int((total[ends] - total[: t.size]).max())


def required_burst(times: ArrayLike, rate: Real, counts: ArrayLike | None = None) -> float:
    """Return the smallest burst b such that the trace admits at most b + rate * T in every closed interval of length T.

    A bucket of (rate, burst) kept its contract exactly if this is at most `burst`. O(m log m).

    >>> required_burst([0.0, 0.0, 0.5, 1.0], rate=2)
    2.0
    """
    positive_fraction("rate", rate, "tokens per time unit")
    t, c = _trace(times, counts)
    if not t.size:
        return 0.0
    drift = np.cumsum(c) - float(rate) * (t - t[0])  # sum up to i, less what the rate allows
    before = drift - c  # the same just before i
    return float((drift - np.minimum.accumulate(before)).max())
