"""Change events into an Iceberg table, exactly once: rows and position are one commit.

A batch becomes the last change of each key; the table loses the rows of those keys and gains their new ones, and the
snapshot's summary says which record comes next. Whoever begins again asks the table. A rolled-back table therefore
rolls its reader back with it, and of two committers that race, the catalog lets one through.

Not Flink's upsert sink: it writes equality deletes, which it need not read the table for, and which pyiceberg (0.12)
refuses to read, and with it everything here that asks pyiceberg for a table's files. Here a commit rewrites the files
that hold its keys (copy on write): reads are plain, writes cost in proportion to the files touched, not to the batch.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import CorruptionError, InvalidArgument, KitError, ServiceError
from principal_kit.platform import cdc

BATCH = 10_000
OWN = (("_snapshot", "long"), ("_lsn", "long"))
"""Columns beside the source's: the version of each row. A sweep needs the first; the second is for whoever looks."""
_PARTIAL = {"cdc.partial": "true"}  # pyiceberg makes a snapshot of each delete; only the last of a commit is a state


@dataclass
class Batch:
    """What one commit does: changes up to a new schema, a sweep or a TRUNCATE (`emptied`), what was refused, and where
    the next begins.
    """

    changes: list[cdc.Change] = field(default_factory=list)
    letters: list[tuple[Any, str]] = field(default_factory=list)
    sweep: int = 0
    emptied: bool = False
    records: int = 0
    position: cdc.Position = field(default_factory=cdc.Position)


