"""Metrics: a sample becomes exactly these values, names keep to Prometheus' conventions, and what fails is left out."""

import re
import threading
import urllib.request
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.platform import exporter, jobs, metrics
from principal_kit.platform.contract import REASONS
from principal_kit.platform.metrics import (
    PARTS,
    SLOTS,
    Business,
    Freshness,
    JobState,
    Log,
    Sample,
    SlotState,
    TableState,
    Task,
)


def fresh(*seconds: float) -> Freshness:
    made = Freshness()
    made.observe(np.array(seconds))
    return made


LOG = Log(
    ends={"shop.orders": 120}, sizes={"shop.orders": 4096, "shop.dead_letters": 10}, disks={"1": (1000, 250)},
    reads={"fraud": "shop.orders"}, committed={"fraud": 100},
)  # fmt: skip
JOB = JobState(
    running=True, restarts=2, completed=9, failed=1, checkpoint_at=1700.5, checkpoint_seconds=0.25,
    checkpoint_bytes=512, watermark=1690.0, duplicates=7, tasks={"Source: orders_raw[2]": Task(0.5, 0.125)},
)  # fmt: skip
WHOLE = Sample(
    at=1701.0, seconds=0.5, log=LOG, jobs={"fraud": JOB}, letters={("shop.orders", "malformed"): 3},
    tables={
        "orders": TableState(90, 4, 1700.0, added=80, late=2, freshness=fresh(0.5, 30.0, 61.0)),
        "fraud_alerts": TableState(5, 1, 1700.0, added=5),
    },
    business=Business(orders=80, cents=12_345, fraud={"velocity": 4}, low_stock=1),
    slots={"store": SlotState(True, 4096, "reserved"), "old": SlotState(False, None, "lost")}, asked=(*PARTS, SLOTS),
)  # fmt: skip


def values(sample: Sample) -> dict[tuple, float]:
    out = {}
    for family in metrics.families(sample):
        for s in family.samples:
            key = (s.name, *s.labels.values())
            assert key not in out, f"{key} twice: Prometheus would refuse the whole scrape"
            out[key] = s.value
    return out


def test_a_whole_sample_gives_a_value_to_every_metric_of_the_catalogue():
    assert {name for name, *_ in values(WHOLE)} == metrics.series()


@pytest.mark.parametrize("key, value", [
    (("pipeline_topic_records_total", "shop.orders"), 120),
    (("pipeline_topic_size_bytes", "shop.dead_letters"), 10),
    (("pipeline_broker_disk_size_bytes", "1"), 1000),
    (("pipeline_broker_disk_free_bytes", "1"), 250),
    (("pipeline_job_records_total", "fraud", "shop.orders"), 100),
    (("pipeline_consumer_lag_records", "fraud", "shop.orders"), 20),
    (("pipeline_job_running", "fraud"), 1),
    (("pipeline_job_restarts_total", "fraud"), 2),
    (("pipeline_checkpoints_total", "fraud", "completed"), 9),
    (("pipeline_checkpoints_total", "fraud", "failed"), 1),
    (("pipeline_last_checkpoint_timestamp_seconds", "fraud"), 1700.5),
    (("pipeline_last_checkpoint_duration_seconds", "fraud"), 0.25),
    (("pipeline_last_checkpoint_size_bytes", "fraud"), 512),
    (("pipeline_task_busy_ratio", "fraud", "Source: orders_raw[2]"), 0.5),
    (("pipeline_task_backpressured_ratio", "fraud", "Source: orders_raw[2]"), 0.125),
    (("pipeline_watermark_timestamp_seconds", "fraud"), 1690),
    (("pipeline_duplicates_dropped_total", "fraud"), 7),
    (("pipeline_dead_letters_total", "shop.orders", "malformed"), 3),
    (("pipeline_late_events_total", "orders"), 2),
    (("pipeline_table_files", "orders"), 4),
    (("pipeline_rows_committed_total", "fraud_alerts"), 5),
    (("pipeline_freshness_seconds_bucket", "orders", "60.0"), 2),
    (("pipeline_freshness_seconds_bucket", "orders", "+Inf"), 3),
    (("pipeline_freshness_seconds_sum", "orders"), 91.5),
    (("shop_revenue_cents_total",), 12_345),
    (("shop_fraud_alerts_total", "velocity"), 4),
    (("pipeline_part_up", "tables"), 1),
    (("pipeline_part_up", "slots"), 1),
    (("pipeline_slot_active", "store"), 1),
    (("pipeline_slot_active", "old"), 0),
    (("pipeline_slot_kept_bytes", "store"), 4096),
    (("pipeline_slot_lost", "store"), 0),
    (("pipeline_slot_lost", "old"), 1),
])  # fmt: skip
def test_values(key, value):
    assert values(WHOLE)[key] == value


