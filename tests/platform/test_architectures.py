"""Lambda by offsets and Kappa by replay both equal the truth; each of Lambda's classic mistakes is found and named."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from zlib import crc32

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition

from principal_kit.core.errors import InvalidArgument
from principal_kit.platform import architectures, audit, dashboard, dead_letters, jobs, sender, topics, truth
from principal_kit.platform.architectures import BatchView, SpeedLayer, count, gross, halves, reconcile, repeats, serve
from principal_kit.platform.log import Forgotten, ends, read
from principal_kit.platform.shop import ORDERS, Shop, generate

# Slow enough that a late event's minute is over long before it comes.
WORK = generate(Shop(events=6_000, rate=10.0, users=400, products=20, bad=14, late=0.1, duplicates=0.2, seed=5))
NOON = WORK.shop.epoch_ms + 360_000


def mend(value):
    event = json.loads(value)
    event["amount_cents"] = round(float(event.pop("amount")) * 100)
    return json.dumps(event).encode()


def log():
    """The orders' topic as it would be: two partitions, and at its end the broken orders again, mended."""
    sent = [record for record in WORK.records() if record.topic == ORDERS]
    mended = [record._replace(value=mend(record.value)) for record in sent if b'"amount":' in (record.value or b"")]
    offsets, out = [0, 0], []
    for record in sent + mended:
        partition = crc32(record.key or b"") % 2
        out.append(SimpleNamespace(partition=partition, offset=offsets[partition], key=record.key, value=record.value,
                                   timestamp=record.timestamp_ms))  # fmt: skip
        offsets[partition] += 1
    return out, offsets


LOG, ENDS = log()
TRUTH = truth.revenue(WORK, repaired=True)


def before(cut, **options):
    """A batch view as Spark would make it, in plain Python."""
    made = count(halves(LOG, cut)[0], **options)
    return BatchView(made.minutes, cut, made.known)


def after(cut):
    return halves(LOG, cut)[1]


def cut_at(sent_ms):
    """The cut before the first record of each partition that was sent at `sent_ms` or later."""
    first = dict(enumerate(ENDS))
    for record in reversed(LOG):
        if record.timestamp >= sent_ms:
            first[record.partition] = record.offset
    return first


def test_a_cut_has_every_record_on_one_side_and_repeats_are_what_is_counted_once():
    front, behind = halves(LOG, cut_at(NOON))
    assert sorted(map(id, front + behind)) == sorted(map(id, LOG))
    assert front
    assert behind
    again, sales = repeats(LOG), count(LOG).known
    good = [r for r in LOG if architectures.sale(r.key, r.value, r.timestamp)]
    assert len(again) == len(good) - len(sales) > 0
    assert [r.timestamp for r in again] == sorted(r.timestamp for r in again)


def test_one_pass_over_the_log_is_the_truth():
    assert reconcile(count(LOG).minutes, TRUTH).empty


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(0, ENDS[0]), st.integers(0, ENDS[1])))
def test_wherever_the_log_is_cut_the_two_layers_add_up_to_the_truth(places):
    cut = dict(enumerate(places))
    view = before(cut)
    assert reconcile(serve(view, count(after(cut), known=view.known)), TRUTH).empty


def sales(records):
    return [sale for r in records if (sale := architectures.sale(r.key, r.value, r.timestamp))]


def test_a_speed_layer_that_does_not_know_what_the_batch_counted_doubles_repeats_across_the_cut():
    ids = [sale.event_id for sale in sales(LOG)]
    repeat = next(id for n, id in enumerate(ids) if id in ids[:n])
    cut = cut_at([r for r in LOG if r.value and f'"{repeat}"'.encode() in r.value][1].timestamp)
    view = before(cut)
    wrong = reconcile(serve(view, count(after(cut))), TRUTH)
    across = {sale for sale in sales(after(cut)) if sale.event_id in view.known}
    assert repeat in {sale.event_id for sale in across}
    assert wrong["orders"].sum() == len(across) > 0
    assert wrong["cents"].sum() == sum(sale.cents for sale in across)
    assert set(wrong["minute"]) == {sale.minute for sale in across}


def test_a_cut_by_event_time_loses_what_came_late():
    """The batch ran when everything sent before noon was there; the speed layer takes what happened from noon on."""
    cut = cut_at(NOON)
    view = before(cut)
    batch = BatchView(view.minutes[view.minutes["minute"] < NOON], cut)
    wrong = reconcile(serve(batch, count(LOG, from_ms=NOON)), TRUTH)
    assert len(wrong) > 0
    assert (wrong["minute"] < NOON).all()
    assert (wrong["orders"] < 0).all()


