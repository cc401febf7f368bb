"""Range sort: the same file as the external sort makes; splitters that divide, and those that do not."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument, KitError
from principal_kit.course.workloads import records as gensort
from principal_kit.streaming import external_sort, range_sort
from principal_kit.streaming.range_sort import Splitter, equal_width, partition_of, splitters_of

COUNT = 20_000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for keys in ("uniform", "skewed", "duplicates"):
        gensort.write(folder / keys, COUNT, seed=4, keys=keys)
    return folder


KEYS_THAT_MEET = st.lists(st.sampled_from([0, 1, 255]), min_size=10, max_size=10).map(bytes)


@given(
    st.lists(KEYS_THAT_MEET, min_size=1, max_size=40),
    st.integers(0, 30),
    st.lists(st.tuples(KEYS_THAT_MEET, st.integers(0, 70))),
)
def test_a_partition_is_the_count_of_splitters_at_or_before(rows, first, cuts):
    cuts = sorted(Splitter(*cut) for cut in cuts)
    got = partition_of(np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 10), slice(0, 10), first, cuts)
    assert got.tolist() == [sum(cut <= Splitter(row, first + at) for cut in cuts) for at, row in enumerate(rows)]


@given(st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 99)), unique=True, min_size=1), st.integers(1, 9))
def test_splitters_divide_their_sample_evenly(sample, partitions):
    sample = [Splitter(*entry) for entry in sample]
    cuts = splitters_of(sample, partitions)
    sizes = [sum(sum(cut <= entry for cut in cuts) == p for entry in sample) for p in range(partitions)]
    assert max(sizes) <= -(-len(sample) // partitions)


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("keys", ["uniform", "skewed", "duplicates"])
def test_sampled_splitters_sort_as_the_external_sort_does(files, tmp_path, keys, workers):
    stats = range_sort(files / keys, tmp_path / "out", gensort.KEY, 1_500_000, workers=workers)
    external_sort(files / keys, tmp_path / "expected", gensort.KEY, 1_500_000)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()
    assert stats.records == COUNT
    assert len(stats.partitions) > workers
    assert stats.skew < 1.5  # 64 samples a partition: the largest is 1.5 times the mean once in some thousand seeds


@pytest.mark.parametrize("options", [
    {"splitters": "equal", "path_in": "skewed"},
    {"splitters": "sampled", "break_ties": False, "path_in": "duplicates"},
])  # fmt: skip
def test_naive_splitters_break_on_skew_and_leave_nothing(files, tmp_path, options):
    (tmp_path / "out").write_text("old")
    options = options | {"path_in": files / options["path_in"]}
    with pytest.raises(CapacityError, match="do not divide"):
        range_sort(path_out=tmp_path / "out", key=gensort.KEY, memory_limit=1_500_000, **options)
    assert (os.listdir(tmp_path), (tmp_path / "out").read_text()) == (["out"], "old")


def test_the_first_records_mislead_where_the_input_has_an_order(tmp_path):
    gensort.write(tmp_path / "in", COUNT, seed=4, keys="sorted")
    with pytest.raises(CapacityError, match="do not divide"):
        range_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, 1_500_000, splitters="first")
    assert os.listdir(tmp_path) == ["in"]


def test_skew_is_the_largest_over_the_mean(files, tmp_path):
    even = range_sort(files / "uniform", tmp_path / "out", gensort.KEY, 10**7, partitions=4, splitters="equal")
    assert even.skew < 1.05
    assert even.splitters == tuple(equal_width(4))
    uneven = range_sort(files / "skewed", tmp_path / "out", gensort.KEY, 10**7, partitions=4, splitters="equal")
    assert uneven.skew == max(uneven.partitions) * 4 / COUNT > 3.5


@pytest.mark.parametrize("options", [
    {"workers": 0}, {"memory_limit": 200}, {"memory_limit": 0}, {"partitions": 0}, {"partitions": 5000},
    {"splitters": "lucky"}, {"key": slice(0, 200)}, {"key": slice(3, 3)}, {"key": 3}, {"record_size": 0},
    {"path_in": "missing"}, {"memory_limit": 2000},
])  # fmt: skip
def test_bad_arguments(files, tmp_path, options):
    given = {"path_in": files / "uniform", "path_out": tmp_path / "out", "key": gensort.KEY, "memory_limit": 10**6}
    with pytest.raises(InvalidArgument):
        range_sort(**given | options)
    assert os.listdir(tmp_path) == []


def test_a_record_cut_off(tmp_path):
    (tmp_path / "in").write_bytes(b"x" * 250)
    with pytest.raises(CorruptionError, match="cut off"):
        range_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, 10**6)


def test_a_worker_that_dies(files, tmp_path, monkeypatch):
    original = ProcessPoolExecutor.submit

    def submit(pool, task, *args):
        return original(pool, _die) if task.__name__ == "_reduce" else original(pool, task, *args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    with pytest.raises(KitError, match="worker process died"):
        range_sort(files / "uniform", tmp_path / "out", gensort.KEY, 10**6)
    assert os.listdir(tmp_path) == []


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_empty_file(tmp_path):
    (tmp_path / "in").write_bytes(b"")
    assert range_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, 10**6).records == 0
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.integration
@pytest.mark.parametrize("keys", ["uniform", "duplicates"])
def test_spark_range_partitioning_makes_the_same_order(files, tmp_path, spark_session, keys):
    """repartitionByRange and a sort in each partition, the position as tie-break, equal our file."""
    from pyspark.sql import functions as F

    rows = np.fromfile(files / keys, dtype=np.uint8).reshape(-1, 100)[:5000]
    rows.tofile(tmp_path / "in")
    frame = spark_session.createDataFrame(
        [(row[:10].tobytes(), at) for at, row in enumerate(rows)], "key binary, at long"
    )
    ordered = frame.repartitionByRange(4, "key", "at").sortWithinPartitions("key", "at")
    collected = ordered.select("at", F.spark_partition_id().alias("p")).collect()
    theirs = [row["at"] for row in sorted(collected, key=lambda row: row["p"])]
    assert len({row["p"] for row in collected}) == 4
    range_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, 10**6, partitions=4)
    assert (tmp_path / "out").read_bytes() == rows[theirs].tobytes()
