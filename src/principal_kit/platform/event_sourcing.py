"""Event sourcing of an order: the events are the record, every state is worked out from them.

`decide` looks at a state and says which events follow from a command; `evolve` folds an event into a state; neither
knows of a database. `Store` appends a stream's events if nobody was faster (expected version), in PostgreSQL.
`follow` reads all streams in an order in which nothing can turn up behind a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from principal_kit.core.errors import InvalidArgument, KitError
from principal_kit.core.hashing import is_integer

if TYPE_CHECKING:
    import numpy as np

SNAPSHOT_SCHEMA = 1
"""What a snapshot was written as; raise it with every change of `Order` or `evolve`, and old snapshots are ignored."""


class Rejected(KitError):
    """The order's state forbids the command. Nothing happened."""


class Conflict(KitError):
    """Somebody else appended to the stream first. Nothing was appended; load again, decide again."""


class Event(NamedTuple):
    """What happened; `cents` is the order's total, a payment or a refund, and 0 for what has no amount."""

    kind: str
    cents: int = 0


class Command(NamedTuple):
    """What somebody wants; `cents` as in `Event`."""

    kind: str
    cents: int = 0


@dataclass(frozen=True)
class Order:
    """One order now. `version` is the number of its events; amounts are in cents."""

    status: str = "new"
    version: int = 0
    total: int = 0
    paid: int = 0
    refunded: int = 0


RULES = {  # command: the states it is allowed in, the event that follows
    "place": (("new",), "placed"),
    "pay": (("placed",), "paid"),
    "pack": (("paid",), "packed"),
    "ship": (("packed",), "shipped"),
    "deliver": (("shipped",), "delivered"),
    "cancel": (("placed", "paid", "packed"), "cancelled"),
    "refund": (("delivered",), "refunded"),
}


def decide(order: Order, command: Command) -> list[Event]:
    """The events that a command leads to. Pure: no clock, no database, the same answer every time.

    Raises Rejected when the state forbids it, InvalidArgument on a command that is none.

    >>> decide(Order("paid", 2, 900, 900), Command("cancel"))
    [Event(kind='cancelled', cents=0), Event(kind='refunded', cents=900)]
    """
    if command.kind not in RULES or not is_integer(command.cents) or command.cents < 0:
        raise InvalidArgument(f"{command!r} is no command; expected one of {', '.join(RULES)} and cents of at least 0")
    states, event = RULES[command.kind]
    if order.status not in states:
        raise Rejected(f"cannot {command.kind} an order that is {order.status}; only one that is {' or '.join(states)}")
    left = order.paid - order.refunded
    if command.kind == "place" and not command.cents:
        raise Rejected("an order of 0 cents")
    if command.kind == "pay" and command.cents != order.total:
        raise Rejected(f"a payment of {command.cents} cents for an order of {order.total}")
    if command.kind == "refund" and not 0 < command.cents <= left:
        raise Rejected(f"a refund of {command.cents} cents, when {left} of those paid are left")
    if command.kind == "cancel":  # one decision, two facts: both are appended or neither is
        return [Event("cancelled"), *([Event("refunded", left)] if left else [])]
    return [Event(event, command.cents if command.kind in ("place", "pay", "refund") else 0)]


def evolve(order: Order, event: Event) -> Order:
    """The order after an event. It never refuses: what happened, happened, whatever today's rules say."""
    status = order.status if event.kind == "refunded" else event.kind
    order = replace(order, version=order.version + 1, status=status)
    if event.kind == "placed":
        return replace(order, total=event.cents)
    if event.kind == "paid":
        return replace(order, paid=event.cents)
    if event.kind == "refunded":
        return replace(order, refunded=order.refunded + event.cents)
    return order


def replay(events: Iterable[Event], start: Order | None = None) -> Order:
    """The order after all `events`. O(events)."""
    return reduce(evolve, events, start or Order())


def waits(connection: Any, store: Store) -> bool:
    """Whether a statement of `store` waits for another transaction, asked through a connection of the caller's."""
    pid = store.connection.info.backend_pid
    asked = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    return bool(connection.execute(asked, (pid,)).fetchone()[0])


