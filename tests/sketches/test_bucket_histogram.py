"""Fixed buckets: exact counts, and a quantile that is never outside its bucket."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import BucketHistogram
from principal_kit.sketches import bucket_histogram as module
from principal_kit.sketches.bucket_histogram import CLASSIC_SECONDS

values = st.lists(st.floats(0, 20) | st.sampled_from(CLASSIC_SECONDS), min_size=1, max_size=60)


@given(values, st.booleans(), st.floats(0, 1))
def test_batches_merges_and_single_values_count_alike(xs, geometric, q):
    batch, single, left, right = (BucketHistogram(CLASSIC_SECONDS, geometric=geometric) for _ in range(4))
    batch.add_many(xs)
    for x in xs:
        single.add(x)
    left.add_many(xs[::2])
    right.add_many(np.array(xs[1::2]))
    assert batch == single == left.merge(right)
    low, high = batch.bounds(q)
    exact = np.sort(xs)[max(0, int(np.ceil(q * len(xs))) - 1)]
    assert low <= exact <= high
    assert low <= batch.quantile(q) <= min(high, CLASSIC_SECONDS[-1]) * (1 + 1e-12)


def test_linear_interpolation_as_histogram_quantile_does_it():
    """10 of 40 below 0.1, the rest up to 0.5: the median is a third of the way from 0.1 to 0.5."""
    histogram = BucketHistogram([0.1, 0.5, 1.0])
    histogram.add_many([0.05] * 10 + [0.2] * 30)
    assert histogram.quantile(0.5) == pytest.approx(0.1 + 0.4 / 3)
    histogram.add_many([7.0] * 100)
    assert histogram.quantile(0.9) == 1.0  # above the last end: that end
    assert histogram.bounds(0.9) == (1.0, np.inf)


def test_exponential_buckets_bound_the_relative_error():
    draw = np.random.default_rng(0).lognormal(0, 2, 100_000)
    growth = 2 ** (1 / 8)
    histogram = BucketHistogram.exponential(growth, 1e-6, 1e6)
    histogram.add_many(draw)
    qs = np.array([0.01, 0.5, 0.99, 0.999])
    exact = np.quantile(draw, qs, method="inverted_cdf")
    assert (np.abs(histogram.quantile(qs) / exact - 1) < growth - 1).all()
    assert histogram.ends[0] == 1e-6
    assert histogram.ends[-1] >= 1e6 * (1 - 1e-12)


@pytest.mark.parametrize("ends", [[], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [1.0, np.inf], [np.nan], "12", 5])
def test_bad_ends(ends):
    with pytest.raises(InvalidArgument):
        BucketHistogram(ends)


@pytest.mark.parametrize(
    "arguments", [(1.0, 1, 2), (2.0, 0, 1), (2.0, 2, 1), (1.0000001, 1e-300, 1e300), (np.nan, 1, 2)]
)
def test_bad_exponential_buckets(arguments):
    with pytest.raises(InvalidArgument):
        BucketHistogram.exponential(*arguments)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, "1", None, True])
def test_bad_values_change_nothing(bad):
    histogram = BucketHistogram([1.0])
    with pytest.raises(InvalidArgument):
        histogram.add(bad)
    with pytest.raises(InvalidArgument):
        histogram.add_many([1.0, bad])
    assert histogram.count == 0
    with pytest.raises(InvalidArgument, match="empty"):
        histogram.quantile(0.5)


def test_other_buckets_do_not_merge_and_damage_is_noticed():
    one, other = BucketHistogram([1.0, 2.0]), BucketHistogram([1.0, 3.0])
    one.add(1.5)
    with pytest.raises(InvalidArgument):
        one.merge(other)
    assert BucketHistogram.from_bytes(one.to_bytes()) == one
    assert one.copy().merge(one).count == 2
    frame = bytearray(one.to_bytes())
    frame[30] ^= 1
    with pytest.raises(CorruptionError):
        BucketHistogram.from_bytes(bytes(frame))
    one.counts[0] = -1
    with pytest.raises(CorruptionError):
        BucketHistogram.from_bytes(one.to_bytes())


def test_doctests():
    assert doctest.testmod(module).failed == 0
