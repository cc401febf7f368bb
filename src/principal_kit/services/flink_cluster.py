"""Apache Flink as a standalone session cluster: JobManager, TaskManagers and SQL gateway, each a JVM on loopback.

Each process can be killed and started again on the ports it had; checkpoints and savepoints are in a folder that
outlives them all and goes with the last. What a job does is asked of the JobManager, what it shall do of the gateway.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.services import pyflink_environment
from principal_kit.services.endpoint import Endpoint, Source, from_environment
from principal_kit.services.flink_jobs import JobControl
from principal_kit.services.flink_processes import Cluster, ClusterProcess, Options, Ports
from principal_kit.services.flink_sql import SqlSession, answer, http, statements
from principal_kit.services.process import LOOPBACK, on_a_port
from principal_kit.services.versions import WANTED, check_version

ROWS_MAX = 100_000
_LOST_PORT = r"ddress already in use|Could not start rest endpoint|Could not bind|Unable to create .* on port"


class FlinkEndpoint(JobControl, Endpoint):
    """A Flink session cluster. `host` and `port` are the JobManager's REST address.

    `sql` talks to the gateway in one session; `submit` starts jobs in sessions of their own; `job_manager`,
    `task_manager` (the first of `task_managers`) and `gateway` are the processes of an embedded cluster.
    """

    def __init__(
        self,
        address: tuple[str, int],
        gateway_address: str,
        version: str,
        source: Source,
        processes: list[ClusterProcess] | None = None,
        folder: Path | None = None,
        container: Any = None,
    ) -> None:
        super().__init__("flink", *address, version, source, processes[0] if processes else None, container)
        self.gateway_address, self._processes, self._folder = gateway_address, processes or [], folder
        self._session: SqlSession | None = None

    @property
    def job_manager(self) -> ClusterProcess:
        """The JobManager. Raises ServiceError on a cluster that this interpreter did not start."""
        return self._mine("job_manager", 0)

    @property
    def gateway(self) -> ClusterProcess:
        """The SQL gateway. Raises ServiceError on a cluster that this interpreter did not start."""
        return self._mine("gateway", 1)

    @property
    def task_manager(self) -> ClusterProcess:
        """The first TaskManager. Raises ServiceError on a cluster that this interpreter did not start."""
        return self._mine("task_manager", 2)

    @property
    def task_managers(self) -> list[ClusterProcess]:
        """All TaskManagers. Raises ServiceError on a cluster that this interpreter did not start."""
        self._mine("task_managers", 2)
        return self._processes[2:]

    def _mine(self, verb: str, which: int) -> ClusterProcess:
        self._own(f"reach {verb} of")
        return self._processes[which]

    def sql(
        self, text: str, *, rows_max: int = ROWS_MAX, seconds: float = 300.0, **config: Any
    ) -> list[dict[str, Any]]:
        """Run a statement, or a script of several, in this endpoint's session; returns the last one's rows.

        Args:
            text: statements, separated by semicolons. Their tables, catalogs and SETs stay for the next call.
            rows_max: more rows than these are an error, not a memory problem.
            seconds: for each statement; an unbounded SELECT needs a LIMIT.
            config: Flink options for these statements alone: `execution__runtime_mode="batch"` (`__` is a dot, `_` a
                hyphen), or any name in `**{"execution.runtime-mode": "batch"}`.

        Raises FlinkError with the root cause, CapacityError beyond `rows_max`, ServiceError after `seconds`.
        """
        if self._session is None:
            self._session = SqlSession(self.gateway_address)
        rows: list[dict[str, Any]] = []
        for statement in statements(text):
            rows = self._session.run(statement, config, rows_max=rows_max, seconds=seconds).rows
        return rows

    def submit(
        self, script: str, *, resume_from: str | None = None, seconds: float = 120.0, **config: Any
    ) -> list[str]:
        """Run a script (SET, CREATE, INSERT, EXECUTE STATEMENT SET …) in a session of its own; returns its jobs' ids.

        Args:
            script: complete in itself, so that it can be submitted again.
            resume_from: a savepoint or checkpoint (`savepoint`, `latest_checkpoint`) that its job goes on from.
            config: options as for `sql`.

        Raises as `sql`; ServiceError if the script starts no job.
        """
        if resume_from:
            config = {**config, "execution.state-recovery.path": resume_from}
        session, jobs = SqlSession(self.gateway_address), []
        try:
            for statement in statements(script):
                started = session.run(statement, config, rows_max=ROWS_MAX, seconds=seconds).job_id
                jobs += [started] if started else []
        finally:
            session.close()
        if not jobs:
            raise ServiceError("the script started no job: expected an INSERT or an EXECUTE STATEMENT SET")
        return jobs

    def run_python(self, script: Path | str, *args: str, seconds: float = 180.0, **config: Any) -> list[str]:
        """Run a PyFlink script on this cluster; returns its jobs' ids. See `pyflink_environment.run`.

        Raises MissingPrerequisite naming the command that makes PyFlink's environment, FlinkError when it fails.
        """
        return pyflink_environment.run(self, script, *args, seconds=seconds, **config)

    def latest_checkpoint(self, id: str) -> str:
        """The newest complete checkpoint of a job, found in the files: also when the JobManager forgot the job.

        A session cluster without ZooKeeper or Kubernetes has no recovery of its own JobManager; this is how a job goes
        on: `submit(script, resume_from=latest_checkpoint(id))`. Raises ServiceError when there is none.
        """
        if self._folder is None:
            done = [c for c in self.checkpoints(id) if c.path]
            if not done:
                raise ServiceError(f"the JobManager at {self.address} knows no complete checkpoint of job {id}")
            return done[-1].path
        complete = [path.parent for path in (self._folder / "checkpoints" / id).glob("chk-*/_metadata")]
        if not complete:
            raise ServiceError(f"job {id} has no complete checkpoint in {self._folder / 'checkpoints'}")
        return max(complete, key=lambda path: int(path.name.removeprefix("chk-"))).as_uri()

    def stop(self) -> None:
        """Stop an embedded cluster and remove its folder; does nothing to one we do not run. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        for process in self._processes:  # all pipes first: they shut down side by side
            process.let_go()
        for process in self._processes:
            process.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def start(port: int | None = None, *, dump: Path | None = None, **options: Any) -> FlinkEndpoint:
    """Start a new embedded cluster, its processes side by side; ten seconds and more on a cold machine.

    Args:
        port: a TCP port for the JobManager's REST API, or None for a free one.
        dump: beside which file the processes write class archives when they end, instead of using some.
        options: see `Options`.

    Raises MissingPrerequisite (no Java, jars or HTTP client), CorruptionError (a jar fails its checksum), ServiceError
    (occupied port; or a process did not come up, with the last lines of its log), InvalidArgument.
    """
    settings = options.pop("settings", {})
    try:
        wanted = Options(settings=tuple(dict(settings).items()), **options)
    except TypeError as error:
        raise InvalidArgument(f"flink: {error}") from error
    http(LOOPBACK).close()
    return on_a_port(lambda rest: _start(Ports.free(rest), wanted, dump), port, lost=_LOST_PORT)


