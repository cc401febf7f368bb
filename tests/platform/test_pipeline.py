"""The pipeline on real servers: its tables equal the truth, with all that can go wrong in the data, and under kills."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from principal_kit.core.clock import wait_until
from principal_kit.platform import audit, contract, dead_letters, drill, sender, tables, topics, truth
from principal_kit.platform.shop import Shop, generate

_spec = importlib.util.spec_from_file_location("odd_json", Path(__file__).with_name("odd_json.py"))
odd_json = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(odd_json)

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SHOP = Shop(events=8_000, users=800, products=40, bad=28)


def send(pipeline, work, **options):
    out = sender.producer(pipeline.settings.bootstrap)
    try:
        return sender.send(work, out, prefix=pipeline.settings.prefix, **options)
    finally:
        out.close()


def settle(pipeline, work):
    pipeline.settle(int(work.sent["at"].max()) + sender.CLOSING_MS)


def wrong(pipeline, work, **options):
    return [finding for finding in audit.audit(pipeline.read, work, **options) if not finding.exact]


def plain(pipeline, letters):
    """Letters by reason, with the shop's own names of topics."""
    counted = dead_letters.by_reason(letters)
    return {(t.replace(pipeline.settings.prefix, "shop.", 1), why): n for (t, why), n in counted.items()}


@pytest.fixture(scope="module")
def work():
    return generate(SHOP)


