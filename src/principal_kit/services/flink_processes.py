"""The processes of a Flink session cluster: configuration, command lines, and how each says that it is ready.

No bin/flink and no shell script: the three entry points are started from the jars, with the memory options that the
scripts would have worked out.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.services import class_archive, flink_format, jars, java, pyflink_environment
from principal_kit.services.flink_sql import answer, http
from principal_kit.services.process import LOOPBACK, ServerProcess, shared_folder

START_SECONDS = 90.0
_LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.c.ref = C
# A warning of Beam's lists the whole environment, secrets included.
logger.beam.name = org.apache.beam
logger.beam.level = ERROR
appender.c.name = C
appender.c.type = CONSOLE
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""
_OPEN = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent",
         "util.concurrent.atomic", "util.concurrent.locks")  # fmt: skip
JVM = [
    "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData", "-Djava.awt.headless=true", "-Djdk.net.unixdomain.tmpdir=.",
    "--add-exports=java.management/sun.management=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPEN),
]  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How a cluster is made.

    Args:
        task_managers: how many TaskManager processes.
        slots: task slots of each.
        checkpoint_interval: seconds between checkpoints of a job that sets nothing else; 0 for none.
        state_backend: "hashmap" (objects on the heap) or "rocksdb" (on disk, incremental checkpoints).
        task_heap_mib: heap of each TaskManager.
        settings: more Flink options, by their names; they win.
    """

    task_managers: int = 1
    slots: int = 8
    checkpoint_interval: float = 2.0
    state_backend: str = "hashmap"
    task_heap_mib: int = 768
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.task_managers <= 8 or not 1 <= self.slots <= 64:
            raise InvalidArgument(
                f"{self.task_managers} TaskManagers of {self.slots} slots: expected 1 to 8 of 1 to 64"
            )
        if self.state_backend not in ("hashmap", "rocksdb"):
            raise InvalidArgument(f"state_backend={self.state_backend!r}: expected hashmap or rocksdb")
        if self.checkpoint_interval < 0 or self.task_heap_mib < 256:
            raise InvalidArgument("expected checkpoint_interval >= 0 and task_heap_mib >= 256")


@dataclass(frozen=True)
class Ports:
    """The ports of a cluster that stay the same across restarts."""

    rest: int
    rpc: int
    blob: int
    gateway: int

    @classmethod
    def free(cls, rest: int | None = None) -> Ports:
        """Ports that nobody listens on now, all different: they are held until the last is found."""
        held = [socket.socket() for _ in range(4)]
        try:
            for s in held:
                s.bind((LOOPBACK, 0))
            numbers = [s.getsockname()[1] for s in held]
        finally:
            for s in held:
                s.close()
        return replace(cls(*numbers), rest=rest or numbers[0])


def _configuration(folder: Path, ports: Ports, options: Options) -> dict[str, object]:
    """config.yaml of all three kinds of process."""
    heap = options.task_heap_mib
    settings: dict[str, object] = {
        "jobmanager.rpc.address": LOOPBACK,
        "jobmanager.rpc.port": ports.rpc,
        "jobmanager.bind-host": LOOPBACK,
        "blob.server.port": ports.blob,
        "rest.address": LOOPBACK,
        "rest.bind-address": LOOPBACK,
        "rest.port": ports.rest,
        "rest.bind-port": ports.rest,
        "web.submit.enable": "true",
        "web.cancel.enable": "true",
        "sql-gateway.endpoint.rest.address": LOOPBACK,
        "sql-gateway.endpoint.rest.bind-address": LOOPBACK,
        "sql-gateway.endpoint.rest.port": ports.gateway,
        "sql-gateway.endpoint.rest.bind-port": ports.gateway,
        "taskmanager.host": LOOPBACK,
        "taskmanager.bind-host": LOOPBACK,
        "taskmanager.numberOfTaskSlots": options.slots,
        "parallelism.default": 1,
        "classloader.resolve-order": "parent-first",  # everything is on the cluster's own class path
        # What Flink's scripts compute from taskmanager.memory.process.size and hand to the TaskManager:
        "taskmanager.cpu.cores": 2,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.task.heap.size": f"{heap - 128}m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.off-heap.size": "0m",
        "taskmanager.memory.network.min": "96m",
        "taskmanager.memory.network.max": "96m",
        "taskmanager.memory.managed.size": "192m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        "jobmanager.memory.heap.size": "384m",
        # A fault drill waits for nothing: a lost TaskManager is missed in seconds (50 s by default), the JobManager
        # found again as soon as it is back, metrics are a second old (10 s by default), states a tenth (3 s).
        "heartbeat.interval": 1000,
        "heartbeat.timeout": 8000,
        "cluster.registration.error-delay": 300,
        "cluster.registration.refused-registration-delay": 300,
        "cluster.registration.max-timeout": 2000,
        "metrics.fetcher.update-interval": 1000,
        "web.refresh-interval": 100,
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 1000,
        "restart-strategy.fixed-delay.delay": "1 s",
        "state.backend.type": options.state_backend,
        "execution.checkpointing.incremental": str(options.state_backend == "rocksdb").lower(),
        "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (folder / "savepoints").as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": 3,
        "execution.checkpointing.tolerable-failed-checkpoints": 10,
        "table.local-time-zone": "UTC",
    }
    if options.checkpoint_interval:
        settings["execution.checkpointing.interval"] = f"{round(options.checkpoint_interval * 1000)} ms"
    return settings | dict(options.settings)


