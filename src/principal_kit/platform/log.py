"""A topic read from one place to another. A place is an offset a partition; what lies between two places is fixed.

Fixed, as long as it is there: a broker deletes by age and size, so a span that has lost its beginning is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from principal_kit.core.errors import InvalidArgument, KitError, ServiceError

Cut = Mapping[int, int]
"""Partition to the first offset behind the cut."""


class Forgotten(KitError):
    """The topic no longer holds records that were asked for. Nothing was read."""


def beginning(consumer: Any, topic: str) -> dict[int, int]:
    """The cut that has all that the topic still holds behind it."""
    return _cut(consumer.beginning_offsets(_places(consumer, topic)))


def ends(consumer: Any, topic: str) -> dict[int, int]:
    """The cut that has all of the topic before it now."""
    return _cut(consumer.end_offsets(_places(consumer, topic)))


def at(consumer: Any, topic: str, sent_ms: int) -> dict[int, int]:
    """The cut before the first record of each partition that was sent at `sent_ms` (since 1970) or later.

    A record behind it may have been sent earlier, if it was sent again: a cut is a place, not a moment.
    """
    places = _places(consumer, topic)
    found, last = consumer.offsets_for_times(dict.fromkeys(places, sent_ms)), consumer.end_offsets(places)
    return {place.partition: found[place].offset if found[place] else last[place] for place in places}


def read(consumer: Any, topic: str, start: Cut, stop: Cut, *, seconds: float = 30.0) -> Iterator[Any]:
    """The records from one cut up to another, partitions mixed. `consumer` is a KafkaConsumer without a group.

    Raises InvalidArgument on cuts of different partitions, Forgotten when the broker has deleted records of the span,
    ServiceError when nothing comes for `seconds`.
    """
    from kafka import TopicPartition

    if set(start) != set(stop):
        raise InvalidArgument(f"cuts of partitions {sorted(start)} and {sorted(stop)}; expected the same ones")
    left = {TopicPartition(topic, p): end for p, end in stop.items() if start[p] < end}
    require(consumer, topic, {place.partition: start[place.partition] for place in left})
    consumer.assign(list(left))
    for place in left:
        consumer.seek(place, start[place.partition])
    while any(consumer.position(place) < end for place, end in left.items()):
        batch = consumer.poll(timeout_ms=round(seconds * 1000))
        if not batch:
            raise ServiceError(f"no more records of {topic} within {seconds:.0f} s, although there are some")
        for place, records in batch.items():
            yield from (record for record in records if record.offset < left[place])


def require(consumer: Any, topic: str, start: Cut) -> None:
    """Raise Forgotten unless the topic still holds all from `start` on. A reader that seeks before the beginning is
    moved by its client, to the end or to what is left, and does not say so.
    """
    for partition, begins in beginning(consumer, topic).items():
        if start.get(partition, begins) < begins:
            raise Forgotten(f"{topic}-{partition} begins at offset {begins}, asked from {start[partition]}")


def assign(consumer: Any, topic: str, start: Cut) -> None:
    """Have the consumer go on from a cut, for whoever polls without an end in sight."""
    from kafka import TopicPartition

    consumer.assign([TopicPartition(topic, p) for p in start])
    for partition, offset in start.items():
        consumer.seek(TopicPartition(topic, partition), offset)


def _places(consumer: Any, topic: str) -> list[Any]:
    from kafka import TopicPartition

    return [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]


def _cut(offsets: Mapping[Any, int]) -> dict[int, int]:
    return {place.partition: offset for place, offset in offsets.items()}
