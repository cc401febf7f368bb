"""Allocations: whole rows, never more than a group has, the whole budget used, and each the best at what it is for."""

import doctest
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from principal_kit.core.errors import InvalidArgument
from principal_kit.sketches import allocation
from principal_kit.sketches.allocation import capped, congress, for_error, house, neyman, senate

counts = st.lists(st.integers(0, 2000), min_size=1, max_size=12)


def as_congress(sizes, rows):
    return congress([[i] for i in range(len(sizes))], sizes, rows)


def as_neyman(sizes, rows):
    return neyman(sizes, [1.0 + i for i in range(len(sizes))], rows)


@given(counts, st.integers(0, 5000), st.sampled_from([house, senate, as_congress, as_neyman]))
def test_the_budget_is_used_and_no_group_gives_more_than_it_has(sizes, rows, allocate):
    given_rows = allocate(sizes, rows)
    assert given_rows.dtype == np.int64
    assert (given_rows >= 0).all()
    assert (given_rows <= sizes).all()
    assert given_rows.sum() == min(rows, sum(sizes))


@given(counts, st.integers(0, 5000))
def test_house_is_proportional_to_the_row(sizes, rows):
    exact = np.array(sizes) * min(rows, sum(sizes)) / max(sum(sizes), 1)
    assert (np.abs(house(sizes, rows) - exact) < 1).all()


@given(counts, st.integers(0, 5000))
def test_senate_treats_groups_alike_unless_they_are_whole(sizes, rows):
    given_rows = senate(sizes, rows)
    cut = given_rows[given_rows < sizes]
    assert cut.size == 0 or cut.max() - cut.min() <= 1
    assert cut.size == 0 or (given_rows <= cut.min() + 1).all()


def test_neyman_is_the_optimum_found_by_trying_all():
    sizes, spread, rows = np.array([9, 7, 5]), np.array([1.0, 4.0, 9.0]), 11

    def variance(n):
        return sum(N * (N - k) / k * s**2 for N, s, k in zip(sizes, spread, n))

    best = min((n for n in product(*(range(2, N + 1) for N in sizes)) if sum(n) == rows), key=variance)
    found = neyman(sizes, spread, rows)
    assert found[2] == 5  # taken whole
    assert variance(found) <= 1.02 * variance(best)


def test_neyman_gives_two_rows_to_groups_that_do_not_vary():
    assert neyman([1000, 1000, 1], [0.0, 3.0, 0.0], 100).tolist() == [2, 97, 1]
    assert neyman([1000, 1000], [0.0, 3.0], 3).tolist() == [0, 3]  # no room for that
    assert neyman([10, 10], [1e300, 1e300], 10).tolist() == [5, 5]


def test_congress_of_two_columns_worked_by_hand():
    """Four finest groups of columns A and B: each gets the most that (), (A), (B) or (A, B) asks for, scaled down."""
    keys = [["a1", "b1"], ["a1", "b2"], ["a1", "b3"], ["a2", "b3"]]
    found = congress(keys, [3000, 3000, 1500, 2500], 100)
    house_, senate_ = np.array([30, 30, 15, 25]), np.full(4, 25)
    by_a, by_b = np.array([20, 20, 10, 50]), np.array([33.3, 33.3, 12.5, 20.8])
    most = np.max([house_, senate_, by_a, by_b], axis=0)
    assert np.abs(found - 100 * most / most.sum()).max() < 1
    assert found.tolist() == [24, 23, 18, 35]


def test_congress_of_one_column_is_between_house_and_senate():
    sizes = [9000, 900, 90, 10]
    h, s, c = house(sizes, 200), senate(sizes, 200), as_congress(sizes, 200)
    assert c[0] < h[0]
    assert c[0] > s[0]
    assert c[3] == 10


def test_capped():
    assert capped([0, 5, 50], 10).tolist() == [0, 5, 10]


def test_rows_for_an_error_keep_it():
    """With the planned rows the half-width is at most the error, and with 5 % fewer it is not."""
    z = stats.norm.ppf(0.975)
    for size, mean, spread, error in [(10**6, 50, 100, 0.02), (3000, -4, 9, 0.05), (500, 10, 10, 0.01)]:
        (n,) = for_error([size], [mean], [spread], error)
        half = lambda k, s=size, d=spread: z * d * np.sqrt((1 - k / s) / k)  # noqa: E731
        assert half(n) <= error * abs(mean) * 1.0001
        assert half(0.95 * n) > error * abs(mean) or n == size
    assert for_error([5000, 10, 5000], [0, 0, 3], [1, 1, 0], 0.1).tolist() == [5000, 10, 30]


@pytest.mark.parametrize(
    "refuse",
    [
        lambda: house([1.5], 1),
        lambda: house([-1], 1),
        lambda: house([[1]], 1),
        lambda: house([1], -1),
        lambda: house([1], 0.5),
        lambda: capped([1], True),
        lambda: neyman([1, 2], [1.0], 1),
        lambda: neyman([1], [-1.0], 1),
        lambda: neyman([1], [np.nan], 1),
        lambda: congress([1, 2], [1, 2], 1),
        lambda: congress([[1]], [1, 2], 1),
        lambda: for_error([1], [1], [1], 0),
        lambda: for_error([1], [1], [1], 0.1, 1.0),
    ],
)
def test_bad_arguments(refuse):
    with pytest.raises(InvalidArgument):
        refuse()


def test_examples():
    result = doctest.testmod(allocation)
    assert result.attempted > 4
    assert result.failed == 0