def test_a_batch_by_event_time_and_a_speed_layer_by_arrival_double():
    """The batch ran late, to be sure of late events; the speed layer had begun at noon and had them already."""
    view = before(dict(enumerate(ENDS)))
    batch = BatchView(view.minutes[view.minutes["minute"] < NOON], {})
    wrong = reconcile(serve(batch, count(after(cut_at(NOON)))), TRUTH)
    assert len(wrong) > 0
    assert (wrong["minute"] < NOON).all()
    assert (wrong["orders"] > 0).all()


def test_a_rule_that_one_layer_was_not_told_is_off_by_the_discounts_behind_the_cut():
    cut = cut_at(NOON)
    view = before(cut)
    behind = count(after(cut), known=view.known).known - view.known
    wrong = reconcile(serve(view, count(after(cut), known=view.known, rule=gross)), TRUTH)
    orders = WORK.orders.loc[[int(id.removeprefix("o-")) for id in behind]]
    assert (wrong["orders"] == 0).all()
    assert wrong["cents"].sum() == orders["discount_cents"].sum() > 0


@given(st.dictionaries(st.integers(0, 9), st.integers(-5, 5)), st.dictionaries(st.integers(0, 9), st.integers(-5, 5)))
def test_reconciliation_names_the_minutes_that_differ_and_no_other(left, right):
    frames = [
        pd.DataFrame([(minute, 1, cents) for minute, cents in side.items()], columns=["minute", "orders", "cents"])
        for side in (left, right)
    ]
    rows = {row.minute: (row.orders, row.cents) for row in reconcile(*frames).itertuples()}
    expected = {}
    for minute in left.keys() | right.keys():
        less = (minute in left) - (minute in right), left.get(minute, 0) - right.get(minute, 0)
        if less != (0, 0):
            expected[minute] = less
    assert rows == expected


# ── On real servers ──────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def pipeline(make_pipeline):
    """Topics with the day in them; no job runs."""
    made = make_pipeline()
    admin = made.kafka.admin()
    topics.apply(admin, made.topics)
    admin.close()
    out = sender.producer(made.settings.bootstrap)
    sender.send(WORK, out, prefix=made.settings.prefix)
    sender.close_day(WORK, out, made.partitions)
    out.close()
    return made


@pytest.fixture(scope="module")
def replayed(pipeline):
    """Two replays: of the day as it came, and, after the broken orders were mended, of all that the log had then."""
    first, second = (f"{pipeline.settings.namespace}_v{n}" for n in (1, 2))
    architectures.replay(pipeline.flink, pipeline.lake, pipeline.settings, first)

    def repair(letter):
        return mend(letter.value) if b'"amount":' in (letter.value or b"") else None

    out = sender.producer(pipeline.settings.bootstrap)
    dead_letters.replay(pipeline.letters(), out, repair, prefix=pipeline.settings.prefix)
    out.close()
    architectures.replay(pipeline.flink, pipeline.lake, pipeline.settings, second)
    return first, second


@pytest.fixture
def consumer(pipeline):
    made = pipeline.kafka.consumer()
    yield made
    made.close()


real = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("version", [pytest.param(0, marks=real), pytest.param(1, marks=real)])
def test_a_replay_by_the_same_job_is_the_truth_of_its_day(pipeline, replayed, version):
    got = architectures.revenue(pipeline.lake, replayed[version])
    assert reconcile(got, truth.revenue(WORK, repaired=bool(version))).empty


@pytest.mark.integration
@pytest.mark.slow
def test_a_replay_adds_no_letter_that_readers_see(pipeline, replayed):
    counts = dead_letters.by_reason(pipeline.letters())
    orders = {(ORDERS, why): n for (topic, why), n in truth.dead_letters(WORK).items() if topic == ORDERS}
    assert {(ORDERS, why): n for (_, why), n in counts.items()} == orders


@pytest.mark.integration
@pytest.mark.slow
def test_readers_move_to_the_new_tables_and_back_by_a_pointer(pipeline, replayed):
    lake, name = pipeline.lake, f"{pipeline.settings.namespace}_live"
    with pytest.raises(InvalidArgument, match="no namespace 'nowhere'"):
        architectures.point(lake, name, "nowhere")
    for target in (*replayed, replayed[0]):
        architectures.point(lake, name, target)
        assert architectures.pointed(lake, name) == target
    assert architectures.pointed(lake, replayed[0]) == replayed[0]


@pytest.mark.integration
@pytest.mark.slow
def test_the_dashboard_over_what_flink_wrote_is_the_truth(pipeline, replayed):
    board = dashboard.Dashboard(pipeline.lake, replayed[1])
    got = board.ask("revenue_per_minute")
    board.close()
    assert audit.compare("revenue", got, TRUTH).exact


