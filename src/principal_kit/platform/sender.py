"""The shop's producer: sends a workload to Kafka so that a kill at any moment loses nothing.

It flushes after every `window` records and only then notes how far it is: at most `window` records are unacknowledged
(the bound of its buffer), and a crash sends at most `window` of them again, with the same event ids, so readers drop
the repeats. Kafka's idempotence covers repeats within one producer's life; nothing but the ids covers these.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import CorruptionError, InvalidArgument, KitError, ServiceError
from principal_kit.platform import tracing
from principal_kit.platform.shop import TOPICS, Shop, Workload, generate

HEARTBEAT = b'{"type":"heartbeat"}'
"""Says only that time goes on. A partition without records would otherwise hold every window of its readers open."""
CLOSING_MS = 1_200_000
"""How far the last heartbeats of a day are ahead of its last record: further than any window or pattern reaches, and
nearer than the hour beyond which a broker refuses a timestamp."""


def producer(bootstrap: str, **settings: Any) -> Any:
    """A KafkaProducer that is idempotent, waits for every in-sync replica, and batches for throughput.

    It compresses: for a microsecond of CPU a record, events of JSON take a sixth of the log, disks and network.
    """
    from kafka import KafkaProducer

    batches = {"linger_ms": 20, "batch_size": 256 * 1024, "compression_type": "zstd"}
    return KafkaProducer(
        bootstrap_servers=bootstrap, **{"acks": "all", "enable_idempotence": True, **batches, **settings}
    )


@dataclass
class Sent:
    """What a sender did: `records` acknowledged, of them `resumed_at` before this life, bytes of keys and values."""

    records: int = 0
    bytes: int = 0
    resumed_at: int = 0
    flushes: int = 0
    seconds_waiting: float = 0.0


class Progress:
    """A file with the number of acknowledged records, replaced in one step: it is the old number or the new one."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read(self) -> int:
        """Records acknowledged so far; 0 before the first. Raises CorruptionError on anything but a number."""
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            return 0
        if not text.isdecimal():
            raise CorruptionError(f"{self.path} holds {text[:40]!r}; expected a number of records")
        return int(text)

    def write(self, records: int) -> None:
        """Replace the number, durably."""
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(str(records))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, self.path)


def send(
    work: Workload,
    out: Any,
    *,
    progress: Progress | None = None,
    prefix: str = "shop.",
    window: int = 10_000,
    stop: int | None = None,
    live: bool = False,
    rate: float | None = None,
    patience: float = 60.0,
    trace_one_in: int = tracing.ONE_IN,
    wall: Clock = time.time,
    clock: Clock = monotonic,
    wait: Callable[[float], None] = time.sleep,
    on_flush: Callable[[Sent], None] = lambda sent: None,
) -> Sent:
    """Send the records from `progress` on (to `stop`); returns what was done. O(records), at most `window` in flight.

    Args:
        out: a KafkaProducer.
        prefix: what the topics' names begin with, in place of `shop.`.
        rate: so many records a second on average; what a wait held back follows at once.
        patience: seconds for the acknowledgement of one window.
        trace_one_in: of so many records one is traced; 0 for none. See `tracing.traceparent`.
        live: wait until each record's own moment of sending comes, by `wall`; for a workload that starts now.

    Raises InvalidArgument on a window below 1, ServiceError when Kafka refuses a record or does not answer in time:
    what `progress` says is then acknowledged, and nothing else is.
    """
    from kafka.errors import KafkaError

    if window < 1:
        raise InvalidArgument(f"window is {window}; expected at least one record in flight")
    begin = progress.read() if progress else 0
    end = len(work) if stop is None else min(stop, len(work))
    sent, started = Sent(records=begin, resumed_at=begin), clock()
    names = {topic: topic.replace("shop.", prefix, 1) for topic in TOPICS}
    while sent.records < end:
        upto = min(sent.records + window, end)
        futures = []
        try:
            for number, record in enumerate(work.records(sent.records, upto), start=sent.records - begin):
                if rate and (early := number / rate - (clock() - started)) > 0.002:
                    wait(early)
                if live and (early := record.timestamp_ms / 1000 - wall()) > 0.002:
                    wait(early)
                header = tracing.traceparent(record.value, one_in=trace_one_in)
                futures.append(
                    out.send(
                        names[record.topic], key=record.key, value=record.value, timestamp_ms=record.timestamp_ms,
                        headers=[(tracing.HEADER, header)] if header else None,
                    )
                )  # fmt: skip
                sent.bytes += len(record.key or b"") + len(record.value or b"")
            began = clock()
            out.flush(timeout=patience)
            for future in futures:
                future.get(timeout=patience)
            sent.seconds_waiting += clock() - began
        except KafkaError as error:
            raise ServiceError(
                f"Kafka did not take the records from {sent.records:,} on ({type(error).__name__}: {error}); "
                f"those before are acknowledged. Send again to go on from there",
                retry_after=1.0,
            ) from error
        sent.records = upto
        sent.flushes += 1
        if rate and (early := (upto - begin) / rate - (clock() - started)) > 0:
            wait(early)
        if progress:
            progress.write(upto)
        on_flush(sent)
    return sent


def heartbeat(out: Any, topics: dict[str, int], timestamp_ms: int) -> None:
    """One heartbeat to each partition of `topics` (name to partitions), acknowledged.

    Raises ServiceError when Kafka refuses one, as it does with a timestamp more than an hour ahead of its clock.
    """
    from kafka.errors import KafkaError

    try:
        sent = [
            out.send(topic, partition=partition, key=b"heartbeat", value=HEARTBEAT, timestamp_ms=timestamp_ms)
            for topic, partitions in topics.items()
            for partition in range(partitions)
        ]
        out.flush(timeout=60)
        for future in sent:
            future.get(timeout=60)
    except KafkaError as error:
        raise ServiceError(f"Kafka did not take a heartbeat ({type(error).__name__}: {error})") from error


def close_day(work: Workload, out: Any, topics: dict[str, int]) -> None:
    """Tell every partition that the day is over, so that the last windows close and their results come out."""
    heartbeat(out, topics, int(work.sent["at"].max()) + CLOSING_MS)


@click.command()
@click.option("--bootstrap", required=True, help="Kafka's address.")
@click.option("--shop", "parameters", default="{}", help="Arguments of Shop, as a JSON object.")
@click.option("--progress", required=True, type=click.Path(dir_okay=False), help="File with the acknowledged number.")
@click.option("--prefix", default="shop.", show_default=True)
@click.option("--window", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=None, type=click.FloatRange(0, min_open=True), help="Records a second, on average.")
def main(bootstrap: str, parameters: str, progress: str, prefix: str, window: int, rate: float | None) -> None:
    """Send a shop's day, from where the last one with this progress file was stopped."""
    try:
        work = generate(Shop(**json.loads(parameters)))
        out = producer(bootstrap, request_timeout_ms=10_000, max_block_ms=10_000, delivery_timeout_ms=15_000)
        send(work, out, progress=Progress(progress), prefix=prefix, window=window, rate=rate)
    except (KitError, TypeError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