class ClusterProcess:
    """One process of the cluster: to be killed, and started again on the same ports.

    Args:
        spawn: starts the process.
        answers: whether that process, given, is ready.
    """

    def __init__(self, name: str, spawn: Callable[[], ServerProcess], answers: Callable[[ServerProcess], bool]) -> None:
        self.name, self._spawn, self._answers = name, spawn, answers
        self._process = spawn()

    @property
    def pid(self) -> int:
        """Process id of the latest one."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the process exists. O(1)."""
        return self._process.running()

    def kill(self) -> None:
        """SIGKILL, as an outage would."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: memory kept, connections open, no answers."""
        self._process.pause()

    def unpause(self) -> None:
        """SIGCONT after `pause`."""
        self._process.unpause()

    def start(self) -> None:
        """Start it again after `kill` and wait until it is ready; nothing if it runs. Raises ServiceError."""
        if not self.running():
            dead, self._process = self._process, self._spawn()
            dead.stop()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers. Raises ServiceError with the end of its log."""
        self._process.wait_ready(partial(self._answers, self._process), START_SECONDS)

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of its log."""
        return self._process.log_tail(lines)

    def let_go(self) -> None:
        """Have its guardian stop it, without waiting."""
        self._process.let_go()

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone. Idempotent."""
        self._process.stop()


class Cluster:
    """What starts the processes of one cluster: jars, folder, ports.

    Args:
        dump: where the processes write class archives when they end (see `class_archive`), instead of using some.
    """

    def __init__(self, ports: Ports, options: Options, dump: Path | None = None) -> None:
        self.java, self.jars, self.dump = java.require(), jars.verified("flink"), dump
        self.class_path = f"{self.jars}/*{os.pathsep}{flink_format.jar()}"
        self.ports, self.options = ports, options
        self.folder = shared_folder("flink")
        settings = _configuration(self.folder, ports, options)
        (self.folder / "config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in settings.items()), encoding="utf-8")
        (self.folder / "log4j.properties").write_text(_LOG4J, encoding="ascii")

    def _spawn(self, name: str, entry: str, jvm: list[str], *arguments: str) -> ServerProcess:
        part = f"flink-{name.split('-')[0]}"
        if self.dump:
            classes = class_archive.dump_flags(self.dump.with_name(f"{part}.jsa"))
        else:
            classes = class_archive.flags(part)
        # Where an interpreter inside a TaskManager (python.execution-mode: thread) finds PyFlink, once it is there.
        path = [f"PYTHONPATH={pyflink_environment.site_packages()}"] if part == "flink-taskmanager" else []

        def command(directory: Path) -> list[str]:
            return [
                "env", f"FLINK_CONF_DIR={self.folder}", f"FLINK_LIB_DIR={self.jars}", *path,
                self.java, *jvm, *JVM, *classes, f"-Djava.io.tmpdir={directory}",
                f"-Dlog4j.configurationFile={(self.folder / 'log4j.properties').as_uri()}",
                "-cp", self.class_path, f"org.apache.flink.{entry}", *arguments, f"-Dio.tmp.dirs={directory}",
            ]  # fmt: skip

        return ServerProcess(name, command, inside=self.folder, grace=60.0 if self.dump else 3.0)

    def job_manager(self) -> ServerProcess:
        """Start the JobManager."""
        jvm = ["-Xms64m", "-Xmx384m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        entry = "runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        return self._spawn("jobmanager", entry, jvm, "--configDir", str(self.folder))

    def task_manager(self, number: int) -> ServerProcess:
        """Start a TaskManager; `resource_id` is what the JobManager will list it as."""
        heap = self.options.task_heap_mib
        jvm = [f"-Xms{min(heap, 256)}m", f"-Xmx{heap}m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseParallelGC",
               "-XX:MaxDirectMemorySize=320m"]  # fmt: skip
        entry = "runtime.taskexecutor.TaskManagerRunner"
        # A name of its own at every start: the JobManager lists a dead one until it misses its heartbeats.
        name = f"taskmanager-{number}-{uuid.uuid4().hex[:6]}"
        process = self._spawn(
            f"taskmanager-{number}", entry, jvm, "--configDir", str(self.folder), f"-Dtaskmanager.resource-id={name}"
        )
        process.resource_id = name
        return process

    def sql_gateway(self) -> ServerProcess:
        """Start the SQL gateway."""
        jvm = ["-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return self._spawn("gateway", "table.gateway.SqlGateway", jvm)

    def _get(self, port: int, path: str) -> Any:
        client = http(f"{LOOPBACK}:{port}", 2.0)
        try:
            return answer(client, "GET", path)
        except ServiceError:
            return None
        finally:
            client.close()

    def job_manager_answers(self, process: ServerProcess) -> bool:
        """Whether it is ours that answers: another cluster may have been quicker to the port."""
        entries = self._get(self.ports.rest, "/jobmanager/config") or []
        return any(e["key"] == "execution.checkpointing.dir" and str(self.folder) in e["value"] for e in entries)

    def task_manager_answers(self, process: ServerProcess) -> bool:
        """Whether the JobManager lists it with its slots, which it reports a moment after itself."""
        known = self._get(self.ports.rest, "/taskmanagers") or {}
        slots = {entry["id"]: entry["slotsNumber"] for entry in known.get("taskmanagers", [])}
        return slots.get(process.resource_id, 0) > 0

    def gateway_answers(self, process: ServerProcess) -> bool:
        """Whether it answers and still runs."""
        return bool(self._get(self.ports.gateway, "/v1/info")) and process.running()
