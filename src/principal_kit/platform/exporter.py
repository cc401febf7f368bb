"""Takes samples of a running pipeline and serves them to Prometheus.

Sampling asks three servers and reads new rows, so it runs on its own beat; a scrape only prints the last sample. A part
that does not answer is left out of the sample, and the others go on.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from principal_kit.core.clock import Clock
from principal_kit.core.errors import CorruptionError, InvalidArgument, ServiceError
from principal_kit.platform import dead_letters, jobs, tables, tracing
from principal_kit.platform.contract import REASONS
from principal_kit.platform.metrics import (
    PARTS,
    SLOTS,
    Business,
    Freshness,
    JobState,
    Log,
    Sample,
    SlotState,
    TableState,
    Task,
    families,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

    from principal_kit.platform.pipeline import Pipeline

LOOPBACK = "127.0.0.1"
_EVENTS = ("clicks", "orders", "stock_moves")
_COLUMNS = {**dict.fromkeys(_EVENTS, ("event_time", "late")), "fraud_alerts": ("rule",)}
_COLUMNS["orders"] += ("amount_cents", "discount_cents")
_TASK_METRICS = ("busyTimeMsPerSecond", "backPressuredTimeMsPerSecond", "currentInputWatermark")
_CHECKPOINT_OF_FLINK = "flink.max-committed-checkpoint-id"
_NO_WATERMARK_BELOW = 0.0  # Flink's "none yet" is the smallest long
T = TypeVar("T")


class LogReader:
    """Ends, sizes and commits of the event topics. Its clients stay open: making them costs more than asking."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._consumer, self._admin = pipeline, pipeline.kafka.consumer(), pipeline.kafka.admin()

    def read(self) -> Log:
        """The log now. Raises what kafka-python raises."""
        from kafka import TopicPartition
        from kafka.errors import CoordinatorNotAvailableError

        prefix, partitions = self._pipeline.settings.prefix, self._pipeline.partitions
        committed = {}
        for job in jobs.READS:
            group = self._pipeline.settings.group(job)
            try:
                offsets = self._admin.list_group_offsets({group: None}).get(group, {})
            except CoordinatorNotAvailableError:  # a new cluster makes the topic of the offsets for the first commit
                offsets = {}
            committed[job] = sum(max(entry.offset, 0) for entry in offsets.values())
        places = [TopicPartition(topic, p) for topic, count in partitions.items() for p in range(count)]
        ends = dict.fromkeys(partitions, 0)
        for place, end in self._consumer.end_offsets(places).items():
            ends[place.topic] += end
        sizes, disks = dict.fromkeys((t.name for t in self._pipeline.topics), 0), {}
        for broker in self._admin.describe_log_dirs():
            for folder in broker["log_dirs"]:
                for topic in folder["topics"]:
                    if topic["name"] in sizes:
                        sizes[topic["name"]] += sum(p["partition_size"] for p in topic["partitions"])
                size, free = disks.get(str(broker["broker"]), (0, 0))
                if folder.get("total_bytes", -1) >= 0:  # brokers before 3.3 do not say
                    disks[str(broker["broker"])] = (size + folder["total_bytes"], free + folder["usable_bytes"])
        return Log(ends, sizes, disks, {job: f"{prefix}{topic}" for job, topic in jobs.READS.items()}, committed)

    def close(self) -> None:
        """Close both clients."""
        self._consumer.close()
        self._admin.close()


def short(task: str) -> str:
    """A name for people from one of Flink's, which is a whole chain of operators.

    >>> short("IcebergStreamWriter -> IcebergFilesCommitter -> IcebergSink lake.shop.orders: Writer")
    'lake.shop.orders'
    """
    if ": Writer" in task and "IcebergSink" in task:
        return task.split("IcebergSink ")[-1].split(":")[0]
    return task.split(" -> ")[0][:60]