def _start(ports: Ports, options: Options, dump: Path | None) -> FlinkEndpoint:
    cluster = Cluster(ports, options, dump)
    processes: list[ClusterProcess] = []
    try:
        processes.append(ClusterProcess("jobmanager", cluster.job_manager, cluster.job_manager_answers))
        processes.append(ClusterProcess("gateway", cluster.sql_gateway, cluster.gateway_answers))
        for number in range(options.task_managers):
            spawn = partial(cluster.task_manager, number)
            processes.append(ClusterProcess(f"taskmanager-{number}", spawn, cluster.task_manager_answers))
        for process in processes:
            process.wait_ready()
    except BaseException:
        for process in processes[::-1]:
            process.stop()
        shutil.rmtree(cluster.folder, ignore_errors=True)
        raise
    gateway = f"{LOOPBACK}:{ports.gateway}"
    return FlinkEndpoint((LOOPBACK, ports.rest), gateway, WANTED["flink"], "embedded", processes, cluster.folder)


_TRAINING = """\
CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', 'warehouse' = '{folder}');
CREATE DATABASE lake.train;
CREATE TABLE lake.train.sink (word STRING, n BIGINT, closed TIMESTAMP(6));
CREATE TEMPORARY TABLE source (line STRING, sent TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  word AS JSON_VALUE(line, '$.word'), WATERMARK FOR sent AS sent - INTERVAL '1' SECOND)
  WITH ('connector' = 'kafka', 'topic' = 'train', 'properties.bootstrap.servers' = '{kafka}', 'format' = 'raw',
    'properties.group.id' = 'train', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset');
CREATE TEMPORARY TABLE other (word STRING) WITH ('connector' = 'kafka', 'topic' = 'other', 'format' = 'json',
  'properties.bootstrap.servers' = '{kafka}', 'sink.delivery-guarantee' = 'at-least-once');
EXECUTE STATEMENT SET BEGIN
INSERT INTO lake.train.sink SELECT word, COUNT(*), CAST(window_end AS TIMESTAMP(6))
  FROM TABLE(SESSION(TABLE source PARTITION BY word, DESCRIPTOR(sent), INTERVAL '1' SECOND))
  GROUP BY word, window_start, window_end;
INSERT INTO other SELECT word FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY word ORDER BY sent) AS i FROM source)
  WHERE i = 1;
END
"""


