"""The sixteen chapters, declared once: list, site map, contents, runner, tests and Makefile read from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from principal_kit.core.errors import InvalidArgument

PARTS = {
    1: "Algorithms",
    2: "Data engineering",
    3: "Data structures",
    4: "Distributed systems",
    5: "Low-level design",
    6: "System design",
}


@dataclass(frozen=True)
class Chapter:
    """One chapter. Times: default scale, two cores; `memory_mib`: measured peak of kernel and services together."""

    number: str
    title: str
    slug: str
    topics: tuple[str, ...]
    state: Literal["ready", "planned"] = "planned"
    minutes_to_read: int = 0
    seconds_to_run: int = 0
    memory_mib: int = 0
    services: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    exercises: tuple[str, ...] = ()

    @property
    def part(self) -> int:
        """Number of the part it belongs to, 1 to 6."""
        return int(self.number.split(".")[0])


CHAPTERS = (
    Chapter(
        "1.1",
        "Distributed algorithms",
        "1-1-distributed-algorithms",
        (
            "Consistent hashing and a distributed cache",
            "Rate limiting, from one bucket to a fleet",
            "Probabilistic structures",
            "External and distributed sort",
            "Distributed aggregation",
        ),
        state="ready",
        minutes_to_read=150,
        seconds_to_run=85,
        memory_mib=1800,
        services=("kafka", "redis", "spark"),
        anchors=(
            "topic-consistent-hashing",
            "topic-rate-limiting",
            "topic-probabilistic-structures",
            "topic-external-sort",
            "topic-distributed-aggregation",
        ),
        exercises=tuple(f"1.1.{letter}" for letter in "abcdefghijkl"),
    ),
    Chapter(
        "1.2",
        "Streaming algorithms",
        "1-2-streaming-algorithms",
        (
            "Reservoir sampling",
            "t-digest percentiles",
            "Distinct counts",
            "Heavy hitters",
            "Approximate query processing",
        ),
        state="ready",
        minutes_to_read=150,
        seconds_to_run=80,
        memory_mib=1900,
        services=("kafka", "redis", "spark"),
        anchors=(
            "topic-reservoir-sampling",
            "topic-t-digest",
            "topic-distinct-counts",
            "topic-heavy-hitters",
            "topic-approximate-queries",
        ),
        exercises=tuple(f"1.2.{letter}" for letter in "abcdefghij"),
    ),
    Chapter(
        "2.1",
        "Real-time pipeline",
        "2-1-real-time-pipeline",
        (
            "From click to query",
            "Exactly once",
            "Change data capture",
            "Lambda, Kappa and the log",
            "Watched while it breaks",
        ),
        state="ready",
        minutes_to_read=160,
        seconds_to_run=215,
        memory_mib=3700,
        services=("flink", "kafka", "postgres", "connect", "spark"),
        anchors=(
            "topic-click-to-query",
            "topic-exactly-once",
            "topic-change-data-capture",
            "topic-lambda-kappa",
            "topic-watch-and-break",
        ),
        exercises=tuple(f"2.1.{letter}" for letter in "abcdefghij"),
    ),
    Chapter(
        "2.2",
        "Lakehouse",
        "2-2-lakehouse",
        ("Bronze, silver, gold", "Schema evolution", "Governance and quality", "Compaction and cost"),
    ),
    Chapter(
        "2.3",
        "ML pipeline at scale",
        "2-3-ml-pipeline",
        ("Point-in-time features", "Distributed training", "Online and batch serving", "Drift and feedback"),
    ),
    Chapter(
        "2.4",
        "Cloud-native stacks",
        "2-4-cloud-native",
        ("Reference stacks on three clouds", "Terraform", "Cost", "Multi-cloud patterns"),
    ),
    Chapter(
        "3.1",
        "Distributed data structures",
        "3-1-distributed-data-structures",
        ("Ring and key-value placement", "Replicated queue", "LSM tree and skip list", "CRDTs", "Locks with fencing"),
    ),
    Chapter(
        "3.2",
        "Framework internals",
        "3-2-framework-internals",
        (
            "Lineage and partitioners",
            "Catalyst, Tungsten and adaptive execution",
            "State stores and checkpoints",
            "Serialization",
        ),
    ),
    Chapter(
        "4.1",
        "Build your own",
        "4-1-build-your-own",
        ("Key-value store", "Message queue", "Raft, Paxos and ZAB", "A small distributed file system"),
    ),
    Chapter(
        "4.2",
        "Failure and recovery",
        "4-2-failure-and-recovery",
        ("Failure modes", "Circuit breakers and retries", "Bulkheads and shedding", "Chaos and post-mortems"),
    ),
    Chapter(
        "4.3",
        "Modern patterns",
        "4-3-modern-patterns",
        ("Event sourcing and CQRS", "Sagas", "Gateways and meshes", "A five-service application"),
    ),
    Chapter(
        "5.1",
        "Data-engineering low-level design",
        "5-1-data-engineering-lld",
        ("A Spark data source", "A stateful Flink operator", "A Kafka connector", "A data-quality framework"),
    ),
    Chapter(
        "5.2",
        "Scalability patterns",
        "5-2-scalability-patterns",
        ("Sharding", "Multi-level caches", "Connection pools", "Backpressure", "Load balancing"),
    ),
    Chapter(
        "6.1",
        "System-design deep dives",
        "6-1-deep-dives",
        ("Video analytics in full", "A data lake", "Real-time analytics", "The design kit for twenty scenarios"),
    ),
    Chapter(
        "6.2",
        "Cost optimization",
        "6-2-cost-optimization",
        ("Four case studies as executable models", "A framework", "Anomaly detection"),
    ),
    Chapter(
        "6.3",
        "Observability",
        "6-3-observability",
        ("Metrics, logs and traces", "SLOs and burn rates", "Alerting", "Debugging walk-throughs"),
    ),
)


def get(number: str) -> Chapter:
    """The chapter of that number. Raises InvalidArgument listing the known ones."""
    for chapter in CHAPTERS:
        if chapter.number == number or chapter.slug == number:
            return chapter
    raise InvalidArgument(f"chapter {number!r} is unknown; known: {', '.join(c.number for c in CHAPTERS)}")


def ready() -> list[Chapter]:
    """The chapters that can be run today, in order."""
    return [chapter for chapter in CHAPTERS if chapter.state == "ready"]


def get_ready(number: str) -> Chapter:
    """Like `get`, but refuses a planned chapter. Raises InvalidArgument naming those that are ready."""
    chapter = get(number)
    if chapter.state != "ready":
        raise InvalidArgument(
            f"chapter {number} is planned, not written yet; ready: {', '.join(c.number for c in ready())}"
        )
    return chapter