def job_state(flink: Any, id: str) -> JobState:
    """One job as its JobManager sees it; one that is unknown there does not run. Raises ServiceError."""
    if id not in flink.jobs():
        return JobState(running=False)
    job = flink.job(id)
    said = flink.rest("GET", f"/jobs/{id}/checkpoints")
    counts, last = said.get("counts", {}), (said.get("latest") or {}).get("completed")
    found = flink.metrics(id, *_TASK_METRICS)
    tasks: dict[str, Task] = {}
    for name, values in found.items():
        shares = [values.get(metric, 0.0) / 1000 for metric in _TASK_METRICS[:2]]
        before = tasks.get(short(name), Task(0.0, 0.0))
        tasks[short(name)] = Task(max(before.busy, shares[0]), max(before.backpressured, shares[1]))
    marks = [v["currentInputWatermark"] / 1000 for v in found.values() if "currentInputWatermark" in v]
    return JobState(
        running=job.running,
        restarts=int(flink.job_metrics(id, "numRestarts").get("numRestarts", 0)),
        completed=counts.get("completed", 0),
        failed=counts.get("failed", 0),
        checkpoint_at=last["latest_ack_timestamp"] / 1000 if last else None,
        checkpoint_seconds=last["end_to_end_duration"] / 1000 if last else 0.0,
        checkpoint_bytes=last["state_size"] if last else 0,
        watermark=min(marks) if marks and min(marks) > _NO_WATERMARK_BELOW else None,
        duplicates=_duplicates(flink, id, job.vertices),
        tasks=tasks,
        recent=tracing.complete(said.get("history", [])),
    )


def _duplicates(flink: Any, id: str, vertices: Mapping[str, str]) -> int:
    """Copies that one deduplication dropped; a job has one for each table, and all drop the same."""
    for name, vertex in vertices.items():
        operator = name.split(" -> ")[0]
        if operator.startswith("Deduplicate["):
            path = f"/jobs/{id}/vertices/{vertex}/subtasks/metrics?get="
            said = flink.rest("GET", f"{path}{operator}.numRecordsIn,{operator}.numRecordsOut")
            flow = {value["id"].rsplit(".", 1)[1]: value["sum"] for value in said}
            return int(max(0, flow.get("numRecordsIn", 0) - flow.get("numRecordsOut", 0)))
    return 0


class LetterCounter:
    """Counts dead letters by topic and reason as they come; memory O(partitions).

    A job that starts again writes letters again, in the order of their partition. So a letter whose offset is not above
    the highest seen of its partition is a repeat.
    """

    def __init__(self, consumer: Any, topic: str, topics: tuple[str, ...]) -> None:
        from kafka import TopicPartition

        self._consumer = consumer
        self.counts = {(name, reason): 0 for name in topics for reason in REASONS}
        self._highest: dict[tuple[str, int], int] = {}
        self._places = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]
        if not self._places:
            consumer.close()
            raise ServiceError(f"topic {topic} is not there; the pipeline makes it when it starts", retry_after=5.0)
        consumer.assign(self._places)
        consumer.seek_to_beginning(*self._places)

    def read(self, *, seconds: float = 5.0) -> dict[tuple[str, str], int]:
        """All letters there are by now. Raises ServiceError when Kafka gives none for `seconds` although there are."""
        ends = self._consumer.end_offsets(self._places)
        while any(self._consumer.position(place) < ends[place] for place in self._places):
            batch = self._consumer.poll(timeout_ms=round(seconds * 1000))
            if not batch:
                raise ServiceError(f"no dead letters within {seconds:g} s, although there are more")
            for records in batch.values():
                for record in records:
                    self._count(record)
        return dict(self.counts)

    def _count(self, record: Any) -> None:
        try:
            letter = dead_letters.parse(record)
        except CorruptionError:  # somebody else wrote it; it must not stop the counting of the others
            key = (record.topic, "no dead letter")
        else:
            place = (letter.topic, letter.partition)
            if letter.offset <= self._highest.get(place, -1):
                return
            self._highest[place] = letter.offset
            key = (letter.topic, letter.reason)
        self.counts[key] = self.counts.get(key, 0) + 1

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


