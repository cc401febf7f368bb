"""The shop's operational database as code: three tables, a seeded day of transactions, and what is true at a moment.

The day is drawn as data, before anybody runs it, and changes the schema in its middle. What a copy has to equal is not
worked out from the day: it is asked of the database itself, in one snapshot, together with its place in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from principal_kit.core.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np

TABLES = ("products", "customers", "orders")
SCHEMA = """
CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, description text, price_cents int NOT NULL);
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL, country text, since date NOT NULL);
CREATE TABLE orders (
  id int PRIMARY KEY, customer_id int NOT NULL, product_id int NOT NULL, cents int NOT NULL, status text NOT NULL,
  placed timestamptz NOT NULL
);
-- One row that the connector itself touches: its slot moves on while no other table changes, and a mark written here
-- tells whoever reads it that everything committed before is in the topics.
CREATE TABLE heartbeat (id int PRIMARY KEY, mark text NOT NULL DEFAULT '', at timestamptz NOT NULL DEFAULT now());
INSERT INTO heartbeat (id) VALUES (1);
-- A long text is stored apart, and an UPDATE that leaves it alone does not log it, unless the whole old row is logged.
ALTER TABLE products REPLICA IDENTITY FULL;
"""
SCHEMA_CHANGE = (
    "ALTER TABLE products ADD COLUMN stock int NOT NULL DEFAULT 5",  # no row is written: the rows that are there have 5
    "ALTER TABLE orders ALTER COLUMN cents TYPE bigint",  # every row is written, and no change of them is in the log
)
_COUNTRIES = ("AT", "CH", "DE", "FR", None)


class Statement(NamedTuple):
    """SQL with its values."""

    sql: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Transaction:
    """Statements that happen together, or not at all: some are rolled back, and nobody may ever see those."""

    statements: tuple[Statement, ...]
    commit: bool = True


class _Day:
    """Draws statements that succeed, so it keeps account of which ids exist. A dropped transaction changes nothing."""

    def __init__(self, rng: np.random.Generator, products: int, customers: int, orders: int) -> None:
        self.rng, self.changed = rng, False
        self.next_id = {"products": products + 1, "customers": customers + 1, "orders": orders + 1}
        self.ids = {table: list(range(1, self.next_id[table])) for table in TABLES}

    def pick(self, table: str) -> int:
        return self.ids[table][int(self.rng.integers(len(self.ids[table])))]

    def insert(self, table: str, id: int) -> Statement:
        rng = self.rng
        if table == "products":
            text = "x" * int(rng.integers(10, 4_000)) if rng.random() < 0.3 else None
            return Statement("INSERT INTO products VALUES (%s, %s, %s, %s)", (id, f"p-{id}", text, _cents(rng, 90_000)))
        if table == "customers":
            country = _COUNTRIES[int(rng.integers(len(_COUNTRIES)))]
            values = (id, f"c{id}@example.org", country, f"2026-0{int(rng.integers(1, 10))}-11")
            return Statement("INSERT INTO customers VALUES (%s, %s, %s, %s)", values)
        cents = _cents(rng, 90_000) * (100_000 if self.changed else 1)  # what the wider column is there for
        values = (id, self.pick("customers"), self.pick("products"), cents)
        return Statement("INSERT INTO orders VALUES (%s, %s, %s, %s, 'placed', clock_timestamp())", values)

    def update(self, table: str) -> Statement:
        rng, id = self.rng, self.pick(table)
        if table == "products":
            if self.changed and rng.random() < 0.5:
                return Statement("UPDATE products SET stock = %s WHERE id = %s", (int(rng.integers(50)), id))
            return Statement("UPDATE products SET price_cents = %s WHERE id = %s", (_cents(rng, 90_000), id))
        if table == "customers":
            return Statement("UPDATE customers SET email = %s WHERE id = %s", (f"c{id}.{rng.integers(99)}@x.org", id))
        status = ("paid", "packed", "shipped")[int(rng.integers(3))]
        return Statement("UPDATE orders SET status = %s WHERE id = %s", (status, id))

    def transaction(self) -> Transaction:
        rng, commit = self.rng, self.rng.random() >= 0.05
        statements = []
        for _ in range(int(rng.integers(1, 4))):
            table = TABLES[int(rng.choice(3, p=(0.2, 0.2, 0.6)))]
            chance = rng.random()
            if chance < 0.45:
                id, self.next_id[table] = self.next_id[table], self.next_id[table] + 1
                statements.append(self.insert(table, id))
                if commit:
                    self.ids[table].append(id)
            elif chance < 0.9 or not commit or len(self.ids[table]) < 10:
                statements.append(self.update(table))
            else:  # and one in three comes back: the same key, another row
                id = self.ids[table].pop(int(rng.integers(len(self.ids[table]))))
                statements.append(Statement(f"DELETE FROM {table} WHERE id = %s", (id,)))
                if rng.random() < 0.3:
                    statements.append(self.insert(table, id))
                    self.ids[table].append(id)
        return Transaction(tuple(statements), commit)


def _cents(rng: np.random.Generator, most: int) -> int:
    return int(rng.integers(100, most))


def seed_rows(products: int = 200, customers: int = 200, orders: int = 600) -> list[Statement]:
    """What the tables hold when the day begins, one statement a table."""
    return [
        Statement(
            "INSERT INTO products SELECT n, 'p-' || n, CASE WHEN n %% 3 = 0 THEN repeat('y', n * 15) END, 100 + n "
            "FROM generate_series(1, %s) n", (products,),
        ),
        Statement(
            "INSERT INTO customers SELECT n, 'c' || n || '@example.org', CASE WHEN n %% 5 > 0 THEN 'DE' END, "
            "'2026-01-01'::date + n %% 90 FROM generate_series(1, %s) n", (customers,),
        ),
        Statement(
            "INSERT INTO orders SELECT n, 1 + n %% %s, 1 + n %% %s, 100 + n, 'placed', "
            "'2026-01-01T00:00:00Z'::timestamptz + n * interval '1.5 s' FROM generate_series(1, %s) n",
            (customers, products, orders),
        ),
    ]  # fmt: skip


def day(
    transactions: int,
    rng: np.random.Generator,
    *,
    products: int = 200,
    customers: int = 200,
    orders: int = 600,
    schema_change: bool = True,
    first_id: int | None = None,
) -> Iterator[Transaction]:
    """The transactions of a day after `seed_rows` of those sizes: inserts, updates, deletes, keys that come back.

    In its middle the schema changes: a column with a default comes in, and one becomes wider. `first_id` is that of new
    rows, for another day on the same tables (an update that meets no row changes nothing). Raises InvalidArgument when
    a table would begin with fewer than ten rows.
    """
    if min(products, customers, orders) < 10:
        raise InvalidArgument("expected at least ten rows a table to begin with")
    drawn = _Day(rng, products, customers, orders)
    if first_id is not None:
        drawn.next_id = dict.fromkeys(TABLES, first_id)
    for number in range(transactions):
        if schema_change and number == transactions // 2:
            yield Transaction(tuple(map(Statement, SCHEMA_CHANGE)))
            drawn.changed = True
        yield drawn.transaction()


def create(connection: Any, *, products: int = 200, customers: int = 200, orders: int = 600) -> None:
    """Make the tables and fill them. `connection` is psycopg's, in autocommit mode."""
    with connection.transaction():
        connection.execute(SCHEMA)
        for statement in seed_rows(products, customers, orders):
            connection.execute(*statement)


