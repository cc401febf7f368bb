"""Real servers, one call each: `redis()`, `kafka()`, `spark()` return an endpoint, whatever runs it.

Resolution, in order: an environment variable (`PRINCIPAL_KIT_REDIS=host:port`, …), a set started by `principal-kit up`, an
embedded process on a free loopback port that ends with this interpreter. Never a mock.
"""

from __future__ import annotations

import threading
from typing import Any

from principal_kit.services.endpoint import Endpoint
from principal_kit.services.versions import WANTED

__all__ = ["WANTED", "Endpoint", "doctor", "down", "kafka", "redis", "redis_nodes", "spark", "stop_all", "up"]

_lock = threading.Lock()
_embedded: dict[str, Endpoint] = {}


def _resolve(kind: str, module: Any, *, fresh: bool, port: int | None = None) -> Any:
    if fresh or port is not None:
        return module.start(port=port)
    with _lock:
        endpoint = _embedded.get(kind)
        if endpoint is not None and endpoint._process is not None and endpoint._process.running() and endpoint._process._pipe:
            return endpoint
        from principal_kit.services import state

        endpoint = module.external() or state.running(kind, module.attach)
        if endpoint is None:
            endpoint = _embedded[kind] = module.start()
        return endpoint


def redis(*, fresh: bool = False, port: int | None = None) -> Any:
    """A `RedisEndpoint`. `fresh=True` always starts a new embedded server; so does naming a `port`.

    Raises MissingPrerequisite, ServiceError (occupied port, no answer), InvalidArgument (malformed variable, unknown version).
    """
    from principal_kit.services import redis_server as module

    return _resolve("redis", module, fresh=fresh, port=port)


def redis_nodes(n: int) -> list[Any]:
    """`n` separate Redis servers (`RedisEndpoint`s), embedded unless PRINCIPAL_KIT_REDIS_NODES names yours."""
    from principal_kit.services import redis_server as module

    return module.nodes(n)


def kafka(*, fresh: bool = False, port: int | None = None) -> Any:
    """A `KafkaEndpoint`: a KRaft broker. Arguments and errors as for `redis`; CorruptionError if a cached jar fails its checksum."""
    from principal_kit.services import kafka_broker as module

    return _resolve("kafka", module, fresh=fresh, port=port)


def spark(app_name: str = "principal-kit", **conf: str) -> Any:
    """A `SparkSession`: local mode with the Kafka connector, or the cluster PRINCIPAL_KIT_SPARK (or SPARK_REMOTE) names."""
    from principal_kit.services import spark_session as module

    return module.session(app_name, **conf)


def up(names: list[str] | None = None) -> list[Endpoint]:
    """Start the named services (default: redis and kafka) so that they outlive this process; idempotent. See `state.up`."""
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
    """Stop every embedded server of this interpreter now instead of at its end, and the Spark session if there is one."""
    import sys

    from principal_kit.services import process

    if "principal_kit.services.spark_session" in sys.modules:
        sys.modules["principal_kit.services.spark_session"].stop()
    with _lock:
        _embedded.clear()
        process._stop_all()
