"""Apache Kafka in KRaft mode: broker and controller in one small JVM, from the published jars, on loopback.

The storage is formatted by writing `meta.properties` ourselves: the file is three ids, and a second JVM only to write
it would cost as long as half the broker's own start. The broker then bootstraps at its release's default metadata
version.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import class_archive, jars, java
from principal_kit.services.container import Container
from principal_kit.services.endpoint import Endpoint, Source, from_environment, parse_servers
from principal_kit.services.kafka_release import release
from principal_kit.services.process import LOOPBACK, ServerProcess, free_port, on_a_port, shared_folder
from principal_kit.services.versions import WANTED, check_version

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

START_SECONDS = 60.0
HEAP_MIB = 256
# A short-lived broker for one reader: the small start heap and C1 alone halve the time to the first answer.
_JVM = ["-Xms64m", f"-Xmx{HEAP_MIB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Djdk.net.unixdomain.tmpdir=."]  # fmt: skip


def _driver() -> Any:
    try:
        import kafka
    except ImportError as error:
        raise MissingPrerequisite("the Kafka client is missing: pip install 'principal-kit[kafka]'") from error
    return kafka


class KafkaEndpoint(Endpoint):
    """A Kafka broker; `producer`, `consumer` and `admin` give kafka-python clients for it.

    Of a cluster, `others` are the addresses of the brokers beside it: clients are told all, so that they find the
    cluster whichever broker is down.
    """

    others: tuple[str, ...] = ()

    @property
    def bootstrap_servers(self) -> str:
        """host:port, as clients want it; several, joined by commas, for a cluster."""
        return ",".join((self.address, *self.others))

    def producer(self, **options: Any) -> KafkaProducer:
        """A `kafka.KafkaProducer`; options go to its constructor."""
        return _driver().KafkaProducer(bootstrap_servers=self.bootstrap_servers, **options)

    def consumer(self, *topics: str, **options: Any) -> KafkaConsumer:
        """A `kafka.KafkaConsumer` of `topics`; options go to its constructor."""
        return _driver().KafkaConsumer(*topics, bootstrap_servers=self.bootstrap_servers, **options)

    def admin(self, **options: Any) -> KafkaAdminClient:
        """A `kafka.KafkaAdminClient`; options go to its constructor."""
        return _driver().KafkaAdminClient(bootstrap_servers=self.bootstrap_servers, **options)


def _id() -> str:
    """A random id in Kafka's own form: 128 bits, URL-safe base64 without padding, never starting with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


def _configuration(data: Path, port: int, controller_port: int) -> dict[str, object]:
    """server.properties for one combined node; every replication factor is 1 since there is one broker."""
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.partitions": 1,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        "log.cleaner.dedupe.buffer.size": 4 << 20,
        # A broker that was killed may not register again while its old session lasts (9 s by default), and what a
        # killed producer left open hides all that is behind it from whoever reads committed records only.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    }


def _command(
    folder: Path, java_command: list[str], cluster: str, data: Path | None,
    directory: Path, port: int, controller_port: int,
) -> list[str]:  # fmt: skip
    """Write the broker's configuration and, the first time, formatted storage; return what starts it."""
    data = data or directory.parent / "data"  # outlives the process, so that a killed broker can come back to its log
    files = {directory / "server.properties": _configuration(data, port, controller_port)}
    if not (data / "meta.properties").exists():
        data.mkdir(exist_ok=True)
        files[data / "meta.properties"] = {"version": 1, "cluster.id": cluster, "node.id": 1, "directory.id": _id()}
    for path, entries in files.items():
        path.write_text("".join(f"{key}={value}\n" for key, value in entries.items()), encoding="utf-8")
    return [*java_command, "-cp", f"{folder}/*", "kafka.Kafka", str(directory / "server.properties")]