def test_what_could_not_be_asked_has_no_series_and_is_said():
    shown = values(Sample(at=5.0, jobs={"fraud": JOB}))
    assert {key: value for key, value in shown.items() if key[0] == "pipeline_part_up"} == {
        ("pipeline_part_up", part): float(part == "jobs") for part in metrics.PARTS
    }
    assert not any(
        name.startswith(("pipeline_topic", "pipeline_dead", "pipeline_table", "shop_")) for name, *_ in shown
    )


def test_slots_are_a_part_only_of_who_asks_for_them_and_a_lost_one_keeps_nothing():
    assert ("pipeline_part_up", "slots") not in values(Sample(at=5.0))
    assert values(Sample(at=5.0, asked=(*PARTS, SLOTS)))["pipeline_part_up", "slots"] == 0
    assert ("pipeline_slot_kept_bytes", "old") not in values(WHOLE)


def test_a_job_without_a_checkpoint_or_watermark_has_no_moment_of_one():
    shown = values(Sample(at=5.0, jobs={"fraud": JobState(running=False)}))
    assert shown["pipeline_job_running", "fraud"] == 0
    assert not any("last_checkpoint" in name or "watermark" in name for name, *_ in shown)


def test_results_of_a_window_have_no_lateness_and_no_freshness():
    shown = values(WHOLE)
    assert ("pipeline_late_events_total", "fraud_alerts") not in shown
    assert ("pipeline_freshness_seconds_count", "fraud_alerts") not in shown


@pytest.mark.parametrize("definition", metrics.CATALOGUE, ids=lambda d: d.name)
def test_names_keep_to_the_conventions(definition):
    assert re.fullmatch(r"(pipeline|shop)_[a-z_]+", definition.name)
    assert not definition.name.endswith(("_total", "_count", "_sum", "_bucket", "_info"))
    for wrong in ("_ms", "millis", "minutes", "kilobytes", "percent", "age_"):
        assert wrong not in definition.name
    if definition.kind == "histogram":
        assert definition.name.endswith("_seconds")
    assert definition.help
    assert not definition.help.endswith(".")
    assert not {"le", "job_id"} & set(definition.labels), "ids change at every submit: a new series each time"


def test_quantiles_are_those_that_prometheus_would_guess():
    many = fresh(*np.linspace(0.0, 20.0, 2001))
    for q in (0.5, 0.95, 0.99):
        assert many.quantile(q) == pytest.approx(20 * q, abs=0.6)
    assert many.within() == 1.0
    assert fresh(59.0, 60.0, 60.5, 4000.0).within() == 0.5
    assert Freshness().within() == 1.0


def test_a_share_between_two_buckets_is_refused():
    with pytest.raises(InvalidArgument, match="expected an end of a bucket"):
        fresh(1.0).within(59.0)


def test_an_event_from_a_clock_ahead_of_ours_counts_as_fresh():
    ahead = fresh(-3.0)
    assert ahead.sum == 0
    assert ahead.buckets()[0] == ("1.0", 1.0)


# ── Serving ──────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Samples:
    """A collector that gives prepared samples, and says when it has given another."""

    given: list[Sample]
    closed: int = 0
    taken: threading.Event = field(default_factory=threading.Event)

    def sample(self) -> Sample:
        if len(self.given) == 1:
            self.taken.set()
            return self.given[0]
        return self.given.pop(0)

    def close(self) -> None:
        self.closed += 1


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return reply.read().decode()


def test_metrics_are_served_on_loopback_and_no_longer_after_stop():
    collector = Samples([WHOLE])
    before = threading.active_count()
    with exporter.Exporter(collector, interval=0.01) as served:
        port = served.start()
        text = scrape(port)
    assert {s.name for f in text_string_to_metric_families(text) for s in f.samples} == metrics.series()
    assert 'pipeline_consumer_lag_records{job="fraud",topic="shop.orders"} 20.0' in text
    with pytest.raises(OSError):
        scrape(port)
    served.stop()
    assert collector.closed == 1
    assert threading.active_count() == before


def test_a_scrape_shows_the_last_sample_and_takes_none():
    collector = Samples([Sample(at=1.0), Sample(at=2.0)])
    with exporter.Exporter(collector, interval=0.001) as served:
        port = served.start()
        assert collector.taken.wait(10)
        collector.given = [Sample(at=3.0)]
        collector.taken.clear()
        assert collector.taken.wait(10)
        served._over.set()
        served._threads[1].join()
        calls = collector.given
        assert "pipeline_sample_timestamp_seconds 3.0" in scrape(port)
        assert collector.given is calls


