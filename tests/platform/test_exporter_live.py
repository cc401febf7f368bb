"""The exporter on the running pipeline: what it counts is the workload's own truth."""

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from principal_kit.core.clock import wait_until
from principal_kit.platform import exporter, metrics, sender, tables, truth
from principal_kit.platform.shop import Shop, generate

pytestmark = [pytest.mark.slow, pytest.mark.integration]


@pytest.fixture(scope="module")
def work():
    """A few minutes of the shop that are just over, so that freshness is nearly that of a live day."""
    shop = Shop(events=6_000, rate=200.0, users=600, products=40, bad=14, epoch_ms=int(time.time() * 1000) - 600_000)
    return generate(shop)


@pytest.fixture(scope="module")
def pipeline(make_pipeline):
    running = make_pipeline()
    running.start()
    for id in running.ids.values():
        running.flink.wait_checkpoint(id)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def slot(servers):
    """A slot that nobody reads, beside a physical one, as a standby has it: that is not ours to watch."""
    with servers.postgres.connect() as database:
        database.execute("SELECT pg_create_physical_replication_slot('standby', true)")
        database.execute("SELECT pg_create_logical_replication_slot('watched', 'pgoutput')")
        yield "watched"
        database.execute("SELECT pg_drop_replication_slot(name) FROM unnest(ARRAY['watched', 'standby']) AS name")


@pytest.fixture(scope="module")
def collector(pipeline, slot):
    made = exporter.Collector(pipeline, since=0.0, slots=lambda: exporter.slot_states(pipeline.settings.dsn))
    yield made
    made.close()


@pytest.fixture(scope="module")
def settled(pipeline, collector, work):
    """A sample before anything was sent, and one after all of it has arrived."""
    before = collector.sample()
    assert collector.failures == {}
    out = sender.producer(pipeline.settings.bootstrap)
    sender.send(work, out, prefix=pipeline.settings.prefix)
    out.close()
    # Brokers refuse records from more than an hour ahead, so the day's end is announced from nearer than usual.
    pipeline.settle(int(work.sent["at"].max()) + 900_000)
    after = collector.sample()
    assert collector.failures == {}
    return before, after


def test_an_idle_pipeline_has_every_part_and_no_events(settled):
    before, _ = settled
    shown = {s.name for f in metrics.families(before) for s in f.samples}
    assert metrics.series() - shown <= {
        "pipeline_watermark_timestamp_seconds",
        "pipeline_table_commit_timestamp_seconds",
    }
    assert sum(before.letters.values()) == 0
    assert all(state.added == 0 for state in before.tables.values())


def test_records_are_counted_in_the_topics_and_in_the_jobs(settled, work):
    _, after = settled
    sent = len(work)
    beats = sum(after.log.ends.values()) - sent
    assert beats > 0
    assert beats % 8 == 0, "a heartbeat goes to each of eight partitions"
    # On an idle topic a job's commit is late: the heartbeats that ended the wait are not in it.
    assert sent < sum(after.log.committed.values()) <= sum(after.log.ends.values())
    assert all(size > 0 for size in after.log.sizes.values())


def test_a_slot_that_nobody_reads_keeps_the_log(settled, slot):
    before, after = (sample.slots[slot] for sample in settled)
    assert (after.active, after.status) == (False, "reserved")
    assert after.kept > before.kept >= 0


def test_the_broker_s_disk_is_known(settled):
    ((size, free),) = settled[1].log.disks.values()
    assert 0 < free < size


def test_dead_letters_late_events_and_copies_are_the_truth(pipeline, collector, settled, work):
    _, after = settled
    prefix = pipeline.settings.prefix
    expected = {(topic.replace("shop.", prefix, 1), why): n for (topic, why), n in truth.dead_letters(work).items()}
    assert {place: n for place, n in after.letters.items() if n} == expected
    for topic, late in truth.late(work).items():
        assert after.tables[topic.removeprefix("shop.")].late == late

    def copies():
        jobs = collector.sample().jobs
        return jobs is not None and sum(job.duplicates for job in jobs.values())

    # Flink's own metrics are a second old, and the wait for the end of the day is shorter than that.
    wait_until(lambda: copies() == _copies(work), "copies as the jobs count them", seconds=30)


def _copies(work):
    good = sum(truth.accepted(work).values())
    return len(work) - sum(truth.dead_letters(work).values()) - good


def test_rows_revenue_and_alerts_are_the_truth(settled, work):
    _, after = settled
    revenue = truth.revenue(work)
    assert after.business.orders == revenue["orders"].sum()
    assert after.business.cents == revenue["cents"].sum()
    assert {rule: n for rule, n in after.business.fraud.items() if n} == dict(
        truth.fraud_alerts(work)["rule"].value_counts()
    )
    assert after.business.low_stock == len(truth.low_stock_alerts(work))
    for state in after.tables.values():
        assert state.added == state.rows


def test_freshness_has_one_observation_a_row_and_is_seconds(settled):
    for name in ("clicks", "orders", "stock_moves"):
        state = settled[1].tables[name]
        assert state.freshness.histogram.count == state.rows
        assert 0 < state.freshness.quantile(0.5) <= 900


def test_jobs_run_with_checkpoints_and_tasks(settled):
    now = time.time()
    for job in settled[1].jobs.values():
        assert job.running
        assert job.restarts == 0
        assert job.completed > 0
        assert now - 600 < job.checkpoint_at < now + 60
        assert job.checkpoint_bytes > 0
        assert any(task.startswith("Source: ") for task in job.tasks)
        assert all(0 <= share <= 1 for task in job.tasks.values() for share in (task.busy, task.backpressured))


def test_the_whole_is_served(pipeline, collector, settled):
    with exporter.Exporter(collector, interval=60) as served:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.start()}/metrics", timeout=10) as reply:
            shown = {s.name for f in text_string_to_metric_families(reply.read().decode()) for s in f.samples}
    assert shown == metrics.series()


def test_compaction_is_not_taken_for_new_rows(pipeline, settled):
    reader = exporter.Collector(pipeline, since=0.0)
    before = reader.sample()
    tables.compact(pipeline.lake, pipeline.settings.namespace, "fraud_alerts")
    after = reader.sample()
    reader.close()
    state = after.tables["fraud_alerts"]
    assert state.files <= before.tables["fraud_alerts"].files
    assert state.added == state.rows == sum(after.business.fraud.values()) > 0
    assert after.business.fraud == before.business.fraud