class TableReader:
    """Reads what each new snapshot added: a commit is what makes rows visible, so its moment less an event's is how
    fresh the row was.

    Args:
        since: snapshots committed before this (seconds since 1970) are not counted: an exporter that starts again
            would otherwise read the whole table. Rows and files are those of the newest snapshot in any case.

    Memory: three columns of the largest commit. A snapshot that is expired between two samples is missed.
    """

    def __init__(self, lake: Any, namespace: str, since: float) -> None:
        self._lake, self._namespace, self._since = lake, namespace, since
        self._seen: dict[str, set[int]] = {}
        self.tables: dict[str, TableState] = {}
        self.business = Business(fraud={"velocity": 0, "card testing": 0})

    def read(self, names: tuple[str, ...]) -> tuple[dict[str, TableState], Business]:
        """The tables now. Raises what pyiceberg raises; what was counted before stays."""
        for name in names:
            self._read(name)
        return copy.deepcopy(self.tables), self.business  # a scrape may read it while the next sample counts

    def _read(self, name: str) -> None:
        table = self._lake.load_table(f"{self._namespace}.{name}")
        state = self.tables.setdefault(
            name, TableState(late=0, freshness=Freshness()) if name in _EVENTS else TableState()
        )
        snapshots, seen = table.snapshots(), self._seen.setdefault(name, set())
        for snapshot in snapshots:
            if snapshot.snapshot_id in seen:
                continue
            # Compaction adds rows too, but they were there before; only Flink's commits name a checkpoint.
            by_flink = snapshot.summary is not None and snapshot.summary.get(_CHECKPOINT_OF_FLINK)
            added = int(snapshot.summary.get("added-records") or 0) if by_flink else 0
            if added and snapshot.timestamp_ms >= self._since * 1000:
                self._count(name, state, table, snapshot, added)
            seen.add(snapshot.snapshot_id)
        seen.intersection_update(s.snapshot_id for s in snapshots)
        now = table.current_snapshot()
        if now is not None:
            state.rows = int(now.summary.get("total-records") or 0)
            state.files = int(now.summary.get("total-data-files") or 0)
            state.committed_at = now.timestamp_ms / 1000

    def _count(self, name: str, state: TableState, table: Any, snapshot: Any, added: int) -> None:
        columns = _COLUMNS.get(name)
        rows = None
        if columns:
            rows = table.incremental_append_scan(
                from_snapshot_id_exclusive=snapshot.parent_snapshot_id,
                to_snapshot_id_inclusive=snapshot.snapshot_id,
                selected_fields=columns,
            ).to_arrow()
        state.added += added
        if name in _EVENTS:
            happened = rows["event_time"].to_numpy().astype("datetime64[ms]").astype("int64")
            state.freshness.observe((snapshot.timestamp_ms - happened) / 1000)
            state.late += int(rows["late"].to_numpy(zero_copy_only=False).sum())
        self._sell(name, rows, added)

    def _sell(self, name: str, rows: Any, added: int) -> None:
        if name == "orders":
            cents = int(rows["amount_cents"].to_numpy().sum() - rows["discount_cents"].to_numpy().sum())
            self.business = replace(
                self.business, orders=self.business.orders + added, cents=self.business.cents + cents
            )
        elif name == "fraud_alerts":
            fraud = dict(self.business.fraud)
            for rule in rows["rule"].to_pylist():
                fraud[rule] = fraud.get(rule, 0) + 1
            self.business = replace(self.business, fraud=fraud)
        elif name == "low_stock_alerts":
            self.business = replace(self.business, low_stock=self.business.low_stock + added)