def train(dump: Path) -> None:
    """Start a cluster, use it as the chapters do, and let its processes write their class archives as they end."""
    from kafka.admin import NewTopic

    from principal_kit.services import kafka_broker

    with kafka_broker.start() as kafka, start(dump=dump, checkpoint_interval=1.0) as flink:
        admin, producer = kafka.admin(), kafka.producer()
        admin.create_topics([NewTopic("train", 1, 1), NewTopic("other", 1, 1)])
        for i in range(100):
            producer.send("train", b'{"word": "%d"}' % (i % 7))
        producer.close()
        admin.close()
        warehouse = (flink._folder / "lake").as_uri()
        [job] = flink.submit(_TRAINING.format(folder=warehouse, kafka=kafka.bootstrap_servers))
        flink.wait_finished(job)
        flink.job(job)
        flink.metrics(job)
        catalog = _TRAINING.split(";")[0].format(folder=warehouse)
        flink.sql(f"{catalog}; SELECT * FROM lake.train.sink", execution__runtime_mode="batch")


def external() -> FlinkEndpoint | None:
    """The cluster that PRINCIPAL_KIT_FLINK (JobManager) and PRINCIPAL_KIT_FLINK_SQL (gateway) name, or None.

    Raises InvalidArgument (malformed, unknown release, one of the two missing), ServiceError (no answer as Flink).
    """
    server = from_environment("PRINCIPAL_KIT_FLINK")
    if server is None:
        return None
    gateway = from_environment("PRINCIPAL_KIT_FLINK_SQL")
    if gateway is None:
        raise InvalidArgument(
            "PRINCIPAL_KIT_FLINK is set, PRINCIPAL_KIT_FLINK_SQL is not: name the SQL gateway's host:port"
        )
    host, port, container = server
    client = http(f"{host}:{port}", 5.0)
    try:
        version = check_version("flink", str(answer(client, "GET", "/overview").get("flink-version")))
    finally:
        client.close()
    return FlinkEndpoint((host, port), f"{gateway[0]}:{gateway[1]}", version, "external", container=container)
