"""Flink SQL over the gateway's REST API: a session, statements one after another, results page by page.

The session keeps what `SET` and `CREATE` made. A result is a changelog; what `run` returns is the table it adds up to.
Flink's script endpoint deploys whole applications to YARN or Kubernetes only, so a script is split here.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from principal_kit.core.errors import CapacityError, MissingPrerequisite, ServiceError
from principal_kit.services.flink_failure import FlinkError, root_cause

REQUEST_SECONDS = 60.0
_POLL_SECONDS = 0.05
_TOKEN = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*'|`(?:[^`]|``)*`|"(?:[^"]|"")*")|(?P<comment>--[^\n]*|/\*(?!\+).*?\*/)"""
    r"""|(?P<end>;)|(?P<word>\w+)|(?P<other>.)""",
    re.S,
)
_QUERY = re.compile(r"\s*(/\*.*?\*/\s*)*(SELECT|WITH|VALUES|TABLE|\()", re.I | re.S)
_SET_BEGINS = re.compile(r"(EXECUTE|EXPLAIN)\s+STATEMENT\s+SET\s+BEGIN\b|BEGIN\s+STATEMENT\s+SET\b", re.I)


def http(address: str, seconds: float = REQUEST_SECONDS) -> Any:
    """An `httpx.Client` for one address; proxies of the environment are for other hosts."""
    try:
        import httpx
    except ImportError as error:
        raise MissingPrerequisite("the HTTP client is missing: pip install 'principal-kit[pipeline]'") from error
    return httpx.Client(base_url=f"http://{address}", timeout=seconds, trust_env=False)


def answer(client: Any, method: str, path: str, json: Any = None) -> Any:
    """The JSON answer to one request.

    Raises FlinkError with the root cause when the server refuses, ServiceError when it does not answer.
    """
    import httpx

    try:
        reply = client.request(method, path, json=json)
        said = reply.json() if reply.content else {}
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceError(f"{client.base_url.netloc.decode()} does not answer as Flink: {error}") from error
    if reply.status_code >= 400:
        trace = "\n".join(map(str, said.get("errors", []))) if isinstance(said, dict) else str(said)
        raise FlinkError(f"{root_cause(trace.removeprefix('Internal server error.').strip())}", trace)
    return said


def statements(script: str) -> list[str]:
    """Split a script at its semicolons: not those in quotes or comments, nor those inside a statement set.

    Comments are dropped, hints (`/*+ … */`) kept. O(characters).

    >>> statements("SET 'a' = 'x;y'; -- why\\nSELECT 1;")
    ["SET 'a' = 'x;y'", 'SELECT 1']
    """
    found, current = [], ""
    for token in _TOKEN.finditer(script):
        if token["comment"]:
            current += " "
        elif token["end"] and not (_SET_BEGINS.match(current.strip()) and not re.search(r";\s*END\s*$", current, re.I)):
            found.append(current.strip())
            current = ""
        else:
            current += token[0]
    return [statement for statement in [*found, current.strip()] if statement]


def option(name: str) -> str:
    """The name of a Flink option from that of a keyword argument: `__` for a dot, `_` for a hyphen.

    >>> option("execution__runtime_mode")
    'execution.runtime-mode'
    """
    return name if "." in name else name.replace("__", ".").replace("_", "-")


@dataclass
class Result:
    """What a statement gave: columns (name and SQL type), rows as dictionaries, and the job it started, if any."""

    columns: list[tuple[str, str]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    job_id: str | None = None

    def apply(self, kind: str, row: dict[str, Any]) -> None:
        """One entry of the changelog. O(1); O(rows) for a retraction."""
        if kind in ("INSERT", "UPDATE_AFTER"):
            self.rows.append(row)
            return
        for i in range(len(self.rows) - 1, -1, -1):  # what is retracted was mostly added last
            if self.rows[i] == row:
                del self.rows[i]
                return


def _value(sql_type: str, text: Any) -> Any:
    """A Python value of a field: dates, times and bytes come as text."""
    if text is None:
        return None
    if sql_type == "DECIMAL":
        return Decimal(str(text))
    if sql_type in ("BYTES", "BINARY", "VARBINARY"):
        return base64.b64decode(text)
    if sql_type == "DATE":
        return date.fromisoformat(text)
    if sql_type.startswith("TIMESTAMP") and isinstance(text, str):
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))  # nanoseconds have no place there
    return text


