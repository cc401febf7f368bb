"""The dashboard's questions in SQL (`queries/*.sql`), asked of one snapshot of each Iceberg table through DuckDB.

pyiceberg reads a snapshot's metadata and says which Parquet files can have an answer; DuckDB reads of those the columns
and row groups it needs. What is read was committed and never changes, so no query waits for a writer or holds one up.
The SQL is Trino's as well: there the tables are `lake.<namespace>.…`, and time travel is `FOR TIMESTAMP AS OF`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from principal_kit.core.errors import InvalidArgument, KitError, MissingPrerequisite

if TYPE_CHECKING:
    import pandas as pd

QUERIES = {
    "revenue_per_minute": ("orders",),
    "funnel": ("clicks", "orders"),
    "top_products": ("orders",),
    "stock_outs": ("stock_levels",),
    "fraud_rate": ("fraud_alerts", "orders"),
}
"""Query to the tables it reads."""
TIME = {
    "clicks": "event_time", "orders": "event_time", "stock_moves": "event_time", "sessions": "finished",
    "stock_levels": "window_end", "low_stock_alerts": "window_end", "fraud_alerts": "last_order",
}  # fmt: skip
"""Table to the column that says when, in the shop's time."""
_FOLDER = Path(__file__).parent / "queries"
_KINDS = {
    "string": "VARCHAR", "long": "BIGINT", "int": "INTEGER", "boolean": "BOOLEAN", "double": "DOUBLE", "date": "DATE",
    "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip


def source(name: str) -> str:
    """A query's file as it is. Raises InvalidArgument on an unknown name."""
    if name not in QUERIES:
        raise InvalidArgument(f"query {name!r} is unknown; known: {', '.join(QUERIES)}")
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


class Span(NamedTuple):
    """Shop time from `start_ms` to before `end_ms`, in milliseconds since 1970."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Scan:
    """What a query has to open of one table: its `snapshot` (None: there is none yet), files, their rows and bytes."""

    table: str
    snapshot: int | None
    files: int
    rows: int
    bytes: int


class Dashboard:
    """The queries over the tables of `namespace`, each table as it was when it was last `refresh`ed.

    Each table is consistent in itself. Iceberg commits one table at a time, and the jobs that write ours commit apart,
    so one table may be a checkpoint ahead of another; `freshness` says how far.

    Args:
        lake: a pyiceberg catalog.
    """

    def __init__(self, lake: Any, namespace: str) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise MissingPrerequisite("DuckDB is missing: pip install 'principal-kit[pipeline]'") from error
        self.lake, self.namespace = lake, namespace
        # All it needs is in the package: nothing is to be fetched at the first odd function.
        settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        self._duck = duckdb.connect(config=settings)
        self._duck.execute("SET TimeZone = 'UTC'")  # a minute begins where it begins for Flink, wherever we are
        self._tables: dict[str, Any] = {}
        self.refresh()

    def close(self) -> None:
        """Let go of DuckDB's memory."""
        self._duck.close()

    def refresh(self) -> dict[str, int | None]:
        """Move on to the newest snapshots; returns table to snapshot id."""
        self._tables = {name: self.lake.load_table(f"{self.namespace}.{name}") for name in TIME}
        return self.snapshot()

    def snapshot(self, at: int | None = None) -> dict[str, int | None]:
        """Table to the id of the snapshot that queries see: the pinned one, or at wall time `at` (ms) the newest then.

        Raises InvalidArgument for a moment before the oldest snapshot that a table still knows, if it has forgotten some.
        """
        return {name: self._snapshot(name, at) for name in TIME}

    def _snapshot(self, name: str, at: int | None) -> int | None:
        table = self._tables[name]
        if at is None:
            current = table.current_snapshot()
            return current.snapshot_id if current else None
        if then := table.snapshot_as_of_timestamp(at):
            return then.snapshot_id
        oldest = min(table.snapshots(), key=lambda s: s.timestamp_ms, default=None)
        if oldest and oldest.parent_snapshot_id is not None:
            raise InvalidArgument(
                f"{name} has forgotten what it was at {at}: its oldest snapshot is of {oldest.timestamp_ms}"
            )
        return None

    def query(self, name: str, at: int | None = None, during: Span | None = None) -> pd.DataFrame:
        """The answer to a query.

        Args:
            at: as it would have been answered at this wall time (ms since 1970), from what was committed then.
            during: of nothing but what happened then; files without such rows are not opened.

        Raises InvalidArgument (unknown name, forgotten moment), KitError (rows deleted in a way we cannot read).
        """
        sql = source(name)
        for table in QUERIES[name]:
            self._show(table, at, during)
        return self._duck.execute(sql).df()

    def plan(self, name: str, at: int | None = None, during: Span | None = None) -> list[Scan]:
        """What `query` with these arguments opens, from the tables' metadata alone; no data is read."""
        source(name)
        scans = []
        for table in QUERIES[name]:
            files = [task.file for task in self._tasks(table, at, during)]
            sizes = sum(file.record_count for file in files), sum(file.file_size_in_bytes for file in files)
            scans.append(Scan(table, self._snapshot(table, at), len(files), *sizes))
        return scans

    def freshness(self, wall_ms: int) -> pd.DataFrame:
        """Each table's snapshot, when it was committed, its newest event (ms), and how old that is at `wall_ms` (s).

        `wall_ms` is shop time, as the events' is; of a live day, the wall's. Reads one column of each table.
        """
        import pandas as pd

        rows = []
        for name, column in TIME.items():
            self._show(name, None, None)
            newest = self._duck.execute(f"SELECT epoch_ms(max({column})) FROM {name}").fetchone()[0]
            current = self._tables[name].current_snapshot()
            age = None if newest is None else (wall_ms - newest) / 1000
            rows.append((name, current and current.snapshot_id, current and current.timestamp_ms, newest, age))
        frame = pd.DataFrame(rows, columns=["table", "snapshot", "committed_ms", "newest_ms", "age_seconds"])
        return frame.astype({"snapshot": "Int64", "committed_ms": "Int64", "newest_ms": "Int64", "age_seconds": float})

    # ── One snapshot of a table as a view ────────────────────────────────────────────────────────
    def _scan(self, name: str, at: int | None, during: Span | None) -> Any:
        from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, LessThan

        where: Any = AlwaysTrue()
        if during:
            start, end = (_moment(ms, self._zoned(name)) for ms in during)
            where = And(GreaterThanOrEqual(TIME[name], start), LessThan(TIME[name], end))
        return self._tables[name].scan(row_filter=where, snapshot_id=self._snapshot(name, at))

    def _zoned(self, name: str) -> bool:
        return str(self._tables[name].schema().find_type(TIME[name])) == "timestamptz"

    def _tasks(self, name: str, at: int | None, during: Span | None) -> list[Any]:
        if self._snapshot(name, at) is None:
            return []
        try:
            return list(self._scan(name, at, during).plan_files())
        except ValueError as error:  # what pyiceberg says to equality deletes
            raise KitError(f"{name} has rows deleted in a way that pyiceberg cannot read: {error}") from error

    def _show(self, name: str, at: int | None, during: Span | None) -> None:
        """Make the snapshot the view `name`: of its Parquet files, or of Arrow data where those do not tell all."""
        tasks = self._tasks(name, at, during)
        kinds = {field.name: (field.field_id, str(field.field_type)) for field in self._tables[name].schema().fields}
        paths = [task.file.file_path for task in tasks]
        if not paths:
            columns = ", ".join(f"CAST(NULL AS {_KINDS[kind]}) AS {column}" for column, (_, kind) in kinds.items())
            view = f"SELECT {columns} WHERE false"
        elif all(path.startswith("file:") for path in paths) and not any(task.delete_files for task in tasks):
            # Columns are found by Iceberg's ids: a file that is older than a column gives null, a new name no surprise.
            fields = ", ".join(
                f"{id}: {{name: '{column}', type: '{_KINDS[kind]}', default_value: NULL}}"
                for column, (id, kind) in kinds.items()
            )
            view = f"SELECT * FROM read_parquet({_texts(paths)}, schema = MAP {{{fields}}})"
        else:
            self._duck.register(f"{name}_rows", self._scan(name, at, during).to_arrow())
            view = f"SELECT * FROM {name}_rows"
        if during:  # a file with a fitting row has others too
            start, end = (f"make_timestamp({ms * 1000})" for ms in during)
            at_zone = " AT TIME ZONE 'UTC'" if self._zoned(name) else ""
            view = f"SELECT * FROM ({view}) WHERE {TIME[name]} >= {start}{at_zone} AND {TIME[name]} < {end}{at_zone}"
        self._duck.execute(f"CREATE OR REPLACE VIEW {name} AS {view}")


def _moment(ms: int, zoned: bool) -> str:
    import pandas as pd

    return pd.Timestamp(ms, unit="ms", tz="UTC" if zoned else None).isoformat(timespec="microseconds")


def _texts(texts: Iterable[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"
