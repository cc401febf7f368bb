"""A Kafka Connect worker with Debezium's PostgreSQL connector, in one small JVM on loopback.

Distributed mode with a group of one: configuration, status and source offsets are in topics of the broker, so a worker
that is killed comes back with its connectors and goes on where their offsets say. Source offsets are committed in the
same Kafka transaction as the records (KIP-618), unless that is turned off to see what it was good for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import MissingPrerequisite, ServiceError
from principal_kit.services import class_archive, jars, java
from principal_kit.services.container import Container
from principal_kit.services.endpoint import Endpoint, Source, from_environment
from principal_kit.services.process import LOOPBACK, ServerProcess, on_a_port, shared_folder
from principal_kit.services.versions import WANTED, check_version

START_SECONDS = 60.0
REQUEST_SECONDS = 30.0
HEAP_MIB = 256
_BUSY = 409  # a rebalance is under way, or the worker has not read its own last change yet
_JVM = ["-Xms64m", f"-Xmx{HEAP_MIB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]  # fmt: skip
_MAIN = "org.apache.kafka.connect.cli.ConnectDistributed"


class ConnectError(ServiceError):
    """The worker refused a request. `status` is HTTP's; the message is the worker's own."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ConnectEndpoint(Endpoint):
    """A Kafka Connect worker; `host` and `port` are those of its REST API."""

    _secrets: Path | None = None

    def request(
        self, method: str, path: str, json: Any = None, *, seconds: float = REQUEST_SECONDS, clock: Clock = monotonic
    ) -> Any:
        """The JSON answer to one request; asked again for `seconds` while the worker says that it is rebalancing.

        Raises ConnectError when it refuses, ServiceError when it does not answer.
        """
        import httpx

        deadline = clock() + seconds
        with _http(self.address, seconds) as client:
            while True:
                try:
                    reply = client.request(method, path, json=json)
                    said = reply.json() if reply.content else None
                except (httpx.HTTPError, ValueError) as error:
                    raise ServiceError(f"{self.address} does not answer as Kafka Connect: {error}") from error
                if reply.status_code == _BUSY and clock() < deadline:
                    time.sleep(0.1)
                    continue
                if reply.status_code >= 400:
                    message = said.get("message", "") if isinstance(said, dict) else str(said)
                    raise ConnectError(f"{method} {path}: {message.strip()}", status=reply.status_code)
                return said

    def connectors(self) -> list[str]:
        """Names of the connectors that the worker has, sorted."""
        return sorted(self.request("GET", "/connectors"))

    def config(self, name: str) -> dict[str, str] | None:
        """The configuration of a connector as it was given, without its name; None if there is none of that name."""
        try:
            found = self.request("GET", f"/connectors/{name}/config")
        except ConnectError as error:
            if error.status == 404:
                return None
            raise
        return {key: value for key, value in found.items() if key != "name"}

    def put(self, name: str, config: Mapping[str, str]) -> None:
        """Create a connector or change its configuration. Raises ConnectError with what the worker finds wrong."""
        try:
            self.request("PUT", f"/connectors/{name}/config", dict(config))
        except ConnectError as error:
            # Kafka 4.3 fails as it lists errors when a plugin has an internal setting without a value, as Debezium has.
            if not (wrong := self._errors(name, config)):
                raise
            raise ConnectError(f"connector {name}: {'; '.join(wrong)}", status=error.status) from error

    def _errors(self, name: str, config: Mapping[str, str]) -> list[str]:
        """What the connector's own validation says, a line for each setting that it finds wrong."""
        try:
            path = f"/connector-plugins/{config.get('connector.class')}/config/validate"
            values = [row["value"] for row in self.request("PUT", path, {"name": name, **config})["configs"]]
        except ConnectError:
            return []
        return [f"{value['name']}: {said}" for value in values if value for said in value["errors"]]

    def states(self, name: str) -> list[str]:
        """State of a connector and then of each of its tasks: RUNNING, FAILED, PAUSED, STOPPED, UNASSIGNED."""
        status = self.request("GET", f"/connectors/{name}/status")
        return [status["connector"]["state"], *(task["state"] for task in status["tasks"])]

    def trace(self, name: str) -> str:
        """Why a connector or a task of it failed: the root cause of its stack trace, empty if none did."""
        status = self.request("GET", f"/connectors/{name}/status")
        traces = [part.get("trace", "") for part in (status["connector"], *status["tasks"])]
        lines = [line for trace in traces for line in trace.splitlines() if line and not line.startswith("\t")]
        causes = [line.removeprefix("Caused by: ") for line in lines]
        return causes[-1] if causes else ""

    def wait(self, name: str, state: str = "RUNNING", *, seconds: float = 60.0, clock: Clock = monotonic) -> None:
        """Wait until a connector and all its tasks (at least one, unless it shall be stopped) are in `state`.

        Raises ServiceError after `seconds`, or at once, with the cause, when it FAILED and that was not awaited.
        """
        deadline, seen = clock() + seconds, []
        while True:
            try:
                seen = self.states(name)
            except ConnectError as error:  # a worker that has just come back does not know its connectors yet
                if error.status != 404:
                    raise
            if seen and set(seen) == {state} and (len(seen) > 1 or state == "STOPPED"):
                return
            if state == "FAILED" and "FAILED" in seen:
                return
            if "FAILED" in seen:
                raise ServiceError(f"connector {name} failed: {self.trace(name)}")
            if clock() > deadline:
                raise ServiceError(
                    f"connector {name} is {', '.join(seen) or 'unknown'} after {seconds:g} s, not {state}"
                )
            time.sleep(0.05)

    def restart(self, name: str) -> None:
        """Restart a connector and all its tasks; returns before they run (`wait`)."""
        self.request("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=false")

    def halt(self, name: str) -> None:
        """Stop a connector's tasks and keep its configuration and offsets; returns when they have ended."""
        self.request("PUT", f"/connectors/{name}/stop")
        self.wait(name, "STOPPED")

    def resume(self, name: str) -> None:
        """Let a halted connector go on, and wait until it runs."""
        self.request("PUT", f"/connectors/{name}/resume")
        self.wait(name)

    def offsets(self, name: str) -> list[dict[str, Any]]:
        """Where a source connector has got to: a dict of `partition` and `offset` for each of its sources."""
        return self.request("GET", f"/connectors/{name}/offsets")["offsets"]

    def forget(self, name: str) -> None:
        """Drop the offsets of a halted connector, so that it begins with a snapshot. Raises ConnectError if it runs."""
        self.request("DELETE", f"/connectors/{name}/offsets")

    def delete(self, name: str) -> None:
        """Remove a connector; nothing if there is none. Its offsets, and its slot in PostgreSQL, stay."""
        try:
            self.request("DELETE", f"/connectors/{name}")
        except ConnectError as error:
            if error.status != 404:
                raise

    def secret(self, name: str, value: str) -> str:
        """Hand the worker a password and return what a configuration says instead of it.

        A configuration is in a topic and in every answer of the REST API. An embedded worker reads its secrets from a
        file that only this user can read; one that we do not run cannot read ours, so there `value` itself is returned.
        """
        if self._secrets is None:
            return value
        units = value.encode("utf-16-be").hex()  # Java reads the file as properties: escaped, no character is special
        lines = self._secrets.read_text(encoding="ascii").splitlines() if self._secrets.exists() else []
        kept = dict(line.split("=", 1) for line in lines)
        kept[name] = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
        draft = self._secrets.with_suffix(".draft")  # the file is there whole or as it was
        draft.touch(mode=0o600)
        draft.write_text("".join(f"{key}={text}\n" for key, text in kept.items()), encoding="ascii")
        os.replace(draft, self._secrets)
        return f"${{file:{self._secrets}:{name}}}"