def run(connection: Any, transactions: Iterable[Transaction]) -> int:
    """Run transactions one after another, rolling back those that are to be; returns how many were committed."""
    import psycopg

    done = 0
    for transaction in transactions:
        with connection.transaction():
            for statement in transaction.statements:
                connection.execute(statement.sql, statement.values or None)
            if not transaction.commit:
                raise psycopg.Rollback
        done += transaction.commit
    return done


class Truth(NamedTuple):
    """The tables at one moment: where the log was, and each table's rows by their key."""

    lsn: int
    tables: dict[str, dict[Any, dict[str, Any]]]


def truth(connection: Any, tables: Iterable[str] = TABLES) -> Truth:
    """What the database holds now, all tables in one snapshot; all that it shows is in the log before `lsn`."""
    from psycopg.rows import dict_row

    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = {}
        for table in tables:
            with connection.cursor(row_factory=dict_row) as cursor:
                found[table] = {row["id"]: row for row in cursor.execute(f"SELECT * FROM {table}").fetchall()}
        [lsn] = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
    return Truth(int(lsn), found)


def straddle(postgres: Any, begin: Callable[[], object], sql: str, *, seconds: float = 30.0) -> Any:
    """Run `sql` in a transaction that is open across the snapshot which `begin` starts; returns its connection.

    The snapshot's place in the log is where a slot becomes consistent, and a slot waits for transactions that are open
    when it is made, then for those that were open when the first wait ended. One that begins during the second wait is
    waited for by nobody: what it has written so far is before that place, and the snapshot does not show it. Commit the
    connection when the snapshot has been read. `postgres` is an endpoint.
    """
    from principal_kit.core.clock import wait_until

    wait = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted AND transactionid = %s"
    first, second, third = (postgres.connect(autocommit=False) for _ in range(3))
    with postgres.connect() as watch, first, second:

        def holds_up(xid: Any) -> None:
            wait_until(lambda: watch.execute(wait, xid).fetchone()[0] > 0, "a slot that waits", seconds=seconds)

        try:
            one = first.execute("SELECT pg_current_xact_id()::xid").fetchone()
            begin()
            holds_up(one)
            two = second.execute("SELECT pg_current_xact_id()::xid").fetchone()
            first.commit()
            holds_up(two)
            third.execute(sql)
            second.commit()
        except BaseException:
            third.close()
            raise
    return third
