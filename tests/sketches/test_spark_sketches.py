"""Sketches built in Spark equal those of one process, byte for byte, whatever the partitions."""

from functools import partial

import numpy as np
import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.sketches import BlockedBloomFilter, BloomFilter, CountMinSketch, FlajoletMartin, HyperLogLog, TDigest
from principal_kit.sketches.spark import sketch_column

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MAKERS = {
    "BloomFilter": partial(BloomFilter, 20_000, 0.01, seed=5),
    "BlockedBloomFilter": partial(BlockedBloomFilter, 20_000, 0.01),
    "HyperLogLog": partial(HyperLogLog, 10),
    "CountMinSketch": partial(CountMinSketch, 0.001, 0.01),
    "FlajoletMartin": partial(FlajoletMartin, 64),
}


@pytest.fixture(scope="module")
def spark():
    from principal_kit import services

    return services.spark()


@pytest.fixture(scope="module")
def rows(spark):
    numbers = np.random.default_rng(2).integers(-(2**40), 2**40, 20_000)
    data = [(int(n), f"user-{n % 7919}", float(abs(n) % 1000) + 0.5) for n in numbers]
    df = spark.createDataFrame([*data, (None, None, None)], "number long, name string, value double").repartition(5)
    return data, df


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("column", ["number", "name"])
def test_it_is_the_sketch_of_one_process(rows, name, column):
    data, df = rows
    alone = MAKERS[name]()
    alone.add_many([row[0 if column == "number" else 1] for row in data])
    assert sketch_column(df, column, MAKERS[name], fan_in=2) == alone


def test_a_digest_of_a_column_of_floats_stays_within_its_bounds(rows):
    data, df = rows
    digest = sketch_column(df, "value", TDigest)
    exact = np.sort([row[2] for row in data])
    low, high = digest.bounds(0.95)
    assert digest.count == len(data)
    assert low <= exact[int(np.ceil(0.95 * exact.size)) - 1] <= high


def test_no_rows_give_an_empty_sketch(spark, rows):
    assert sketch_column(rows[1].limit(0), "name", MAKERS["HyperLogLog"]) == MAKERS["HyperLogLog"]()


def test_bad_arguments_are_refused_before_a_query_runs(rows):
    _, df = rows
    for column, make, fan_in in (("nobody", HyperLogLog, 8), ("name", HyperLogLog, 0), ("name", dict, 8)):
        with pytest.raises(InvalidArgument):
            sketch_column(df, column, make, fan_in=fan_in)