def live(store: Store, stream: str, cents: int, rng: np.random.Generator) -> Order:
    """An order of `cents` lives its life: it gets some way to its delivery; of those that can, three in ten are
    cancelled, and three in ten of the delivered are given back in part. Returns it as it is then.
    """
    way = [Command("place", cents), Command("pay", cents), Command("pack"), Command("ship"), Command("deliver")]
    for command in way[: int(rng.integers(1, len(way) + 1))]:
        order = store.handle(stream, command)
    if order.status in RULES["cancel"][0] and rng.random() < 0.3:
        order = store.handle(stream, Command("cancel"))
    if order.status in RULES["refund"][0] and rng.random() < 0.3:
        order = store.handle(stream, Command("refund", int(rng.integers(1, cents + 1))))
    return order


# ── The store ────────────────────────────────────────────────────────────────────────────────────
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  writer xid8 NOT NULL DEFAULT pg_current_xact_id(),  -- the transaction that appended it: what makes `follow` safe
  stream text NOT NULL, version int NOT NULL, kind text NOT NULL, cents bigint NOT NULL,
  UNIQUE (stream, version)                            -- two writers with one expected version: the second fails
);
CREATE INDEX IF NOT EXISTS events_in_order ON events (writer, position);
CREATE TABLE IF NOT EXISTS snapshots (stream text PRIMARY KEY, schema int NOT NULL, version int NOT NULL, state jsonb);
CREATE TABLE IF NOT EXISTS projections (name text PRIMARY KEY, writer xid8 NOT NULL, position bigint NOT NULL);
"""


class Position(NamedTuple):
    """A place in the order of all events: the appending transaction, then the number within the table."""

    writer: int = 0
    position: int = 0


class Stored(NamedTuple):
    """An event with its stream, its version there (the first is 1) and its place among all."""

    at: Position
    stream: str
    version: int
    event: Event


class Store:
    """Streams of events in PostgreSQL, through one connection in autocommit mode (a store is used by one thread).

    Args:
        connection: of psycopg.
        every: write a snapshot when a stream has gained this many events since the last; 0 for never.
        schema: version of the snapshots' form; those of another are as good as none.

    Raises InvalidArgument on `every` below 0 or a connection that is not in autocommit mode.
    """

    def __init__(self, connection: Any, *, every: int = 100, schema: int = SNAPSHOT_SCHEMA) -> None:
        if not is_integer(every) or every < 0:
            raise InvalidArgument(f"every is {every!r}; expected a number of events, or 0 for no snapshots")
        if not connection.autocommit:
            raise InvalidArgument("the connection is not in autocommit mode; an append must be over when it returns")
        self.connection, self.every, self.schema = connection, every, schema

    def create(self) -> None:
        """Make the tables that are missing."""
        self.connection.execute(_TABLES)

    def append(self, stream: str, expected: int, events: Iterable[Event]) -> int:
        """Append all `events` or none, if the stream has `expected` of them; returns its new version.

        Raises Conflict if the stream has more, InvalidArgument if it has fewer (a version nobody can have seen).
        """
        from psycopg.errors import UniqueViolation

        rows = [(stream, expected + n, event.kind, event.cents) for n, event in enumerate(events, start=1)]
        try:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                cursor.execute("SELECT coalesce(max(version), 0) FROM events WHERE stream = %s", (stream,))
                (there,) = cursor.fetchone()
                if there < expected:
                    raise InvalidArgument(f"{stream} has no event {expected}; expected the version that was loaded")
                if there > expected:
                    raise Conflict(f"{stream} has more than {expected} events by now", retry_after=0.0)
                # Two may have seen the same number: the second of them fails at the table's key.
                cursor.executemany("INSERT INTO events (stream, version, kind, cents) VALUES (%s, %s, %s, %s)", rows)
        except UniqueViolation as error:
            raise Conflict(f"{stream} has more than {expected} events by now", retry_after=0.0) from error
        return expected + len(rows)

    def events(self, stream: str, after: int = 0) -> list[Event]:
        """A stream's events beyond version `after`, in order."""
        rows = self.connection.execute(
            "SELECT kind, cents FROM events WHERE stream = %s AND version > %s ORDER BY version", (stream, after)
        )
        return [Event(*row) for row in rows]

    def streams(self) -> list[str]:
        """The names of all streams."""
        return [name for (name,) in self.connection.execute("SELECT DISTINCT stream FROM events ORDER BY stream")]

    def load(self, stream: str) -> Order:
        """The order as it is: the newest usable snapshot and the events since. O(events since)."""
        row = self.connection.execute(
            "SELECT state FROM snapshots WHERE stream = %s AND schema = %s", (stream, self.schema)
        ).fetchone()
        start = Order(**row[0]) if row else Order()
        return replay(self.events(stream, start.version), start)

    def handle(self, stream: str, command: Command, *, attempts: int = 3) -> Order:
        """Load, decide, append; once more from the load when somebody was faster. Returns the order afterwards.

        Raises Rejected, or Conflict after `attempts`.
        """
        for left in reversed(range(attempts)):
            before = self.load(stream)
            events = decide(before, command)
            try:
                self.append(stream, before.version, events)
            except Conflict:
                if not left:
                    raise
                continue
            after = replay(events, before)
            if self.every and after.version // self.every > before.version // self.every:
                self.snapshot(stream, after)
            return after
        raise InvalidArgument(f"attempts is {attempts}; expected at least 1")

    def snapshot(self, stream: str, order: Order) -> None:
        """Keep `order` as the place to load from; an older one never replaces a newer one of the same schema."""
        from psycopg.types.json import Jsonb

        self.connection.execute(
            "INSERT INTO snapshots VALUES (%s, %s, %s, %s) ON CONFLICT (stream) DO UPDATE "
            "SET schema = excluded.schema, version = excluded.version, state = excluded.state "
            "WHERE (snapshots.schema, snapshots.version) < (excluded.schema, excluded.version)",
            (stream, self.schema, order.version, Jsonb(asdict(order))),
        )

    # ── Reading all streams ──────────────────────────────────────────────────────────────────────
    def after_position(self, position: int) -> list[Stored]:
        """What a reader gets that goes by position alone. WRONG, and here to be seen failing: see `follow`.

        A position is taken when a row is inserted, and seen when its transaction commits. A reader that has seen 2
        asks for what is above 2, and never gets the 1 of a transaction that took longer.
        """
        return self._read("position > %s ORDER BY position", (position,))

    def follow(self, after: Position = Position(), limit: int = 1000) -> list[Stored]:  # noqa: B008
        """The next events of all streams, in an order to which nothing is ever added in front of what was read.

        Every transaction below `pg_snapshot_xmin` has ended, so the events of those are complete; and by (transaction,
        position), no later transaction comes before them. The price: the oldest open transaction that has written
        anything, in any database of the server, holds all readers up. The limit: transaction numbers are one cluster's.
        In a dump restored elsewhere they mean nothing; write the events anew there, and let projections begin anew.
        """
        return self._read(
            "(writer, position) > (%s::text::xid8, %s) AND writer < pg_snapshot_xmin(pg_current_snapshot()) "
            "ORDER BY writer, position LIMIT %s",
            (str(after.writer), after.position, limit),
        )

    def _read(self, where: str, values: tuple[Any, ...]) -> list[Stored]:
        columns = "writer::text::bigint, position, stream, version, kind, cents"
        rows = self.connection.execute(f"SELECT {columns} FROM events WHERE {where}", values)
        return [Stored(Position(*row[:2]), row[2], row[3], Event(*row[4:])) for row in rows]

    def project(self, name: str, apply: Callable[[Any, Stored], None], *, limit: int = 1000) -> int:
        """Bring projection `name` up to date: `apply(connection, event)` for each it has not had; returns how many.

        Its tables and its position change in one transaction, so a crash repeats nothing and leaves nothing out. A name
        that is new begins with the first event ever: that is how a question nobody had asked is answered for the past.

        Args:
            limit: events a transaction, at least 1. While one is open, no other reader sees what was appended since.

        Raises InvalidArgument on `limit`, and what `apply` raises, with that transaction undone.
        """
        if not is_integer(limit) or limit < 1:
            raise InvalidArgument(f"limit is {limit!r}; expected a number of events of at least 1")
        done = 0
        while True:
            with self.connection.transaction():
                self.connection.execute("INSERT INTO projections VALUES (%s, '0', 0) ON CONFLICT DO NOTHING", (name,))
                at = self.connection.execute(
                    "SELECT writer::text::bigint, position FROM projections WHERE name = %s FOR UPDATE", (name,)
                ).fetchone()
                batch = self.follow(Position(*at), limit)
                for stored in batch:
                    apply(self.connection, stored)
                if batch:
                    self.connection.execute(
                        "UPDATE projections SET writer = %s::text::xid8, position = %s WHERE name = %s",
                        (str(batch[-1].at.writer), batch[-1].at.position, name),
                    )
            done += len(batch)
            if len(batch) < limit:
                return done
