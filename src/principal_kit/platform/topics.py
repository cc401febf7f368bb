"""The shop's topics as code: what each carries, how it is spread, how long it is kept, and who may not change that.

`plan` compares the design with what a cluster has and says what to create; `apply` creates it. A topic that differs
from its design is drift, and drift is refused: someone has to decide which of the two is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from principal_kit.core.errors import InvalidArgument, KitError

_DAY_MS = 86_400_000


class TopicDrift(KitError):
    """A topic exists and is not what the design says. Nothing was changed."""


@dataclass(frozen=True)
class Topic:
    """One topic of the design.

    Args:
        name, partitions: partitions bound how many readers can share the work; adding some later moves keys.
        key: what the records' key is, since order is kept within a key's partition only.
        why: one sentence for whoever asks why it is so.
        config: broker settings that must hold, as Kafka's own names and texts.
    """

    name: str
    partitions: int
    key: str
    why: str
    config: Mapping[str, str] = field(default_factory=dict)


def design(prefix: str = "shop.", *, retention_ms: int = -1) -> tuple[Topic, ...]:
    """The shop's topics. `retention_ms` is for the three event topics.

    Kafka measures retention by the records' own timestamps: a replay of an old day is older than any retention in
    days, and the broker deletes it minutes after it is written. Hence no limit here by time; one by size bounds the
    disk instead.
    """
    events = {
        "cleanup.policy": "delete", "retention.ms": str(retention_ms), "retention.bytes": str(2 << 30),
        "message.timestamp.type": "CreateTime", "max.message.bytes": str(1 << 20),
    }  # fmt: skip
    letters = {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": str(1 << 20)}
    return (
        Topic(f"{prefix}clicks", 4, "user_id", "nine tenths of all records; one visitor's stay in order", events),
        Topic(f"{prefix}orders", 2, "user_id", "few and precious; kept apart from the flood of clicks", events),
        Topic(f"{prefix}stock_moves", 2, "product_id", "one product's moves stay in order", events),
        Topic(
            f"{prefix}dead_letters", 1, "topic-partition-offset of the record",
            "what was refused, byte for byte; the key names the record, so writing one twice changes nothing", letters,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What `apply` will do: topics to `create`, and what differs, one line a difference, in `drift`."""

    create: tuple[Topic, ...]
    drift: tuple[str, ...]


def plan(wanted: Iterable[Topic], existing: Mapping[str, tuple[int, Mapping[str, str]]]) -> Plan:
    """Compare a design with a cluster's topics (name to partitions and settings). Changes nothing.

    >>> plan([Topic("t", 2, "id", "…")], {"t": (1, {})}).drift
    ('t has 1 partition, the design says 2',)
    """
    create, drift = [], []
    for topic in wanted:
        if topic.name not in existing:
            create.append(topic)
            continue
        partitions, config = existing[topic.name]
        if partitions != topic.partitions:
            many = "partition" if partitions == 1 else "partitions"
            drift.append(f"{topic.name} has {partitions} {many}, the design says {topic.partitions}")
        drift += [
            f"{topic.name} has {name}={config.get(name)}, the design says {value}"
            for name, value in topic.config.items()
            if config.get(name) != value
        ]
    return Plan(tuple(create), tuple(drift))


def describe(admin: Any, names: Iterable[str]) -> dict[str, tuple[int, dict[str, str]]]:
    """Those of `names` that the cluster has, with partitions and settings. `admin` is a KafkaAdminClient."""
    from kafka.admin import ConfigResource, ConfigResourceType

    there = sorted(set(names) & set(admin.list_topics()))
    if not there:
        return {}
    partitions = {row["name"]: len(row["partitions"]) for row in admin.describe_topics(there)}
    settings = admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in there], config_filter="all"
    )
    return {
        name: (partitions[name], {key: entry["value"] for key, entry in settings["topic"][name].items()})
        for name in there
    }


def apply(admin: Any, wanted: Iterable[Topic], *, replication: int = 1) -> Plan:
    """Create what is missing; a second call creates nothing. Returns what was done.

    Raises TopicDrift, having changed nothing, when a topic is there and differs; InvalidArgument on `replication` < 1.
    """
    from kafka.admin import NewTopic
    from kafka.errors import TopicAlreadyExistsError

    if replication < 1:
        raise InvalidArgument(f"replication is {replication}; expected at least 1")
    wanted = tuple(wanted)
    todo = plan(wanted, describe(admin, [topic.name for topic in wanted]))
    if todo.drift:
        raise TopicDrift("; ".join(todo.drift) + ". Change the topic or the design, then run this again")
    for topic in todo.create:
        new = NewTopic(topic.name, topic.partitions, replication, topic_configs=dict(topic.config))
        try:
            admin.create_topics([new])
        except (
            TopicAlreadyExistsError
        ):  # someone else's apply was faster; if it made another one, the next plan says so
            continue
    return todo