def _http(address: str, seconds: float) -> Any:
    """An `httpx.Client` for one address; proxies of the environment are for other hosts."""
    try:
        import httpx
    except ImportError as error:
        raise MissingPrerequisite("the HTTP client is missing: pip install 'principal-kit[pipeline]'") from error
    return httpx.Client(base_url=f"http://{address}", timeout=seconds, trust_env=False)


def _configuration(bootstrap: str, port: int, folder: Path, exactly_once: bool) -> dict[str, object]:
    """connect-distributed.properties for a group of one; one partition and one copy, since there is one broker."""
    json = "org.apache.kafka.connect.json.JsonConverter"
    internal = {f"{what}.storage.replication.factor": 1 for what in ("config", "offset", "status")}
    return {
        **internal,
        "bootstrap.servers": bootstrap,
        "group.id": "connect",
        "config.storage.topic": "connect-configs",
        "offset.storage.topic": "connect-offsets",
        "status.storage.topic": "connect-status",
        "offset.storage.partitions": 1,
        "status.storage.partitions": 1,
        "listeners": f"http://{LOOPBACK}:{port}",
        "rest.advertised.host.name": LOOPBACK,
        "rest.advertised.port": port,
        "key.converter": json,
        "value.converter": json,
        "plugin.discovery": "service_load",  # reading the manifests instead of every class of every jar
        "exactly.once.source.support": "enabled" if exactly_once else "disabled",
        "offset.flush.interval.ms": 1000,
        # A killed worker stays a member until its session is over, and the one that replaces it waits for that.
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1500,
        "scheduled.rebalance.max.delay.ms": 0,
        # A worker reads its offsets to their end before it answers, and cannot pass a transaction that a killed one
        # left open: a minute by default, which is longer than we wait for it.
        "producer.transaction.timeout.ms": 10_000,
        "config.providers": "file",
        "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
        "config.providers.file.param.allowed.paths": folder,
        # A record carries its schema; next to others like it that compresses to almost nothing.
        "producer.compression.type": "gzip",
        "producer.linger.ms": 5,
    }


