"""Dead letters: what was refused, why, from where, byte for byte; and their way back once the cause is mended.

A letter's key names the record it was (topic, partition, offset), so a job that repeats itself after a crash writes the
same letter again and no reader counts it twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from principal_kit.core.errors import CorruptionError
from principal_kit.platform import contract, log, tracing


@dataclass(frozen=True)
class Letter:
    """A refused record: where it was, when it was sent (ms), its key and value as they were, the reason, and the id of
    its trace if it had one."""

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    sent_ms: int
    trace_id: str | None = None


def parse(record: Any) -> Letter:
    """The letter in a record of the dead letters' topic. Raises CorruptionError on a record that is none."""
    headers = dict(record.headers)
    try:
        topic, reason = headers["topic"].decode(), headers["reason"].decode()
        partition, offset = int(headers["partition"]), int(headers["offset"])
    except (KeyError, ValueError, AttributeError) as error:
        raise CorruptionError(
            f"the record at {record.topic}-{record.partition}-{record.offset} is no dead letter: {error!r}; expected "
            f"headers topic, partition, offset, reason, key"
        ) from error
    trace = tracing.trace_id(headers.get(tracing.HEADER))
    return Letter(topic, partition, offset, reason, headers.get("key"), record.value, record.timestamp, trace)


def read(consumer: Any, topic: str, *, seconds: float = 30.0) -> list[Letter]:
    """Every letter once, in the order of topic, partition and offset. `consumer` is a KafkaConsumer without a group.

    O(letters) memory. Raises CorruptionError on a record that is no letter, ServiceError when Kafka gives no records
    for `seconds` although there are more.
    """
    found: dict[tuple[str, int, int], Letter] = {}
    for record in log.read(consumer, topic, log.beginning(consumer, topic), log.ends(consumer, topic), seconds=seconds):
        letter = parse(record)
        found[letter.topic, letter.partition, letter.offset] = letter
    return [found[place] for place in sorted(found)]


def by_reason(letters: Iterable[Letter]) -> dict[tuple[str, str], int]:
    """(topic, reason) to the number of letters."""
    return dict(sorted(Counter((letter.topic, letter.reason) for letter in letters).items()))


def distinct(letters: Iterable[Letter]) -> list[Letter]:
    """The letters without those that differ in their place alone.

    A producer that crashed sends up to a window of records again. A good one is recognised by its event id; a bad one
    may have none, and is a record of its own at a new offset: with the same bytes and the same moment of sending.
    """
    seen = {(letter.topic, letter.key, letter.value, letter.sent_ms): letter for letter in letters}
    return list(seen.values())


@dataclass(frozen=True)
class Replayed:
    """What `replay` did: letters sent again, left alone by the repair, and still against the contract (not sent)."""

    sent: int
    left: int
    refused: int


def replay(
    letters: Iterable[Letter], out: Any, repair: Callable[[Letter], bytes | None], *, prefix: str = "shop."
) -> Replayed:
    """Send letters to the topic they came from, with the value that `repair` makes of them (None: leave it alone).

    The record keeps its key, its trace and its moment of sending: whether it is late does not change because we were. A
    value that the contract still refuses is not sent, so replaying cannot make a loop. All is acknowledged on return.
    """
    counts = Counter()
    futures = []
    for letter in letters:
        value = repair(letter)
        if value is None:
            counts["left"] += 1
            continue
        mended = replace(letter, value=value)
        name = mended.topic.replace(prefix, "shop.", 1)
        if contract.reason(name, mended.key, mended.value, mended.sent_ms):
            counts["refused"] += 1
            continue
        headers = [(tracing.HEADER, tracing.header(letter.trace_id))] if letter.trace_id else None
        futures.append(
            out.send(mended.topic, key=mended.key, value=mended.value, timestamp_ms=mended.sent_ms, headers=headers)
        )
        counts["sent"] += 1
    out.flush(timeout=60)
    for future in futures:
        future.get(timeout=60)
    return Replayed(counts["sent"], counts["left"], counts["refused"])
