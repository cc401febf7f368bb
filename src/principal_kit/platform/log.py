"""A topic read from one place to another. A place is an offset a partition; what lies between two places is fixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from principal_kit.core.errors import InvalidArgument, ServiceError

Cut = Mapping[int, int]
"""Partition to the first offset behind the cut."""


def beginning(consumer: Any, topic: str) -> dict[int, int]:
    """The cut that has all that the topic still holds behind it."""
    return _cut(consumer.beginning_offsets(_places(consumer, topic)))


def ends(consumer: Any, topic: str) -> dict[int, int]:
    """The cut that has all of the topic before it now."""
    return _cut(consumer.end_offsets(_places(consumer, topic)))


def read(consumer: Any, topic: str, start: Cut, stop: Cut, *, seconds: float = 30.0) -> Iterator[Any]:
    """The records from one cut up to another, partitions mixed. `consumer` is a KafkaConsumer without a group.

    Raises InvalidArgument on cuts of different partitions, ServiceError when nothing comes for `seconds`.
    """
    from kafka import TopicPartition

    if set(start) != set(stop):
        raise InvalidArgument(f"cuts of partitions {sorted(start)} and {sorted(stop)}; expected the same ones")
    left = {TopicPartition(topic, p): end for p, end in stop.items() if start[p] < end}
    consumer.assign(list(left))
    for place in left:
        consumer.seek(place, start[place.partition])
    while any(consumer.position(place) < end for place, end in left.items()):
        batch = consumer.poll(timeout_ms=round(seconds * 1000))
        if not batch:
            raise ServiceError(f"no more records of {topic} within {seconds:.0f} s, although there are some")
        for place, records in batch.items():
            yield from (record for record in records if record.offset < left[place])


def _places(consumer: Any, topic: str) -> list[Any]:
    from kafka import TopicPartition

    return [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]


def _cut(offsets: Mapping[Any, int]) -> dict[int, int]:
    return {place.partition: offset for place, offset in offsets.items()}
