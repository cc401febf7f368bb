"""The shop's Iceberg tables as code: columns, how they are partitioned, who writes them; and their upkeep.

An Iceberg table is a pointer to a metadata file that lists the files of a snapshot. The catalog keeps the pointer as a
row in PostgreSQL, so a commit is one compare-and-swap there, whoever makes it: Flink's sink or pyiceberg.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from principal_kit.core.errors import InvalidArgument, KitError

if TYPE_CHECKING:
    import pyarrow

CATALOG = "lake"


class TableDrift(KitError):
    """A table exists with other columns than the design says. Nothing was changed."""


@dataclass(frozen=True)
class Table:
    """One table of the design: `columns` as (name, Iceberg type), partitioned by the hour of `by_hour` if given."""

    name: str
    columns: tuple[tuple[str, str], ...]
    by_hour: str | None
    why: str


_SENT = (("event_time", "timestamptz"), ("sent_at", "timestamptz"), ("late", "boolean"), ("trace_id", "string"))
DESIGN = (
    Table(
        "clicks",
        (("event_id", "string"), ("user_id", "string"), ("product_id", "string"), ("type", "string"),
         ("device", "string"), *_SENT),
        "event_time", "every good click once, late ones too: what a batch job or a new projection reads",
    ),
    Table(
        "orders",
        (("event_id", "string"), ("user_id", "string"), ("card_id", "string"), ("product_id", "string"),
         ("quantity", "long"), ("amount_cents", "long"), ("discount_cents", "long"), *_SENT),
        "event_time", "every good order once; revenue is a query over it",
    ),
    Table(
        "stock_moves",
        (("event_id", "string"), ("product_id", "string"), ("type", "string"), ("quantity", "long"), *_SENT),
        "event_time", "every good stock move once",
    ),
    Table(
        "sessions",
        (("user_id", "string"), ("started", "timestamp"), ("finished", "timestamp"),
         ("clicks", "long"), ("carts", "long"), ("checkouts", "long")),
        "started", "one row a visit, written when it is over",
    ),
    Table(
        "stock_levels",
        (("product_id", "string"), ("window_end", "timestamp"), ("delta", "long"), ("stock", "long")),
        "window_end", "one row for each product and ten seconds in which something moved",
    ),
    Table(
        "low_stock_alerts",
        (("product_id", "string"), ("window_end", "timestamp"), ("stock", "long")),
        None, "few rows; a product fell below the mark",
    ),
    Table(
        "fraud_alerts",
        (("card_id", "string"), ("rule", "string"), ("first_order", "timestamptz"), ("last_order", "timestamptz"),
         ("orders", "long"), ("cents", "long")),
        None, "few rows; a card's orders matched a pattern",
    ),
)  # fmt: skip


def catalog(dsn: str, warehouse: str) -> Any:
    """The Iceberg catalog in the PostgreSQL database `dsn` (postgresql://user:password@host:port/name).

    `warehouse` is where tables go, as a URI (file:///…, s3://…). Raises InvalidArgument on another kind of `dsn`.
    """
    from pyiceberg.catalog.sql import SqlCatalog

    if not dsn.startswith("postgresql://"):
        raise InvalidArgument(f"the catalog's address begins with {dsn.split(':')[0]!r}; expected postgresql://…")
    return SqlCatalog(
        CATALOG, uri="postgresql+psycopg://" + dsn.removeprefix("postgresql://"), warehouse=warehouse,
        init_catalog_tables="true", pool_pre_ping="true",  # a database that came back has none of our connections
    )  # fmt: skip


def _schema(table: Table) -> Any:
    from pyiceberg.schema import Schema
    from pyiceberg.types import BooleanType, LongType, NestedField, StringType, TimestampType, TimestamptzType

    kinds = {
        "string": StringType(), "long": LongType(), "boolean": BooleanType(),
        "timestamp": TimestampType(), "timestamptz": TimestamptzType(),
    }  # fmt: skip
    return Schema(*(NestedField(i, name, kinds[kind]) for i, (name, kind) in enumerate(table.columns, start=1)))


def create(lake: Any, namespace: str, design: Iterable[Table] = DESIGN) -> list[str]:
    """Create the tables that are missing; returns their names. A second call creates nothing.

    Raises TableDrift when a table is there and lacks a column of the design, or has it with another type.
    """
    from pyiceberg.exceptions import NoSuchTableError
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import HourTransform

    lake.create_namespace_if_not_exists(namespace)
    made = []
    for table in design:
        try:
            there = {f.name: str(f.field_type) for f in lake.load_table(f"{namespace}.{table.name}").schema().fields}
        except NoSuchTableError:
            schema = _schema(table)
            spec = PartitionSpec()
            if table.by_hour:
                source = schema.find_field(table.by_hour).field_id
                spec = PartitionSpec(PartitionField(source, 1000, HourTransform(), f"{table.by_hour}_hour"))
            lake.create_table(
                f"{namespace}.{table.name}", schema, partition_spec=spec,
                # Flink would hash rows by partition to writers, and make the partition's name as text for every row:
                # 7 % of a job's CPU, as recorded, and a shuffle. Without, each writer has a file an hour and commit.
                properties={"format-version": "2", "write.distribution-mode": "none"},
            )  # fmt: skip
            made.append(table.name)
            continue
        for name, kind in table.columns:
            if there.get(name) != kind:
                raise TableDrift(f"{table.name}.{name} is {there.get(name) or 'not there'}, the design says {kind}")
    return made


def read(lake: Any, namespace: str, name: str, *, snapshot: int | None = None) -> pyarrow.Table:
    """The rows of a table now, or as they were at `snapshot`."""
    return lake.load_table(f"{namespace}.{name}").scan(snapshot_id=snapshot).to_arrow()


@dataclass(frozen=True)
class Snapshot:
    """One commit: `id`, when (ms), what it did, rows and files it added, and how much there is after it.

    `job` and `checkpoint` are Flink's, if a Flink job wrote it.
    """

    id: int
    at_ms: int
    operation: str
    added_rows: int
    added_files: int
    rows: int
    files: int
    checkpoint: int | None
    job: str | None


def snapshots(lake: Any, namespace: str, name: str) -> list[Snapshot]:
    """The commits of a table that are still known, oldest first."""
    out = []
    for s in lake.load_table(f"{namespace}.{name}").snapshots():
        summary = s.summary
        number = lambda key, summary=summary: int(summary.get(key) or 0)  # noqa: E731
        checkpoint = summary.get("flink.max-committed-checkpoint-id")
        out.append(Snapshot(
            s.snapshot_id, s.timestamp_ms, summary.operation.value, number("added-records"), number("added-data-files"),
            number("total-records"), number("total-data-files"), int(checkpoint) if checkpoint else None,
            summary.get("flink.job-id"),
        ))  # fmt: skip
    return out


def compact(lake: Any, namespace: str, name: str, *, attempts: int = 5) -> tuple[int, int]:
    """Rewrite a table's files into one a partition, in one commit; returns files before and after.

    Small files are the price of freshness: a commit every few seconds is thousands of files a day. A writer that
    commits in the meantime makes this attempt void (its snapshot would be lost), and the next one starts over. Memory:
    the whole table. Raises KitError when `attempts` were not enough.
    """
    from pyiceberg.exceptions import CommitFailedException

    for _ in range(attempts):
        table = lake.load_table(f"{namespace}.{name}")
        before = sum(1 for _ in table.scan().plan_files())
        try:
            table.overwrite(table.scan().to_arrow())
        except CommitFailedException:
            continue
        return before, sum(1 for _ in lake.load_table(f"{namespace}.{name}").scan().plan_files())
    raise KitError(f"{name} was written to during each of {attempts} attempts to compact it", retry_after=5.0)


def roll_back(lake: Any, namespace: str, name: str, snapshot: int) -> None:
    """Make an earlier snapshot the current one again. The files of those after it stay until they are cleaned up.

    Stop the job that writes the table first: its next commit would go on top. Raises InvalidArgument when the table's
    history does not have `snapshot` below the current one.
    """
    try:
        lake.load_table(f"{namespace}.{name}").manage_snapshots().rollback_to_snapshot(snapshot).commit()
    except ValueError as error:
        raise InvalidArgument(f"{name} cannot go back to snapshot {snapshot}: {error}") from error


def expire(lake: Any, namespace: str, name: str, *, keep: int = 10) -> int:
    """Forget all but the newest `keep` snapshots, the current one and those that a tag names; returns how many.

    Flink's sink looks for its last checkpoint in the table's history when it starts again. A table that has forgotten
    it would take that checkpoint's files a second time, so `keep` covers more than the longest outage writes. Raises
    InvalidArgument on `keep` < 1.
    """
    if keep < 1:
        raise InvalidArgument(f"keep is {keep}; expected at least 1, the snapshot that readers see")
    table = lake.load_table(f"{namespace}.{name}")
    named = {ref.snapshot_id for ref in table.refs().values()}
    old = [s.snapshot_id for s in sorted(table.snapshots(), key=lambda s: s.timestamp_ms)][:-keep]
    old = [id for id in old if id not in named]
    if old:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    return len(old)