def slot_states(dsn: str, *, seconds: float = 5.0) -> dict[str, SlotState]:
    """The logical replication slots of a PostgreSQL database, by name: whoever may connect may see them. O(slots).

    Physical slots are a standby's, and slots of the server's other databases somebody else's: neither is given. A
    connection of its own each time: one that is kept would outlive a failover and ask the wrong server.

    Raises psycopg.Error: also when the connection takes more than `seconds`, or then the query does, or when nothing
    of the host is heard for that long and a few seconds. Unbounded is only a server that falls silent after the login
    while its host still acknowledges packets; `Collector` goes on without its answer.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    whole, millis = math.ceil(seconds), max(1, round(1000 * seconds))
    own = conninfo_to_dict(dsn).get("options") or ""
    with psycopg.connect(
        dsn, autocommit=True, connect_timeout=whole, options=f"{own} -c statement_timeout={millis}".strip(),
        tcp_user_timeout=millis, keepalives_idle=whole, keepalives_interval=1, keepalives_count=3,
    ) as connection:  # fmt: skip
        rows = connection.execute(
            "SELECT slot_name, active, (pg_current_wal_lsn() - restart_lsn)::bigint, coalesce(wal_status, 'reserved') "
            "FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()"
        ).fetchall()
    return {name: SlotState(active, kept, status) for name, active, kept, status in rows}


class Collector:
    """Takes samples of one pipeline; not for use by several threads at once.

    Args:
        pipeline: one that was started.
        where: job name to its Flink endpoint and id; default: the pipeline's own. A cluster a job has one each.
        since: see `TableReader`; default: now.
        patience: seconds for the answer of each part. One that hangs (a server that stopped, a lock that nobody gives
            back) must not take the others' samples with it.
        slots: gives the replication slots to be watched, for example `lambda: slot_states(dsn)` with the address of
            the database that is copied; default: this part is not asked.
        clock: wall time, seconds since 1970.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        where: Callable[[], Mapping[str, tuple[Any, str]]] | None = None,
        since: float | None = None,
        patience: float = 15.0,
        slots: Callable[[], Mapping[str, SlotState]] | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._pipeline, self._patience, self._clock, self._slots = pipeline, patience, clock, slots
        self._asked: dict[str, threading.Thread] = {}
        self._where = where or (lambda: {name: (pipeline.flink, id) for name, id in pipeline.ids.items()})
        self._log: LogReader | None = None
        self._letters: LetterCounter | None = None
        self._tables = TableReader(pipeline.lake, pipeline.settings.namespace, clock() if since is None else since)
        self.failures: dict[str, str] = {}

    def sample(self) -> Sample:
        """Ask every part. What a part raised is in `failures`, by the part's name. Raises nothing of the servers'."""
        began = self._clock()
        self.failures = {}
        states, business = self._ask("tables", self._read_tables) or (None, None)
        sample = Sample(
            at=self._clock(),
            log=self._ask("kafka", self._read_log),
            jobs=self._ask("jobs", lambda: {name: job_state(*place) for name, place in self._where().items()}),
            letters=self._ask("dead_letters", self._read_letters),
            tables=states,
            business=business,
            slots=self._ask(SLOTS, self._slots) if self._slots else None,
            asked=(*PARTS, SLOTS) if self._slots else PARTS,
        )
        return replace(sample, seconds=self._clock() - began)

    def _ask(self, part: str, question: Callable[[], T]) -> T | None:
        """The answer, or None and a word in `failures`. A part that still owes its last answer is not asked again."""
        before = self._asked.get(part)
        if before is not None and before.is_alive():
            self.failures[part] = "still no answer to the last question"
            return None
        outcome: list[T | Exception] = []

        def ask() -> None:
            try:
                outcome.append(question())
            except Exception as error:  # whatever a client library raises: the exporter must outlive what it watches
                outcome.append(error)

        thread = self._asked[part] = threading.Thread(target=ask, name=f"pipeline-{part}", daemon=True)
        thread.start()
        thread.join(self._patience)
        said = outcome[0] if outcome else ServiceError(f"no answer within {self._patience:g} s")
        if isinstance(said, Exception):
            self.failures[part] = f"{type(said).__name__}: {said}"
            return None
        return said

    def _read_log(self) -> Log:
        if self._log is None:
            self._log = LogReader(self._pipeline)
        return self._log.read()

    def _read_letters(self) -> dict[tuple[str, str], int]:
        if self._letters is None:
            topic = f"{self._pipeline.settings.prefix}dead_letters"
            self._letters = LetterCounter(self._pipeline.kafka.consumer(), topic, tuple(self._pipeline.partitions))
        return self._letters.read()

    def _read_tables(self) -> tuple[dict[str, TableState], Business]:
        return self._tables.read(tuple(table.name for table in tables.DESIGN))

    def close(self) -> None:
        """Close the clients, except one that somebody still waits at. Idempotent."""
        for part, reader in (("kafka", self._log), ("dead_letters", self._letters)):
            if reader is not None and not (part in self._asked and self._asked[part].is_alive()):
                reader.close()
        self._log = self._letters = None


