"""COUNT, SUM and AVG with confidence intervals from a stratified sample, by the textbook of survey sampling.

A sampled row stands for N/n rows of its stratum (Horvitz and Thompson). What a query does not match counts as zero, so
a filter or another grouping is only another column; the variances of the strata add up; a stratum read whole adds none.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

AGGREGATES = ("count", "sum", "avg")


class Matched(NamedTuple):
    """The sampled rows that a query matches, one entry a row, and what is known of all strata."""

    values: np.ndarray
    stratum: np.ndarray
    group: np.ndarray
    groups: int
    seen: np.ndarray  # rows of each stratum in the data
    kept: np.ndarray  # and in the sample
    home: np.ndarray | None  # the only group whose rows a stratum can hold; None if any stratum may hold any group's

    def over_strata(self, combine: np.ufunc, of_strata: np.ndarray) -> np.ndarray:
        """Combine a number of each stratum, for each group over the strata that can hold its rows."""
        if self.home is None:
            return np.full(self.groups, combine.reduce(of_strata, initial=0))
        result = np.zeros(self.groups, dtype=of_strata.dtype)
        combine.at(result, self.home, of_strata)
        return result


class Estimates(NamedTuple):
    """One entry a group: the estimate, its interval, the matched rows, and how much of it one row answers for.

    A row of weight w stands for itself and for w - 1 rows that nobody saw: these are its leverage.
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray
    leverage: np.ndarray


def estimates(what: str, matched: Matched, confidence: float) -> Estimates:
    """Estimate an aggregate of `AGGREGATES` for each group. O(rows log rows).

    AVG is a ratio of two estimates unless groups are strata; its interval is that of the linearised residuals. SUM and
    AVG use Student's t with Satterthwaite's degrees of freedom, counting matched rows only; COUNT the gamma interval.

    Sources: Cochran, "Sampling Techniques", sections 5.4, 5A.12 and 6.11; Fay and Feuer, "Confidence intervals for
    directly standardized rates", Statistics in Medicine 16, 1997, for COUNT.
    """
    groups, weight = matched.groups, matched.seen / np.maximum(matched.kept, 1)
    each = weight[matched.stratum]
    unseen = each - 1
    rows = np.bincount(matched.group, minlength=groups)
    count = np.bincount(matched.group, each, minlength=groups)
    complete = matched.over_strata(np.add, matched.seen - matched.kept) == 0
    if what == "count":
        one = np.ones(len(matched.stratum))
        variance, _ = _variance(one, matched)
        low, high = _count_interval(count, variance, rows, matched, complete, confidence)
        return Estimates(count, low, high, rows, _leverage(unseen, matched.group, count))
    total = np.bincount(matched.group, each * matched.values, minlength=groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        answer = total if what == "sum" else total / count
        residual = matched.values if what == "sum" else matched.values - answer[matched.group]
        scale = np.ones(groups) if what == "sum" else 1 / count
        variance, freedom = _variance(residual, matched)
        half = scale * np.sqrt(variance) * _student(confidence, freedom)
    # One row says nothing of the spread, and a stratum without a sampled row nothing at all.
    blind = (~complete & (rows < (1 if what == "sum" else 2))) | _unsampled(matched)
    half = np.where(complete, 0.0, np.where(blind | np.isnan(half), np.inf, half))
    low, high = np.where(blind, -np.inf, answer - half), np.where(blind, np.inf, answer + half)
    leverage = _leverage(unseen * scale[matched.group] * residual, matched.group, answer)
    return Estimates(answer, low, high, rows, leverage)


def _unsampled(matched: Matched) -> np.ndarray:
    """Whether some stratum that may hold rows of the group gave no row to the sample."""
    return matched.over_strata(np.maximum, ((matched.kept == 0) & (matched.seen > 0)).astype(np.int64)) > 0


def _variance(values: np.ndarray, matched: Matched) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each group's estimated total of `values`, and its degrees of freedom."""
    pairs, at = np.unique(matched.stratum * matched.groups + matched.group, return_inverse=True)
    stratum, group = pairs // max(matched.groups, 1), pairs % max(matched.groups, 1)
    n, size, matches = matched.kept[stratum], matched.seen[stratum], np.bincount(at, minlength=len(pairs))
    mean = np.bincount(at, values, minlength=len(pairs)) / n  # over all n rows, the others being zero
    squares = np.bincount(at, (values - mean[at]) ** 2, minlength=len(pairs)) + (n - matches) * mean**2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        spread = np.where(n > 1, squares / (n - 1), np.inf)
        parts = np.where(n < size, size * (size - n) / n * spread, 0.0)
        total = np.bincount(group, parts, minlength=matched.groups)
        shares = parts / total[group]
        freedom = 1 / np.bincount(group, shares**2 / np.maximum(matches - 1, 1), minlength=matched.groups)
    return total, freedom


def _count_interval(count, variance, rows, matched: Matched, complete, confidence) -> tuple[np.ndarray, np.ndarray]:
    """A gamma interval: right also for few matches or none, where the normal one is far too short."""
    weight = matched.seen / np.maximum(matched.kept, 1)
    step = matched.over_strata(np.maximum, np.where(matched.seen > matched.kept, weight, 0.0))
    tail, low, high = (1 - confidence) / 2, count.copy(), count.copy()
    for i in np.flatnonzero(~complete).tolist():
        up, spread = count[i] + step[i], variance[i] + step[i] ** 2
        high[i] = spread / (2 * up) * _chi_square(1 - tail, 2 * up**2 / spread) if np.isfinite(spread) else np.inf
        if variance[i] > 0:
            low[i] = variance[i] / (2 * count[i]) * _chi_square(tail, 2 * count[i] ** 2 / variance[i])
    # What was seen is certain: so many rows match, and so many do not.
    unread = matched.over_strata(np.add, matched.seen - matched.kept)
    return np.maximum(low, rows), np.where(_unsampled(matched), unread + rows, np.minimum(high, unread + rows))


def _leverage(parts: np.ndarray, group: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The largest part that a row has in each group's answer, as a fraction of the answer."""
    most = np.zeros(len(whole))
    np.maximum.at(most, group, np.abs(parts))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(most > 0, most / np.abs(whole), 0.0)


def _student(confidence: float, freedom: np.ndarray) -> np.ndarray:
    """Two-sided quantile of Student's t: at 95 % too large by 38 % for 1 degree of freedom, 4 % for 2, 0.3 % for 5.

    Source: Wallace, "Bounds on Normal Approximations to Student's and the Chi-Square Distributions", Annals of
    Mathematical Statistics 30(4), 1959.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    with np.errstate(over="ignore", invalid="ignore"):
        square = (z * (8 * freedom + 3) / (8 * freedom + 1)) ** 2
        return np.where(freedom < 1e12, np.sqrt(freedom * np.expm1(square / freedom)), z)


def _chi_square(p: float, freedom: float) -> float:
    """Quantile of the chi-square distribution for freedom >= 2, by Wilson and Hilferty's cube root of 1931."""
    part = 2 / (9 * freedom)
    return freedom * max(0.0, 1 - part + NormalDist().inv_cdf(p) * sqrt(part)) ** 3
