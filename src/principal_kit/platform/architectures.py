"""One number, revenue a minute, by two architectures over one log, and what it takes to make them agree.

Lambda: a batch job recounts all up to a cut, a speed layer counts what came after, and a reader adds the two up.
Kappa: one streaming job; to count anew, a second copy of it reads the log again into tables of its own, and a pointer
moves. Lambda's cut is a place in the log, one offset a partition: an event is before it or after it, never both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from principal_kit.core.errors import InvalidArgument
from principal_kit.platform import audit, contract, jobs, log, tables
from principal_kit.platform.log import Cut

if TYPE_CHECKING:
    import pandas as pd

ORDERS = "orders"
Rule = Callable[[Mapping[str, Any]], int]


def net(event: Mapping[str, Any]) -> int:
    """What an order brings, in cents: its amount less the discount that version 2 introduced."""
    return int(event["amount_cents"]) - int(event.get("discount_cents") or 0)


def gross(event: Mapping[str, Any]) -> int:
    """The rule of before version 2, for showing what a layer does that nobody told."""
    return int(event["amount_cents"])


class Sale(NamedTuple):
    """A good order: what both layers count."""

    event_id: str
    minute: int
    cents: int


def sale(key: bytes | None, value: bytes | None, sent_ms: int, rule: Rule = net) -> Sale | None:
    """A record's order, or None for a record that the contract refuses (a heartbeat is one). O(len(value))."""
    if contract.reason("shop.orders", key, value, sent_ms) is not None:
        return None
    event = json.loads((value or b"").decode("utf-8", errors="replace"))
    return Sale(event["event_id"], int(event["event_time"]) // 60_000 * 60_000, rule(event))


def _frame(minutes: Mapping[int, tuple[int, int]]) -> pd.DataFrame:
    import pandas as pd

    rows = [(minute, *sums) for minute, sums in sorted(minutes.items())]
    return pd.DataFrame(rows, columns=["minute", "orders", "cents"], dtype="int64")


# ── Lambda ───────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class BatchView:
    """What a batch job found before its `cut`: minute (ms), orders, cents; the events it counted; what it read."""

    minutes: pd.DataFrame = field(repr=False)
    cut: Cut
    known: frozenset[str] = field(default=frozenset(), repr=False)
    records: int = 0
    bytes: int = 0


def batch(
    spark: Any, bootstrap: str, topic: str, cut: Cut, *, rule: Rule = net, before_ms: int | None = None
) -> BatchView:
    """Recount the log from its beginning to `cut` with Spark; on a cluster, a task a partition.

    Args:
        before_ms: of these, count only events of the minutes before this one (a whole minute). That is a cut by event
            time: WRONG, and here to be seen failing.

    The driver holds an id for each order: see `SpeedLayer`. Of an event's copies any may be the one that counts, so
    copies must be equal. Raises Forgotten when the broker has deleted the log's beginning.
    """
    from pyspark.sql import functions as F

    _require_whole(bootstrap, topic)
    options = {
        "kafka.bootstrap.servers": bootstrap,
        "subscribe": topic,
        "startingOffsets": "earliest",
        "endingOffsets": json.dumps({topic: {str(partition): offset for partition, offset in cut.items()}}),
    }
    records = spark.read.format("kafka").options(**options).load()
    records = records.select("key", "value", F.unix_millis("timestamp").alias("sent_ms"))

    def parse(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import pandas as pd

        for frame in frames:
            size = frame["key"].map(_size).sum() + frame["value"].map(_size).sum()
            read = zip(frame["key"].map(_bytes), frame["value"].map(_bytes), frame["sent_ms"])
            found = (sale(key, value, int(sent), rule) for key, value, sent in read)
            rows = [tuple(one) for one in found if one and (before_ms is None or one.minute < before_ms)]
            # One row more a batch says how much was read: counting it in a second pass would read it all again.
            yield pd.DataFrame([(None, len(frame), size), *rows], columns=list(Sale._fields))

    parsed = records.mapInPandas(parse, "event_id string, minute long, cents long").cache()
    try:
        read = parsed.where("event_id IS NULL").agg(F.sum("minute"), F.sum("cents")).first()
        sales = parsed.where("event_id IS NOT NULL").dropDuplicates(["event_id"])
        sums = sales.groupBy("minute").agg(F.count("*").alias("orders"), F.sum("cents").alias("cents")).toPandas()
        known = frozenset(sales.select("event_id").toPandas()["event_id"])
    finally:
        parsed.unpersist()
    sums = sums.astype("int64").sort_values("minute", ignore_index=True)
    return BatchView(sums, dict(cut), known, read[0] or 0, read[1] or 0)


def _require_whole(bootstrap: str, topic: str) -> None:
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        log.require(consumer, topic, dict.fromkeys(log.beginning(consumer, topic), 0))
    finally:
        consumer.close()


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _size(value: Any) -> int:
    return 0 if value is None else len(value)


class SpeedLayer:
    """Sums a minute of the records behind a cut, in memory.

    Args:
        known: ids that the batch has counted. A repeat of one may come behind the cut, so a layer that knows only what
            it has seen itself counts it a second time.
        rule: how many cents an order brings.
        from_ms: count only events of this minute and later ones (a whole minute): the other half of `before_ms`, and
            as wrong.
    """

    def __init__(self, known: Iterable[str] = (), *, rule: Rule = net, from_ms: int | None = None) -> None:
        self.rule, self.from_ms = rule, from_ms
        self.records = self.bytes = 0
        self._seen = set(known)
        self._minutes: dict[int, tuple[int, int]] = {}

    def take(self, record: Any) -> None:
        """Count one record (with `key`, `value`, `timestamp` in ms), or leave it. O(len(value))."""
        self.records += 1
        self.bytes += _size(record.key) + _size(record.value)
        found = sale(record.key, record.value, record.timestamp, self.rule)
        if found is None or found.event_id in self._seen:
            return
        if self.from_ms is not None and found.minute < self.from_ms:
            return
        self._seen.add(found.event_id)
        orders, cents = self._minutes.get(found.minute, (0, 0))
        self._minutes[found.minute] = orders + 1, cents + found.cents

    @property
    def minutes(self) -> pd.DataFrame:
        """minute (ms), orders, cents."""
        return _frame(self._minutes)

    @property
    def known(self) -> frozenset[str]:
        """Ids that the batch or this layer has counted."""
        return frozenset(self._seen)


def count(records: Iterable[Any], **options: Any) -> SpeedLayer:
    """A `SpeedLayer(**options)` that has taken all `records`. O(their bytes)."""
    layer = SpeedLayer(**options)
    for record in records:
        layer.take(record)
    return layer


def halves(records: Iterable[Any], cut: Cut) -> tuple[list[Any], list[Any]]:
    """The records in front of `cut` and those behind it, each in their order: none in both, none in neither."""
    sides: tuple[list[Any], list[Any]] = ([], [])
    for record in records:
        sides[record.offset >= cut[record.partition]].append(record)
    return sides


def repeats(records: Iterable[Any]) -> list[Any]:
    """The records of good orders whose event has been before, in the order of sending."""
    seen: set[str] = set()
    found = []
    for record in records:
        good = sale(record.key, record.value, record.timestamp)
        if good is not None and good.event_id in seen:
            found.append(record)
        elif good is not None:
            seen.add(good.event_id)
    return sorted(found, key=lambda record: (record.timestamp, record.partition, record.offset))


def serve(view: BatchView, speed: SpeedLayer) -> pd.DataFrame:
    """What a reader of Lambda sees: the two layers' sums of each minute, added up."""
    import pandas as pd

    both = pd.concat([view.minutes, speed.minutes]).groupby("minute", as_index=False).sum()
    return both.astype("int64").sort_values("minute", ignore_index=True)


# ── Kappa ────────────────────────────────────────────────────────────────────────────────────────
def replay(flink: Any, lake: Any, settings: jobs.Settings, namespace: str, *, seconds: float = 180.0) -> str:
    """Run the orders' job over all that the log holds now, into tables of `namespace`; returns the job's id.

    It is the job that runs live, word for word, told where to stop; the live one and its tables are not touched. It
    writes dead letters again, under the same keys, so readers see no second one, but a count of records does.

    Raises InvalidArgument when its tables were written to (a second replay would count all twice), Forgotten when
    the broker has deleted the log's beginning, TableDrift and what Flink raises.
    """
    _require_whole(settings.bootstrap, f"{settings.prefix}{jobs.READS['fraud']}")
    tables.create(lake, namespace)
    for name in (ORDERS, "fraud_alerts"):
        if tables.snapshots(lake, namespace, name):
            raise InvalidArgument(f"{namespace}.{name} was written to before; a replay needs tables of its own")
    [id] = flink.submit(jobs.script("fraud", replace(settings, namespace=namespace, bounded=True)))
    flink.wait_finished(id, seconds=seconds)
    return id


def revenue(lake: Any, namespace: str) -> pd.DataFrame:
    """minute (ms), orders, cents of a namespace's orders."""
    rows = lake.load_table(f"{namespace}.{ORDERS}").scan(
        selected_fields=("event_time", "amount_cents", "discount_cents")
    )
    return audit.revenue(rows.to_arrow().to_pandas())


_POINTER = "serves"


def point(lake: Any, name: str, namespace: str) -> None:
    """Let `name` mean `namespace` from now on: one update in the catalog, and the way back is the same call.

    Raises InvalidArgument when `namespace` is not there.
    """
    if (namespace,) not in lake.list_namespaces():
        raise InvalidArgument(f"there is no namespace {namespace!r} to point {name!r} at")
    lake.create_namespace_if_not_exists(name)
    lake.update_namespace_properties(name, updates={_POINTER: namespace})


def pointed(lake: Any, name: str) -> str:
    """The namespace that `name` means; itself, before it was ever pointed anywhere."""
    return lake.load_namespace_properties(name).get(_POINTER, name)


# ── Reconciliation ───────────────────────────────────────────────────────────────────────────────
def reconcile(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """The minutes in which two answers differ: minute (ms), and left less right of `orders` and of `cents`. O(minutes).

    Empty when they agree. A total would not do: what one minute lost another may have gained.
    """
    names = ["orders", "cents"]
    less = left.set_index("minute")[names].sub(right.set_index("minute")[names], fill_value=0).astype("int64")
    return less.loc[(less != 0).any(axis=1)].sort_index().reset_index()