@pytest.mark.integration
@pytest.mark.slow
def test_spark_s_batch_and_a_speed_layer_behind_its_cut_are_the_truth(pipeline, replayed, consumer, spark_session):
    topic = f"{pipeline.settings.prefix}orders"
    end = ends(consumer, topic)
    cut = {partition: offset * 3 // 5 for partition, offset in end.items()}
    view = architectures.batch(spark_session, pipeline.settings.bootstrap, topic, cut)
    speed = SpeedLayer(view.known)
    for record in read(consumer, topic, cut, end):
        speed.take(record)
    assert reconcile(serve(view, speed), TRUTH).empty
    assert audit.compare("served", serve(view, speed), architectures.revenue(pipeline.lake, replayed[1])).exact
    assert (view.records, speed.records) == (sum(cut.values()), sum(end.values()) - sum(cut.values()))

    again = SpeedLayer()
    for record in read(consumer, topic, dict.fromkeys(cut, 0), cut):
        again.take(record)
    assert (again.bytes, again.records) == (view.bytes, view.records)
    assert reconcile(view.minutes, again.minutes).empty
    assert again.known == view.known


@pytest.mark.integration
@pytest.mark.slow
def test_spark_counts_by_event_time_and_by_an_old_rule_when_told_to(pipeline, replayed, consumer, spark_session):
    topic = f"{pipeline.settings.prefix}orders"
    end = ends(consumer, topic)
    view = architectures.batch(spark_session, pipeline.settings.bootstrap, topic, end, rule=gross, before_ms=NOON)
    orders = WORK.orders[WORK.orders["t"] < NOON // 60_000 * 60_000]
    assert view.minutes["orders"].sum() == len(orders) == len(view.known)
    assert view.minutes["cents"].sum() == orders["amount_cents"].sum()


@pytest.mark.integration
@pytest.mark.slow
def test_cuts_of_other_partitions_are_refused_and_an_empty_span_is_empty(pipeline, consumer):
    topic = f"{pipeline.settings.prefix}orders"
    with pytest.raises(InvalidArgument, match=r"partitions \[0\] and \[0, 1\]"):
        next(read(consumer, topic, {0: 0}, {0: 1, 1: 1}))
    assert list(read(consumer, topic, {0: 3, 1: 3}, {0: 3, 1: 3})) == []


@pytest.mark.integration
@pytest.mark.slow
def test_a_replay_into_tables_that_have_rows_is_refused(pipeline, replayed):
    """It would count everything a second time, and every row would look good."""
    before = audit.compare("served", architectures.revenue(pipeline.lake, replayed[1]), TRUTH)
    with pytest.raises(InvalidArgument, match=rf"{replayed[1]}\.orders was written to before"):
        architectures.replay(pipeline.flink, pipeline.lake, pipeline.settings, replayed[1])
    assert before.exact


@pytest.mark.integration
@pytest.mark.slow
def test_a_log_that_has_lost_its_beginning_is_no_truth_for_either(make_pipeline, spark_session):
    made = make_pipeline()
    topic = f"{made.settings.prefix}orders"
    admin = made.kafka.admin()
    topics.apply(admin, made.topics)
    out = sender.producer(made.settings.bootstrap)
    sender.send(WORK, out, prefix=made.settings.prefix, stop=500)
    out.close()
    admin.delete_records({TopicPartition(topic, 1): 1})
    admin.close()
    consumer = made.kafka.consumer()
    end = ends(consumer, topic)
    consumer.close()
    with pytest.raises(Forgotten, match=rf"{topic}-1 begins at offset 1"):
        architectures.batch(spark_session, made.settings.bootstrap, topic, end)
    with pytest.raises(Forgotten, match=rf"{topic}-1 begins at offset 1"):
        architectures.replay(made.flink, made.lake, made.settings, f"{made.settings.namespace}_v1")


def test_a_replay_is_another_reader_than_the_live_job():
    """Otherwise it commits the live job's offsets, and who waits for that job is told that it has read everything."""
    live = jobs.Settings(bootstrap="b:1", dsn="postgresql://u:p@h/d", warehouse="file:///w")
    again = replace(live, namespace="shop_v2", bounded=True)
    assert f"'properties.group.id' = '{live.group('fraud')}'" in jobs.script("fraud", live)
    assert f"'properties.group.id' = '{again.group('fraud')}'" in jobs.script("fraud", again)
    assert (live.group("fraud"), again.group("fraud")) == ("shop.fraud", "shop.fraud.shop_v2")
