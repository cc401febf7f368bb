"""Orders: fixed by their seed, with the rare countries, the giants and the heavy tail that the topic relies on."""

import numpy as np
import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.workloads.orders import COUNTRIES, GIANTS, PRODUCTS, RARE, STATUSES, orders

ROWS = 200_000
some = orders(ROWS, seed=1)


def test_orders_are_fixed_by_their_seed():
    again, other = orders(ROWS, seed=1), orders(ROWS, seed=2)
    assert all(np.array_equal(column, getattr(again, name)) for name, column in vars(some).items())
    assert not np.array_equal(some.amount, other.amount)


def test_rare_countries_have_exactly_their_orders():
    counts = np.bincount(some.country, minlength=len(COUNTRIES))
    assert {code: int(counts[code]) for code in RARE} == RARE
    assert (np.diff(counts[:10]) < 0).all()
    assert counts[0] > 0.3 * ROWS


def test_the_giants_are_there_and_not_in_rare_countries():
    giant = some.amount >= 250_000
    assert giant.sum() == GIANTS
    assert not np.isin(some.country[giant], list(RARE)).any()
    assert some.amount[giant].sum() > 0.2 * some.amount.sum()
    assert orders(ROWS, seed=1, giants=0).amount.max() < 250_000


def test_the_tail_is_heavy_without_the_giants():
    body = np.sort(some.amount[some.amount < 250_000])
    assert np.median(body) == pytest.approx(30, rel=0.03)
    exponent = 1 / np.mean(np.log(body[-100:] / body[-101]))  # Hill's estimator: 1.4 +- 0.14 on 100 values
    assert 0.95 < exponent < 1.85


def test_codes_and_days_are_in_range():
    assert len(some) == len(some.frame()) == ROWS
    assert some.status.min() >= 0
    assert some.status.max() == len(STATUSES) - 1
    assert (some.product.min(), some.product.max()) == (0, PRODUCTS - 1)
    assert some.day.tolist() == sorted(some.day.tolist())
    assert set(np.bincount(some.day)) <= {ROWS // 90, ROWS // 90 + 1}
    assert (some.amount > 0).all()


@pytest.mark.parametrize(
    "bad", [{"rows": 100}, {"rows": 1e5}, {"days": 0}, {"giants": -1}, {"giants": ROWS}, {"rows": True}]
)
def test_bad_arguments(bad):
    with pytest.raises(InvalidArgument):
        orders(**{"rows": ROWS, "seed": 0, **bad})
