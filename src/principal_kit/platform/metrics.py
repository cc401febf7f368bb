"""The pipeline's metrics: which there are, and how a sample of the running pipeline becomes their values.

A pure function of a sample, so every number can be tested without a server; `exporter` takes the samples. Names follow
Prometheus: base units, `_total` for what only grows, moments instead of ages (an age stands still with its source).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from principal_kit.core.errors import InvalidArgument
from principal_kit.sketches.bucket_histogram import BucketHistogram

if TYPE_CHECKING:
    import numpy as np
    from prometheus_client import Metric

FRESHNESS_SLO_SECONDS = 60.0
"""A row should be in a table within this time of its event. One of the histogram's buckets, so the share is exact."""
FRESHNESS_BUCKETS = (
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    20.0,
    30.0,
    45.0,
    FRESHNESS_SLO_SECONDS,
    90.0,
    120.0,
    300.0,
    900.0,
    3600.0,
)
PARTS = ("kafka", "jobs", "dead_letters", "tables")
"""What a sample is made of; each can fail without the others."""
SLOTS = "slots"
"""One more part, where somebody copies a database: its replication slots."""

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True)
class Definition:
    """One metric: its name without suffixes, its kind and labels, and what it says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        if self.kind == "counter":
            return (f"{self.name}_total",)
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


CATALOGUE = tuple(Definition(*row) for row in (
    ("pipeline_part_up", "gauge", ("part",), "1 if the last sample could ask this part of the pipeline"),
    ("pipeline_sample_timestamp_seconds", "gauge", (), "When the last sample was taken"),
    ("pipeline_sample_duration_seconds", "gauge", (), "How long taking it took"),
    ("pipeline_topic_records", "counter", ("topic",), "Records appended to a topic"),
    ("pipeline_topic_size_bytes", "gauge", ("topic",), "Bytes of a topic on the brokers, copies included"),
    ("pipeline_broker_disk_size_bytes", "gauge", ("broker",), "Size of a broker's volumes"),
    ("pipeline_broker_disk_free_bytes", "gauge", ("broker",), "What a broker can still write"),
    ("pipeline_job_records", "counter", ("job", "topic"), "Records a job has read and made part of a checkpoint"),
    ("pipeline_consumer_lag_records", "gauge", ("job", "topic"), "Records not yet part of a job's checkpoint"),
    ("pipeline_job_running", "gauge", ("job",), "1 if the job and all its tasks run"),
    ("pipeline_job_restarts", "counter", ("job",), "Restarts of a job since it was submitted"),
    ("pipeline_checkpoints", "counter", ("job", "result"), "Checkpoints of a job by result, completed or failed"),
    ("pipeline_last_checkpoint_timestamp_seconds", "gauge", ("job",), "When the last complete checkpoint ended"),
    ("pipeline_last_checkpoint_duration_seconds", "gauge", ("job",), "How long it took, end to end"),
    ("pipeline_last_checkpoint_size_bytes", "gauge", ("job",), "State in the last complete checkpoint"),
    ("pipeline_task_busy_ratio", "gauge", ("job", "task"), "Share of its time a task works; the busiest subtask's"),
    ("pipeline_task_backpressured_ratio", "gauge", ("job", "task"), "Share of its time a task waits for the next one"),
    ("pipeline_watermark_timestamp_seconds", "gauge", ("job",), "Event time up to which windows are closed"),
    ("pipeline_duplicates_dropped", "counter", ("job",), "Copies of events that were seen before"),
    ("pipeline_dead_letters", "counter", ("topic", "reason"), "Records refused, each counted once"),
    ("pipeline_table_commit_timestamp_seconds", "gauge", ("table",), "When the table's newest snapshot was committed"),
    ("pipeline_table_rows", "gauge", ("table",), "Rows of the newest snapshot"),
    ("pipeline_table_files", "gauge", ("table",), "Data files of the newest snapshot"),
    ("pipeline_rows_committed", "counter", ("table",), "Rows that jobs have added"),
    ("pipeline_late_events", "counter", ("table",), "Events kept, but too late for results already given out"),
    ("pipeline_freshness_seconds", "histogram", ("table",), "From an event to the snapshot that shows it"),
    ("pipeline_slot_active", "gauge", ("slot",), "1 if somebody reads the replication slot now"),
    ("pipeline_slot_kept_bytes", "gauge", ("slot",), "The database's log that is kept for the slot's reader"),
    ("pipeline_slot_lost", "gauge", ("slot",), "1 if log that the slot's reader needs is gone"),
    ("shop_orders", "counter", (), "Orders, in the tables"),
    ("shop_revenue_cents", "counter", (), "Their amounts less discount"),
    ("shop_fraud_alerts", "counter", ("rule",), "Alerts of the job fraud"),
    ("shop_low_stock_alerts", "counter", (), "Times a product fell below the mark"),
))  # fmt: skip


def series() -> frozenset[str]:
    """Every name that a rule or a dashboard may use."""
    return frozenset(name for definition in CATALOGUE for name in definition.series)


@dataclass(frozen=True)
class Log:
    """Kafka's side. `committed` is, by job, the offsets it committed with its checkpoints, summed; `ends` by topic."""

    ends: Mapping[str, int]
    sizes: Mapping[str, int]
    disks: Mapping[str, tuple[int, int]]  # broker to (size, free)
    reads: Mapping[str, str]  # job to topic
    committed: Mapping[str, int]


