"""What `principal-kit doctor` says: component, what was found, what is wanted, who would run it, how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from dataclasses import dataclass

import psutil

from principal_kit.core.errors import KitError
from principal_kit.services import jars, java, pyflink_environment, redis_server, state
from principal_kit.services.endpoint import accepts, parse_servers
from principal_kit.services.process import says
from principal_kit.services.versions import WANTED

MEMORY_MIB = 2048


@dataclass(frozen=True)
class Row:
    """One line of the report. `ok` is False when something must be mended before the book runs."""

    component: str
    found: str
    wanted: str
    source: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing needs mending."""
        return not self.fix


def _source(kind: str) -> tuple[str, str]:
    """Who would serve `kind` now, and a fix if that is broken. Never waits longer than a connection attempt."""
    variable = f"PRINCIPAL_KIT_{kind.upper()}"
    text = os.environ.get(variable, "")
    if text:
        try:
            servers = parse_servers(text, variable=variable)
        except KitError as error:
            return "external", str(error)
        mute = [f"{host}:{port}" for host, port, _ in servers if not accepts(host, port, 2.0)]
        return "external", f"nothing answers at {', '.join(mute)}: start it, or `unset {variable}`" if mute else ""
    try:
        return ("running" if kind in state.KINDS and state.read(kind) else "embedded"), ""
    except KitError as error:
        return "running", str(error)


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Row:
    found = platform.python_version()
    supported = (3, 11) <= tuple(int(p) for p in found.split(".")[:2]) < (3, 14)
    return Row(
        "Python",
        found,
        "3.11 to 3.13",
        "this interpreter",
        "" if supported else "create .venv with Python 3.11, 3.12 or 3.13",
    )


def _java() -> Row:
    major = java.find()[1]
    fine = major is not None and major >= int(WANTED["java"])
    return Row(
        "Java",
        str(major) if major else "missing",
        f"{WANTED['java']} or newer",
        "this machine",
        "" if fine else java.INSTALL,
    )


def _memory() -> Row:
    """What a chapter at its default scale may need; a fix only where it cannot fit."""
    mib = psutil.virtual_memory().available >> 20
    fix = "" if mib >= MEMORY_MIB else "close other programs: chapters at their default scale peak below 2 GiB"
    return Row("Memory", f"{mib} MiB free", f"{MEMORY_MIB} MiB", "this machine", fix)


def _chromium() -> Row:
    """Needed by `make test` alone, so its absence is no fault."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return Row("Chromium", "found" if found else "not found", "only for `make test`", "this machine")


def _maven() -> Row:
    binary = shutil.which("mvn")
    match = re.search(r"Apache Maven ([\d.]+)", says(binary, "--version")) if binary else None
    version = match and match[1]
    fix = "" if version else "`sudo apt-get install maven` (Debian, Ubuntu), `brew install maven` (macOS)"
    return Row("Maven", version or "missing", "3.6 or newer", "this machine", fix)


def _redis() -> Row:
    source, fix = _source("redis")
    found = redis_server.installed_version()
    if source == "embedded" and not found:
        fix = "`sudo apt-get install redis-server` (Debian, Ubuntu), `brew install redis` (macOS)"
    return Row("Redis", found or "missing", f"{WANTED['redis']} or newer", source, fix)


def _jars(component: str, name: str, source: str, fix: str) -> Row:
    try:
        jars.verified(name)
        return Row(component, jars.SETS[name], jars.SETS[name], source, fix)
    except KitError as error:
        return Row(component, "missing or damaged", jars.SETS[name], source, fix or str(error))


def _spark() -> Row:
    from principal_kit.services import spark_session

    found = _package("pyspark")
    try:
        address = spark_session.remote_address()
        fix = _silent_spark(address or "")
    except KitError as error:
        address, fix = "external", str(error)
    if found != WANTED["spark"] and not fix:
        fix = "`make book` (or pip install 'principal-kit[spark]')"
    return Row("PySpark", found or "missing", WANTED["spark"], "external" if address else "embedded", fix)


def _flink() -> Row:
    """Two addresses make one cluster: the JobManager's and the SQL gateway's."""
    source, fix = _source("flink")
    if source == "external":
        gateway, silence = _source("flink_sql")
        if gateway != "external":
            silence = "set PRINCIPAL_KIT_FLINK_SQL to the SQL gateway's host:port"
        fix = fix or silence
    if not fix and not jars.directory("flink").is_dir():  # no published chapter needs it, so its absence is no fault
        return Row("Flink", "not fetched", f"{WANTED['flink']}, for jobs (`{jars.MEND} flink`)", source)
    return _jars("Flink", "flink", source, fix)


def _connect() -> Row:
    """Change data capture alone needs it."""
    source, fix = _source("connect")
    if not fix and not jars.directory("connect").is_dir():
        return Row("Kafka Connect", "not fetched", f"Debezium {WANTED['debezium']} (`{jars.MEND} connect`)", source)
    return _jars("Kafka Connect", "connect", source, fix)


def _pyflink() -> Row:
    """Needed by jobs in Python alone, so its absence is no fault."""
    found = "found" if pyflink_environment.directory().exists() else "not made"
    wanted = f"{WANTED['flink']}, only for jobs in Python (`make pyflink`)"
    return Row("PyFlink", found, wanted, "an environment of its own")


def _silent_spark(address: str) -> str:
    """The fix if nothing accepts connections where `address` (sc:// or spark://) points, else empty."""
    match = re.match(r"(?:sc|spark)://([\w.-]+)(?::(\d+))?", address)
    host, port = (match[1], int(match[2] or 15002)) if match else ("", 0)
    if not match or accepts(host, port, 2.0):
        return ""
    return f"nothing answers at {host}:{port}: start it, or `unset PRINCIPAL_KIT_SPARK`"


def silent() -> list[str]:
    """A line for each server that the environment names and that does not answer: a reason why a chapter fails."""
    fixes = [
        _source(kind)[1]
        for kind in ("redis", "redis_nodes", "kafka", "flink", "flink_sql", "connect")
        if os.environ.get(f"PRINCIPAL_KIT_{kind.upper()}")
    ]
    return [fix for fix in (*fixes, _silent_spark(os.environ.get("PRINCIPAL_KIT_SPARK", ""))) if fix]


def rows() -> list[Row]:
    """The whole report, in a few seconds at most. Each row stands alone: one broken part hides no other."""
    kafka_source, kafka_fix = _source("kafka")
    return [
        _python(),
        _memory(),
        _java(),
        _maven(),
        _redis(),
        _jars("Kafka", "kafka", kafka_source, kafka_fix),
        _spark(),
        _jars("Spark-Kafka connector", "spark-kafka", "embedded", ""),
        _flink(),
        _connect(),
        _pyflink(),
        _chromium(),
    ]
