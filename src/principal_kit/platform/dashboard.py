"""The dashboard's questions: SQL files over one moment of the lake, read by DuckDB.

pyiceberg plans which Parquet files a snapshot consists of, DuckDB reads them, each column by its id in the table, so a
file that is older than a column's name is read right. All snapshots are pinned when a dashboard is made, so its answers
belong together while jobs go on committing. The same files run on Trino unchanged: `pinned` gives them the snapshots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from principal_kit.core.errors import InvalidArgument, KitError
from principal_kit.platform import tables

if TYPE_CHECKING:
    import pandas as pd

QUERIES = ("revenue_per_minute", "funnel", "top_products", "low_stock", "fraud_rate")
_FOLDER = Path(__file__).parent / "queries"


def sql(name: str) -> str:
    """A query's text. Raises InvalidArgument on an unknown name."""
    if name not in QUERIES:
        raise InvalidArgument(f"query {name!r} is unknown; known: {', '.join(QUERIES)}")
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def pinned(query: str, snapshots: Mapping[str, int | None]) -> str:
    """SQL for Trino that answers `query` (one of `QUERIES`, or SQL without a WITH) as of `snapshots`, table by table.

    A table without a snapshot has no rows. In a WITH, a name still means the table, so each hides the one it reads.

    >>> pinned("SELECT count(*) FROM orders", {"orders": 7}).splitlines()[0]
    'WITH orders AS (SELECT * FROM orders FOR VERSION AS OF 7)'
    """
    text = sql(query) if query in QUERIES else query
    read = [name for name in snapshots if re.search(rf"\b{name}\b", text)]
    views = [
        f"{name} AS (SELECT * FROM {name} "
        + ("WHERE false)" if snapshots[name] is None else f"FOR VERSION AS OF {snapshots[name]})")
        for name in read
    ]
    return f"WITH {', '.join(views)}\n{text}" if views else text


_TYPES = {
    "string": "VARCHAR", "long": "BIGINT", "boolean": "BOOLEAN", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMPTZ",
}  # fmt: skip


def parquet(files: list[str], schema: Any) -> str:
    """DuckDB's table function over Parquet files of an Iceberg table, with the columns of its `schema` found by id.

    By name, a column that was renamed is empty in all files from before. Raises InvalidArgument on a type that no table
    of the design has.
    """
    columns = []
    for column in schema.fields:
        kind = _TYPES.get(str(column.field_type))
        if kind is None:
            raise InvalidArgument(f"{column.name} is of type {column.field_type}; known: {', '.join(_TYPES)}")
        columns.append(f"{column.field_id}: {{name: {_quoted(column.name)}, type: '{kind}', default_value: NULL}}")
    return f"read_parquet([{', '.join(map(_quoted, files))}], schema = MAP {{{', '.join(columns)}}})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Dashboard:
    """The lake at one moment.

    Args:
        lake, namespace: as for `tables.read`.
        at_ms: the moment, in milliseconds since 1970: each table's newest snapshot of then; default: now.

    Raises KitError when a table has delete files, which DuckDB would read past. `snapshots` has the id of each table's
    snapshot (None: it had none yet).
    """

    def __init__(self, lake: Any, namespace: str, *, at_ms: int | None = None) -> None:
        import duckdb

        self.snapshots: dict[str, int | None] = {}
        self._newest: dict[str, int] = {}
        self._db = duckdb.connect()
        self._db.execute("SET TimeZone = 'UTC'")
        for design in tables.DESIGN:
            self._pin(lake.load_table(f"{namespace}.{design.name}"), design.name, at_ms)

    def _pin(self, table: Any, name: str, at_ms: int | None) -> None:
        # By the table's own history, so that a snapshot that was rolled back is not taken for the newest.
        newest = table.current_snapshot() if at_ms is None else table.snapshot_as_of_timestamp(at_ms)
        self.snapshots[name] = newest.snapshot_id if newest else None
        files = []
        if newest is not None:
            self._newest[name] = newest.timestamp_ms
            for task in table.scan(snapshot_id=newest.snapshot_id).plan_files():
                if task.delete_files:
                    raise KitError(f"{name} has delete files; compact it, then ask again")
                files.append(task.file.file_path.removeprefix("file://"))
        if files:
            schema = table.scan(snapshot_id=newest.snapshot_id).projection()
            self._db.execute(f"CREATE VIEW {name} AS SELECT * FROM {parquet(sorted(files), schema)}")
        else:
            empty = table.schema().as_arrow().empty_table()
            self._db.from_arrow(empty).create(name)

    def ask(self, query: str) -> pd.DataFrame:
        """The answer to one of `QUERIES`, or to SQL of your own. O(rows of the tables it names)."""
        return self._db.sql(sql(query) if query in QUERIES else query).df()

    def freshness_s(self, now_ms: int) -> dict[str, float]:
        """Table to the seconds since its snapshot was committed; tables without one are left out."""
        return {name: (now_ms - at) / 1000 for name, at in self._newest.items()}

    def close(self) -> None:
        """Let the files go. Idempotent."""
        self._db.close()
