"""The day of page views is repeatable and ordered, and has what makes unique counts hard: repeats and returns."""

import doctest

import numpy as np
import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.workloads import visits as module
from principal_kit.course.workloads.visits import DAY_MS, visits


def test_the_same_seed_gives_the_same_day():
    one, two = visits(2_000, seed=1), visits(2_000, seed=1)
    assert all((a == b).all() for a, b in zip(one, two))
    assert (one.visitors != visits(2_000, seed=2).visitors).any()
    assert (one.times != visits(2_000, seed=1, day=1).times).any()


def test_a_day_in_order():
    day = visits(50_000, seed=3)
    assert (np.diff(day.times) >= 0).all()
    assert day.times[0] >= 0
    assert day.times[-1] < DAY_MS
    by_hour = np.bincount(day.times // 3_600_000, minlength=24)
    assert by_hour[20] > 3 * by_hour[8]
    assert 0.1 < day.sections.mean() < 0.2


def test_visitors_come_again_within_the_day_and_the_next():
    today, tomorrow = visits(50_000, seed=3), visits(50_000, seed=3, day=1)
    unique = len(np.unique(today.visitors))
    by_minute = sum(len(np.unique(part)) for part in np.split(
        today.visitors, np.searchsorted(today.times, np.arange(60_000, DAY_MS, 60_000))
    ))  # fmt: skip
    assert by_minute > 3 * unique
    both = len(np.intersect1d(today.visitors, tomorrow.visitors))
    assert 0.15 < both / unique < 0.4


@pytest.mark.parametrize("bad", [{"views": 3}, {"views": 1e3}, {"views": 9, "day": -1}, {"views": True}])
def test_bad_sizes(bad):
    with pytest.raises(InvalidArgument):
        visits(**bad, seed=1)


def test_the_example():
    assert doctest.testmod(module).failed == 0
