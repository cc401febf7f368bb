"""The audit finds what a total hides, and letters are read for what they are."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError
from principal_kit.platform import audit, dead_letters, tracing

ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=20)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_missing_and_extra_rows_are_counted_as_a_bag_s(got, expected):
    frames = (pd.DataFrame(rows, columns=["key", "n"]).astype({"key": str, "n": "int64"}) for rows in (got, expected))
    finding = audit.compare("t", *frames)
    left = list(expected)
    extra = sum(1 for row in got if row not in left or left.remove(row))
    assert (finding.extra, finding.missing) == (extra, len(left))
    assert finding.exact == (sorted(got) == sorted(expected))


def test_a_lost_row_and_a_doubled_one_do_not_cancel_out():
    got = pd.DataFrame({"id": ["a", "a", "c"], "n": [1, 1, 1]})
    finding = audit.compare("t", got, pd.DataFrame({"id": ["a", "b", "c"], "n": [1, 1, 1]}))
    assert (finding.rows, finding.expected, finding.missing, finding.extra) == (3, 3, 1, 1)
    assert audit.table([finding])["exact"].tolist() == ["NO"]


def test_times_are_compared_in_milliseconds():
    for zone in (None, "UTC"):
        got = pd.DataFrame({"at": pd.to_datetime([1_000, 2_000], unit="ms").tz_localize(zone)})
        assert audit.compare("t", got, pd.DataFrame({"at": [1_000, 2_000]})).exact
        assert audit.compare("t", got, got[::-1]).exact, "a table against another table"
        assert audit.compare("t", got, got[:1]).extra == 1


def letter(at, **headers):
    given = {"topic": b"shop.orders", "partition": b"1", "offset": b"%d" % at, "reason": b"malformed", "key": b"k"}
    return SimpleNamespace(
        topic="shop.dead_letters", partition=0, offset=9, value=b"{", timestamp=5,
        headers=[(name, value) for name, value in (given | headers).items() if value is not ...],
    )  # fmt: skip


class Consumer:
    def __init__(self, records):
        self.records, self.at = records, 0
        for offset, record in enumerate(records):
            record.offset = offset

    def partitions_for_topic(self, topic):
        return {0}

    def assign(self, partitions):
        self.partition = partitions[0]

    def beginning_offsets(self, partitions):
        return dict.fromkeys(partitions, 0)

    def seek(self, partition, offset):
        self.at = offset

    def end_offsets(self, partitions):
        return dict.fromkeys(partitions, len(self.records))

    def position(self, partition):
        return self.at

    def poll(self, timeout_ms):
        self.at += 1
        return {self.partition: [self.records[self.at - 1]]}


def test_a_letter_written_twice_is_one_letter():
    read = dead_letters.read(Consumer([letter(7), letter(3), letter(7)]), "shop.dead_letters")
    assert [(x.topic, x.partition, x.offset, x.reason, x.key, x.value, x.sent_ms) for x in read] == [
        ("shop.orders", 1, offset, "malformed", b"k", b"{", 5) for offset in (3, 7)
    ]
    assert dead_letters.by_reason(read) == {("shop.orders", "malformed"): 2}
    assert len(dead_letters.distinct(read)) == 1, "the same bytes sent at the same moment, at two places"


@pytest.mark.parametrize("headers", [{"topic": ...}, {"offset": b"x"}, {"reason": None}])
def test_what_is_no_letter_is_not_read_as_one(headers):
    with pytest.raises(CorruptionError, match="is no dead letter"):
        dead_letters.read(Consumer([letter(1, **headers)]), "shop.dead_letters")


class Out:
    def __init__(self):
        self.sent, self.headers = [], []

    def send(self, topic, **record):
        self.headers.append(record["headers"])
        self.sent.append((topic, record["key"], record["value"], record["timestamp_ms"]))
        return self

    def flush(self, timeout):
        pass

    def get(self, timeout):
        pass


def test_a_replay_keeps_key_and_moment_and_makes_no_loop():
    good = b'{"event_id":"m","type":"stock_received","version":1,"event_time":5,"product_id":"p","quantity":2}'
    letters = [dead_letters.Letter("s.stock_moves", 0, n, "malformed", b"p", b"{", 5) for n in range(3)]
    out, repairs = Out(), iter([good, None, b"{still broken"])
    done = dead_letters.replay(letters, out, lambda _: next(repairs), prefix="s.")
    assert (done.sent, done.left, done.refused) == (1, 1, 1)
    assert out.sent == [("s.stock_moves", b"p", good, 5)]
    assert out.headers == [None]


def test_a_repaired_letter_keeps_the_trace_of_the_record_that_was_refused():
    good = b'{"event_id":"m","type":"stock_received","version":1,"event_time":5,"product_id":"p","quantity":2}'
    first = tracing.traceparent(b"{", one_in=1)
    refused = dead_letters.Letter("s.stock_moves", 0, 1, "malformed", b"p", b"{", 5, tracing.trace_id(first))
    dead_letters.replay([refused], out := Out(), lambda _: good, prefix="s.")
    assert out.headers == [[(tracing.HEADER, first)]]
