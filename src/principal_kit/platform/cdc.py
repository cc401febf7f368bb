"""Debezium's change events, read without I/O: bytes in, changes with a version out, and where the reader has got to.

Two pairs. A *version* says which row of a key is newer: the snapshot that the change follows, and its place in the log
after it (0 for a row of the snapshot itself). The place alone would not do: a transaction that was open while the
snapshot was taken has written before the snapshot's own place, is not in it, and is the newer one. The *stream* says
how far the reader is: the commit before a change, and its place; transactions come in the order of commits, so places
alone go back.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from principal_kit.core.errors import KitError

UNAVAILABLE = "__debezium_unavailable_value"
"""What stands for a long text that the UPDATE left alone: PostgreSQL did not write it to the log."""
REASONS = ("malformed", "unknown operation", "no key", "unavailable value")
_SNAPSHOT = frozenset(("true", "first", "first_in_data_collection", "last_in_data_collection", "last"))
_LAST = frozenset(("last_in_data_collection", "last"))
_OPERATIONS = frozenset("crudt")
_WENT_BACK = (
    "a snapshot at {}, after one at {}: places of another database's log cannot be compared. Copy it into a new table "
    "and switch readers over"
)


class BadEnvelope(KitError):
    """A record that is no change event, or one that cannot be applied. `reason` is one of REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class WentBack(KitError):
    """A snapshot from before the last one: another database stands there, or one restored to a time before that.

    A database restored to a later time is not noticed: its changes look like ones that came before. So after a restore,
    drop the slot and copy into a new table.
    """


class SchemaBreak(KitError):
    """The source's schema changed in a way that a copy cannot follow by itself. Nothing was applied."""


class Version(NamedTuple):
    """`snapshot`: place in the log (LSN) of the snapshot before; `change`: place of the change, 0 for the snapshot."""

    snapshot: int
    change: int


class Column(NamedTuple):
    """A column as the event's schema has it: `kind` is Connect's type or logical name, `default` what old rows have."""

    name: str
    kind: str
    optional: bool
    default: Any = None
    parameters: tuple[tuple[str, str], ...] = ()


class Change(NamedTuple):
    """The state of one key from a version on: its row, None if it was deleted. `columns` are those of the table."""

    key: Any
    row: dict[str, Any] | None
    version: Version
    columns: tuple[Column, ...]


class Sweep(NamedTuple):
    """The snapshot is complete: rows of an older one are of keys that no longer exist. Upserts never delete those.

    It comes with the table's last row, so a table that is empty at the snapshot sends none. Nothing then says that a
    snapshot was taken, and one change can be lost by it: of a transaction that was open during that snapshot, is the
    first to commit after it, and had written before the table's last change of the stream before. It looks like a
    repeat of that stream.
    """

    snapshot: int


class Emptied(NamedTuple):
    """Every row is gone, and no event names them: a TRUNCATE. It locks the table, so what was written before it has
    come before it, and what comes after it was written after it.
    """

    version: Version


@dataclass(frozen=True)
class Position:
    """Where a reader of one table's topic is. It is small, and all of its memory.

    Args:
        offset: of the next record.
        snapshot: place of the last snapshot seen.
        stream: (commit before, place) of the newest change after it; the stream is in this order.
    """

    offset: int = 0
    snapshot: int = 0
    stream: tuple[int, int] = (0, 0)

    def to_properties(self) -> dict[str, str]:
        """As texts, for a table's snapshot summary."""
        return {
            "cdc.offset": str(self.offset), "cdc.snapshot": str(self.snapshot),
            "cdc.stream": f"{self.stream[0]},{self.stream[1]}",
        }  # fmt: skip

    @classmethod
    def from_properties(cls, properties: Any) -> Position | None:
        """What `to_properties` wrote; None where there is none."""
        if properties.get("cdc.offset") is None:
            return None
        commit, place = properties["cdc.stream"].split(",")
        return cls(int(properties["cdc.offset"]), int(properties["cdc.snapshot"]), (int(commit), int(place)))


class Decoder:
    """JSON with its schema beside it (`{"schema":…,"payload":…}`), the schema parsed once for all that begin so.

    A schema is ten times as long as a row and the same in every record, so its text is remembered and compared.
    """

    _BEGIN, _MIDDLE = '{"schema":', ',"payload":'

    def __init__(self) -> None:
        self._prefix, self._schema = "\0", None

    def __call__(self, raw: bytes) -> tuple[Any, Any]:
        """(schema, payload). O(payload) for a schema like the last one. Raises BadEnvelope on anything else."""
        try:
            text = raw.decode()
            if text.startswith(self._prefix):
                return self._schema, json.loads(text[len(self._prefix) : -1])
            if not text.startswith(self._BEGIN):
                raise ValueError(f"it begins with {text[:12]!r}")
            schema, end = json.JSONDecoder().raw_decode(text, len(self._BEGIN))
            if not text.startswith(self._MIDDLE, end) or not text.endswith("}"):
                raise ValueError("there is no payload behind the schema")
            payload = json.loads(text[end + len(self._MIDDLE) : -1])
        except (ValueError, RecursionError) as error:
            raise BadEnvelope("malformed", f"expected JSON with a schema, {error}") from error
        self._prefix, self._schema = text[: end + len(self._MIDDLE)], schema
        return schema, payload