class Exporter:
    """Serves the last sample at http://127.0.0.1:port/metrics and takes the next one every `interval` seconds.

    Args:
        collector: has `sample()` and `close()`.
        registry: where the metrics are registered; default: one of its own.
        interval: seconds from the end of a sample to the next.
        host: only a container whose pod is the boundary listens on more than loopback.
    """

    def __init__(
        self,
        collector: Any,
        *,
        registry: CollectorRegistry | None = None,
        interval: float = 5.0,
        host: str = LOOPBACK,
    ) -> None:
        from prometheus_client import CollectorRegistry

        if not interval > 0:
            raise InvalidArgument(f"interval is {interval!r}; expected seconds above 0")
        self._collector, self._interval, self._host = collector, interval, host
        self.registry = registry if registry is not None else CollectorRegistry()
        self.last: Sample | None = None
        self._over = threading.Event()
        self._server: Any = None
        self._threads: list[threading.Thread] = []

    def collect(self) -> Iterator[Metric]:
        """What Prometheus' client library calls at a scrape."""
        if self.last is not None:
            yield from families(self.last)

    def describe(self) -> list[Metric]:
        """The metrics' names, so that registering takes no sample."""
        return families(Sample(at=0.0))

    def start(self, port: int = 0) -> int:
        """Take the first sample, then serve; returns the port (0: a free one). Raises ServiceError on a used port."""
        from prometheus_client import start_http_server

        self.last = self._collector.sample()
        try:
            self._server, thread = start_http_server(port, self._host, self.registry)
        except OSError as error:
            raise ServiceError(f"cannot serve metrics on {self._host}:{port}: {error}") from error
        self.registry.register(self)
        sampler = threading.Thread(target=self._run, name="pipeline-metrics", daemon=True)
        self._threads = [thread, sampler]
        sampler.start()
        return self._server.server_port

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            self.last = self._collector.sample()

    def stop(self) -> None:
        """Stop serving and sampling, close the collector's clients. Idempotent."""
        self._over.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self.registry.unregister(self)
            for thread in self._threads:
                thread.join()
            self._collector.close()

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class Recorder:
    """Samples of a running pipeline, taken on a thread while a block runs: `with Recorder(pipeline) as run: …`.

    Args:
        interval: seconds between samples; one that takes longer delays the next.
        patience: as for `Collector`.

    `samples` is theirs, in order, with one from before the block. Memory: a few KB each; meant for minutes.
    """

    def __init__(self, pipeline: Pipeline, *, interval: float = 0.5, patience: float = 2.0) -> None:
        self._collector, self._interval = Collector(pipeline, patience=patience), interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeline-recorder", daemon=True)
        self.samples: list[Sample] = []

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            self.samples.append(self._collector.sample())

    def checkpoints(self, job: str) -> dict[int, tuple[int, int]]:
        """Number of a job's checkpoint to when it was begun and complete (ms): all that any sample saw.

        Flink remembers ten, so a run of many is only known by looking more than once.
        """
        seen = (sample.jobs[job].recent for sample in self.samples if sample.jobs and job in sample.jobs)
        return {number: times for recent in seen for number, times in recent.items()}

    def reads(self, table: str) -> list[tuple[int, int]]:
        """When a sample looked at a table, and the newest snapshot that was there to see (both ms), for
        `tracing.follow`."""
        looks = ((s.at, s.tables[table].committed_at) for s in self.samples if s.tables and table in s.tables)
        return [(int(1000 * at), round(1000 * newest)) for at, newest in looks if newest is not None]

    def __enter__(self) -> Recorder:
        self.samples.append(self._collector.sample())
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._collector.close()
