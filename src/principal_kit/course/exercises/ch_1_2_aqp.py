"""Exercises 1.2.i and 1.2.j: a total with its standard error from strata, and a budget of rows split over groups."""

from __future__ import annotations

from math import isclose, sqrt

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect

# ── 1.2.i ────────────────────────────────────────────────────────────────────────────────────────
total = Exercise(
    "1.2.i",
    title="A total and its standard error",
    wants="a function `total(strata)` that takes a list of pairs (N, values), the size of a stratum and the values "
    "sampled from it without replacement, at least two, and returns the estimated total and its standard error",
    takes=1,
)

_values = st.lists(st.integers(0, 40), min_size=2, max_size=6)
_stratum = st.tuples(st.integers(0, 30), _values).map(lambda pair: (pair[0] + len(pair[1]), pair[1]))
_strata = st.lists(_stratum, min_size=1, max_size=4)


def _asked(answer, strata):
    estimate, error = answer([(size, list(values)) for size, values in strata])
    return float(estimate), float(error)


def _variance(values):
    mean = sum(values) / len(values)
    return sum((x - mean) ** 2 for x in values) / (len(values) - 1)


def _close(got, wanted, what):
    expect(isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-6), expected=f"{what} of {wanted:.6g}", got=got)


@total.property("a stratum that was read whole gives its sum, without error", values=_values)
def _whole_stratum(answer, values):
    got, error = _asked(answer, [(len(values), values)])
    _close(got, sum(values), "a total")
    _close(error, 0.0, "a standard error")


@total.property("each value stands for N / n rows of its own stratum", strata=_strata)
def _weighs(answer, strata):
    got, _ = _asked(answer, strata)
    _close(got, sum(size / len(values) * sum(values) for size, values in strata), "a total")


@total.property("the standard error of one stratum is the textbook's", stratum=_stratum)
def _error_of_one(answer, stratum):
    size, values = stratum
    wanted = sqrt(size * (size - len(values)) * _variance(values) / len(values))
    _close(_asked(answer, [stratum])[1], wanted, "a standard error")


@total.property("strata are independent: their variances add up", strata=_strata)
def _errors_add(answer, strata):
    wanted = sqrt(sum(size * (size - len(v)) * _variance(v) / len(v) for size, v in strata))
    _close(_asked(answer, strata)[1], wanted, "a standard error")


# ── 1.2.j ────────────────────────────────────────────────────────────────────────────────────────
allocate = Exercise(
    "1.2.j",
    title="Where to spend a budget of rows",
    wants="a function `allocate(counts, deviations, rows)` that returns how many rows to sample of each group, as "
    "floats: in proportion to count times standard deviation (> 0), but no group gives more than it has, "
    "and what it cannot use goes to the others",
    takes=3,
)

_groups = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=6)
_share = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0])
_SLACK = 1e-6


def _allocated(answer, groups, share):
    counts, deviations = [count for count, _ in groups], [deviation for _, deviation in groups]
    rows = share * sum(counts)
    got = [float(part) for part in answer(list(counts), list(deviations), rows)]
    expect(len(got) == len(groups), expected=f"{len(groups)} numbers", got=got)
    return counts, rows, got


@allocate.property("no group gives fewer than none or more than it has", groups=_groups, share=_share)
def _possible(answer, groups, share):
    counts, _, got = _allocated(answer, groups, share)
    fits = all(-_SLACK <= part <= count + _SLACK for part, count in zip(got, counts))
    expect(fits, expected=f"parts between 0 and {counts}", got=got)


@allocate.property("the whole budget is spent", groups=_groups, share=_share)
def _spent(answer, groups, share):
    _, rows, got = _allocated(answer, groups, share)
    expect(abs(sum(got) - rows) < _SLACK * (1 + rows), expected=f"parts that add up to {rows:g}", got=sum(got))


@allocate.property("no row would do more good in another group", groups=_groups, share=_share)
def _optimal(answer, groups, share):
    """At the optimum, N s / n is the same for all groups that are not whole, and no smaller for those that are."""
    counts, rows, got = _allocated(answer, groups, share)
    gain = [count * d / part if part > _SLACK else float("inf") for (count, d), part in zip(groups, got)]
    open_ = [g for g, part, count in zip(gain, got, counts) if part < count - _SLACK]
    if rows > 0 and open_:
        even = max(open_) <= min(open_) * (1 + 1e-4) and min(gain) >= max(open_) * (1 - 1e-4)
        expect(even, expected="count * deviation / rows alike, and at least that in groups taken whole", got=gain)