class Reader:
    """Turns the records of one table's topic, in order, into changes. `position` moves with every record."""

    def __init__(self, position: Position | None = None) -> None:
        self.position = position or Position()
        self.redelivered = self.tombstones = 0
        self._keys, self._values = Decoder(), Decoder()
        self._columns: tuple[Any, tuple[Column, ...]] = (None, ())

    def read(self, offset: int, key: bytes | None, value: bytes | None) -> list[Change | Sweep | Emptied]:
        """What a record says: mostly one change, none for what was seen before; a Sweep after a snapshot's last row.

        Raises BadEnvelope for a record that says nothing that can be applied (the position is behind it all the same),
        WentBack, having moved nothing, when the source's log is not the one that was read.
        """
        before = self.position
        self.position = replace(before, offset=offset + 1)
        if value is None:  # Debezium sends one behind each delete, for Kafka's compaction
            self.tombstones += 1
            return []
        schema, envelope = self._values(value)
        if not isinstance(envelope, dict) or not isinstance(envelope.get("source"), dict):
            raise BadEnvelope("malformed", "expected an envelope with a source")
        if envelope.get("op") not in _OPERATIONS:
            raise BadEnvelope("unknown operation", f"{envelope.get('op')!r}; expected one of c, r, u, d, t")
        try:
            return self._apply(before, key, schema, envelope)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise BadEnvelope("malformed", f"not Debezium's envelope: {error!r}") from error

    def _key(self, raw: bytes | None) -> Any:
        if raw is None:
            raise BadEnvelope("no key", "a table without a primary key cannot be copied by upserts")
        values = list(self._keys(raw)[1].values())
        if len(values) != 1:
            raise BadEnvelope("no key", f"a key of {len(values)} columns; expected one")
        return values[0]

    def _apply(
        self, before: Position, raw_key: bytes | None, schema: Any, envelope: dict[str, Any]
    ) -> list[Change | Sweep | Emptied]:
        source, operation, row = envelope["source"], envelope["op"], envelope["after"]
        mark = str(source.get("snapshot") or "false")
        key = None if operation == "t" else self._key(raw_key)  # it is of no row
        if mark == "incremental":  # a chunk read in between is placed by its offset alone
            version = Version(before.snapshot, int(source.get("lsn") or before.stream[1]))
        else:
            version = self._version(before, source, in_snapshot=mark in _SNAPSHOT)
        if version is None:
            return []
        if operation == "t":
            return [Emptied(version)]
        if row is not None and any(value == UNAVAILABLE for value in row.values()):
            raise BadEnvelope("unavailable value", f"{key!r}: a long text was not logged; set REPLICA IDENTITY FULL")
        change = Change(key, None if operation == "d" else row, version, self._table(schema))
        return [change, Sweep(version.snapshot)] if mark in _LAST else [change]

    def _version(self, before: Position, source: dict[str, Any], *, in_snapshot: bool) -> Version | None:
        """The version of a record, and the position moved on; None for what was seen before."""
        lsn = int(source["lsn"])
        if in_snapshot:
            if lsn < before.snapshot:
                self.position = before
                raise WentBack(_WENT_BACK.format(lsn, before.snapshot))
            if lsn > before.snapshot:  # a new one: what follows it is newer than all that came before
                self.position = replace(self.position, snapshot=lsn, stream=(0, 0))
            elif before.stream > (0, 0):  # the stream is behind its snapshot, so this row has come before
                self.redelivered += 1
                return None
            return Version(lsn, 0)
        commit = int(json.loads(source["sequence"])[0] or 0)  # of the transaction before; none behind a snapshot
        if not commit and lsn > before.stream[0]:  # this table had no row in that snapshot, so nothing told of it
            commit = before.stream[0]  # one written before the last place of the stream is lost below (see Sweep)
        at = (commit, lsn)
        if at < before.stream:  # at the same place may be two: a new primary key is a delete and an insert
            self.redelivered += 1
            return None
        self.position = replace(self.position, stream=at)
        return Version(before.snapshot, lsn)

    def _table(self, schema: Any) -> tuple[Column, ...]:
        if schema is not self._columns[0]:
            [after] = [field for field in schema["fields"] if field["field"] == "after"]
            self._columns = schema, tuple(_column(field) for field in after["fields"])
        return self._columns[1]


def _column(field: dict[str, Any]) -> Column:
    parameters = tuple(sorted((field.get("parameters") or {}).items()))
    kind = field.get("name") or field["type"]
    return Column(field["field"], kind, bool(field["optional"]), field.get("default"), parameters)


def latest(changes: Iterable[Change]) -> dict[Any, Change]:
    """Key to its change with the highest version. O(changes), in any order and with any repeats the same."""
    newest: dict[Any, Change] = {}
    for change in changes:
        if change.key not in newest or change.version >= newest[change.key].version:
            newest[change.key] = change
    return newest