@pytest.fixture(scope="module")
def day(make_pipeline, work, tmp_path_factory):
    """A whole day, sent in two parts and settled once; the tests below read it, the last of them mends it."""
    pipeline, progress = make_pipeline(), sender.Progress(tmp_path_factory.mktemp("day") / "progress")
    pipeline.start()
    send(pipeline, work, progress=progress, stop=len(work) // 2)
    wait_until(lambda: len(pipeline.read("clicks")) > 0, "a first commit, so that there are two and more")
    send(pipeline, work, progress=progress)
    settle(pipeline, work)
    yield pipeline
    pipeline.stop()


def test_every_table_equals_the_truth(day, work):
    assert wrong(day, work) == []


def test_every_refused_record_is_a_letter_with_its_reason_place_and_bytes(day, work):
    letters = day.letters()
    assert plain(day, letters) == truth.dead_letters(work)
    sent = Counter((r.topic, r.key, r.value, r.timestamp_ms) for r in work.records() if contract.reason(*r) is not None)
    prefix = day.settings.prefix
    assert Counter((x.topic.replace(prefix, "shop.", 1), x.key, x.value, x.sent_ms) for x in letters) == sent


def test_late_events_are_kept_and_marked(day, work):
    rows = {"shop.clicks": "clicks", "shop.orders": "orders", "shop.stock_moves": "stock_moves"}
    assert {topic: int(day.read(name)["late"].sum()) for topic, name in rows.items()} == truth.late(work)


def test_a_second_start_changes_nothing(day):
    ids = dict(day.ids)
    assert day.start() == ids
    admin = day.kafka.admin()
    assert topics.apply(admin, day.topics).create == ()
    admin.close()
    assert tables.create(day.lake, day.settings.namespace) == []


def test_a_topic_that_differs_from_its_design_is_refused(day):
    admin = day.kafka.admin()
    other = topics.Topic(f"{day.settings.prefix}orders", 3, "user_id", "…", {"max.message.bytes": "1000"})
    with pytest.raises(topics.TopicDrift, match=r"(?s)has 2 partitions, the design says 3.*max\.message\.bytes"):
        topics.apply(admin, [other])
    admin.close()


def test_every_commit_is_a_checkpoint_of_flink_s(day):
    history = tables.snapshots(day.lake, day.settings.namespace, "clicks")
    numbers = [s.checkpoint for s in history]
    assert numbers == sorted(numbers)
    assert sum(s.added_rows for s in history) == history[-1].rows == len(day.read("clicks"))
    then = tables.read(day.lake, day.settings.namespace, "clicks", snapshot=history[0].id)
    assert len(then) == history[0].rows


def test_mended_letters_bring_the_numbers_to_the_truth(day, work):
    """Runs last of those that share the day: it adds to it."""

    def repair(letter):
        if letter.reason != "wrong schema" or b'"amount":' not in (letter.value or b""):
            return None
        event = json.loads(letter.value)
        event["amount_cents"] = round(float(event.pop("amount")) * 100)
        return json.dumps(event).encode()

    out = sender.producer(day.settings.bootstrap)
    done = dead_letters.replay(day.letters(), out, repair, prefix=day.settings.prefix)
    out.close()
    copies = work.sent.loc[work.sent["topic"] == 1, "row"]
    assert done.sent == work.orders["broken"].to_numpy()[copies].sum()
    assert done.refused == 0
    settle(day, work)
    assert [finding for finding in wrong(day, work, repaired=True) if finding.table != "fraud_alerts"] == []


def test_compaction_and_expiry_keep_every_row(day):
    name, namespace = "clicks", day.settings.namespace
    rows = sorted(day.read(name)["event_id"])
    before, after = tables.compact(day.lake, namespace, name)
    assert after < before
    assert sorted(day.read(name)["event_id"]) == rows
    assert tables.expire(day.lake, namespace, name, keep=2) > 0
    assert len(tables.snapshots(day.lake, namespace, name)) == 2
    assert sorted(day.read(name)["event_id"]) == rows


# ── The same rule in SQL and in Python ───────────────────────────────────────────────────────────
TABLE = {"shop.clicks": "clicks", "shop.orders": "orders", "shop.stock_moves": "stock_moves"}


def test_flink_refuses_what_the_contract_refuses_and_nothing_else(make_pipeline):
    pipeline = make_pipeline()
    pipeline.start()
    prefix, out, expected = pipeline.settings.prefix, sender.producer(pipeline.settings.bootstrap), {}
    for topic in odd_json.GOOD:
        name = topic.replace("shop.", prefix, 1)
        sent = [(v, out.send(name, key=b"p", value=v, partition=0, timestamp_ms=10)) for v in odd_json.odd(topic)]
        expected |= {
            (name, future.get(60).offset): (value, contract.reason(topic, b"p", value, 10)) for value, future in sent
        }
    out.close()
    pipeline.settle(10 + sender.CLOSING_MS)
    refused = {(letter.topic, letter.offset): letter.reason for letter in pipeline.letters()}
    tables = {topic: set(pipeline.read(name)["event_id"]) for topic, name in TABLE.items()}
    pipeline.stop()
    assert {value: (refused.get(at), why) for at, (value, why) in expected.items() if refused.get(at) != why} == {}
    assert set(Counter(why for _, why in expected.values())) >= {None, *contract.REASONS} - {"null key"}
    for topic, found in tables.items():
        good = (value for (name, _), (value, why) in expected.items() if why is None and name.endswith(TABLE[topic]))
        texts = (contract.read(value)["event_id"] for value in good)
        assert found == {str(text).lower() if isinstance(text, bool) else text for text in texts}


# ── Kills ────────────────────────────────────────────────────────────────────────────────────────
def test_jobs_killed_before_their_first_checkpoint_go_on_from_what_they_began_with(make_pipeline, servers, work):
    """The drill found it: the second of two kills in a row made the jobs forget all, and count it again."""
    pipeline = make_pipeline()
    pipeline.start()
    send(pipeline, work, stop=len(work) // 2)
    for id in pipeline.ids.values():
        servers.flink.checkpoint(id)
    for _ in range(2):
        servers.flink.job_manager.kill()
        servers.flink.job_manager.start()
        assert len(pipeline.resume()) == 3
    out = sender.producer(pipeline.settings.bootstrap)
    sender.send(work, out, prefix=pipeline.settings.prefix)  # no progress kept: the first half is sent again
    out.close()
    settle(pipeline, work)
    findings = wrong(pipeline, work)
    pipeline.stop()
    assert findings == []


def test_without_its_state_a_job_counts_everything_again(make_pipeline, servers, work):
    pipeline = make_pipeline()
    pipeline.start("fraud")
    send(pipeline, work)
    settle(pipeline, work)
    servers.flink.job_manager.kill()
    servers.flink.job_manager.start()
    pipeline.resume(with_state=False)
    settle(pipeline, work)
    orders = pipeline.read("orders")
    pipeline.stop()
    assert len(orders) == 2 * truth.accepted(work)["shop.orders"]


def test_ten_kills_leave_no_trace(make_pipeline, servers, tmp_path):
    work, pipeline = generate(SHOP), make_pipeline()
    pipeline.start()
    producer = drill.SenderProcess(
        SHOP, pipeline.settings.bootstrap, tmp_path, prefix=pipeline.settings.prefix, window=80, rate=len(work) / 25
    )
    targets = {
        "broker": servers.kafka, "database": servers.postgres, "producer": producer,
        "task manager": servers.flink.task_manager, "job manager": servers.flink.job_manager,
    }  # fmt: skip
    faults = drill.schedule(list(targets), 10, len(work), np.random.default_rng(0))
    hits = drill.run(producer, targets, faults, after_start={"job manager": pipeline.resume})
    assert len(hits) == 10
    settle(pipeline, work)
    findings = wrong(pipeline, work)
    letters = plain(pipeline, dead_letters.distinct(pipeline.letters()))
    pipeline.stop()
    assert findings == []
    assert letters == truth.dead_letters(work)