def test_a_registry_of_the_caller_s_is_given_back_as_it_was():
    registry = CollectorRegistry()
    served = exporter.Exporter(Samples([WHOLE]), registry=registry, interval=60)
    served.start()
    assert b"shop_orders_total 80.0" in generate_latest(registry)
    served.stop()
    assert generate_latest(registry) == b""


def test_a_used_port_is_an_error_that_names_it():
    with exporter.Exporter(Samples([WHOLE]), interval=60) as first:
        port = first.start()
        with pytest.raises(ServiceError, match=str(port)):
            exporter.Exporter(Samples([WHOLE]), interval=60).start(port)


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(InvalidArgument, match="interval"):
        exporter.Exporter(Samples([]), interval=0)


# ── Taking samples ───────────────────────────────────────────────────────────────────────────────
class Deaf:
    """A server that answers nothing."""

    def __getattr__(self, name):
        raise ServiceError(f"no answer to {name}")


def pipeline(**parts) -> SimpleNamespace:
    settings = SimpleNamespace(prefix="shop.", namespace="shop")
    return SimpleNamespace(
        **{"kafka": Deaf(), "flink": Deaf(), "lake": Deaf(), "ids": {"fraud": "f00"}, "settings": settings,
           "partitions": {"shop.orders": 1}, **parts}
    )  # fmt: skip


def test_a_pipeline_of_which_nothing_answers_still_gives_a_sample():
    clock = ManualClock(100.0)
    collector = exporter.Collector(pipeline(), clock=clock)
    sample = collector.sample()
    assert (sample.at, sample.log, sample.jobs, sample.letters, sample.tables) == (100.0, None, None, None, None)
    assert collector.failures.keys() == set(metrics.PARTS)
    assert "no answer to" in collector.failures["jobs"]


def test_a_part_that_hangs_costs_its_patience_once_and_is_asked_again_when_it_has_answered():
    asked, answer = [], threading.Event()

    class Hanging(Deaf):
        def jobs(self):
            asked.append(True)
            assert answer.wait(30)
            raise ServiceError("late")

    collector = exporter.Collector(pipeline(flink=Hanging()), patience=0.05)
    collector.sample()
    assert "no answer within 0.05 s" in collector.failures["jobs"]
    assert "no answer to" in collector.failures["kafka"], "the others were asked"
    collector.sample()
    assert collector.failures["jobs"] == "still no answer to the last question"
    answer.set()
    collector._asked["jobs"].join(30)
    collector.sample()
    assert "late" in collector.failures["jobs"]
    assert len(asked) == 2
    collector.close()


def test_slots_are_asked_for_when_somebody_says_where():
    collector = exporter.Collector(pipeline(), slots=lambda: {"store": SlotState(True, 10, "reserved")})
    sample = collector.sample()
    assert sample.slots == {"store": SlotState(True, 10, "reserved")}
    assert collector.failures.keys() == set(metrics.PARTS)
    away = exporter.Collector(pipeline(), slots=lambda: Deaf().slots)
    assert away.sample().slots is None
    assert away.failures.keys() == {*metrics.PARTS, "slots"}


class Flink:
    """The answers of a JobManager, as recorded from one."""

    vertices = {
        "Source: orders_raw[2] -> Calc[3]": {"busyTimeMsPerSecond": 250.0, "backPressuredTimeMsPerSecond": 500.0},
        "Deduplicate[13] -> Calc[14]": {"currentInputWatermark": 1_795_481_919_949.0},
        "Deduplicate[26] -> Calc[27]": {"currentInputWatermark": 1_795_481_919_000.0},
        "IcebergStreamWriter -> IcebergFilesCommitter -> IcebergSink lake.shop.orders: Writer": {},
    }
    latest = {"latest_ack_timestamp": 1_795_481_659_808, "end_to_end_duration": 29, "state_size": 272_406}

    def jobs(self):
        return {"f00": "RUNNING"}

    def job(self, id):
        return SimpleNamespace(running=True, vertices=dict.fromkeys(self.vertices, "id"))

    def rest(self, method, path):
        if "subtasks/metrics" in path:
            flow = {"Deduplicate[13].numRecordsIn": 245.0, "Deduplicate[13].numRecordsOut": 240.0}
            assert path.endswith("get=" + ",".join(flow))
            return [{"id": name, "sum": value} for name, value in flow.items()]
        ended = {"trigger_timestamp": 1_795_481_659_779, "latest_ack_timestamp": 1_795_481_659_808}
        history = [{"id": 19, "status": "FAILED", **ended}, {"id": 18, "status": "COMPLETED", **ended}]
        return {"counts": {"completed": 15, "failed": 4}, "latest": {"completed": self.latest}, "history": history}

    def metrics(self, id, *names):
        return {v: {k: x for k, x in found.items() if k in names} for v, found in self.vertices.items()}

    def job_metrics(self, id, *names):
        return {"numRestarts": 1.0}


