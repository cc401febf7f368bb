"""The same events through Spark: batch windows and sessions count and sum as ours do."""

import numpy as np
import pytest

from principal_kit.streaming import END, HoppingWindows, SessionWindows, Tally, TumblingWindows

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def events(spark_session):
    rng = np.random.default_rng(5)
    keys, times, values = rng.choice(list("abc"), 3000), rng.integers(0, 900, 3000) * 1000, rng.integers(0, 99, 3000)
    times[1::2] = times[::2] + 20_000  # many events exactly a session's gap after another one
    rows = list(zip(keys.tolist(), times.tolist(), values.tolist()))[: 40 * 3]
    frame = spark_session.createDataFrame(rows, "key string, ms long, value long")
    return rows, frame.selectExpr("key", "timestamp_millis(ms) as time", "value")


def ours(windows, rows):
    for row in rows:
        assert windows.add(*row) == []
    return {(r.key, r.start, r.end): (r.value.count, r.value.total) for r in windows.advance(END)}


def sparks(frame, window):
    counted = frame.groupBy("key", window.alias("w")).agg({"*": "count", "value": "sum"})
    fields = counted.selectExpr("key", "unix_millis(w.start)", "unix_millis(w.end)", "`count(1)`", "`sum(value)`")
    return {tuple(row[:3]): tuple(row[3:]) for row in fields.collect()}


def test_tumbling_and_hopping(events):
    from pyspark.sql import functions as F

    rows, frame = events
    assert ours(TumblingWindows(60_000, aggregate=Tally), rows) == sparks(frame, F.window("time", "60 seconds"))
    hopping = ours(HoppingWindows(60_000, 20_000, aggregate=Tally, offset=5_000), rows)
    assert hopping == sparks(frame, F.window("time", "60 seconds", "20 seconds", "5 seconds"))


def test_sessions(events):
    """Spark joins two events exactly a gap apart, ours do not: a gap one millisecond longer is the same rule."""
    from pyspark.sql import functions as F

    rows, frame = events
    longer = ours(SessionWindows(20_001, aggregate=Tally), rows)
    theirs = sparks(frame, F.session_window("time", "20 seconds"))
    assert {(key, start, end - 1): counted for (key, start, end), counted in longer.items()} == theirs
    assert len(ours(SessionWindows(20_000, aggregate=Tally), rows)) > len(theirs)