def _command(libraries: Path, java_command: list[str], properties: Mapping[str, object], directory: Path) -> list[str]:
    file = directory / "connect.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
    return [*java_command, "-cp", f"{libraries}/*", _MAIN, str(file)]


def _healthy(port: int) -> bool:
    """Whether the worker has joined its group and read its topics (the API answers some time before that)."""
    import httpx

    try:
        with _http(f"{LOOPBACK}:{port}", 5.0) as client:
            return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def _run(command: Callable[[Path], list[str]], folder: Path, port: int, grace: float) -> ServerProcess:
    process = ServerProcess("connect", command, grace=grace, inside=folder)
    process.wait_ready(partial(_healthy, port), START_SECONDS)
    return process


def start(
    port: int | None = None,
    *,
    kafka: Any = None,
    exactly_once: bool = True,
    settings: Mapping[str, object] | None = None,
    dump: Path | None = None,
) -> ConnectEndpoint:
    """Start a new embedded worker; seconds on a cold machine.

    Args:
        port: a TCP port for the REST API, or None for a free one (retried if another process takes it first).
        kafka: the broker it works for; default `services.kafka()`. One worker a broker: its topics are the state.
        exactly_once: whether source offsets and records are one transaction.
        settings: of the worker, over ours.
        dump: where the JVM writes a class archive when it ends, instead of using one.

    Raises MissingPrerequisite (no Java, jars or client), CorruptionError (a jar fails its checksum), ServiceError
    (occupied port; or the worker did not come up, with the last lines of its log).
    """
    from principal_kit import services

    binary = java.require()
    libraries = jars.verified("connect")
    classes = class_archive.dump_flags(dump) if dump else class_archive.flags("connect")
    java_command, grace = [binary, *_JVM, *classes], 60.0 if dump else 3.0
    kafka = kafka or services.kafka()

    def on(chosen: int) -> ConnectEndpoint:
        folder = shared_folder("connect")
        properties = _configuration(kafka.bootstrap_servers, chosen, folder, exactly_once) | dict(settings or {})
        command = partial(_command, libraries, java_command, properties)
        again = partial(_run, command, folder, chosen, grace)
        endpoint = ConnectEndpoint("connect", LOOPBACK, chosen, WANTED["kafka"], "embedded", again(), again=again)
        endpoint._secrets = folder / "secrets"
        return endpoint

    return on_a_port(on, port)


def train(dump: Path) -> None:
    """Start a worker, let it copy a table as the chapter does, and have it write its class archive as it ends."""
    from principal_kit.services import kafka_broker, postgres_server

    with kafka_broker.start() as kafka, postgres_server.start() as postgres:
        with postgres.connect() as connection:
            connection.execute("CREATE TABLE train (id int PRIMARY KEY, at timestamptz DEFAULT now())")
            connection.execute("INSERT INTO train SELECT generate_series(1, 100)")
        with start(kafka=kafka, dump=dump) as connect:
            config = {
                "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput",
                "database.hostname": postgres.host, "database.port": str(postgres.port), "topic.prefix": "train",
                "database.user": postgres.user, "database.password": connect.secret("train", postgres.password),
                "database.dbname": postgres.database, "publication.autocreate.mode": "filtered",
                "table.include.list": "public.train", "topic.creation.default.replication.factor": "1",
                "topic.creation.default.partitions": "1",
            }  # fmt: skip
            connect.put("train", config)
            connect.wait("train")
            consumer = kafka.consumer("train.public.train", auto_offset_reset="earliest", consumer_timeout_ms=30_000)
            with postgres.connect() as connection:
                for _ in zip(range(100), consumer):
                    pass
                connection.execute("UPDATE train SET at = now() WHERE id = 1")
                connection.execute("DELETE FROM train WHERE id = 2")
                next(consumer)
            consumer.close()
            connect.delete("train")


def attach(host: str, port: int, source: Source, container: Container | None = None) -> ConnectEndpoint:
    """An endpoint for a worker somebody else runs.

    Raises ServiceError if it does not answer as Kafka Connect, InvalidArgument if its release is unknown to us.
    """
    endpoint = ConnectEndpoint("connect", host, port, "", source, container=container)
    told = endpoint.request("GET", "/", seconds=5.0)
    if not isinstance(told, dict) or "kafka_cluster_id" not in told:
        raise ServiceError(f"{endpoint.address} does not answer as Kafka Connect")
    endpoint.version = check_version("connect", str(told.get("version")))
    return endpoint


def external() -> ConnectEndpoint | None:
    """The worker PRINCIPAL_KIT_CONNECT=host:port names, or None. Raises as `attach`, InvalidArgument if malformed."""
    server = from_environment("PRINCIPAL_KIT_CONNECT")
    return attach(*server[:2], "external", server[2]) if server else None
