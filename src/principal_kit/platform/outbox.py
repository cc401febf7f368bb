"""The outbox: an event is a row of the same transaction as the change that it tells of, and the log publishes it.

Two writes to two systems have a moment between them. Whoever dies in it has changed the database and told nobody, or,
the other way round, has told everybody of an order that does not exist. One write has no such moment; what is left is
that an event may come twice, so it has an id, and whoever receives it remembers ids.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from principal_kit.core.clock import wait_until
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.platform import log

SCHEMA = """
CREATE TABLE outbox (
  id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL,
  payload jsonb NOT NULL
)
"""


class Event(NamedTuple):
    """What happened to an aggregate (here: an order). `id` is the event's own: a copy of it has the same."""

    id: str
    aggregate: str
    type: str
    payload: dict[str, Any]


def publish(connection: Any, event: Event, *, kind: str = "order") -> None:
    """Write an event in the transaction that `connection` is in; it is published if that commits.

    The row is deleted at once: what is published is the log of its insertion, and the table stays empty. Raises
    InvalidArgument outside a transaction, where the two would be one each.
    """
    from psycopg.pq import TransactionStatus
    from psycopg.types.json import Jsonb

    if connection.info.transaction_status == TransactionStatus.IDLE:
        raise InvalidArgument("no transaction is open; expected the one that makes the change which the event tells of")
    values = (event.id, kind, event.aggregate, event.type, Jsonb(event.payload))
    connection.execute("INSERT INTO outbox VALUES (%s, %s, %s, %s, %s)", values)
    connection.execute("DELETE FROM outbox WHERE id = %s", (event.id,))


def _insert(connection: Any, id: int, cents: int) -> None:
    connection.execute("INSERT INTO orders VALUES (%s, 1, 1, %s, 'placed', now())", (id, cents))


def _placed(id: int, cents: int) -> Event:
    return Event(str(uuid.uuid5(uuid.NAMESPACE_OID, f"order {id} placed")), str(id), "placed", {"cents": cents})


def place(connection: Any, id: int, cents: int, *, between: Callable[[], None] = lambda: None) -> None:
    """Place an order and publish it, in one transaction. `between` is called between the writes: it may crash."""
    with connection.transaction():
        _insert(connection, id, cents)
        between()
        publish(connection, _placed(id, cents))


def place_twice_written(
    connection: Any,
    send: Callable[[Event], None],
    id: int,
    cents: int,
    *,
    event_first: bool = False,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Place an order and tell Kafka, one after the other. WRONG in either order, and here to be seen failing."""
    writes = [lambda: _insert(connection, id, cents), lambda: send(_placed(id, cents))]
    first, second = reversed(writes) if event_first else writes
    first()
    between()
    second()


def parse(record: Any) -> Event:
    """The event in a record that Debezium's EventRouter made. Raises CorruptionError on a record that is none."""
    headers = dict(record.headers)
    try:
        return Event(headers["id"].decode(), record.key.decode(), headers["type"].decode(), json.loads(record.value))
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise CorruptionError(
            f"the record at {record.topic}-{record.partition}-{record.offset} is no event: {error!r}; expected headers "
            "id and type, and JSON"
        ) from error


def receive(kafka: Any, topic: str, events: int, *, seconds: float = 30.0) -> list[Event]:
    """The first `events` events of a topic, which may not exist yet. Raises ServiceError when they do not come."""
    consumer = kafka.consumer(isolation_level="read_committed")
    found: list[Event] = []

    def enough() -> bool:
        for records in consumer.poll(timeout_ms=100).values():
            found.extend(parse(record) for record in records)
        return len(found) >= events

    try:
        wait_until(lambda: bool(consumer.partitions_for_topic(topic)), f"topic {topic}", seconds=seconds)
        log.assign(consumer, topic, log.beginning(consumer, topic))
        wait_until(enough, f"{events} events in {topic}", seconds=seconds)
    finally:
        consumer.close()
    return found[:events]


class Inbox:
    """Lets each event through once, by its id, remembered in the receiver's own database.

    `handle` and the id are one transaction, so neither a crash nor a second delivery makes it happen twice.
    """

    def __init__(self, connection: Any, name: str, handle: Callable[[Any, Event], None]) -> None:
        self.connection, self.name, self.handle = connection, name, handle
        connection.execute("CREATE TABLE IF NOT EXISTS inbox (name text, id uuid, PRIMARY KEY (name, id))")

    def receive(self, event: Event) -> bool:
        """Handle an event unless that was done before; returns whether it was done now."""
        with self.connection.transaction():
            new = self.connection.execute(
                "INSERT INTO inbox VALUES (%s, %s) ON CONFLICT DO NOTHING", (self.name, event.id)
            ).rowcount
            if new:
                self.handle(self.connection, event)
        return bool(new)