def _answers(port: int, cluster: str) -> bool:
    """Whether our own broker has joined its cluster: the metadata names the cluster and lists the broker."""
    try:
        release(LOOPBACK, port)
    except ServiceError:
        return False
    kafka = _driver()
    try:
        admin = kafka.KafkaAdminClient(
            bootstrap_servers=f"{LOOPBACK}:{port}", request_timeout_ms=5000, bootstrap_timeout_ms=5000
        )
    except (kafka.errors.KafkaError, OSError, ValueError):
        return False
    try:
        answer = admin.describe_cluster()
        return answer["cluster_id"] == cluster and bool(answer["brokers"])
    except (kafka.errors.KafkaError, OSError):
        return False
    finally:
        admin.close()


def _run(command: Callable[[Path], list[str]], folder: Path, port: int, cluster: str, grace: float) -> ServerProcess:
    process = ServerProcess("kafka", command, grace=grace, inside=folder)
    process.wait_ready(partial(_answers, port, cluster), START_SECONDS)
    return process


def start(port: int | None = None, *, dump: Path | None = None, data: Path | None = None) -> KafkaEndpoint:
    """Start a new embedded broker; seconds on a cold machine.

    Args:
        port: a TCP port, or None for a free one (retried if another process takes it first).
        data: an empty folder for its logs, which stays yours; default: one that goes with the broker.
        dump: where the broker writes a class archive when it ends (see `class_archive`), instead of using one.

    Raises InvalidArgument (`data` has been a broker's already), MissingPrerequisite (no Java, jars or client),
    CorruptionError (a jar fails its checksum), ServiceError (occupied port; or the broker did not come up, with the
    last lines of its log).
    """
    if data and (data / "meta.properties").exists():
        raise InvalidArgument(f"{data} holds the log of another broker (meta.properties); expected an empty folder")
    _driver()
    binary = java.require()
    folder = jars.verified("kafka")
    classes = class_archive.dump_flags(dump) if dump else class_archive.flags("kafka")
    java_command, grace = [binary, *_JVM, *classes], 60.0 if dump else 4.0
    cluster = _id()  # for all attempts: one that lost its port has formatted `data` already

    def on(chosen: int) -> KafkaEndpoint:
        command = partial(_command, folder, java_command, cluster, data, port=chosen, controller_port=free_port())
        again = partial(_run, command, shared_folder("kafka"), chosen, cluster, grace)
        return KafkaEndpoint("kafka", LOOPBACK, chosen, WANTED["kafka"], "embedded", again(), again=again)

    return on_a_port(on, port)


def train(dump: Path) -> None:
    """Start a broker, use it as the chapters do, and let it write its class archive as it ends."""
    from kafka.admin import NewTopic

    with start(dump=dump) as endpoint:
        admin = endpoint.admin()
        admin.create_topics([NewTopic("train", 1, 1)])
        producer = endpoint.producer(transactional_id="train", compression_type="gzip")
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("train", b"value").get(30)
        producer.commit_transaction()
        producer.close()
        consumer = endpoint.consumer(
            "train", group_id="train", auto_offset_reset="earliest", consumer_timeout_ms=20_000
        )
        next(consumer)
        consumer.close()
        admin.close()


def attach(host: str, port: int, source: Source, container: Container | None = None) -> KafkaEndpoint:
    """An endpoint for a broker somebody else runs.

    Raises ServiceError if it does not answer as Kafka, InvalidArgument if its release is too old.
    """
    _driver()
    version = check_version("kafka", release(host, port))
    return KafkaEndpoint("kafka", host, port, version, source, container=container)


def external() -> KafkaEndpoint | None:
    """The broker PRINCIPAL_KIT_KAFKA names, or None; of several, the first that answers, and it knows the others."""
    variable = "PRINCIPAL_KIT_KAFKA"
    server = from_environment(variable)
    if server is None:
        return None
    endpoint = attach(*server[:2], "external", server[2])
    every = [f"{host}:{port}" for host, port, _ in parse_servers(os.environ[variable], variable=variable)]
    endpoint.others = tuple(address for address in every if address != endpoint.address)
    return endpoint