def test_a_job_s_answers_become_its_state():
    state = exporter.job_state(Flink(), "f00")
    assert (state.running, state.restarts, state.completed, state.failed) == (True, 1, 15, 4)
    assert state.checkpoint_at == 1_795_481_659.808
    assert (state.checkpoint_seconds, state.checkpoint_bytes) == (0.029, 272_406)
    assert state.watermark == 1_795_481_919.0, "the slowest task's"
    assert state.duplicates == 5, "two branches read the same copies"
    assert state.tasks["Source: orders_raw[2]"] == Task(0.25, 0.5)
    assert "lake.shop.orders" in state.tasks
    assert state.recent == {18: (1_795_481_659_779, 1_795_481_659_808)}


def test_a_recorder_knows_every_checkpoint_and_look_of_its_samples():
    recorder = exporter.Recorder(pipeline())
    first, second = (
        JobState(True, recent=recent) for recent in ({1: (10, 11), 2: (20, 21)}, {2: (20, 21), 3: (30, 31)})
    )
    recorder.samples = [
        Sample(at=1.0, jobs={"fraud": first}, tables={"orders": TableState()}),
        Sample(at=2.0),
        Sample(at=3.0, jobs={"fraud": second}, tables={"orders": TableState(committed_at=2.5)}),
    ]
    assert recorder.checkpoints("fraud") == {1: (10, 11), 2: (20, 21), 3: (30, 31)}
    assert recorder.checkpoints("nobody") == {}
    assert recorder.reads("orders") == [(3000, 2500)]


def test_a_job_that_flink_has_forgotten_does_not_run():
    assert exporter.job_state(Flink(), "gone") == JobState(running=False)


def test_a_new_job_has_no_checkpoint_and_no_watermark(monkeypatch):
    monkeypatch.setattr(Flink, "latest", None)
    smallest = {"GroupAggregate[1]": {"currentInputWatermark": float(-(2**63))}}
    monkeypatch.setattr(Flink, "vertices", smallest)
    state = exporter.job_state(Flink(), "f00")
    assert state.checkpoint_at is None
    assert state.watermark is None


class Letters:
    """A consumer of the dead letters' topic."""

    def __init__(self, *batches):
        self.batches, self.at, self.closed = list(batches), 0, False
        self.total = 0

    def partitions_for_topic(self, topic):
        return {0}

    def assign(self, places):
        (self.place,) = places

    def seek_to_beginning(self, *places):
        pass

    def end_offsets(self, places):
        self.total += len(self.batches[0]) if self.batches else 0
        return {self.place: self.total}

    def position(self, place):
        return self.at

    def poll(self, timeout_ms):
        if not self.batches:
            return {}
        batch = self.batches.pop(0)
        self.at += len(batch)
        return {self.place: batch}

    def close(self):
        self.closed = True


def letter(offset, reason="malformed", partition=0):
    headers = {"topic": b"shop.orders", "reason": reason.encode(), "partition": b"%d" % partition,
               "offset": b"%d" % offset, "key": b"k"}  # fmt: skip
    return SimpleNamespace(
        headers=list(headers.items()), value=b"{", timestamp=0, topic="shop.dead_letters", partition=0, offset=offset
    )


def test_letters_are_counted_as_they_come_and_repeats_of_a_restarted_job_are_not():
    consumer = Letters([letter(3), letter(9), letter(2, partition=1)], [letter(3), letter(9), letter(11)])
    counter = exporter.LetterCounter(consumer, "shop.dead_letters", ("shop.orders",))
    assert counter.counts == {("shop.orders", reason): 0 for reason in REASONS}, "so that a first one is an increase"
    assert counter.read()["shop.orders", "malformed"] == 3
    assert counter.read()["shop.orders", "malformed"] == 4


def test_a_record_that_is_no_letter_is_counted_as_such():
    stranger = SimpleNamespace(headers=[], topic="shop.dead_letters", partition=0, offset=0)
    counter = exporter.LetterCounter(Letters([stranger, letter(1)]), "shop.dead_letters", ("shop.orders",))
    found = counter.read()
    assert found["shop.dead_letters", "no dead letter"] == 1
    assert found["shop.orders", "malformed"] == 1


def test_letters_that_do_not_come_are_an_error():
    consumer = Letters([letter(1)])
    counter = exporter.LetterCounter(consumer, "shop.dead_letters", ("shop.orders",))
    consumer.total = 5
    with pytest.raises(ServiceError, match="although there are more"):
        counter.read()


def test_every_job_reads_a_topic():
    assert jobs.READS.keys() == set(jobs.NAMES)
    for name, topic in jobs.READS.items():
        assert f"'${{prefix}}{topic}'" in jobs.source(name)
