"""The dashboard's questions: SQL files over one moment of the lake, read by DuckDB.

pyiceberg plans which Parquet files a snapshot consists of, DuckDB reads them. All snapshots are pinned when a dashboard
is made, so its answers belong together while jobs go on committing. The SQL is plain enough for Trino as well.
"""

from __future__ import annotations

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
            self._db.read_parquet(sorted(files), union_by_name=True).create_view(name)
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
