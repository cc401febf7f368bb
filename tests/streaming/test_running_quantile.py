"""The two heaps against numpy, after every value."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.streaming import RunningMedian, RunningQuantile, running_quantile

numbers = st.lists(st.one_of(st.integers(-99, 99), st.floats(-1e9, 1e9)), min_size=1, max_size=40)


@given(numbers, st.integers(1, 1000))
def test_equals_the_order_statistic_after_every_value(values, thousandths):
    running = RunningQuantile(thousandths / 1000)
    for n, value in enumerate(values, 1):
        running.add(value)
        rank = -(-thousandths * n // 1000)  # ceil(q n), in integers
        assert running.value == sorted(values[:n])[rank - 1]
    assert len(running) == len(values)


@given(numbers)
def test_the_median_equals_numpys(values):
    running = RunningMedian()
    running.add_many(np.array(values))
    assert running.value == pytest.approx(np.median(values), rel=1e-12, abs=1e-12)


def test_unsigned_integers_are_negated_exactly():
    running = RunningQuantile()
    running.add_many(np.array([1, 2, 255], dtype=np.uint8))
    assert running.value == 2


def test_bad_input_changes_nothing():
    running = RunningQuantile(0.5)
    with pytest.raises(InvalidArgument):
        _ = running.value
    with pytest.raises(InvalidArgument):
        _ = RunningMedian().value
    for bad in ([1, float("nan")], [1, "x"], [1, None]):
        with pytest.raises(InvalidArgument):
            running.add_many(bad)
    with pytest.raises(InvalidArgument):
        running.add(float("nan"))
    assert len(running) == 0
    for q in (0, 1.01, float("nan"), "0.5"):
        with pytest.raises(InvalidArgument):
            RunningQuantile(q)


def test_docstrings():
    outcome = doctest.testmod(running_quantile)
    assert outcome.attempted
    assert not outcome.failed
