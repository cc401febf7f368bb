"""GROUP BY with an error that is asked for: "within 2 % at 95 %, from at most 100,000 rows", or a refusal by group.

A pilot measures how much each group varies, the plan says how many rows that takes, and the drawn sample is checked
against the promise before an answer is given. What cannot be promised is named, with the reason.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import Key, is_integer
from principal_kit.sketches.allocation import for_error
from principal_kit.sketches.heavy_hitters import checked_key, checked_keys
from principal_kit.sketches.real_numbers import number, numbers
from principal_kit.sketches.stratified import StratifiedSample, as_array

_AIM = 0.9  # of the error: the pilot's deviations are estimates, too


class BoundedAnswer(NamedTuple):
    """What can be promised, what cannot, and the sample behind it.

    Attributes:
        table: by group: estimate, low, high, rows, leverage, as `StratifiedSample.estimate` gives them.
        refused: by group: the `reason` in words, and the rows the group `needs` as far as the pilot can tell.
        sample: the drawn sample.
    """

    table: pd.DataFrame
    refused: pd.DataFrame
    sample: StratifiedSample


def bounded_group_by(
    what: str,
    groups: Any,
    values: Any,
    error: float,
    *,
    most_rows: int,
    confidence: float = 0.95,
    outliers: int = 0,
    pilot: int = 1000,
    rng: np.random.Generator | None = None,
) -> BoundedAnswer:
    """SUM or AVG by group within a relative `error`, from a sample of at most `most_rows` rows.

    Args:
        what: "sum" or "avg".
        groups: a key for each row.
        values: a number for each row.
        error: half the width of each interval, as a fraction of the estimate; 0.02 is 2 %.
        most_rows: budget of the sample. When it is too small for all, the groups that need least are served first.
        confidence: of each interval by itself.
        outliers: so many of the largest values, by magnitude, are read whole as strata of their own (an outlier index).
        pilot: rows of each group to plan with, at least 30.
        rng: source of both samples, which are independent.

    A group is refused when it needs more rows than are left, when its interval came out wider than asked for, or when a
    single row answers for more of it than `error`: then the rows that were not drawn may hold another such row.
    A giant that no sample has seen cannot be noticed; `outliers` is the remedy. Two passes over the rows, O(n). Raises
    InvalidArgument, also for what `StratifiedSample.add_many` refuses.

    Source of the outlier index: Chaudhuri, Das, Datar, Motwani and Narasayya, "Overcoming Limitations of Sampling for
    Aggregation Queries", ICDE 2001.
    """
    if what not in ("sum", "avg"):
        raise InvalidArgument(f"what={what!r}: expected 'sum' or 'avg'; a count by group is exact after one pass")
    for name, size, least in (("most_rows", most_rows, 0), ("outliers", outliers, 0), ("pilot", pilot, 30)):
        if not is_integer(size) or size < least:
            raise InvalidArgument(f"{name}={size!r}: expected an integer >= {least}")
    if number(error, "error") <= 0:
        raise InvalidArgument(f"error={error!r}: expected > 0")
    rng = np.random.default_rng() if rng is None else rng
    strata, group_of, far = _strata(groups, numbers(values), outliers)
    first = StratifiedSample(pilot, caps=far, rng=rng)
    first.add_many(strata, value=values)
    rows = _needed(first, group_of, far, error, confidence)
    needs = rows.groupby(group_of).sum()
    served = needs[needs.sort_values(kind="stable").cumsum().reindex(needs.index) <= most_rows]
    caps = {stratum: most for stratum, most in rows.items() if group_of[stratum] in served.index}
    sample = StratifiedSample(0, caps=caps, rng=rng)
    sample.add_many(strata, value=values)
    table = sample.estimate(what, "value", by=group_of, confidence=confidence)
    reasons = _reasons(table, needs, served, error)
    refused = pd.DataFrame({"reason": reasons, "needs": needs.reindex(reasons.index)})
    return BoundedAnswer(table.drop(reasons.index), refused, sample)


def _strata(groups: Any, values: np.ndarray, outliers: int) -> tuple[np.ndarray, dict[int, Key], dict[int, int]]:
    """Two strata for each group, of ordinary values and outliers; the group of each; the size of those of outliers."""
    codes, keys = pd.factorize(as_array(checked_keys(groups)))
    if len(codes) != len(values):
        raise InvalidArgument(f"{len(values)} values for {len(codes)} groups")
    size, strata = np.abs(values), 2 * codes
    if outliers and len(values):
        place = max(len(values) - outliers, 0)
        strata += size >= np.partition(size, place)[place]
    sizes = np.bincount(strata, minlength=2 * len(keys)).tolist()
    group_of = {i: checked_key(keys[i // 2]) for i, rows in enumerate(sizes) if rows}
    return strata, group_of, {i: rows for i, rows in enumerate(sizes) if rows and i % 2}


def _needed(pilot: StratifiedSample, group_of: dict, far: dict, error: float, confidence: float) -> pd.Series:
    """Rows that each stratum must give: all outliers, and of the others what the error of the *group's* total takes."""
    seen = pilot.strata["seen"]
    total = pilot.estimate("sum", "value", by=group_of)["estimate"]
    share = np.array([total[group_of[stratum]] for stratum in seen.index], dtype=np.float64) / seen.to_numpy()
    spread = pilot.frame.groupby("group")["value"].std().reindex(seen.index).fillna(0.0).astype(float)
    needed = pd.Series(for_error(seen, share, spread, _AIM * error, confidence), index=seen.index)
    return needed.where(~needed.index.isin(list(far)), seen)


def _reasons(table: pd.DataFrame, needs: pd.Series, served: pd.Series, error: float) -> pd.Series:
    """Why a group gets no answer, for those that get none."""
    width = ((table["high"] - table["low"]) / 2 / table["estimate"].abs()).fillna(0.0)
    reasons = {}
    for group in table.index:
        if group not in served.index:
            reasons[group] = f"needs about {needs[group]:,} rows"
        elif width[group] > error:
            reasons[group] = f"within {width[group]:.1%} only"
        elif table["leverage"][group] > error:
            reasons[group] = f"one row answers for {table['leverage'][group]:.1%} of it"
    return pd.Series(reasons, dtype=object)
