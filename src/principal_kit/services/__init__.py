"""Real servers, one call each: `redis()`, `kafka()`, `spark()` return an endpoint, whatever runs it.

Resolution, in order: an environment variable (`PRINCIPAL_KIT_REDIS=host:port`, …), a set started by `principal-kit up`,
an embedded process on a free loopback port that ends with this interpreter. Never a mock.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from principal_kit.services.endpoint import Endpoint
from principal_kit.services.versions import WANTED, check_embedded

__all__ = [
    "WANTED",
    "Endpoint",
    "connect",
    "doctor",
    "down",
    "flink",
    "flink_python",
    "kafka",
    "postgres",
    "promtool",
    "redis",
    "redis_nodes",
    "spark",
    "stop_all",
    "trino",
    "up",
]

_lock = threading.RLock()  # a Connect worker that starts asks for its broker
_embedded: dict[str, Endpoint] = {}


def _resolve(kind: str, module: Any, *, fresh: bool, port: int | None, version: str | None, **options: Any) -> Any:
    if version is not None:
        check_embedded(kind, version)
    if fresh or port is not None or options:
        return module.start(port=port, **options)
    with _lock:
        endpoint = module.external()  # first, so that a variable set in the middle of a session counts
        if endpoint is not None:
            return endpoint
        endpoint = _embedded.get(kind)
        if endpoint is not None and endpoint._process.running():
            return endpoint
        from principal_kit.services import state

        endpoint = None
        if kind in state.KINDS:
            endpoint = state.running(kind, module.attach)
        if endpoint is None:
            endpoint = _embedded[kind] = module.start()
        return endpoint


def _new_lock_in_child() -> None:
    """Another thread may have held the lock when this process was forked; the child must not wait for it."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_new_lock_in_child)


def redis(*, fresh: bool = False, port: int | None = None, version: str | None = None) -> Any:
    """A `RedisEndpoint`, one embedded server shared by the whole interpreter unless told otherwise.

    Args:
        fresh: always start a new embedded server, which you stop (or leave to the interpreter's end).
        port: a TCP port for a new embedded server.
        version: the release line you rely on; an unknown one is an error, not a download.

    Raises MissingPrerequisite, ServiceError (occupied port, no answer), InvalidArgument (malformed variable, unknown
    version).
    """
    from principal_kit.services import redis_server as module

    return _resolve("redis", module, fresh=fresh, port=port, version=version)


def redis_nodes(n: int) -> list[Any]:
    """`n` separate Redis servers (`RedisEndpoint`s), embedded unless PRINCIPAL_KIT_REDIS_NODES names yours."""
    from principal_kit.services import redis_server as module

    return module.nodes(n)


def kafka(*, fresh: bool = False, port: int | None = None, version: str | None = None, **options: Any) -> Any:
    """A `KafkaEndpoint`: a KRaft broker. Arguments and errors as for `redis`; CorruptionError on a damaged jar.

    Args:
        options: of a new embedded broker, which they imply: data= (a folder of yours for its logs).
    """
    from principal_kit.services import kafka_broker as module

    return _resolve("kafka", module, fresh=fresh, port=port, version=version, **options)


def spark(app_name: str = "principal-kit", **conf: str) -> Any:
    """A `SparkSession`: local mode with the Kafka connector, or the cluster PRINCIPAL_KIT_SPARK names."""
    from principal_kit.services import spark_session as module

    return module.session(app_name, **conf)


def flink(*, fresh: bool = False, port: int | None = None, version: str | None = None, **options: Any) -> Any:
    """A `FlinkEndpoint`: a session cluster with its SQL gateway. Arguments and errors as for `kafka`.

    Args:
        options: of a new embedded cluster, which they imply: task_managers=, slots=, checkpoint_interval= (seconds),
            state_backend= ("hashmap", "rocksdb"), task_heap_mib=, settings= (any of Flink's own). See
            `flink_cluster.Options`.
    """
    from principal_kit.services import flink_cluster as module

    return _resolve("flink", module, fresh=fresh, port=port, version=version, **options)


def postgres(*, fresh: bool = False, port: int | None = None, **options: Any) -> Any:
    """A `PostgresEndpoint`: PostgreSQL with logical replication on. Arguments and errors as for `redis`.

    Args:
        options: of a new embedded server, which they imply: settings= (any of PostgreSQL's own).
    """
    from principal_kit.services import postgres_server as module

    return _resolve("postgres", module, fresh=fresh, port=port, version=None, **options)


def connect(*, fresh: bool = False, port: int | None = None, version: str | None = None, **options: Any) -> Any:
    """A `ConnectEndpoint`: a Kafka Connect worker with Debezium. Arguments and errors as for `kafka`.

    Args:
        options: of a new embedded worker, which they imply: kafka= (the broker, default `kafka()`), exactly_once=,
            settings= (any of the worker's own). See `connect_worker.start`.
    """
    from principal_kit.services import connect_worker as module

    return _resolve("connect", module, fresh=fresh, port=port, version=version, **options)


def trino(dsn: str, warehouse: str, *, port: int | None = None) -> Any:
    """A `TrinoEndpoint` over the lake at `dsn` and `warehouse`, or the server that PRINCIPAL_KIT_TRINO names.

    A new embedded server each time, which you stop (or leave to the interpreter's end). Raises MissingPrerequisite
    naming the command that fetches it, as `make trino-test` does, and as `redis` does.
    """
    from principal_kit.services import trino_server as module

    return module.external() or module.start(dsn, warehouse, port=port)


def flink_python() -> Any:
    """Path of a Python that has PyFlink, in an environment of its own that the first call makes (144 MB).

    Raises MissingPrerequisite (this Python is too new), ServiceError (no network).
    """
    from principal_kit.services import pyflink_environment as module

    module.make_aloud()
    return module.interpreter()


def promtool() -> str:
    """Path of Prometheus' checker of rules. Raises MissingPrerequisite, naming what brings it."""
    from principal_kit.services import prometheus as module

    return module.promtool()


def up(names: list[str] | None = None) -> list[Endpoint]:
    """Start the named services (default: redis and kafka) to outlive this process; idempotent. See `state.up`."""
    from principal_kit.services import state

    return state.up(names)


def down() -> list[str]:
    """Stop what `up` started; returns the names. Never touches a process it cannot prove is the recorded one."""
    from principal_kit.services import state

    return state.down()


def doctor() -> list[Any]:
    """What is there, in which version, and the fix for what is missing: rows for `principal-kit doctor`."""
    from principal_kit.services import diagnosis as module

    return module.rows()


def stop_all() -> None:
    """Stop every embedded server of this interpreter now instead of at its end, and its Spark session."""
    import sys

    from principal_kit.services import process

    if "principal_kit.services.spark_session" in sys.modules:
        sys.modules["principal_kit.services.spark_session"].stop()
    with _lock:
        _embedded.clear()
        process._stop_all()
