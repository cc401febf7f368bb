"""Debezium connectors as code: what each reads and under which names, applied once, and drift refused.

As with topics: `plan` compares the design with what the worker has, `apply` creates what is missing, and a connector
that differs from its design is somebody's decision to make, not ours. The other end is watched here as well: the
replication slot, which keeps the database's log for a reader that may never come back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from principal_kit.core.clock import wait_until
from principal_kit.core.errors import KitError
from principal_kit.platform import log
from principal_kit.platform.shop_database import TABLES


class ConnectorDrift(KitError):
    """A connector exists and is not what the design says. Nothing was changed."""


@dataclass(frozen=True)
class Connector:
    """One connector of the design: its name, its settings, and why it is there."""

    name: str
    config: Mapping[str, str]
    why: str

    @property
    def slot(self) -> str:
        """The replication slot that it reads."""
        return self.config["slot.name"]

    def topic(self, table: str) -> str:
        """The topic of one of its tables."""
        return f"{self.config['topic.prefix']}.public.{table}"


def _debezium(name: str, postgres: Any, password: str, tables: Iterable[str], snapshot: str) -> dict[str, str]:
    slot = name.replace(".", "_").replace("-", "_")
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",  # PostgreSQL's own output plugin: nothing to install in the database
        "database.hostname": postgres.host,
        "database.port": str(postgres.port),
        "database.user": postgres.user,
        "database.password": password,
        "database.dbname": postgres.database,
        "topic.prefix": name,
        "slot.name": slot,
        "publication.name": slot,
        "publication.autocreate.mode": "filtered",  # the tables below, not all: others' changes are not even sent
        "table.include.list": ",".join(f"public.{table}" for table in tables),
        "snapshot.mode": snapshot,
        "exactly.once.support": "required",  # a worker that has it not switched on refuses the connector
        "poll.interval.ms": "50",
        "retriable.restart.connector.wait.ms": "1000",  # after a lost database: ten seconds by default
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",  # a table's order, and the end of its snapshot, are one partition's
        "topic.creation.default.cleanup.policy": "delete",
        "topic.creation.default.retention.ms": "-1",
        "skipped.operations": "none",  # by default nobody hears of a TRUNCATE
    }


def tables(postgres: Any, password: str, *, name: str = "shop", snapshot: str = "when_needed") -> Connector:
    """The shop's tables, with a heartbeat that is written to the database itself.

    Args:
        postgres: an endpoint with host, port, user, database.
        password: or what stands for it (`ConnectEndpoint.secret`).
        name: of the connector, its slot and its topics.
        snapshot: Debezium's `snapshot.mode`. "when_needed" takes a new snapshot also when the place where it stopped is
            no longer in the log; "initial" fails then, and waits for a person.
    """
    config = _debezium(name, postgres, password, (*TABLES, "heartbeat"), snapshot) | {
        # While only other tables change, nothing of ours is in the log, and the slot would not move on.
        "heartbeat.interval.ms": "1000",
        "heartbeat.action.query": "UPDATE heartbeat SET at = now() WHERE id = 1",
    }
    return Connector(name, config, "a copy of the shop's tables for whoever must not query the shop")


def outbox(postgres: Any, password: str, *, name: str = "events") -> Connector:
    """The outbox: rows become events, each in the topic of its aggregate's kind, keyed by the aggregate's id."""
    # No snapshot: the table is always empty, so one would save no position, and a worker killed before its first event
    # would take another, behind events that nobody has read. Without one it begins where the slot was made.
    config = _debezium(name, postgres, password, ("outbox",), "no_data") | {
        "tombstones.on.delete": "false",
        "transforms": "outbox",
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.route.topic.replacement": f"{name}.${{routedByValue}}",
        "transforms.outbox.table.fields.additional.placement": "type:header:type",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    }
    return Connector(name, config, "events that are published if and only if their transaction committed")


@dataclass(frozen=True)
class Plan:
    """What `apply` will do: connectors to `create`, and what differs, one line a difference, in `drift`."""

    create: tuple[Connector, ...]
    drift: tuple[str, ...]


def plan(wanted: Iterable[Connector], existing: Mapping[str, Mapping[str, str]]) -> Plan:
    """Compare a design with a worker's connectors (name to configuration). Changes nothing; passwords are not shown.

    >>> plan([Connector("c", {"tasks.max": "1"}, "…")], {"c": {"tasks.max": "2"}}).drift
    ('c has tasks.max=2, the design says 1',)
    """
    create, drift = [], []
    for connector in wanted:
        if connector.name not in existing:
            create.append(connector)
            continue
        there = existing[connector.name]
        for key in sorted(connector.config.keys() | there.keys()):
            has, says = there.get(key), connector.config.get(key)
            if has != says:
                hidden = "password" in key
                pair = ("another value", "its own") if hidden else (has or "nothing", says or "nothing")
                drift.append(f"{connector.name} has {key}={pair[0]}, the design says {pair[1]}")
    return Plan(tuple(create), tuple(drift))


def apply(connect: Any, wanted: Iterable[Connector], *, seconds: float = 60.0) -> Plan:
    """Create what is missing and wait until it runs; a second call creates nothing. Returns what was done.

    Raises ConnectorDrift, having changed nothing, when a connector is there and differs; what `connect` raises.
    """
    wanted = tuple(wanted)
    existing = {c.name: config for c in wanted if (config := connect.config(c.name)) is not None}
    todo = plan(wanted, existing)
    if todo.drift:
        raise ConnectorDrift("; ".join(todo.drift) + ". Change the connector or the design, then run this again")
    for connector in todo.create:
        connect.put(connector.name, connector.config)
    for connector in wanted:
        connect.wait(connector.name, seconds=seconds)
    return todo


def envelopes(kafka: Any, connector: Connector, table: str) -> list[tuple[Any, dict[str, Any]]]:
    """All that a table's topic holds and a careful reader may see: each record with the envelope in it. O(topic).

    Raises what `log.read` raises.
    """
    consumer, topic = kafka.consumer(isolation_level="read_committed"), connector.topic(table)
    try:
        records = list(log.read(consumer, topic, log.beginning(consumer, topic), log.ends(consumer, topic)))
    finally:
        consumer.close()
    return [(record, json.loads(record.value)["payload"]) for record in records if record.value]


# ── The slot ─────────────────────────────────────────────────────────────────────────────────────
class Slot(NamedTuple):
    """A replication slot: is it read, bytes of the log `kept` for it, and bytes its reader is `behind`.

    `status` is PostgreSQL's own word: reserved, extended, unreserved, lost.
    """

    active: bool
    kept: int
    behind: int
    status: str


def slot(connection: Any, name: str) -> Slot | None:
    """What PostgreSQL says of a slot; None if there is none. `kept` and `behind` are 0 for one that is lost."""
    row = connection.execute(
        "SELECT active, coalesce(pg_current_wal_lsn() - restart_lsn, 0)::bigint, "
        "coalesce(pg_current_wal_lsn() - confirmed_flush_lsn, 0)::bigint, wal_status "
        "FROM pg_replication_slots WHERE slot_name = %s", (name,),
    ).fetchone()  # fmt: skip
    return Slot(*row) if row else None


def wait_read(connection: Any, connector: Connector, *, seconds: float = 60.0) -> None:
    """Wait until somebody reads the connector's slot: a state of RUNNING does not say so.

    A task that starts while its database is away fails, and stays so until somebody restarts it; one that has begun to
    read tries for ever. So whoever kills both waits for this in between. Raises ServiceError after `seconds`.
    """
    read = lambda: getattr(slot(connection, connector.slot), "active", False)  # noqa: E731
    wait_until(read, f"slot {connector.slot} is not read", seconds=seconds)


def drop(connection: Any, connector: Connector, *, seconds: float = 10.0) -> None:
    """Remove the slot and the publication of a connector that was halted or deleted; they outlive it.

    Raises ServiceError when somebody reads the slot for `seconds` more.
    """
    free = lambda: not getattr(slot(connection, connector.slot), "active", False)  # noqa: E731
    wait_until(free, f"slot {connector.slot} is still read: delete its connector first", seconds=seconds)
    if slot(connection, connector.slot) is not None:
        connection.execute("SELECT pg_drop_replication_slot(%s)", (connector.slot,))
    connection.execute(f'DROP PUBLICATION IF EXISTS "{connector.config["publication.name"]}"')


def mark(connection: Any, kafka: Any, connector: Connector, *, seconds: float = 60.0) -> None:
    """Wait until all that is committed now is in the topics: write a mark and see it come out at the other end.

    One task reads the log in the order of commits, so what was committed before the mark is in Kafka before it. A
    snapshot has no such order: its row of the mark may come before another table's rows. So if the mark comes out of
    one, it is written again, and waited for in the stream behind it. For a worker with exactly-once sources: without,
    records of several topics arrive in any order. Raises ServiceError after `seconds`.
    """
    text, topic = uuid.uuid4().hex, connector.topic("heartbeat")
    consumer = kafka.consumer(isolation_level="read_committed")

    def write() -> None:
        connection.execute("UPDATE heartbeat SET mark = %s WHERE id = 1", (text,))

    def seen() -> bool:
        polled = [r.value or b"" for records in consumer.poll(timeout_ms=100).values() for r in records]
        operations = {json.loads(value)["payload"]["op"] for value in polled if text.encode() in value}
        if operations == {"r"}:
            write()
        return bool(operations - {"r"})

    try:
        wait_until(lambda: bool(consumer.partitions_for_topic(topic)), f"topic {topic}", seconds=seconds)
        start = log.ends(consumer, topic)
        write()
        log.assign(consumer, topic, start)
        wait_until(seen, f"the mark in {topic}", seconds=seconds, wait=lambda _: None)
    finally:
        consumer.close()