@dataclass(frozen=True)
class Task:
    """Shares of time, 0 to 1, of a task's busiest subtask."""

    busy: float
    backpressured: float


@dataclass(frozen=True)
class JobState:
    """One job. Moments are seconds since 1970; None where there is none yet.

    `recent`: number of a complete checkpoint to when it was begun and complete (ms since 1970), as far back as Flink
    remembers. No metric: a trace wants them.
    """

    running: bool
    restarts: int = 0
    completed: int = 0
    failed: int = 0
    checkpoint_at: float | None = None
    checkpoint_seconds: float = 0.0
    checkpoint_bytes: int = 0
    watermark: float | None = None
    duplicates: int = 0
    tasks: Mapping[str, Task] = field(default_factory=dict)
    recent: Mapping[int, tuple[int, int]] = field(default_factory=dict)


class Freshness:
    """Seconds from event to visible row, in buckets, and their sum; `quantile` guesses as Prometheus does."""

    def __init__(self) -> None:
        self.histogram, self.sum = BucketHistogram(FRESHNESS_BUCKETS), 0.0

    def observe(self, seconds: np.ndarray) -> None:
        """Count many values. What is below zero (a clock ahead of ours) counts as zero. O(n)."""
        fresh = seconds.clip(min=0)
        self.histogram.add_many(fresh)
        self.sum += float(fresh.sum())

    def quantile(self, q: float) -> float:
        """For example 0.95. Raises InvalidArgument when nothing was observed."""
        return float(self.histogram.quantile(q))

    def within(self, seconds: float = FRESHNESS_SLO_SECONDS) -> float:
        """Share of the rows that were visible within `seconds`, one of `FRESHNESS_BUCKETS`; 1 when there are none.

        Raises InvalidArgument on another number: between two buckets the share is not known.
        """
        if seconds not in FRESHNESS_BUCKETS:
            raise InvalidArgument(f"seconds is {seconds}; expected an end of a bucket: {FRESHNESS_BUCKETS}")
        good = self.histogram.counts[: FRESHNESS_BUCKETS.index(seconds) + 1].sum()
        return float(good / self.histogram.count) if self.histogram.count else 1.0

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper end, as Prometheus wants them."""
        ends = [*map(str, FRESHNESS_BUCKETS), "+Inf"]
        return list(zip(ends, map(float, self.histogram.counts.cumsum())))


@dataclass
class TableState:
    """One table: its newest snapshot, and what jobs have added to it while it was watched."""

    rows: int = 0
    files: int = 0
    committed_at: float | None = None
    added: int = 0
    late: int | None = None  # None: the table's rows are results, which cannot be late
    freshness: Freshness | None = None


@dataclass(frozen=True)
class Business:
    """What the shop sold and noticed while it was watched."""

    orders: int = 0
    cents: int = 0
    fraud: Mapping[str, int] = field(default_factory=dict)
    low_stock: int = 0


@dataclass(frozen=True)
class SlotState:
    """One replication slot: is it read, the bytes of log `kept` for it, and PostgreSQL's word for whether they are all
    there (`wal_status`: reserved, extended, unreserved, lost). `kept` is None for one that is lost."""

    active: bool
    kept: int | None
    status: str


@dataclass(frozen=True)
class Sample:
    """The pipeline at one moment (`at`, seconds since 1970). Of the parts `asked`, one that did not answer is None."""

    at: float
    seconds: float = 0.0
    log: Log | None = None
    jobs: Mapping[str, JobState] | None = None
    letters: Mapping[tuple[str, str], int] | None = None
    tables: Mapping[str, TableState] | None = None
    business: Business | None = None
    slots: Mapping[str, SlotState] | None = None
    asked: tuple[str, ...] = PARTS


def families(sample: Sample) -> list[Metric]:
    """Every metric of the catalogue with the sample's values, in its order. O(series). Pure.

    A part that could not be asked has no series, so that nothing old is taken for new; `pipeline_part_up` says so.
    """
    values: dict[str, list[tuple[tuple[str, ...], Any]]] = {definition.name: [] for definition in CATALOGUE}
    for name, labels, value in _values(sample):
        values[name].append((labels, value))
    return [_family(definition, values[definition.name]) for definition in CATALOGUE]


def _family(definition: Definition, values: list[tuple[tuple[str, ...], Any]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}
    family = kinds[definition.kind](definition.name, definition.help, labels=definition.labels)
    for labels, value in values:
        if definition.kind == "histogram":
            family.add_metric(labels, value.buckets(), value.sum)
        else:
            family.add_metric(labels, value)
    return family


Value = tuple[str, tuple[str, ...], Any]


def _values(sample: Sample) -> Iterator[Value]:
    parts = dict(zip((*PARTS, SLOTS), (sample.log, sample.jobs, sample.letters, sample.tables, sample.slots)))
    for part in sample.asked:
        yield "pipeline_part_up", (part,), float(parts[part] is not None)
    yield "pipeline_sample_timestamp_seconds", (), sample.at
    yield "pipeline_sample_duration_seconds", (), sample.seconds
    if sample.log is not None:
        yield from _log(sample.log)
    for name, job in (sample.jobs or {}).items():
        yield from _job(name, job)
    for place, count in (sample.letters or {}).items():
        yield "pipeline_dead_letters", place, count
    for name, table in (sample.tables or {}).items():
        yield from _table(name, table)
    if sample.business is not None:
        yield from _business(sample.business)
    for name, slot in (sample.slots or {}).items():
        yield from _slot(name, slot)


def _log(log: Log) -> Iterator[Value]:
    for topic, end in log.ends.items():
        yield "pipeline_topic_records", (topic,), end
    for topic, size in log.sizes.items():
        yield "pipeline_topic_size_bytes", (topic,), size
    for broker, (size, free) in log.disks.items():
        yield "pipeline_broker_disk_size_bytes", (broker,), size
        yield "pipeline_broker_disk_free_bytes", (broker,), free
    for job, topic in log.reads.items():
        yield "pipeline_job_records", (job, topic), log.committed[job]
        # Ends are asked after commits, so this is not below zero, unless a topic was made anew under a job.
        yield "pipeline_consumer_lag_records", (job, topic), max(0, log.ends[topic] - log.committed[job])


def _job(name: str, job: JobState) -> Iterator[Value]:
    yield "pipeline_job_running", (name,), float(job.running)
    yield "pipeline_job_restarts", (name,), job.restarts
    yield "pipeline_checkpoints", (name, "completed"), job.completed
    yield "pipeline_checkpoints", (name, "failed"), job.failed
    yield "pipeline_duplicates_dropped", (name,), job.duplicates
    if job.checkpoint_at is not None:
        yield "pipeline_last_checkpoint_timestamp_seconds", (name,), job.checkpoint_at
        yield "pipeline_last_checkpoint_duration_seconds", (name,), job.checkpoint_seconds
        yield "pipeline_last_checkpoint_size_bytes", (name,), job.checkpoint_bytes
    if job.watermark is not None:
        yield "pipeline_watermark_timestamp_seconds", (name,), job.watermark
    for task, shares in job.tasks.items():
        yield "pipeline_task_busy_ratio", (name, task), shares.busy
        yield "pipeline_task_backpressured_ratio", (name, task), shares.backpressured


def _table(name: str, table: TableState) -> Iterator[Value]:
    yield "pipeline_table_rows", (name,), table.rows
    yield "pipeline_table_files", (name,), table.files
    yield "pipeline_rows_committed", (name,), table.added
    if table.committed_at is not None:
        yield "pipeline_table_commit_timestamp_seconds", (name,), table.committed_at
    if table.late is not None:
        yield "pipeline_late_events", (name,), table.late
    if table.freshness is not None:
        yield "pipeline_freshness_seconds", (name,), table.freshness


def _slot(name: str, slot: SlotState) -> Iterator[Value]:
    yield "pipeline_slot_active", (name,), float(slot.active)
    yield "pipeline_slot_lost", (name,), float(slot.status == "lost")
    if slot.kept is not None:
        yield "pipeline_slot_kept_bytes", (name,), slot.kept


def _business(business: Business) -> Iterator[Value]:
    yield "shop_orders", (), business.orders
    yield "shop_revenue_cents", (), business.cents
    yield "shop_low_stock_alerts", (), business.low_stock
    for rule, count in business.fraud.items():
        yield "shop_fraud_alerts", (rule,), count
