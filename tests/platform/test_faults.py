"""A sink that stands still and a disk that is full, on real servers: who notices, that nothing is lost, what cures."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from principal_kit import services
from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.platform import alerts, audit, faults, log, sender
from principal_kit.platform.exporter import Recorder
from principal_kit.platform.jobs import Settings
from principal_kit.platform.pipeline import Pipeline
from principal_kit.platform.shop import Shop, generate

RULES = Path(__file__).parents[2] / "deploy/observability/rules.yml"
MIB = 1 << 20


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.1)


def last_commit(sample):
    return sample.tables["clicks"].committed_at


def names(samples, **options):
    try:
        return {fired.alert for fired in alerts.firing(samples, RULES, services.promtool(), **options)}
    except MissingPrerequisite:
        return None


# ── The sink ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.slow
@pytest.mark.integration
def test_a_held_catalog_stops_every_commit_and_costs_nothing_but_time(make_pipeline, servers):
    work, pipeline = generate(Shop(events=12_000, users=800, products=40, bad=7)), make_pipeline()
    pipeline.start()
    for id in pipeline.ids.values():
        servers.flink.wait_checkpoint(id)
    out = sender.producer(pipeline.settings.bootstrap)
    sending = threading.Thread(
        target=sender.send, args=(work, out), kwargs={"prefix": pipeline.settings.prefix, "window": 100, "rate": 500}
    )
    with Recorder(pipeline) as run:
        sending.start()
        until(lambda: run.samples[-1].tables and run.samples[-1].tables["clicks"].rows > 0)
        with faults.catalog_held(servers.postgres.connect):
            begin = time.time()
            # Two dilated minutes after the first, and those that a rate looks back over.
            until(lambda: run.samples[-1].tables and run.samples[-1].at - last_commit(run.samples[-1]) > 11)
            held = [s for s in run.samples if s.at > begin + 1 and s.tables and s.log and s.jobs]
            [(_, seconds, statement)] = faults.blockers(servers.postgres.connect)
        sending.join()
    out.close()
    assert seconds > 5
    assert statement == "LOCK TABLE iceberg_tables IN EXCLUSIVE MODE"
    assert len({s.tables["clicks"].rows for s in held}) == 1, "nothing became visible"
    assert all(state.running for s in held for state in s.jobs.values()), "and no job failed"
    waiting = [s.log.ends[f"{pipeline.settings.prefix}clicks"] - s.log.committed["sessions"] for s in held]
    assert waiting[-1] > waiting[0]
    fired = names(run.samples)
    assert fired is None or {"CheckpointTooOld", "TablesStandStill"} <= fired
    pipeline.settle(int(work.sent["at"].max()) + sender.CLOSING_MS)
    findings = audit.audit(pipeline.read, work)
    pipeline.stop()
    assert [finding for finding in findings if not finding.exact] == []


# ── The disk ─────────────────────────────────────────────────────────────────────────────────────
def read_back(pipeline):
    consumer = pipeline.kafka.consumer()
    found = Counter()
    for topic in pipeline.partitions:
        place = topic.replace(pipeline.settings.prefix, "shop.", 1)
        for r in log.read(consumer, topic, log.beginning(consumer, topic), log.ends(consumer, topic)):
            found[place, r.key, r.value, r.timestamp] += 1
    consumer.close()
    return found


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("kind", ["volume", "limit"])
def test_a_full_disk_ends_the_broker_and_nothing_that_was_acknowledged_is_lost(kind, servers, tmp_path):
    with contextlib.ExitStack() as stack:
        volume = None
        if kind == "volume":
            try:
                volume = faults.Volume(12 * MIB)
            except ServiceError as error:
                pytest.skip(str(error))
            stack.callback(volume.close)
        kafka = stack.enter_context(services.kafka(**({"data": volume.path} if volume else {"fresh": True})))
        warehouse = (tmp_path / "lake").as_uri()
        settings = Settings(bootstrap=kafka.bootstrap_servers, dsn=servers.postgres.dsn, warehouse=warehouse,
                            namespace=f"disk_{kind}", prefix="disk.")  # fmt: skip
        pipeline = Pipeline(kafka, None, settings)
        pipeline.prepare()
        work = generate(Shop(events=150_000))
        progress, window = sender.Progress(tmp_path / "progress"), 2_000
        out = sender.producer(kafka.bootstrap_servers, compression_type=None)  # as many bytes as it looks
        sender.send(work, out, progress=progress, prefix="disk.", window=window, stop=4_000)
        if volume is None:
            try:
                faults.limit_files(kafka.pid, 2 * MIB)
            except ServiceError as error:
                pytest.skip(str(error))
        with pytest.raises(ServiceError, match="did not take the records from"):
            sender.send(work, out, progress=progress, prefix="disk.", window=window, patience=3)
        with contextlib.suppress(KafkaError):
            out.close(timeout=0)
        until(lambda: not kafka._process.running(), 20)
        assert "all log dirs" in kafka._process.log_tail(), "a broker without a disk ends"
        stop = progress.read() + 5_000
        if volume is not None:
            assert volume.free < MIB
            with pytest.raises(ServiceError, match="kafka ended before it answered"):
                kafka.start()
            volume.grow(100 * MIB)
        kafka.start()
        out = sender.producer(kafka.bootstrap_servers)
        sender.send(work, out, progress=progress, prefix="disk.", stop=stop)
        out.close()
        sent, there = Counter(map(tuple, work.records(0, stop))), read_back(pipeline)
        assert sent - there == Counter(), "nothing is missing"
        assert (there - sent).total() <= window, "and at most a window is there twice"


def test_a_volume_that_may_not_be_mounted_says_so_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(faults.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServiceError, match="no volume of its own"):
        faults.Volume(MIB)
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(InvalidArgument, match="size is 0"):
        faults.limit_files(1, 0)
