"""Spark: a session in local mode with the Kafka connector on its class path, or one on your cluster.

The driver JVM is PySpark's own child and ends when the pipe to it closes; a guardian makes sure, and removes its files,
so a killed kernel leaves no Spark behind. What the JVM says goes to a log, whose end a failed start shows.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import class_archive, jars, java
from principal_kit.services.endpoint import accepts
from principal_kit.services.process import LOOPBACK, Guard
from principal_kit.services.versions import WANTED, check_version

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DRIVER_MEMORY = "512m"
CONNECT_PORT = 15002
STOP_SECONDS = 4.0
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
_guard: Guard | None = None


def remote_address() -> str | None:
    """PRINCIPAL_KIT_SPARK, else SPARK_REMOTE: `sc://host:port` (Spark Connect) or `spark://host:port` (a master).

    Raises InvalidArgument on any other form.
    """
    for variable in ("PRINCIPAL_KIT_SPARK", "SPARK_REMOTE"):
        text = os.environ.get(variable, "").strip()
        if text:
            if not re.fullmatch(r"sc://[^/:\s]+(:\d+)?(/\S*)?|spark://[^/\s]+:\d+|local(\[(\d+|\*)\])?", text):
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


def _local_options(directory: Path, connector: Path, jvm_flags: list[str]) -> dict[str, str]:
    """Configuration of a driver that binds loopback only, keeps its files in `directory` and stays small."""
    log4j = directory / "log4j2.properties"
    log4j.write_text(_LOG4J, encoding="ascii")
    return {
        "spark.driver.memory": DRIVER_MEMORY,
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.extraClassPath": f"{connector}/*",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile=file:{log4j} -Dderby.system.home={directory} "
        f"-XX:+UseSerialGC {' '.join(jvm_flags)}",
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
    global _session
    options = {key.replace("__", "."): str(value) for key, value in conf.items()}
    if _session is not None and _usable(_session):
        return _reconfigured(_session, options)
    stop()  # what is left of a session that was stopped behind our back
    try:
        import pyspark.sql  # noqa: F401
    except ImportError as error:
        raise MissingPrerequisite("PySpark is missing: pip install 'principal-kit[spark]'") from error
    address = remote_address()
    if address and address.startswith("sc://"):
        _session = _connect(address, app_name, options)
    else:
        _session = _start(address or "local[*]", app_name, options)
    return _session


def _usable(session: SparkSession) -> bool:
    """Whether the session's driver, ours or a Connect server's, still takes work."""
    context = getattr(session, "_sc", None)
    if context is None:
        return not session.is_stopped
    gateway = context._gateway
    return context._jsc is not None and gateway is not None and gateway.proc.poll() is None


def _reconfigured(session: SparkSession, options: dict[str, str]) -> SparkSession:
    """The running session with SQL settings changed. Raises InvalidArgument for one that needs a new driver."""
    for key, value in options.items():
        if str(session.conf.get(key, None)) == value:
            continue
        try:
            session.conf.set(key, value)
        except Exception as error:
            raise InvalidArgument(
                f"{key}={value!r} cannot be changed while Spark runs: call services.stop_all() first"
            ) from error
    return session


def _connect(address: str, app_name: str, options: dict[str, str]) -> SparkSession:
    """A Spark Connect session. Raises ServiceError when no server answers, InvalidArgument on an unknown version."""
    host, _, port = address.removeprefix("sc://").split("/")[0].partition(":")
    if not accepts(host, int(port or CONNECT_PORT), seconds=3.0):  # gRPC itself would retry for minutes
        raise ServiceError(f"no Spark Connect server accepts connections at {address}: start it, or unset the variable")
    from pyspark.sql import SparkSession

    try:
        builder = SparkSession.builder.remote(address).appName(app_name)
        for key, value in options.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        version = session.version
    except Exception as error:  # gRPC, pyspark and socket errors share no base class
        raise ServiceError(f"what answers at {address} is no Spark Connect server: {_first_line(error)}") from error
    check_version("spark", version)
    return session


def _start(master: str, app_name: str, options: dict[str, str], *, dump: Path | None = None) -> SparkSession:
    """A session whose driver JVM is ours, under a guardian that takes it and its directory away when we are gone."""
    global _directory, _guard
    from pyspark.sql import SparkSession

    java.require()
    connector = jars.verified("spark-kafka")
    jvm_flags = class_archive.dump_flags(dump) if dump else class_archive.flags("spark")
    _sweep()
    _directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", LOOPBACK)
    builder = SparkSession.builder.master(master).appName(app_name)
    for key, value in {**_local_options(_directory, connector, jvm_flags), **options}.items():
        builder = builder.config(key, value)
    log = _directory / "log"
    try:
        with _stderr_into(log):
            session = builder.getOrCreate()
    except Exception as error:  # py4j and pyspark raise many kinds; the log says why
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else "(empty)"
        stop()
        raise ServiceError(
            f"Spark {WANTED['spark']} did not start: {_first_line(error)}. Last lines of its log:\n{tail}"
        ) from error
    except BaseException:  # Ctrl-C
        stop()
        raise
    _guard = Guard(_directory, session.sparkContext._gateway.proc.pid, grace=STOP_SECONDS)
    session.sparkContext.setLogLevel("ERROR")
    return session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@atexit.register
def stop(seconds: float = STOP_SECONDS) -> None:
    """Stop the session and its JVM and remove their directory; idempotent. The JVM is killed after `seconds`."""
    global _session, _directory, _guard
    session, _session = _session, None
    directory, _directory = _directory, None
    guard, _guard = _guard, None
    if session is not None:
        with contextlib.suppress(Exception):
            session.stop()
    if directory is not None:
        _end_gateway(seconds)
        shutil.rmtree(directory, ignore_errors=True)
    if guard is not None:
        guard.release()


def train(dump: Path) -> None:
    """Start a session, use it as the chapters do, and let the JVM write its class archive as it ends."""
    global _session
    from pyspark.sql import functions

    _session = session = _start("local[*]", "train", {}, dump=dump)
    numbers = session.range(1000).selectExpr("id", "id % 7 as k", "cast(id as string) as text")
    counts = numbers.groupBy("k").count()
    numbers.join(counts, "k").orderBy("id").write.parquet(str(_directory / "train"))
    session.read.parquet(str(_directory / "train")).createOrReplaceTempView("train")
    session.sql("select k, approx_count_distinct(text), percentile_approx(id, 0.5) from train group by k").collect()
    session.sparkContext.parallelize(range(10), 2).map(str).collect()
    halves = numbers.sample(0.5, seed=1).union(numbers).repartition(2)
    halves.mapInPandas(lambda frames: frames, halves.schema).toPandas()
    session.createDataFrame(halves.toPandas()).repartitionByRange(2, "id").sortWithinPartitions("id").toPandas()
    timed = session.read.parquet(str(_directory / "train")).selectExpr("timestamp_seconds(id) as time", "k")
    timed.groupBy(functions.window("time", "9 seconds", "3 seconds"), "k").count().orderBy("k").limit(3).toPandas()
    timed.groupBy(functions.session_window("time", "2 seconds")).agg(functions.first("k")).collect()
    nowhere = {"kafka.bootstrap.servers": "127.0.0.1:1", "subscribe": "train"}
    session.readStream.format("kafka").options(**nowhere).load().printSchema()
    stop(seconds=120.0)


def _end_gateway(seconds: float) -> None:
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
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)


def _forget_in_child() -> None:
    """A forked worker owns no Spark: it must neither stop it nor, by a copy of the pipe, keep it alive."""
    global _session, _directory, _guard
    context = sys.modules.get("pyspark.core.context")
    gateway = context.SparkContext._gateway if context else None
    if gateway is not None and getattr(gateway, "proc", None) is not None:
        # Replaced, not closed: the file object stays, and would later close whatever had been given its number.
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), gateway.proc.stdin.fileno())
    if context:
        # A session of the child's own starts a JVM of its own, instead of borrowing the parent's and ending it.
        spark_context = context.SparkContext
        spark_context._gateway = spark_context._jvm = spark_context._active_spark_context = None
        session_module = sys.modules.get("pyspark.sql.session")
        if session_module:
            session_module.SparkSession._instantiatedSession = None
    _session = _directory = _guard = None


os.register_at_fork(after_in_child=_forget_in_child)
