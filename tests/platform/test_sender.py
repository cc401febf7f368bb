"""The sender and the drill without servers: what is acknowledged, what is sent again, when something is killed."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.errors import KafkaTimeoutError

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import CorruptionError, InvalidArgument, ServiceError
from principal_kit.platform import drill
from principal_kit.platform.sender import Progress, close_day, send
from principal_kit.platform.shop import Shop, generate

WORK = generate(Shop(events=600, bad=0, duplicates=0))


class Broker:
    """Takes records; `dies_after` so many, a flush acknowledges none."""

    def __init__(self, dies_after=None):
        self.taken, self.pending, self.most, self.dies_after, self.traced = [], [], 0, dies_after, 0

    def send(self, topic, *, key=None, value=None, timestamp_ms=None, partition=None, headers=None):
        self.traced += bool(headers)
        self.pending.append((topic, key, value, timestamp_ms, partition))
        self.most = max(self.most, len(self.pending))
        return self

    def get(self, timeout):
        return None

    def flush(self, timeout):
        if self.dies_after is not None and len(self.taken) + len(self.pending) > self.dies_after:
            self.taken += self.pending[: max(0, self.dies_after - len(self.taken))]  # written, and never told
            raise KafkaTimeoutError("no answer")
        self.taken += self.pending
        self.pending = []


def plain(taken):
    return [(topic, key, value, at) for topic, key, value, at, _ in taken]


WHOLE = [tuple(record) for record in WORK.records()]


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 700), st.integers(0, 700))
def test_a_crash_anywhere_loses_nothing_and_repeats_at_most_a_window(tmp_path_factory, window, dies_after):
    progress = Progress(tmp_path_factory.mktemp("sender") / "progress")
    first, second = Broker(dies_after), Broker()
    with contextlib.suppress(ServiceError):
        send(WORK, first, progress=progress, window=window)
    acknowledged = progress.read()
    done = send(WORK, second, progress=progress, window=window)
    assert plain(second.taken) == WHOLE[acknowledged:]
    assert plain(first.taken)[:acknowledged] == WHOLE[:acknowledged]
    assert len(first.taken) + len(second.taken) - len(WHOLE) <= window
    assert max(first.most, second.most) <= window
    assert (done.resumed_at, done.records) == (acknowledged, len(WHOLE))


def test_progress_is_a_number_or_an_error(tmp_path):
    progress = Progress(tmp_path / "progress")
    assert progress.read() == 0
    progress.write(41)
    progress.write(42)
    assert progress.read() == 42
    assert [p.name for p in tmp_path.iterdir()] == ["progress"]
    progress.path.write_text("4x")
    with pytest.raises(CorruptionError, match="'4x'"):
        progress.read()


def test_a_rate_is_kept_and_live_records_wait_for_their_moment():
    clock, waits = ManualClock(), []
    send(WORK, Broker(), window=100, rate=50.0, clock=clock, wait=lambda s: (waits.append(s), clock.advance(s)))
    assert clock() == pytest.approx(len(WORK) / 50.0)
    assert len(waits) >= len(WORK) - 1, "records come one by one, not a window at once"
    wall = ManualClock(WORK.shop.epoch_ms / 1000)
    send(WORK, Broker(), live=True, wall=wall, wait=lambda s: wall.advance(s))
    assert wall() == pytest.approx(WORK.sent["at"].max() / 1000, abs=0.003)


def test_a_broker_that_does_not_answer_is_worth_another_try():
    with pytest.raises(ServiceError, match="did not take the records from 0 on") as error:
        send(WORK, Broker(dies_after=10), window=100)
    assert error.value.retry_after


def test_a_window_of_nothing_is_refused():
    with pytest.raises(InvalidArgument, match="window is 0"):
        send(WORK, Broker(), window=0)


def test_the_day_is_closed_on_every_partition_after_its_last_record():
    broker = Broker()
    close_day(WORK, broker, {"shop.clicks": 4, "shop.orders": 2})
    assert sorted((topic, p) for topic, _, _, _, p in broker.taken) == [
        *(("shop.clicks", p) for p in range(4)), *(("shop.orders", p) for p in range(2)),
    ]  # fmt: skip
    assert all(at > WORK.sent["at"].max() for _, _, _, at, _ in broker.taken)


def test_a_heartbeat_that_is_refused_is_an_error():
    broker = Broker(dies_after=3)
    with pytest.raises(ServiceError, match="did not take a heartbeat"):
        close_day(WORK, broker, {"shop.clicks": 4})


# ── The drill ────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 1000), st.integers(3, 40))
def test_a_schedule_hits_every_target_and_comes_in_order(seed, faults):
    targets = ["a", "b", "c"]
    planned = drill.schedule(targets, faults, 10_000, np.random.default_rng(seed))
    assert len(planned) == faults
    assert {fault.target for fault in planned} == set(targets)
    assert [fault.after for fault in planned] == sorted(fault.after for fault in planned)
    assert all(500 <= fault.after <= 9_500 and 0.2 <= fault.seconds <= 2.0 for fault in planned)
    assert planned == drill.schedule(targets, faults, 10_000, np.random.default_rng(seed))


def test_a_schedule_needs_a_fault_for_each():
    with pytest.raises(InvalidArgument, match="2 faults for 3 targets"):
        drill.schedule(["a", "b", "c"], 2, 100, np.random.default_rng(0))


class Sender:
    """Sends ten records at every look at it; ends well at 100."""

    def __init__(self):
        self.sent, self.killed, self.progress = 0, 0, self

    def read(self):
        return self.sent

    def start(self):
        pass

    def kill(self):
        self.killed += 1

    def done(self):
        self.sent = min(100, self.sent + 10)
        return self.sent == 100


class Server:
    def __init__(self, told, name):
        self.told, self.name = told, name

    def kill(self):
        self.told.append(("kill", self.name))

    def start(self):
        self.told.append(("start", self.name))


def test_faults_strike_when_their_record_is_acknowledged():
    told, clock, sender = [], ManualClock(), Sender()
    faults = [drill.Fault(95, "b", 1.0), drill.Fault(25, "a", 2.0)]
    hits = drill.run(
        sender, {name: Server(told, name) for name in "ab"}, faults,
        after_start={"a": lambda: told.append(("resume", sender.sent))}, clock=clock, wait=clock.advance,
    )  # fmt: skip
    assert told == [("kill", "a"), ("start", "a"), ("resume", 30), ("kill", "b"), ("start", "b")]
    assert [(hit.fault.target, round(hit.back_after, 6)) for hit in hits] == [("a", 2.0), ("b", 1.0)]
    assert sender.killed == 1


def test_a_drill_that_does_not_end_says_how_far_it_came():
    clock, sender = ManualClock(), Sender()
    sender.done = lambda: False
    with pytest.raises(ServiceError, match="did not end within 5 s: 0 records"):
        drill.run(sender, {}, [], seconds=5, clock=clock, wait=clock.advance)
    with pytest.raises(InvalidArgument, match="no target for moon"):
        drill.run(sender, {}, [drill.Fault(1, "moon", 1.0)])