# ── Types ────────────────────────────────────────────────────────────────────────────────────────
_ICEBERG = {
    "boolean": "boolean", "int8": "int", "int16": "int", "int32": "int", "int64": "long", "float32": "float",
    "float64": "double", "float": "float", "double": "double", "string": "string", "bytes": "binary",
    "io.debezium.time.Date": "date", "io.debezium.time.MicroTimestamp": "timestamp",
    "io.debezium.time.ZonedTimestamp": "timestamptz", "io.debezium.data.Json": "string",
    "io.debezium.data.Uuid": "string", "io.debezium.data.Enum": "string",
}  # fmt: skip
_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_WIDER = {("int", "long"), ("float", "double")}
_OF_EXPRESSIONS = {  # Debezium evaluates no SQL: for now() or gen_random_uuid() it says this
    "io.debezium.time.Date": 0, "io.debezium.time.MicroTimestamp": 0,
    "io.debezium.time.ZonedTimestamp": "1970-01-01T00:00:00.000000Z",
    "io.debezium.data.Uuid": "00000000-0000-0000-0000-000000000000",
}  # fmt: skip


def iceberg_type(column: Column) -> str:
    """The Iceberg type of a column, by its name. Raises SchemaBreak on a kind that this copy does not know.

    >>> iceberg_type(Column("since", "io.debezium.time.Date", False))
    'date'
    """
    if column.kind == _DECIMAL:
        parameters = dict(column.parameters)
        return f"decimal({parameters.get('connect.decimal.precision', '38')}, {parameters['scale']})"
    if column.kind not in _ICEBERG:
        raise SchemaBreak(f"column {column.name} is {column.kind}; known: {', '.join(sorted(_ICEBERG))}, {_DECIMAL}")
    return _ICEBERG[column.kind]


def value(column: Column, raw: Any) -> Any:
    """A value of the payload as Arrow takes it (days and microseconds stay numbers). O(1)."""
    if raw is None:
        return None
    if column.kind == "io.debezium.time.ZonedTimestamp":
        return datetime.fromisoformat(raw)
    if column.kind == _DECIMAL:
        unscaled = int.from_bytes(base64.b64decode(raw), "big", signed=True)
        return Decimal(unscaled).scaleb(-int(dict(column.parameters)["scale"]))
    return base64.b64decode(raw) if column.kind == "bytes" else raw


@dataclass(frozen=True)
class Evolution:
    """What a table has to learn: columns to `add` (with what its rows have there) and to `widen` (name to type)."""

    add: tuple[Column, ...] = ()
    widen: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.widen)


def evolution(there: dict[str, str], columns: Iterable[Column]) -> Evolution:
    """Compare a table (name to Iceberg type) with the columns of an event. A column that is gone stays, as null.

    Raises SchemaBreak on a change that loses or invents data: another type that is not wider, a NOT NULL column without
    a default (no event tells what its rows have), and a column gone while another comes, which may be a rename.

    A default is what Debezium says that it is, and that is sure for constants alone, of which it tells the one that the
    column has when it first meets it (after SET DEFAULT: the later one). Of an expression it tells the type's zero or
    nothing. A moment of 1970 and a uuid of zeros are refused, as nobody's constant; 0, an empty text, false and nothing
    could be meant, and are taken: after a default such as `random()`, take a new snapshot.
    """
    columns = tuple(columns)
    new = tuple(column for column in columns if column.name not in there)
    gone = sorted(there.keys() - {column.name for column in columns})
    if new and gone:
        raise SchemaBreak(
            f"{', '.join(gone)} went and {', '.join(c.name for c in new)} came: a rename looks like this, and the rows "
            "that nothing writes again would lose their values. Rename in the copy, or take a new snapshot"
        )
    for column in new:
        if not column.optional and column.default is None:
            raise SchemaBreak(f"{column.name} is NOT NULL; no event says what the rows have there: take a new snapshot")
        if column.default is not None and column.default == _OF_EXPRESSIONS.get(column.kind):
            raise SchemaBreak(
                f"{column.name} has the default {column.default}, which is what comes instead of an expression, such "
                "as now(): no event says what the rows have there: take a new snapshot"
            )
    widen = []
    for column in columns:
        old, now = there.get(column.name), iceberg_type(column)
        if old is None or old == now or (now, old) in _WIDER:  # a narrower one fits
            continue
        if (old, now) not in _WIDER and not _more_digits(old, now):
            raise SchemaBreak(f"{column.name} changed from {old} to {now}; only a wider one of its kind is followed")
        widen.append((column.name, now))
    return Evolution(new, tuple(widen))


def _more_digits(old: str, now: str) -> bool:
    if not (old.startswith("decimal(") and now.startswith("decimal(")):
        return False
    (digits, scale), (more, same) = ([int(n) for n in t[8:-1].split(",")] for t in (old, now))
    return same == scale and more > digits
