"""Exactly k rows of a DataFrame, uniform over partitions of any size, through a real Spark."""

import datetime
import doctest

import numpy as np
import pytest
from scipy import stats

from principal_kit.core.errors import InvalidArgument
from principal_kit.sketches import spark_sampling
from principal_kit.sketches.spark_sampling import CUT, KEY, fair_share, sample_exactly

ALPHA = 1e-6


def test_a_fair_share_is_enough_but_for_one_run_in_a_trillion():
    for k, rows, largest in ((1_000, 100_000, 20_000), (50, 10**6, 1_000), (10**6, 10**10, 10**7)):
        capacity = fair_share(k, rows, largest)
        assert stats.hypergeom.sf(capacity - 1, rows, largest, k) < 1e-12
        assert capacity < k
    assert fair_share(10, 100, 100) == 10


def test_examples_in_docstrings():
    assert doctest.testmod(spark_sampling).failed == 0


class _Frame:
    """As much of a DataFrame as is asked before Spark is."""

    def __init__(self, *columns):
        self.columns = list(columns)


@pytest.mark.parametrize("k", [0, -3, 1.5, True, "3", 1 << 31])
def test_bad_arguments_are_refused(k):
    with pytest.raises(InvalidArgument, match="k="):
        sample_exactly(_Frame("id"), k, seed=1)
    with pytest.raises(InvalidArgument, match="capacity="):
        sample_exactly(_Frame("id"), 5, seed=1, capacity=k)
    with pytest.raises(InvalidArgument, match="rename"):
        sample_exactly(_Frame("id", KEY, CUT), 5, seed=1)


def _uneven(spark, sizes):
    """`id` from 0 to sum(sizes) in partitions of these sizes; partition 0 is the fullest in the tests below."""
    frames = [spark.range(int(end - size), int(end), 1, 1) for size, end in zip(sizes, np.cumsum(sizes))]
    frame = frames[0]
    for other in frames[1:]:
        frame = frame.union(other)
    return frame


@pytest.mark.integration
def test_there_are_exactly_k_different_rows_with_all_their_columns(spark_session):
    df = spark_session.range(0, 30_000, 1, 5).selectExpr(
        "id", "concat('row ', id) as name", "cast(id as timestamp) as at", "array(id, id + 1) as pair",
        "if(id % 2 = 0, null, id) as odd",
    )  # fmt: skip
    before = df.schema
    sample = sample_exactly(df, 500, seed=3)
    rows = sample.collect()
    assert sample.schema == before == df.schema
    assert len({row.id for row in rows}) == len(rows) == 500
    for row in rows:
        assert (row.name, row.pair) == (f"row {row.id}", [row.id, row.id + 1])
        assert row.odd == (None if row.id % 2 == 0 else row.id)
        assert isinstance(row.at, datetime.datetime)
    assert [row.id for row in sample_exactly(df, 500, seed=3).collect()] == [row.id for row in rows]
    assert {row.id for row in sample_exactly(df, 500, seed=4).collect()} != {row.id for row in rows}


@pytest.mark.integration
def test_fewer_rows_than_asked_for_are_all_returned(spark_session):
    df = _uneven(spark_session, [3, 0, 40])
    for k in (43, 44, 1000):
        assert sorted(row.id for row in sample_exactly(df, k, seed=1).collect()) == list(range(43))
    assert sample_exactly(spark_session.range(0), 5, seed=1).collect() == []


@pytest.mark.integration
def test_no_row_is_favoured_in_partitions_of_unequal_size(spark_session):
    """Three partitions of 6,000, 300 and 60 rows; 1,200 kept, 12 runs: chi-square over 53 stretches at p = 1e-6."""
    sizes, k, runs = [6_000, 300, 60], 1_200, 12
    df, n = _uneven(spark_session, sizes), sum(sizes)
    stretches = np.append(np.arange(0, n - 120, 120), n - 60)
    hits = np.zeros(stretches.size)
    for seed in range(runs):
        ids = np.array([row.id for row in sample_exactly(df, k, seed=seed).collect()])
        hits += np.histogram(ids, bins=np.append(stretches, n))[0]
    widths = np.diff(np.append(stretches, n))
    expected = runs * k * widths / n
    statistic = ((hits - expected) ** 2 / expected).sum() * (n - 1) / (n - k)
    assert stats.chi2.sf(statistic, stretches.size - 1) > ALPHA
    halves = k // len(sizes) * runs  # the same number from each partition, had it so many
    assert abs(hits[-1] - expected[-1]) < 0.25 * abs(min(halves, runs * 60) - expected[-1])


@pytest.mark.integration
def test_the_order_is_random_so_a_prefix_is_a_sample_too(spark_session):
    ids = [row.id for row in sample_exactly(spark_session.range(0, 20_000, 1, 4), 4_000, seed=2).collect()]
    first, second = np.array(ids[:2_000]), np.array(ids[2_000:])
    assert stats.ks_2samp(first, second).pvalue > ALPHA
    assert abs(stats.spearmanr(np.arange(4_000), ids).statistic) < 5 / np.sqrt(4_000)


@pytest.mark.integration
def test_a_capacity_below_k_is_enough_or_fails_and_never_skews(spark_session):
    df = spark_session.range(0, 40_000, 1, 4)
    capacity = fair_share(1_000, 40_000, 10_000)
    assert capacity < 400
    rows = sample_exactly(df, 1_000, seed=1, capacity=capacity).collect()
    assert len({row.id for row in rows}) == 1_000
    with pytest.raises(Exception, match="capacity=150 is too small for k=1000"):
        sample_exactly(df, 1_000, seed=1, capacity=150).collect()
    skewed = _uneven(spark_session, [30_000, 5_000, 5_000])
    with pytest.raises(Exception, match="too small"):
        sample_exactly(skewed, 1_000, seed=1, capacity=capacity).collect()


@pytest.mark.integration
def test_rows_that_were_evicted_are_dropped_in_the_task_too(spark_session):
    """More batches than a task holds on to: 300 batches of 200 rows, 50 kept."""
    spark_session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "200")
    try:
        rows = sample_exactly(spark_session.range(0, 60_000, 1, 1), 4_000, seed=1).collect()
    finally:
        spark_session.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    ids = np.sort([row.id for row in rows])
    assert len(set(ids.tolist())) == 4_000
    assert stats.kstest(ids, stats.uniform(0, 60_000).cdf).pvalue > ALPHA