class SqlSession:
    """One session of a SQL gateway, opened with the first statement and again if the gateway forgot it.

    Args:
        address: host:port of the gateway.
        properties: options of every statement.
    """

    def __init__(self, address: str, properties: dict[str, str] | None = None) -> None:
        self.address, self.properties = address, dict(properties or {})
        self._client: Any = None
        self._handle: str | None = None

    def close(self) -> None:
        """Let the gateway forget the session. Idempotent."""
        client, handle = self._client, self._handle
        self._client = self._handle = None
        if client is not None:
            if handle:
                try:
                    answer(client, "DELETE", f"/v2/sessions/{handle}")
                except ServiceError:
                    pass  # the gateway may be gone
            client.close()

    def _session(self) -> str:
        if self._client is None:
            self._client = http(self.address)
        if self._handle is None:
            self._handle = answer(self._client, "POST", "/v2/sessions", {"properties": self.properties})[
                "sessionHandle"
            ]
        return f"/v2/sessions/{self._handle}"

    def run(self, statement: str, config: dict[str, str], *, rows_max: int, seconds: float) -> Result:
        """Execute one statement and read its whole result.

        Raises FlinkError with the root cause, CapacityError beyond `rows_max` rows, ServiceError after `seconds`.
        """
        deadline = time.monotonic() + seconds
        if _QUERY.match(statement):  # somebody waits for the rows: told at once, not after a thousand restarts
            config = {"restart-strategy.type": "none", **config}
        body = {"statement": statement, "executionConfig": {option(k): str(v) for k, v in config.items()}}
        session = self._session()
        try:
            operation = answer(self._client, "POST", f"{session}/statements", body)
        except FlinkError as error:
            if "does not exist" not in error.trace or "Session" not in error.trace:
                raise
            self._handle = None
            raise ServiceError(
                "the gateway has forgotten this session (it was restarted): run the CREATE and SET statements again"
            ) from error
        path = f"{session}/operations/{operation['operationHandle']}"
        result = Result()
        try:
            for page in self._pages(path, deadline):
                self._add(result, page)
                if len(result.rows) > rows_max:
                    raise CapacityError(f"more than rows_max={rows_max} rows: add a LIMIT, or raise rows_max")
        finally:  # also of one that has ended: the session keeps results until they are closed
            self._close(path)
        return result

    def _pages(self, operation: str, deadline: float) -> Iterator[dict[str, Any]]:
        uri: str | None = f"{operation}/result/0?rowFormat=JSON"
        while uri:
            page = answer(self._client, "GET", uri)
            if page["resultType"] == "NOT_READY" or not page.get("results", {}).get("data"):
                if time.monotonic() > deadline:
                    raise ServiceError("the statement has not ended in time: a stream without end needs a LIMIT")
                time.sleep(_POLL_SECONDS if page["resultType"] != "EOS" else 0)
            if page["resultType"] != "NOT_READY":
                yield page
            uri = None if page["resultType"] == "EOS" else page.get("nextResultUri")

    def _add(self, result: Result, page: dict[str, Any]) -> None:
        result.job_id = page.get("jobID") or result.job_id
        results = page.get("results") or {}
        if not result.columns:
            result.columns = [(c["name"], c["logicalType"]["type"]) for c in results.get("columns", [])]
        for entry in results.get("data", []):
            row = {n: _value(t, v) for (n, t), v in zip(result.columns, entry["fields"], strict=True)}
            result.apply(entry["kind"], row)

    def _close(self, operation: str) -> None:
        try:
            answer(self._client, "DELETE", f"{operation}/close")
        except ServiceError:
            pass  # what went wrong before is the error to tell
