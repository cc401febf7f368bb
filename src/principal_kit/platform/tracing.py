"""Traces through the log: a W3C `traceparent` on a share of the records, and the way of each read back from the tables.

Whether a record is traced, and under which id, follows from its bytes alone, so a copy has the trace of its first and
nothing has to be remembered. A trace ends where an answer is read, hours after and somewhere else than it began; so
spans are not reported by the parts but worked out afterwards, from moments that the tables and checkpoints keep anyway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import hash64

HEADER = "traceparent"
ONE_IN = 1_000
"""Of so many records one is traced, unless told otherwise."""
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def traceparent(value: bytes | None, *, one_in: int = ONE_IN) -> bytes | None:
    """The header for a record, or None if it is not traced. O(len(value)).

    Args:
        one_in: 1 traces every record, 0 none. Raises InvalidArgument below that.

    >>> traceparent(b"{}", one_in=1)
    b'00-1349cde127705c1637ef2ddb6c950ef3-849d4161ef1bee16-01'
    """
    if one_in < 0:
        raise InvalidArgument(f"one_in is {one_in}; expected 0 (none) or the number of records for one trace")
    if not one_in or value is None or (number := hash64(value)) % one_in:
        return None
    return header(f"{number:016x}{hash64(value, seed=1):016x}")


def header(trace: str) -> bytes:
    """The header of a trace whose id is known, as that of a letter which is sent again. O(1)."""
    return f"00-{trace}-{_span(trace, 0)}-01".encode()


def _span(trace: str, number: int) -> str:
    """The id of a trace's span; number 0 is the whole way, the header's parent. Never all zeros, which is no id."""
    return f"{hash64(trace, seed=number) or 1:016x}"


def trace_id(header: bytes | None) -> str | None:
    """The trace's id in a header; None if there is none or it is not of the W3C's form, version 00."""
    match = _FORM.fullmatch(header.decode("ascii", "replace")) if header else None
    return match[1] if match and match[1] != "0" * 32 else None


@dataclass(frozen=True)
class Span:
    """A part of a trace: its name and from when to when (ms since 1970)."""

    name: str
    begin: int
    end: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.begin) / 1000


@dataclass(frozen=True)
class Moments:
    """What is known about one traced row: `snapshot` is when that was made, `checkpoint` when it began and ended.

    All in ms since 1970; the checkpoint's are None when Flink has forgotten them, `visible` when nobody has seen it.
    Iceberg stamps a snapshot when it makes it, before it asks the catalog to point to it: how long that took is in
    `visible` alone.
    """

    happened: int
    sent: int
    snapshot: int
    checkpoint: tuple[int, int] | None = None
    visible: int | None = None


def spans(known: Moments) -> list[Span]:
    """The row's way, one span after another, without gaps: their sum is from the event to the last moment known."""
    out, at = [], known.happened
    for name, end in _marks(known):
        # Behind its beginning only by two clocks that differ, or by a record that was sent after a checkpoint was
        # triggered and before its barrier left the source: it is in that checkpoint all the same. Then it took nothing.
        end = max(at, end)
        out.append(Span(name, at, end))
        at = end
    return out


def in_order(known: Moments) -> bool:
    """Whether the moments follow each other as they were written down, so that `spans` had nothing to mend. O(1)."""
    moments = [known.happened, *(end for _, end in _marks(known))]
    return all(a <= b for a, b in pairwise(moments))


def _marks(known: Moments) -> list[tuple[str, int]]:
    """Each part's name and the moment that ends it."""
    marks = [("at the sender", known.sent)]
    if known.checkpoint is not None:
        marks += [("in the log and in the job", known.checkpoint[0]), ("checkpoint", known.checkpoint[1])]
        marks += [("snapshot", known.snapshot)]
    else:
        marks += [("in the log, in the job, snapshot", known.snapshot)]
    if known.visible is not None:
        marks += [("catalog, until it is read", known.visible)]
    return marks


def follow(
    lake: Any,
    namespace: str,
    table: str,
    *,
    checkpoints: Mapping[int, tuple[int, int]] | None = None,
    reads: Iterable[tuple[int, int]] = (),
) -> dict[str, Moments]:
    """Trace id to what is known about its row, for every traced row of an event table.

    Args:
        checkpoints: number to when it was begun and complete, of the job that writes the table.
        reads: when somebody read the table, and the moment of the newest snapshot that was there to see (both ms).

    O(rows of the table) to read, as snapshots do not know which rows are traced; a traced share of the day in memory.
    """
    seen, found = sorted(reads), {}
    loaded = lake.load_table(f"{namespace}.{table}")
    for snapshot in loaded.snapshots():
        summary = snapshot.summary
        if summary is None or not int(summary.get("added-records") or 0):
            continue
        number = summary.get("flink.max-committed-checkpoint-id")
        rows = loaded.incremental_append_scan(
            from_snapshot_id_exclusive=snapshot.parent_snapshot_id, to_snapshot_id_inclusive=snapshot.snapshot_id,
            row_filter="trace_id is not null", selected_fields=("trace_id", "event_time", "sent_at"),
        ).to_arrow()  # fmt: skip
        visible = next((at for at, newest in seen if newest >= snapshot.timestamp_ms), None)
        begun = (checkpoints or {}).get(int(number)) if number else None
        for row in rows.to_pylist():
            found[row["trace_id"]] = Moments(
                _ms(row["event_time"]), _ms(row["sent_at"]), snapshot.timestamp_ms, begun, visible
            )
    return found


def _ms(moment: Any) -> int:
    return round(moment.timestamp() * 1000)


def checkpoint_times(flink: Any, job: str) -> dict[int, tuple[int, int]]:
    """Number of a job's checkpoint to when it was begun and complete (ms): of the last ten, as Flink keeps no more."""
    return complete(flink.rest("GET", f"/jobs/{job}/checkpoints").get("history", []))


def complete(history: Iterable[Mapping[str, Any]]) -> dict[int, tuple[int, int]]:
    """The complete ones of a job's checkpoints, as Flink's REST API lists them: number to begun and complete (ms)."""
    return {e["id"]: (e["trigger_timestamp"], e["latest_ack_timestamp"]) for e in history if e["status"] == "COMPLETED"}


def otlp(traces: Mapping[str, list[Span]], *, service: str = "shop pipeline") -> dict[str, Any]:
    """The traces as OTLP's JSON (one `ExportTraceServiceRequest`), as collectors and Jaeger take it.

    Each trace has a span for the whole way and one for each part below it. The whole has the id that the records'
    header names as the parent, so spans that others report under that header hang below it: both are made of the
    trace's id alone.
    """
    out = []
    for trace, parts in traces.items():
        if not parts:
            continue
        root = _span(trace, 0)
        whole = Span("from event to answer", parts[0].begin, parts[-1].end)
        for number, (span, parent) in enumerate([(whole, ""), *((part, root) for part in parts)]):
            out.append({
                "traceId": trace,
                "spanId": _span(trace, number),
                **({"parentSpanId": parent} if parent else {}),
                "name": span.name,
                "kind": 1,
                "startTimeUnixNano": str(span.begin * 1_000_000),
                "endTimeUnixNano": str(span.end * 1_000_000),
            })  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    scope = {"name": "principal_kit.platform.tracing"}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": out}]}]}


def write(path: Path, traces: Mapping[str, list[Span]]) -> None:
    """Write `otlp(traces)` to a file."""
    path.write_text(json.dumps(otlp(traces)), encoding="utf-8")
