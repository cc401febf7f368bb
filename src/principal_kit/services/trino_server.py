"""Trino as a local process: one JVM that plans and works, over the lake's tables in a PostgreSQL catalog.

Not started by any chapter: DuckDB answers the dashboard there. This is the engine for when the tables outgrow one
process, and the check that the same SQL means the same on both. `trino_release` fetches it.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import InvalidArgument, KitError, ServiceError
from principal_kit.services import trino_release
from principal_kit.services.endpoint import Endpoint, from_environment
from principal_kit.services.flink_sql import http
from principal_kit.services.process import LOOPBACK, ServerProcess, on_a_port
from principal_kit.services.versions import WANTED, check_version

if TYPE_CHECKING:
    import pandas as pd

CATALOG = "lake"
START_SECONDS = 120.0
HEAP_MIB = 1024
_POLL_SECONDS = 0.05
# Trino looks into its own JVM for sizes of objects; the flags say that it may.
_JVM = [f"-Xmx{HEAP_MIB}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-XX:+EnableDynamicAgentLoading",
        "-Djdk.attach.allowAttachSelf=true", "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow"]  # fmt: skip


class TrinoError(KitError):
    """A query failed; the message is Trino's."""


def _json(client: Any, method: str, path: str, **options: Any) -> dict[str, Any]:
    """The JSON answer to one request. Raises ServiceError when there is none."""
    import httpx

    try:
        reply = client.request(method, path, **options)
        reply.raise_for_status()
        return reply.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceError(f"{client.base_url.netloc.decode()} does not answer as Trino: {error}") from error


class TrinoEndpoint(Endpoint):
    """A Trino server whose catalog `lake` has the tables."""

    def query(
        self, sql: str, *, namespace: str = "shop", seconds: float = 120.0, clock: Clock = monotonic
    ) -> pd.DataFrame:
        """The rows of one statement; names without a schema are those of `namespace`. O(rows), all in memory.

        Moments come as pandas timestamps, with a zone where Trino's type has one. Raises TrinoError with Trino's own
        message, ServiceError when the server does not answer or is not done after `seconds`.
        """
        import pandas as pd

        headers = {"X-Trino-User": "kit", "X-Trino-Catalog": CATALOG, "X-Trino-Schema": namespace,
                   "X-Trino-Time-Zone": "UTC"}  # fmt: skip
        columns, rows, deadline = [], [], clock() + seconds
        with http(self.address) as client:
            page = _json(client, "POST", "/v1/statement", content=sql.encode(), headers=headers)
            while True:
                if "error" in page:
                    raise TrinoError(page["error"]["message"])
                columns = page.get("columns", columns)
                rows += page.get("data", [])
                if "nextUri" not in page:
                    break
                if clock() > deadline:
                    client.delete(page["nextUri"])
                    raise ServiceError(f"Trino was not done with the query after {seconds:g} s; it was cancelled")
                page = _json(client, "GET", page["nextUri"])
        frame = pd.DataFrame(rows, columns=[column["name"] for column in columns])
        for column in columns:
            if column["type"].startswith("timestamp"):
                frame[column["name"]] = pd.to_datetime(frame[column["name"]], format="mixed")
        return frame


def catalog_properties(dsn: str, warehouse: str) -> dict[str, str]:
    """Trino's catalog over the tables that `platform.tables` makes and the Flink jobs write.

    Raises InvalidArgument on a `dsn` or a `warehouse` of another kind.
    """
    place = urlsplit(dsn)
    if place.scheme != "postgresql" or not place.hostname:
        raise InvalidArgument(f"the catalog's address begins with {place.scheme!r}; expected postgresql://…")
    if not warehouse.startswith("file:///"):
        raise InvalidArgument(
            f"the warehouse is {warehouse!r}; expected file:///… (other stores need Trino's own keys)"
        )
    return {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "jdbc",
        "iceberg.jdbc-catalog.driver-class": "org.postgresql.Driver",
        "iceberg.jdbc-catalog.connection-url": f"jdbc:postgresql://{place.hostname}:{place.port or 5432}{place.path}",
        "iceberg.jdbc-catalog.connection-user": unquote(place.username or ""),
        "iceberg.jdbc-catalog.connection-password": unquote(place.password or ""),
        "iceberg.jdbc-catalog.catalog-name": CATALOG,
        "iceberg.jdbc-catalog.schema-version": "V1",
        "iceberg.jdbc-catalog.default-warehouse-dir": warehouse,
        "fs.native-local.enabled": "true",
        "local.location": "/",
    }


def _configuration(port: int, directory: Path, plugins: Path) -> dict[str, object]:
    return {
        "node.environment": "kit",
        "node.bind-ip": LOOPBACK,
        "node.internal-address": LOOPBACK,
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": port,
        "discovery.uri": f"http://{LOOPBACK}:{port}",
        "plugin.dir": plugins,
        "catalog.config-dir": directory / "catalog",
        # A third of the heap is the server's own; a query that wants more than half is refused, and no server is lost.
        "memory.heap-headroom-per-node": f"{HEAP_MIB // 3}MB",
        "query.max-memory-per-node": f"{HEAP_MIB // 2}MB",
        "query.max-memory": f"{HEAP_MIB // 2}MB",
    }


def _write(path: Path, entries: dict[str, Any]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in entries.items()), encoding="utf-8")
    path.chmod(0o600)  # the catalog's has a password in it


def _command(binary: str, home: Path, catalog: dict[str, str], port: int, directory: Path) -> list[str]:
    (directory / "catalog").mkdir()
    _write(directory / "catalog" / f"{CATALOG}.properties", catalog)
    _write(directory / "config.properties", _configuration(port, directory, home / "plugin"))
    return [binary, *_JVM, f"-Dconfig={directory / 'config.properties'}", "-cp", f"{home / 'lib'}/*",
            "io.trino.server.TrinoServer"]  # fmt: skip


def _answers(address: str) -> bool:
    """Whether the server has begun to take queries."""
    time.sleep(_POLL_SECONDS)
    try:
        with http(address) as client:
            return _json(client, "GET", "/v1/info").get("starting") is False
    except ServiceError:
        return False


def start(dsn: str, warehouse: str, *, port: int | None = None) -> TrinoEndpoint:
    """Start a server over the lake at `dsn` and `warehouse`; a quarter of a minute.

    Raises MissingPrerequisite (not fetched), InvalidArgument (an address of another kind), ServiceError (port taken;
    or it did not come up, with its log's end).
    """
    home, binary = trino_release.require(), trino_release.java_binary()
    catalog = catalog_properties(dsn, warehouse)

    def on(chosen: int) -> TrinoEndpoint:
        process = ServerProcess("trino", partial(_command, binary, home, catalog, chosen), grace=5.0)
        process.wait_ready(partial(_answers, f"{LOOPBACK}:{chosen}"), START_SECONDS)
        return TrinoEndpoint("trino", LOOPBACK, chosen, WANTED["trino"], "embedded", process)

    return on_a_port(on, port)


def external() -> TrinoEndpoint | None:
    """The server PRINCIPAL_KIT_TRINO=[container@]host:port names, or None. Raises as `from_environment`."""
    server = from_environment("PRINCIPAL_KIT_TRINO")
    if server is None:
        return None
    host, port, container = server
    with http(f"{host}:{port}") as client:
        version = _json(client, "GET", "/v1/info")["nodeVersion"]["version"]
    return TrinoEndpoint("trino", host, port, check_version("trino", version), "external", container=container)
