"""The Flink jobs, as SQL files, and the settings that make a file into a script for one cluster."""

from __future__ import annotations

import json
import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from principal_kit.core.errors import InvalidArgument
from principal_kit.platform import contract, truth
from principal_kit.platform.tables import CATALOG

NAMES = ("sessions", "inventory", "fraud")
"""One job a concern: each can be stopped, changed and replayed while the others go on."""
READS = {"sessions": "clicks", "inventory": "stock_moves", "fraud": "orders"}
"""Job to its topic, without the prefix."""
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the jobs read and write.

    Args:
        bootstrap: Kafka's address.
        dsn: the catalog's PostgreSQL database, postgresql://user:password@host:port/name; without the password, Flink
            takes it from the file that PGPASSFILE names, and the kit from that or from PGPASSWORD.
        warehouse: the tables' place, as a URI.
        namespace: the tables' namespace in the catalog.
        prefix: what the topics' names begin with.
        bounded: stop at the end of what the topics hold now, as a batch job does.
        checkpoint_ms: milliseconds between checkpoints, and so between commits; default: the cluster's.
    """

    bootstrap: str
    dsn: str
    warehouse: str
    namespace: str = "shop"
    prefix: str = "shop."
    bounded: bool = False
    checkpoint_ms: int | None = None

    def group(self, job: str) -> str:
        """A job's consumer group, by whose offsets others see how far it is; a replay has one of its own."""
        return f"{self.prefix}{job}" + (f".{self.namespace}" if self.bounded else "")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _options(pairs: dict[str, str]) -> str:
    return ", ".join(f"{_quoted(key)} = {_quoted(value)}" for key, value in pairs.items())


def _values(settings: Settings, job: str) -> dict[str, str]:
    credentials, _, place = settings.dsn.removeprefix("postgresql://").rpartition("@")
    user, _, password = credentials.partition(":")
    source = {
        "connector": "kafka",
        "properties.bootstrap.servers": settings.bootstrap,
        "properties.group.id": settings.group(job),
        "scan.startup.mode": "earliest-offset",
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "json-fields",  # the kit's own: services/flink_format
        "value.fields-include": "EXCEPT_KEY",
    }
    if settings.bounded:
        source["scan.bounded.mode"] = "latest-offset"
    letters = {
        "connector": "kafka",
        "topic": f"{settings.prefix}dead_letters",
        "properties.bootstrap.servers": settings.bootstrap,
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        # A repeat has the same key, so readers take it for the same letter: no transactions, no waiting for commits.
        "sink.delivery-guarantee": "at-least-once",
    }
    catalog = {
        "type": "iceberg",
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": f"jdbc:postgresql://{place}",
        "jdbc.user": user,
        "jdbc.schema-version": "V1",
        "warehouse": settings.warehouse,
    }
    if password:  # else the driver looks into PGPASSFILE, and no script, log or job graph has it
        catalog["jdbc.password"] = password
    seconds = {
        "session_gap": truth.SESSION_GAP_MS,
        "stock_window": truth.STOCK_WINDOW_MS,
        "velocity": truth.VELOCITY_MS,
        "test": truth.TEST_MS,
        "lateness": contract.ALLOWED_LATENESS_MS,
        "lead": contract.ALLOWED_LEAD_MS,
    }
    return {
        "source": _options(source),
        "dead_letters": _options(letters),
        "catalog_options": _options(catalog),
        "catalog": CATALOG,
        "lake": f"{CATALOG}.{settings.namespace}",
        "prefix": settings.prefix,
        "max_bytes": str(contract.MAX_BYTES),
        "time_max": str(contract.TIME_MAX_MS),
        "low_stock": str(truth.LOW_STOCK),
        "velocity_orders": str(truth.VELOCITY_ORDERS),
        "test_charge": str(truth.TEST_CHARGE_CENTS),
        "large_charge": str(truth.LARGE_CHARGE_CENTS),
        **{name: str(ms // 1000) for name, ms in seconds.items()},
    }


def source(name: str) -> str:
    """A job's file as it is. Raises InvalidArgument on an unknown name."""
    if name not in (*NAMES, "setup"):
        raise InvalidArgument(f"job {name!r} is unknown; known: {', '.join(NAMES)}")
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def script(name: str, settings: Settings) -> str:
    """A job as one SQL script for a Flink session: the catalog, the source and its rule, then the statement set."""
    return _fill(source("setup") + source(name), name, name, settings)


def _fill(text: str, name: str, group: str, settings: Settings) -> str:
    # JSON paths begin with a dollar sign as well, so what is not a placeholder stays.
    if settings.checkpoint_ms is not None:
        if settings.checkpoint_ms < 10:  # Flink's own bound
            raise InvalidArgument(f"checkpoint_ms is {settings.checkpoint_ms}; expected 10 or more")
        text = f"SET 'execution.checkpointing.interval' = '{settings.checkpoint_ms} ms';\n" + text
    text = string.Template(text).safe_substitute(_values(settings, group), job=name)
    assert "${" not in text, text[text.index("${") :][:40]
    return text


def velocity_in_sql(settings: Settings) -> str:
    """The velocity rule alone, as `MATCH_RECOGNIZE` has it: the twin of `velocity_in_python`."""
    text = _head() + (
        "INSERT INTO ${lake}.fraud_alerts SELECT card_id, 'velocity', first_order, last_order, "
        "CAST(${velocity_orders} AS BIGINT), cents FROM velocity;\n"
    )
    return _fill(text, "velocity in SQL", "fraud", settings)


def velocity_in_python(flink: Any, settings: Settings, folder: Path, **config: Any) -> str:
    """Start the velocity rule as a PyFlink process function (`velocity_function.py`); returns the job's id.

    Args:
        flink: an endpoint with `run_python`.
        folder: where the job's statements are written, for its owner's eyes: the catalog's password is in them.
        config: more options of the job; default: Python in the TaskManager's own process (thread mode).

    Raises MissingPrerequisite without PyFlink's environment, FlinkError when the job is refused.
    """
    insert = (
        "INSERT INTO ${lake}.fraud_alerts SELECT card_id, 'velocity', TO_TIMESTAMP_LTZ(first_ms, 3), "
        "TO_TIMESTAMP_LTZ(last_ms, 3), orders, cents FROM velocity_by_hand"
    )
    job = {
        "statements": _statements(_fill(_head(), "velocity in Python", "fraud", settings)),
        "insert": _fill(insert, "velocity in Python", "fraud", settings),
        "rule": {"orders": truth.VELOCITY_ORDERS, "within_ms": truth.VELOCITY_MS},
    }
    path = folder / "velocity.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(job), encoding="utf-8")
    options = {"python.execution-mode": "thread", "python.files": str(_FOLDER.with_name("velocity.py")), **config}
    [id] = flink.run_python(_FOLDER / "velocity_function.py", str(path), **options)
    return id


def _head() -> str:
    """The job fraud up to its first INSERT: source, contract, first copy wins, patterns."""
    text = source("setup") + source("fraud")
    return text[: text.index("EXECUTE STATEMENT SET")]


def _statements(script: str) -> list[str]:
    """Split a script of ours at its semicolons; quotes and comments may have some too. Comments above go."""
    parts = re.findall(r"(?:'(?:[^']|'')*'|--[^\n]*|[^;'])+", script)
    bare = (re.sub(r"\A(?:\s*--[^\n]*\n?)*", "", part).strip() for part in parts)
    return [part for part in bare if part]
