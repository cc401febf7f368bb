"""Spark: a session in local mode with the Kafka connector on its class path, or one on your cluster.

The driver JVM is PySpark's own child and ends when the pipe to it closes, so a killed kernel leaves no Spark behind.
What the JVM says goes to a log file, not into the notebook; a session that fails to start shows its last lines.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import jars, java
from principal_kit.services.process import LOOPBACK
from principal_kit.services.versions import WANTED, check_version

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DRIVER_MEMORY = "512m"
_PREFIX = "principal-kit-spark-"
_LOG4J = """\
rootLogger.level=error
rootLogger.appenderRef.c.ref=c
appender.c.type=Console
appender.c.name=c
appender.c.target=SYSTEM_ERR
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d{HH:mm:ss} %p %c{1}: %m%n
"""
_session: SparkSession | None = None
_directory: Path | None = None


def remote_address() -> str | None:
    """PRINCIPAL_KIT_SPARK, else SPARK_REMOTE: `sc://host:port` (Spark Connect) or `spark://host:port` (a master).

    Raises InvalidArgument on any other form.
    """
    for variable in ("PRINCIPAL_KIT_SPARK", "SPARK_REMOTE"):
        text = os.environ.get(variable, "").strip()
        if text:
            if not text.startswith(("sc://", "spark://", "local")):
                raise InvalidArgument(f"{variable}={text!r}: expected sc://host:port or spark://host:port")
            return text
    return None


def _sweep() -> None:
    """Remove directories of interpreters that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _stderr_into(path: Path) -> Iterator[None]:
    """Let children started inside the block write their standard error to `path`."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(path, "ab") as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _local_options(directory: Path) -> dict[str, str]:
    """Configuration of a driver that binds loopback only, keeps its files in `directory` and stays small."""
    log4j = directory / "log4j2.properties"
    log4j.write_text(_LOG4J, encoding="ascii")
    return {
        "spark.driver.memory": DRIVER_MEMORY,
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.extraClassPath": f"{jars.verified('spark-kafka')}/*",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile=file:{log4j} -Dderby.system.home={directory} "
        "-XX:+UseSerialGC",
        "spark.local.dir": str(directory / "local"),
        "spark.sql.warehouse.dir": str(directory / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }


def session(app_name: str = "principal-kit", **conf: str) -> SparkSession:
    """The interpreter's SparkSession, started on first use.

    Args:
        app_name: shown in Spark's logs.
        conf: Spark settings with dots written as `__` (`spark__sql__shuffle__partitions="8"`).

    Raises MissingPrerequisite (no Java, PySpark or jars), CorruptionError (damaged jar), InvalidArgument (malformed
    address), ServiceError with the log's last lines when Spark does not start.
    """
    global _session, _directory
    if _session is not None:
        return _session
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingPrerequisite("PySpark is missing: pip install 'principal-kit[spark]'") from error
    address = remote_address()
    options = {key.replace("__", "."): str(value) for key, value in conf.items()}
    if address and address.startswith("sc://"):
        try:
            _session = SparkSession.builder.remote(address).appName(app_name).getOrCreate()
            check_version("spark", _session.version)
        except Exception as error:  # gRPC, pyspark and socket errors share no base class
            _session = None
            raise ServiceError(f"no Spark Connect server answers at {address}: {str(error).splitlines()[0]}") from error
        return _session
    java.require()
    _sweep()
    _directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", LOOPBACK)
    builder = SparkSession.builder.master(address or "local[*]").appName(app_name)
    for key, value in {**_local_options(_directory), **options}.items():
        builder = builder.config(key, value)
    log = _directory / "log"
    try:
        with _stderr_into(log):
            _session = builder.getOrCreate()
    except Exception as error:  # py4j and pyspark raise many kinds; the log says why
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else "(empty)"
        stop()
        raise ServiceError(f"Spark {WANTED['spark']} did not start: {error}. Last lines of its log:\n{tail}") from error
    _session.sparkContext.setLogLevel("ERROR")
    return _session


def stop() -> None:
    """Stop the session and its JVM and remove their directory; idempotent. Bounded: the JVM is killed after 4 s."""
    global _session, _directory
    session_, _session = _session, None
    directory, _directory = _directory, None
    if session_ is not None:
        with contextlib.suppress(Exception):
            session_.stop()
    if directory is not None:
        _end_gateway()
        shutil.rmtree(directory, ignore_errors=True)


def _end_gateway() -> None:
    """Close the pipe that keeps PySpark's JVM alive and forget it, so that a next session starts a new one."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    SparkContext._gateway = SparkContext._jvm = None
    if gateway is None:
        return
    with contextlib.suppress(Exception):
        gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=4)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)