class Committer:
    """Copies one table. Crash it anywhere and make a new one: nothing is lost and nothing happens twice.

    After an error or Ctrl-C the same one may be called again as well: it first asks the table where it is.

    Args:
        lake: an Iceberg catalog.
        name: of the table, with its namespace; it is made from the first event's schema.
        key: its key column.
        consumer: a KafkaConsumer without a group; with an exactly-once source, of isolation level read_committed.
        topic: of one partition, since a snapshot's end is an event in one.
        letters: a KafkaProducer and a topic for what cannot be read; None to stop at it.
        batch: records a commit, which bounds memory.
        on_step: told "read", "letters", "written", "committed" as they happen: for looking on, and for crashing.

    Raises InvalidArgument for a topic with more partitions, CorruptionError for a table without a position in its
    history.
    """

    def __init__(
        self,
        lake: Any,
        name: str,
        consumer: Any,
        topic: str,
        *,
        key: str = "id",
        letters: tuple[Any, str] | None = None,
        batch: int = BATCH,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        from kafka import TopicPartition

        if (partitions := consumer.partitions_for_topic(topic)) and len(partitions) != 1:
            raise InvalidArgument(f"{topic} has {len(partitions)} partitions; expected 1, whose order is the table's")
        self.lake, self.name, self.key, self.batch = lake, name, key, batch
        self._consumer, self._place, self._letters, self._on_step = consumer, TopicPartition(topic, 0), letters, on_step
        self.counts: Counter[str] = Counter()
        self._rest: list[Any] = []
        consumer.assign([self._place])
        self._begin()

    @property
    def position(self) -> cdc.Position:
        """Where the table said that it is when it was last read or written."""
        return self._committed

    def _begin(self) -> None:
        """Read the position from the table, and take the topic up there. Memory holds nothing that is not there.

        The reader comes last: until it is there, `step` begins again instead of going on behind a batch that was lost.
        """
        self._reader = None
        self._table = self._load()
        self._committed = position(self._table) or cdc.Position()
        self._rest.clear()
        first = self._consumer.beginning_offsets([self._place])[self._place]
        if self._table is not None and self._committed.offset < first:
            raise CorruptionError(
                f"{self.name} stopped at offset {self._committed.offset} and {self._place.topic} begins at {first}: "
                "what was in between is gone. Take a new snapshot"
            )
        self._consumer.seek(self._place, max(first, self._committed.offset))
        self._reader = cdc.Reader(self._committed)

    def _load(self) -> Any:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self.lake.load_table(self.name)
        except NoSuchTableError:
            return None

    def step(self, seconds: float = 1.0) -> int:
        """Read up to `batch` records, waiting at most `seconds` for the first, and commit them; returns how many.

        Raises SchemaBreak, WentBack, BadEnvelope (without `letters`), having committed what came before, and what the
        servers' clients raise; the next step then begins from what the table says. When another committer was faster,
        it goes on from where that one is.
        """
        from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError

        if self._reader is None:
            self._begin()
        try:
            if not self._rest:
                polled = self._consumer.poll(timeout_ms=round(seconds * 1000), max_records=self.batch)
                self._rest = polled.get(self._place, [])
            if not self._rest:
                return 0
            self._on_step("read")
            batch, columns = self._take()
            if batch.records:
                self._commit(batch)
            elif columns is not None:
                self._evolve(columns)
        except (CommitFailedException, TableAlreadyExistsError):
            self.counts["overtaken"] += 1
            self._begin()
            return 0
        except BaseException:  # Ctrl-C as well
            self._reader = None  # it is ahead of the table: the next step asks the table
            raise
        return batch.records

    def _take(self) -> tuple[Batch, tuple[cdc.Column, ...] | None]:
        """Records up to the first that the table's schema does not fit; if that is at once, the columns it asks for."""
        batch, there = Batch(position=self._reader.position), self._schema()
        for record in self._rest:
            before = self._reader.position
            try:
                said, reason = self._read(record)
                asked = next((event.columns for event in said if self._misfits(event, there)), None)
            except KitError:
                if not batch.records:
                    raise
                asked = ()  # what came before is committed first; the next step meets it again
            if asked is not None:
                self._reader.position = before
                break
            batch.letters += [(record, reason)] if reason else []
            batch.changes += [event for event in said if isinstance(event, cdc.Change)]
            batch.sweep = next((event.snapshot for event in said if isinstance(event, cdc.Sweep)), 0)
            batch.emptied = any(isinstance(event, cdc.Emptied) for event in said)
            batch.records, batch.position = batch.records + 1, self._reader.position
            if batch.sweep or batch.emptied:
                break
        del self._rest[: batch.records]
        return batch, asked

    def _read(self, record: Any) -> tuple[list[Any], str]:
        """What a record says, and the reason for which it is refused."""
        try:
            return self._reader.read(record.offset, record.key, record.value), ""
        except cdc.BadEnvelope as error:
            if self._letters is None:
                raise
            return [], error.reason

    def _misfits(self, event: Any, there: dict[str, str] | None) -> bool:
        """Whether the table has to change before it can take the event. Raises SchemaBreak when it cannot."""
        if not isinstance(event, cdc.Change) or event.columns is self._fits:
            return False
        if there is None or cdc.evolution(there, event.columns):
            return True
        self._fits = event.columns
        return False

    _fits: Any = None  # columns that were compared with the table's last

    def _schema(self) -> dict[str, str] | None:
        """The source's columns as the table has them: name to type."""
        self._fits = None
        if self._table is None:
            return None
        own = {name for name, _ in OWN}
        return {f.name: str(f.field_type) for f in self._table.schema().fields if f.name not in own}

    # ── Commits ──────────────────────────────────────────────────────────────────────────────────
    def _evolve(self, columns: tuple[cdc.Column, ...]) -> None:
        """Make the table, or teach it what a changed schema has; its position stays.

        A column with a default: the source's rows have it, and no event says so, since none of them was written. All
        rows here are from before the change, so all get the default, in the commit that adds the column. Memory: the
        whole table, if there is a default.
        """
        from pyiceberg.expressions import AlwaysTrue

        there = self._schema()
        if there is None:
            self._table = _create(self.lake, self.name, columns)
            self.counts["created"] += 1
            return
        change = cdc.evolution(there, columns)
        defaults = {column.name: cdc.value(column, column.default) for column in change.add}
        with_default = any(value is not None for value in defaults.values())
        rows = self._table.scan().to_arrow() if with_default else None
        transaction = self._table.transaction()
        with transaction.update_schema() as update:
            for column in change.add:
                update.add_column(column.name, _type(cdc.iceberg_type(column)))
            for name, wider in change.widen:
                update.update_column(name, _type(wider))
        if rows is not None and len(rows):
            table = _filled(rows, transaction.table_metadata.schema(), defaults)
            transaction.delete(AlwaysTrue(), snapshot_properties=_PARTIAL)
            transaction.append(table, snapshot_properties=self._committed.to_properties())
        self._on_step("written")
        self._table = transaction.commit_transaction()
        self._on_step("committed")
        self.counts["evolved"] += 1

    def _commit(self, batch: Batch) -> None:
        from pyiceberg.expressions import AlwaysTrue, In, LessThan

        self._send(batch.letters)
        newest = {} if batch.emptied else cdc.latest(batch.changes)
        # Of a batch that ends a snapshot, what is older than it goes the way of the table's rows: below.
        rows = [c for c in newest.values() if c.row is not None and c.version.snapshot >= batch.sweep]
        properties = batch.position.to_properties()
        if self._table is None:  # refused records only, and nothing to write their position to
            self._committed = batch.position
            return
        transaction = self._table.transaction()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Delete operation did not match")  # as when all keys are new
            if newest and self._table.current_snapshot() is not None:
                transaction.delete(In(self.key, set(newest)), snapshot_properties=_PARTIAL)
            if batch.sweep:
                transaction.delete(LessThan("_snapshot", batch.sweep), snapshot_properties=_PARTIAL)
            if batch.emptied:
                transaction.delete(AlwaysTrue(), snapshot_properties=_PARTIAL)
        transaction.append(_arrow(rows, self._table.schema()), snapshot_properties=properties)
        self._on_step("written")
        self._table = transaction.commit_transaction()
        self._committed = batch.position
        self._on_step("committed")
        self.counts += Counter(records=batch.records, upserts=len(rows), deletes=len(newest) - len(rows), commits=1)
        self.counts += Counter(swept=batch.sweep > 0, emptied=batch.emptied)

    def _send(self, letters: list[tuple[Any, str]]) -> None:
        """Dead letters first: sent twice after a crash, they have the same key, and count once."""
        for record, reason in letters:
            place = (record.topic, record.partition, record.offset)
            about = dict(zip(("topic", "partition", "offset", "reason"), (*place, reason)))
            headers = [(name, str(text).encode()) for name, text in about.items()]
            headers += [("key", record.key)] if record.key is not None else []
            producer, topic = self._letters
            name = "-".join(map(str, place)).encode()
            producer.send(topic, key=name, value=record.value, headers=headers, timestamp_ms=record.timestamp)
        if letters:
            self._letters[0].flush(timeout=30)
            self.counts["letters"] += len(letters)
            self._on_step("letters")

    def catch_up(self, *, seconds: float = 60.0, clock: Clock = monotonic) -> int:
        """Step until the topic's end as it is now is in the table; returns how many records that took.

        Raises ServiceError after `seconds`, and what `step` raises.
        """
        [end] = self._consumer.end_offsets([self._place]).values()
        deadline, done = clock() + seconds, 0
        while self._reader is None or self._rest or self._consumer.position(self._place) < end:
            done += self.step(0.2)
            if clock() > deadline:
                raise ServiceError(f"{self.name} is at {self._committed.offset} of {end} after {seconds:g} s")
        return done


def position(table: Any) -> cdc.Position | None:
    """What the newest snapshot that has one says (one by a compaction leaves it to its ancestors). None if it is empty.

    Raises CorruptionError when no snapshot that is kept has one: beginning anywhere would be a guess; and for a table
    that was rolled back into the middle of a commit.
    """
    snapshot = table.current_snapshot() if table is not None else None
    if snapshot is None:
        return None
    if snapshot.summary.get("cdc.partial"):
        raise CorruptionError(
            f"{table.name()} stands at a snapshot with half of a commit; roll it back to {snapshot.parent_snapshot_id}"
        )
    while snapshot is not None:
        found = cdc.Position.from_properties(snapshot.summary)
        if found is not None:
            return found
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
    raise CorruptionError(f"{table.name()} has rows, and no snapshot of its history says up to which record")


def _type(name: str) -> Any:
    from pyiceberg.types import IcebergType

    return IcebergType.model_validate(name)


def _create(lake: Any, name: str, columns: Iterable[cdc.Column]) -> Any:
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    lake.create_namespace_if_not_exists(name.split(".")[0])
    kinds = [(column.name, cdc.iceberg_type(column)) for column in columns] + list(OWN)
    schema = Schema(*(NestedField(i, column, _type(kind)) for i, (column, kind) in enumerate(kinds, start=1)))
    # pyiceberg would try a commit that lost a race again, on top of the winner's: the batch would be there twice.
    return lake.create_table(name, schema, properties={"format-version": "2", "commit.retry.num-retries": "0"})


def _arrow(changes: list[cdc.Change], schema: Any) -> Any:
    """Rows as an Arrow table of the Iceberg table's columns; a column that an event does not have is null."""
    import pyarrow as pa

    own = {"_snapshot": [c.version.snapshot for c in changes], "_lsn": [c.version.change for c in changes]}
    seen = {id(c.columns): c.columns for c in changes}.values()
    kinds = {column.name: column for columns in seen for column in columns}
    arrow = schema.as_arrow()
    arrays = []
    for column in arrow:
        if column.name in own:
            values = own[column.name]
        elif column.name in kinds:
            values = [cdc.value(kinds[column.name], c.row.get(column.name)) for c in changes]
        else:
            values = [None] * len(changes)
        arrays.append(pa.array(values, column.type))
    return pa.Table.from_arrays(arrays, schema=arrow)


def _filled(rows: Any, schema: Any, defaults: dict[str, Any]) -> Any:
    """`rows` under a newer schema, with the defaults in its new columns."""
    import pyarrow as pa

    arrow = schema.as_arrow()
    arrays = [
        rows[column.name].cast(column.type) if column.name in rows.column_names
        else pa.array([defaults.get(column.name)] * len(rows), column.type)
        for column in arrow
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=arrow)
