"""How many rows of each group go into a sample: five answers to one question, each best for another kind of query.

All take the groups' sizes and return whole numbers of rows: never more than a group has, and never more than asked for.
What a small group cannot use goes to the others, in the same proportions.
"""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.sketches.real_numbers import number, numbers


def house(counts: Any, rows: int) -> np.ndarray:
    """Rows in proportion to the groups' sizes, as a uniform sample gives on average. Tiny groups get none.

    Args:
        counts: rows of each group, integers >= 0.
        rows: rows of the sample, >= 0.

    O(groups^2) at worst, O(groups) as a rule, as for all allocations here. Raises InvalidArgument.

    >>> house([900, 90, 10], 100).tolist()
    [90, 9, 1]
    """
    sizes = _sizes(counts)
    return _fill(sizes.astype(float), sizes, rows)


def senate(counts: Any, rows: int) -> np.ndarray:
    """As many rows of every group, whatever its size: best when each group's own average is asked for.

    >>> senate([900, 90, 10], 100).tolist()
    [45, 45, 10]
    """
    sizes = _sizes(counts)
    return _fill(np.ones(sizes.size), sizes, rows)


def congress(keys: Any, counts: Any, rows: int) -> np.ndarray:
    """A compromise for GROUP BY over any subset of the columns, the empty one included.

    Every subset T of the columns would like its own groups to be of equal size. A finest group gets the most that any
    T asks for it, and all is scaled down to fit.

    Args:
        keys: one row for each finest group, with its value in each grouping column; shape (groups, columns).
        counts: rows of each finest group.
        rows: rows of the sample.

    O(2^columns * groups log groups). Raises InvalidArgument on more than 10 columns or shapes that do not fit.
    Source: Acharya, Gibbons and Poosala, "Congressional Samples for Approximate Answering of Group-By Queries",
    SIGMOD 2000, section 4.

    >>> congress([["DE"], ["FR"], ["MT"]], [900, 90, 10], 100).tolist()
    [66, 24, 10]
    """
    sizes, table = _sizes(counts), np.asarray(keys)
    if table.ndim != 2 or table.shape[0] != sizes.size or table.shape[1] > 10:
        raise InvalidArgument(f"keys of shape {table.shape}: expected ({sizes.size}, at most 10 columns)")
    most = np.zeros(sizes.size)
    for width in range(table.shape[1] + 1):
        for subset in combinations(range(table.shape[1]), width):
            groups = _numbered(table[:, list(subset)])
            totals = np.bincount(groups, weights=sizes)
            within = sizes / np.maximum(totals[groups], 1)
            most = np.maximum(most, within / max(np.count_nonzero(totals), 1))
    return _fill(most, sizes, rows)


def neyman(counts: Any, deviations: Any, rows: int) -> np.ndarray:
    """Rows in proportion to size times standard deviation: the least variance for the total over all groups.

    Groups whose values hardly vary need few rows, giants in a group of their own are taken whole. Every group gets two
    rows while `rows` allows, so that its deviation can be checked. Source: Neyman, "On the Two Different Aspects of the
    Representative Method", Journal of the Royal Statistical Society 97(4), 1934.

    >>> neyman([900, 90, 10], [1.0, 1.0, 500.0], 100).tolist()
    [80, 10, 10]
    """
    sizes, spread = _sizes(counts), numbers(deviations, "deviation")
    if spread.size != sizes.size or (spread < 0).any():
        raise InvalidArgument(f"{spread.size} deviations for {sizes.size} groups: expected one >= 0 for each")
    shares = sizes * (spread / (spread.max(initial=0.0) or 1.0))
    least = np.minimum(sizes, 2)
    if _whole("rows", rows) < least.sum():
        return _fill(shares, sizes, rows)
    return least + _fill(shares, sizes - least, rows - least.sum())


def capped(counts: Any, cap: int) -> np.ndarray:
    """At most `cap` rows of every group: small groups whole, large ones cut down. Needs no sizes in advance.

    Source: Agarwal et al., "BlinkDB", EuroSys 2013, section 3.1.

    >>> capped([900, 90, 10], 50).tolist()
    [50, 50, 10]
    """
    return np.minimum(_sizes(counts), _whole("cap", cap))


def for_error(counts: Any, means: Any, deviations: Any, error: float, confidence: float = 0.95) -> np.ndarray:
    """Rows each group needs so that its mean is known to a relative `error` at `confidence`, by the normal law.

    With z standard errors to a side, n = n0 / (1 + n0 / N) rows for n0 = (z * deviation / (error * mean))^2: the second
    factor is what a finite group saves. At least 30 rows, or the group whole. A mean of 0 needs the whole group.

    Raises InvalidArgument unless 0 < error and 0 < confidence < 1. Source: Cochran, "Sampling Techniques", section 4.6.

    >>> for_error([10**6, 1000, 20], [50, 50, 50], [100, 100, 100], error=0.02).tolist()
    [36994, 975, 20]
    """
    sizes, mean, spread = _sizes(counts), numbers(means, "mean"), numbers(deviations, "deviation")
    if number(error, "error") <= 0 or not 0 < number(confidence, "confidence") < 1:
        raise InvalidArgument(f"error={error!r}, confidence={confidence!r}: expected > 0 and in (0, 1)")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        wanted = (z * spread / (error * np.abs(mean))) ** 2
        needed = np.ceil(1 / (1 / wanted + 1 / sizes))
    needed = np.where(spread == 0, 0, np.where(mean == 0, sizes, needed))
    return np.minimum(np.maximum(needed, 30), sizes).astype(np.int64)


def _fill(shares: np.ndarray, counts: np.ndarray, rows: int) -> np.ndarray:
    """Whole numbers in proportion to `shares`, none above its count, that add up to `rows` where that can be."""
    left = min(_whole("rows", rows), int(counts[shares > 0].sum()))
    given, part = np.zeros(counts.size, dtype=np.int64), np.zeros(counts.size)
    waiting = shares > 0
    while waiting.any():
        part = np.where(waiting, left * (shares / shares[waiting].sum()), 0.0)
        whole = waiting & (part >= counts)
        if not whole.any():
            break
        given[whole] = counts[whole]  # what these leave over, the others share
        left -= int(counts[whole].sum())
        waiting &= ~whole
    given[waiting] = np.floor(part[waiting])
    # Largest remainders: a waiting group has part < count, so one more row still fits.
    order = np.flatnonzero(waiting)[np.argsort((given - part)[waiting], kind="stable")]
    given[order[: left - int(given[waiting].sum())]] += 1
    return given


def _numbered(table: np.ndarray) -> np.ndarray:
    """The number of each row's group, when rows with equal values are one group."""
    if table.shape[1] == 0:
        return np.zeros(len(table), dtype=np.int64)
    columns = [np.unique(column, return_inverse=True)[1] for column in table.T]
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _sizes(counts: Any) -> np.ndarray:
    sizes = np.asarray(counts)
    if sizes.ndim != 1 or (sizes.dtype.kind not in "iu" and sizes.size) or (sizes < 0).any():
        raise InvalidArgument(f"counts={counts!r}: expected integers >= 0, one for each group")
    return sizes.astype(np.int64)


def _whole(name: str, value: int) -> int:
    if not is_integer(value) or value < 0:
        raise InvalidArgument(f"{name}={value!r}: expected an integer >= 0")
    return int(value)
