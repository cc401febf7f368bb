"""An open shop: it sends each record at its own moment, knows what it sent, and says what went wrong."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import ServiceError
from principal_kit.platform.live import OpenShop


class Out:
    """A producer that takes everything at once; `first` is set with the first record, `enough` with the last wanted."""

    def __init__(self, *, wanted: int = 1, refuses: bool = False) -> None:
        self.records, self.wanted, self.refuses = [], wanted, refuses
        self.enough, self.closed = threading.Event(), False

    def send(self, topic, **record):
        self.records.append((topic, record))
        if len(self.records) >= self.wanted:
            self.enough.set()
        return self

    def get(self, timeout=None):
        if self.refuses:
            raise ServiceError("said no")

    def flush(self, timeout=None):
        pass

    def close(self):
        self.closed = True


def pipeline(lag=0):
    return SimpleNamespace(settings=SimpleNamespace(prefix="w.", bootstrap="nowhere"), lag=lambda: {"sessions": lag})


def opened(out, **options):
    # Its clock stands an hour after the day was over, so nothing waits for its moment.
    clock = ManualClock(1_000_000.0)
    shop = OpenShop(options.pop("pipeline", pipeline()), rate=200.0, seconds=10.0, out=out, wall=clock, **options)
    clock.advance(3600.0)
    return shop


def test_what_was_sent_is_what_the_tables_should_have():
    out = Out(wanted=500)
    with opened(out, trace_one_in=1) as shop:
        assert out.enough.wait(30)
    assert shop.sent == len(out.records) >= 500
    ids = shop.ids()
    for topic, table in (("w.clicks", "clicks"), ("w.orders", "orders"), ("w.stock_moves", "stock_moves")):
        there = {record["value"] for name, record in out.records if name == topic}
        assert len(ids[table]) == len(there), "each once, copies or not"
        assert all(f'"{id}"'.encode() in b"".join(there) for id in ids[table]["event_id"][:20])
    assert all(record["headers"] for _, record in out.records)
    assert shop.newest_ms == max(record["timestamp_ms"] for _, record in out.records)
    assert not out.closed, "it is the caller's"


def test_the_shop_has_been_open_for_a_while_when_the_first_record_is_sent():
    out = Out()
    with opened(out) as shop:
        assert out.enough.wait(30)
    assert out.records[0][1]["timestamp_ms"] >= 1_000_000_000
    assert shop.work.sent["at"].iloc[0] < 1_000_000_000 - 20_000


def test_a_day_ends_by_itself():
    shop = opened(Out())
    with shop:
        shop._thread.join(30)
    assert shop.sent == len(shop.work) - shop._begin


@pytest.mark.parametrize(("rate", "most"), [(10.0, 5), (0.5, 1), (1000.0, 100)])
def test_leaving_waits_for_half_a_second_of_records_at_most(rate, most):
    flushed = []

    class Counting(Out):
        def flush(self, timeout=None):
            flushed.append(len(self.records) - sum(flushed))

    out = Counting(wanted=2 * most)
    clock = ManualClock(1_000_000.0)
    with OpenShop(pipeline(), rate=rate, seconds=10.0, out=out, wall=clock):
        clock.advance(3600.0)
        assert out.enough.wait(30)
    assert max(flushed) == most


def test_it_keeps_up_when_two_seconds_are_through_and_less_than_three_wait():
    out = Out(wanted=1_000)
    with opened(out, pipeline=pipeline(lag=100)) as shop:
        assert out.enough.wait(30)
        shop._thread.join(30)
        shop.wait_until_kept_up()
        assert not shop.keeps_up(behind=0.5), "half a second has 100 records"
    with opened(Out(), pipeline=pipeline(lag=10_000)) as slow:
        clock = ManualClock()
        with pytest.raises(ServiceError, match="do not keep up with 200 events a second within 5 s"):
            slow.wait_until_kept_up(seconds=5.0, clock=clock, wait=clock.advance)


def test_what_sending_raised_is_raised_to_who_waits_and_at_the_end():
    shop = opened(Out(refuses=True)).__enter__()
    shop._thread.join(30)
    with pytest.raises(ServiceError, match="said no"):
        shop.wait_until_kept_up()
    with pytest.raises(ServiceError, match="said no"):
        shop.__exit__(None, None, None)
