"""Traces: which records have one, what the header says, and the way of a row from what tables and checkpoints keep."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.platform import dead_letters, sender, tracing
from principal_kit.platform.shop import Shop, generate
from principal_kit.platform.tracing import Moments, Span, spans


@given(st.binary(max_size=60))
def test_a_header_is_of_the_w3c_s_form_and_gives_its_id_back(value):
    header = tracing.traceparent(value, one_in=1)
    version, trace, span, flags = header.decode().split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert tracing.trace_id(header) == trace
    assert header == tracing.traceparent(value, one_in=1), "a copy has the trace of its first"


def test_the_share_is_what_was_asked_for_and_a_larger_one_has_the_smaller_one_s():
    values = [f'{{"event_id":"c-{i}"}}'.encode() for i in range(40_000)]
    tenth = {value for value in values if tracing.traceparent(value, one_in=10)}
    hundredth = {value for value in values if tracing.traceparent(value, one_in=100)}
    assert abs(len(tenth) - 4_000) < 5 * (4_000 * 0.9) ** 0.5
    assert abs(len(hundredth) - 400) < 5 * (400 * 0.99) ** 0.5
    assert hundredth < tenth
    assert not any(tracing.traceparent(value, one_in=0) for value in values[:100])
    assert tracing.traceparent(None, one_in=1) is None
    with pytest.raises(InvalidArgument, match="one_in is -1"):
        tracing.traceparent(b"", one_in=-1)


@pytest.mark.parametrize("header", [
    None, b"", b"00", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", b"01-" + b"a" * 32 + b"-00f067aa0ba902b7-01",
    b"00-" + b"A" * 32 + b"-00f067aa0ba902b7-01", b"00-" + b"a" * 32 + b"-00f067aa0ba902b7-01 ", b"\xff" * 55,
])  # fmt: skip
def test_what_is_no_traceparent_has_no_trace(header):
    assert tracing.trace_id(header) is None


TIMES = st.integers(0, 10**6)


@given(TIMES, TIMES, TIMES, st.none() | st.tuples(TIMES, TIMES), st.none() | TIMES)
def test_spans_follow_each_other_without_gaps_whatever_clocks_say(happened, sent, snapshot, checkpoint, visible):
    parts = spans(Moments(happened, sent, snapshot, checkpoint, visible))
    assert parts[0].begin == happened
    assert all(a.end == b.begin for a, b in itertools.pairwise(parts))
    assert all(part.seconds >= 0 for part in parts)
    assert len(parts) == 2 + 2 * (checkpoint is not None) + (visible is not None)
    moments = [happened, sent, *(checkpoint or ()), snapshot, *(() if visible is None else (visible,))]
    assert tracing.in_order(Moments(happened, sent, snapshot, checkpoint, visible)) == (moments == sorted(moments))


def test_the_way_of_a_row():
    assert spans(Moments(0, 100, 5_000, (2_000, 2_500), 6_000)) == [
        Span("at the sender", 0, 100), Span("in the log and in the job", 100, 2_000), Span("checkpoint", 2_000, 2_500),
        Span("snapshot", 2_500, 5_000), Span("catalog, until it is read", 5_000, 6_000),
    ]  # fmt: skip


def test_a_record_behind_the_trigger_of_its_checkpoint_waited_for_nothing():
    early = Moments(0, 2_100, 5_000, (2_000, 2_500), 6_000)
    assert not tracing.in_order(early)
    assert [s.seconds for s in spans(early)] == [2.1, 0.0, 0.4, 2.5, 1.0]


def test_the_root_has_the_id_that_the_header_gives_as_the_parent():
    value = b'{"event_id":"c-1"}'
    header = tracing.traceparent(value, one_in=1)
    id = tracing.trace_id(header)
    assert tracing.header(id) == header
    [group] = tracing.otlp({id: [Span("a", 0, 1)]})["resourceSpans"]
    root = group["scopeSpans"][0]["spans"][0]
    assert root["spanId"] == header.decode().split("-")[2]


def test_otlp_has_a_root_for_each_trace_and_ids_of_the_right_length(tmp_path):
    path = tmp_path / "traces.json"
    tracing.write(path, {"ab" * 16: [Span("a", 1_000, 2_000), Span("b", 2_000, 2_500)], "cd" * 16: []})
    [group] = json.loads(path.read_text())["resourceSpans"]
    [scope] = group["scopeSpans"]
    root, *rest = scope["spans"]
    assert "parentSpanId" not in root
    assert (root["startTimeUnixNano"], root["endTimeUnixNano"]) == ("1000000000", "2500000000")
    assert [span["name"] for span in rest] == ["a", "b"]
    assert all(span["parentSpanId"] == root["spanId"] and span["traceId"] == "ab" * 16 for span in rest)
    assert len({span["spanId"] for span in scope["spans"]}) == 3
    assert all(len(span["spanId"]) == 16 for span in scope["spans"])


@pytest.mark.slow
@pytest.mark.integration
def test_a_trace_goes_from_the_producer_into_tables_and_dead_letters(make_pipeline):
    work, pipeline, one_in = generate(Shop(events=6_000, users=600, products=40, bad=14)), make_pipeline(), 20
    pipeline.start("fraud", "inventory")
    out = sender.producer(pipeline.settings.bootstrap)
    sender.send(work, out, prefix=pipeline.settings.prefix, trace_one_in=one_in)
    out.close()
    pipeline.settle(int(work.sent["at"].max()) + sender.CLOSING_MS)
    ids = {}
    for record in work.records():
        if header := tracing.traceparent(record.value, one_in=one_in):
            ids.setdefault(record.topic, set()).add(tracing.trace_id(header))
    refused = {x.trace_id for x in pipeline.letters() if x.trace_id}
    for name, job in (("orders", "fraud"), ("stock_moves", "inventory")):
        rows = pipeline.read(name)
        traced = set(rows["trace_id"].dropna())
        assert traced
        assert traced == ids[f"shop.{name}"] - refused
        times = tracing.checkpoint_times(pipeline.flink, pipeline.ids[job])
        ways = tracing.follow(
            pipeline.lake,
            pipeline.settings.namespace,
            name,
            checkpoints=times,
            reads=[(1 << 49, 0), (1 << 50, 1 << 50)],
        )
        assert set(ways) == traced
        assert any(way.checkpoint for way in ways.values())
        assert all(way.sent <= way.snapshot < way.visible == 1 << 50 for way in ways.values())
    assert refused == {x.trace_id for x in dead_letters.distinct(pipeline.letters()) if x.trace_id}
    assert refused & ids["shop.orders"]
    pipeline.stop()
