"""A copy of the shop's tables: a committer for each, in this process or in one of its own that can be killed.

`differences` holds the copy against the database, row for row and value for value, both ways.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from principal_kit.platform import dead_letters, tables, topics
from principal_kit.platform.shop_database import TABLES, Truth
from principal_kit.platform.upserts import BATCH, Committer


class Replica:
    """Copies tables of one connector. Everything it knows is in the tables: a second one goes on where the first was.

    Args:
        kafka: an endpoint with `consumer`, `producer`, `admin`.
        lake: an Iceberg catalog.
        design: the connector, which names the topics.
        namespace: of the tables. Its dead letters are in the topic `<namespace>.dead_letters`.
        names: of the tables.
        batch, on_step: as for `Committer`.
    """

    def __init__(
        self,
        kafka: Any,
        lake: Any,
        design: Any,
        *,
        namespace: str = "copy",
        names: Iterable[str] = TABLES,
        batch: int = BATCH,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._kafka, self._lake, self._design, self._namespace = kafka, lake, design, namespace
        self._names, self._batch, self._on_step = tuple(names), batch, on_step
        self._committers: dict[str, Committer] = {}
        self._open: list[Any] = []

    def _start(self) -> dict[str, Committer]:
        """Made when first needed: topics come with the connector's first records."""
        if not self._committers:
            letters = f"{self._namespace}.dead_letters"
            admin = self._kafka.admin()
            try:
                topics.apply(admin, [topics.Topic(letters, 1, "place of the record", "what no row could be made of")])
            finally:
                admin.close()
            producer = self._kafka.producer(acks="all", enable_idempotence=True)
            self._open.append(producer)
            made = {}
            for name in self._names:
                consumer = self._kafka.consumer(isolation_level="read_committed", enable_auto_commit=False)
                self._open.append(consumer)
                made[name] = Committer(
                    self._lake, f"{self._namespace}.{name}", consumer, self._design.topic(name),
                    letters=(producer, letters), batch=self._batch, on_step=self._on_step,
                )  # fmt: skip
            self._committers = made
        return self._committers

    def __getitem__(self, name: str) -> Committer:
        """The committer of one table."""
        return self._start()[name]

    @property
    def counts(self) -> Counter[str]:
        """What all committers of this process did."""
        return sum((committer.counts for committer in self._committers.values()), Counter())

    def unswept(self) -> list[str]:
        """Tables with rows that stand at an older snapshot than another: empty at the new one, or it has not come yet.

        The last row of a table carries the mark that sweeps it, and an empty table has none, so what was deleted before
        the snapshot is still here. When all is caught up (`connectors.mark`, `catch_up`) and a table is named here, put
        a row into it and take the snapshot again. A table that was empty at the first snapshot and has had changes
        since is named too, as the two look alike from here; it needs no cure, and the cure does it no harm.
        """
        at = {name: committer.position for name, committer in self._start().items()}
        newest = max((position.snapshot for position in at.values()), default=0)
        older = {name: position for name, position in at.items() if position.snapshot < newest}
        return sorted(name for name, position in older.items() if position.snapshot or position.stream > (0, 0))

    def step(self, seconds: float = 0.1) -> int:
        """One step of each table; returns the records."""
        return sum(committer.step(seconds) for committer in self._start().values())

    def catch_up(self, *, seconds: float = 60.0) -> int:
        """Until the topics' ends as they are now are in the tables. Raises as `Committer.catch_up`."""
        return sum(committer.catch_up(seconds=seconds) for committer in self._start().values())

    def letters(self) -> list[dead_letters.Letter]:
        """What was refused, each once."""
        consumer = self._kafka.consumer()
        try:
            return dead_letters.read(consumer, f"{self._namespace}.dead_letters")
        finally:
            consumer.close()

    def close(self) -> None:
        """Close the clients; nothing is lost. Idempotent."""
        self._committers.clear()
        while self._open:
            self._open.pop().close()


def _plain(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value


def differences(lake: Any, namespace: str, truth: Truth) -> list[str]:
    """Every row in which copy and source differ, a line each; empty when they are equal. O(rows).

    A column that the source no longer has is left out; one that the copy lacks is a difference.
    """
    found = []
    for name, expected in truth.tables.items():
        rows = tables.read(lake, namespace, name).to_pylist()
        copies = Counter(row["id"] for row in rows)
        found += [f"{name} {key}: there {n} times" for key, n in copies.items() if n > 1]
        got = {row["id"]: row for row in rows}
        found += [f"{name} {key}: missing" for key in sorted(expected.keys() - got.keys())]
        found += [f"{name} {key}: no longer in the source" for key in sorted(got.keys() - expected.keys())]
        for key in sorted(expected.keys() & got.keys()):
            for column, want in expected[key].items():
                has = got[key].get(column)
                if _plain(has) != _plain(want):
                    found.append(f"{name} {key}: {column} is {has}, the source has {want}")
    return found


# ── In a process of its own ──────────────────────────────────────────────────────────────────────
class _Topics:
    """The design's names, for a process that has no connector to ask."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def topic(self, table: str) -> str:
        return f"{self.prefix}.public.{table}"


class _Clients:
    """kafka-python's clients of one cluster, by its address."""

    def __init__(self, bootstrap: str) -> None:
        import kafka

        self.consumer = partial(kafka.KafkaConsumer, bootstrap_servers=bootstrap)
        self.producer = partial(kafka.KafkaProducer, bootstrap_servers=bootstrap)
        self.admin = partial(kafka.KafkaAdminClient, bootstrap_servers=bootstrap)


class Process:
    """A replica as a process: started, killed with SIGKILL, started again. No password is in its arguments."""

    def __init__(self, kafka: Any, lake: Any, design: Any, postgres: Any, *, namespace: str = "copy") -> None:
        self._settings = {
            "bootstrap": kafka.bootstrap_servers, "warehouse": lake.properties["warehouse"],
            "prefix": design.config["topic.prefix"], "namespace": namespace,
        }  # fmt: skip
        self._dsn, self._process = postgres.dsn, None
        self.starts = 0

    def start(self) -> None:
        """Start it; nothing if it runs."""
        if self._process is None or self._process.poll() is not None:
            self.starts += 1
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, json.dumps(self._settings)], env=os.environ | {"CATALOG": self._dsn},
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process.stdin.close()

    stop = kill


def main(settings: dict[str, str], dsn: str) -> None:
    """Copy until the owner is gone; an error of a server is waited out by beginning again, as a supervisor would."""
    kafka = _Clients(settings["bootstrap"])
    while not select.select([sys.stdin], [], [], 0)[0]:  # our owner holds the other end: it is readable when it ends
        replica = None
        try:
            lake = tables.catalog(dsn, settings["warehouse"])
            replica = Replica(kafka, lake, _Topics(settings["prefix"]), namespace=settings["namespace"], batch=100)
            while not select.select([sys.stdin], [], [], 0)[0]:
                replica.step()
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
            time.sleep(0.2)
        finally:
            if replica is not None:
                replica.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), os.environ["CATALOG"])
