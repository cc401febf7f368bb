"""Latencies for the percentile topic: fixed by their seed, in the shape they claim, hostile where they say so."""

import numpy as np
import pytest

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.course.workloads.latencies import (
    LAWS,
    ORDERS,
    LatencyRecord,
    arranged,
    hostile_blocks,
    latency_records,
    requests,
    sample,
)
from principal_kit.sketches import TDigest


@pytest.mark.parametrize("law", LAWS)
def test_samples_are_fixed_by_their_seed(law):
    assert np.array_equal(sample(law, 1000, seed=1), sample(law, 1000, seed=1))
    assert not np.array_equal(sample(law, 1000, seed=1), sample(law, 1000, seed=2))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("order", ORDERS)
def test_orders_keep_the_values(order, count):
    values = sample("lognormal", count, seed=0)
    assert np.array_equal(np.sort(arranged(values, order)), np.sort(values))


def test_orders_are_what_they_are_called():
    values = np.arange(6.0)
    assert arranged(values, "ascending").tolist() == [0, 1, 2, 3, 4, 5]
    assert arranged(values, "descending").tolist() == [5, 4, 3, 2, 1, 0]
    assert arranged(values, "zigzag").tolist() == [0, 5, 1, 4, 2, 3]
    assert arranged(np.arange(40.0), "clustered")[:4].tolist() == [0, 1, 4, 5]


def test_requests_have_a_body_a_slow_path_and_timeouts():
    took = requests(200_000, seed=3)
    assert np.median(took) == pytest.approx(20, rel=0.03)
    assert (took > 100).mean() == pytest.approx(0.02, rel=0.1)
    assert (took == 2000.0).mean() == pytest.approx(1 / 2000, rel=0.4)
    assert np.median(requests(200_000, seed=3, factor=3.0)) == pytest.approx(60, rel=0.03)


def test_records_cover_the_time_and_survive_the_wire():
    sizes = {"minutes": 2, "per_second": 100, "per_record": 500, "servers": 3, "seed": 1}
    records = list(latency_records(**sizes, incident=1))
    assert len(records) == 24
    assert [record.began for record in records[:3]] == [0, 5000, 10_000]
    assert {record.server for record in records} == {0, 1, 2}
    slow = [np.mean([(r.latencies > 100).mean() for r in records if r.began // 60_000 == m]) for m in (0, 1)]
    assert slow[1] > 3 * slow[0]
    same = LatencyRecord.from_bytes(records[5].to_bytes())
    assert same[:2] == records[5][:2]
    assert np.array_equal(same.latencies, records[5].latencies)
    broken = bytearray(records[5].to_bytes())
    broken[40] ^= 1
    with pytest.raises(CorruptionError):
        LatencyRecord.from_bytes(bytes(broken))


def test_hostile_blocks_mislead_a_digest_in_this_order_only():
    digest, blocks = TDigest(), []
    for block in hostile_blocks(lambda: digest.cdf(0.0)):
        digest.add_many(block)
        blocks.append(block)
    values = np.concatenate(blocks)
    negative = (values < 0).mean()
    assert digest.cdf(0.0) - negative > 0.15
    low, high = digest.rank_bounds(0.0)
    assert low <= negative <= high
    sorted_first = TDigest()
    sorted_first.add_many(values)
    assert abs(sorted_first.cdf(0.0) - negative) < 0.01


@pytest.mark.parametrize(
    "refuse",
    [
        lambda: sample("normal", 10, seed=0),
        lambda: arranged(np.zeros(3), "random"),
        lambda: requests(10, seed=0, slow=1.5),
        lambda: requests(10, seed=0, factor=0),
        lambda: list(latency_records(minutes=1, per_second=1, per_record=7, servers=1, seed=0)),
        lambda: list(hostile_blocks(lambda: 0.5, rounds=1000)),
    ],
)
def test_bad_arguments(refuse):
    with pytest.raises(InvalidArgument):
        refuse()
