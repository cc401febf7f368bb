"""The whole pipeline: topics, tables and jobs over servers that are already there.

`start` is safe to run again: topics and tables that exist stay, jobs that run go on. `settle` answers the one question
that every test of a stream comes down to: has everything that was sent been counted, by everybody, for good?
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.platform import dead_letters, jobs, sender, tables, topics

_TRANSIENT = "the jobs did not settle"
_ENDED = ("FINISHED", "CANCELED", "FAILED")
_ANSWER_SECONDS = 20.0


@dataclass
class Pipeline:
    """The shop's pipeline on one Kafka, one Flink and one PostgreSQL.

    Args:
        kafka: an endpoint with `bootstrap_servers`, `admin()`, `consumer()`.
        flink: an endpoint with `submit`, `jobs`, `checkpoint`, `latest_checkpoint`.
        settings: where the jobs read and write.
    """

    kafka: Any
    flink: Any
    settings: jobs.Settings
    ids: dict[str, str] = field(default_factory=dict)
    _began_from: dict[str, str | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.lake = tables.catalog(self.settings.dsn, self.settings.warehouse)
        self.topics = topics.design(self.settings.prefix)

    @property
    def partitions(self) -> dict[str, int]:
        """The event topics, with their numbers of partitions."""
        return {t.name: t.partitions for t in self.topics if not t.name.endswith("dead_letters")}

    def start(self, *names: str, states: Mapping[str, str] | None = None) -> dict[str, str]:
        """Make topics and tables, submit the jobs (default: all); returns name to id. Jobs that have not ended stay.

        Args:
            states: job to the checkpoint or savepoint that it goes on from. Of the others, one that this pipeline has
                started before goes on as `resume` has it, and a new one begins at the beginning.

        Raises TopicDrift, TableDrift, InvalidArgument on an unknown job, and what the servers raise.
        """
        states = states or {}
        if unknown := {*names, *states} - set(jobs.NAMES):
            raise InvalidArgument(f"no job {', '.join(sorted(unknown))}; there are {', '.join(jobs.NAMES)}")
        self.prepare()
        gone = self._gone()
        new = [name for name in names or jobs.NAMES if name not in self.ids or name in gone]
        own = {name: self._state(name) for name in new if name in self.ids and name not in states}
        self._submit({name: states.get(name, own.get(name)) for name in new})
        for name in names or jobs.NAMES:
            self.flink.wait_running(self.ids[name])
        return {name: self.ids[name] for name in jobs.NAMES if name in self.ids}

    def prepare(self) -> None:
        """Make topics and tables, and submit nothing. Raises TopicDrift, TableDrift."""
        admin = self.kafka.admin()
        try:
            topics.apply(admin, self.topics)
        finally:
            admin.close()
        tables.create(self.lake, self.settings.namespace)

    def _submit(self, states: Mapping[str, str | None]) -> None:
        """Submit these jobs side by side, since planning one takes the gateway seconds; each from its state."""

        def submit(name: str) -> None:
            # Kept by the worker, whatever becomes of the others and of whoever waits (Ctrl-C): a job whose id is lost
            # would be submitted again, and have a twin that writes everything again.
            [self.ids[name]] = self.flink.submit(jobs.script(name, self.settings), resume_from=states[name])
            self._began_from[name] = states[name]

        with ThreadPoolExecutor(max(1, len(states))) as pool:
            submitted = [pool.submit(submit, name) for name in states]
        for future in submitted:
            if error := future.exception():
                raise error

    def _gone(self) -> set[str]:
        """Those of our jobs that have ended or that the JobManager does not know.

        Not those that do not run just now: a job that is about to, submitted again, would have a twin. And no answer is
        no answer: a JobManager that has just come back is asked for some seconds. Raises ServiceError then.
        """
        if not self.ids:
            return set()
        deadline = monotonic() + _ANSWER_SECONDS
        while True:
            try:
                states = self.flink.jobs()
                return {name for name, id in self.ids.items() if states.get(id, "FAILED") in _ENDED}
            except ServiceError:
                if monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def resume(self, *, with_state: bool = True) -> dict[str, str]:
        """Submit again the jobs that the JobManager no longer knows, each from its newest checkpoint; returns them.

        A session cluster keeps its jobs in the JobManager's memory. The checkpoints are files and outlive it. Without
        state a job knows nothing of what it has written and begins at the beginning: for showing what that does.
        """
        states = {name: self._state(name) if with_state else None for name in sorted(self._gone())}
        self._submit(states)
        return {name: self.ids[name] for name in states}

    def _state(self, name: str) -> str | None:
        """A job's newest checkpoint; if it was killed before its first, the one that it had begun from itself.

        None only for a job that never had any: then nothing of it is committed, and the beginning is right. Raises
        ServiceError when its tables say that there was one and it cannot be found.
        """
        try:
            return self.flink.latest_checkpoint(self.ids[name])
        except ServiceError:
            written = tables.snapshots(self.lake, self.settings.namespace, jobs.READS[name])
            if any(snapshot.job == self.ids[name] for snapshot in written):
                raise
            return self._began_from.get(name)

    def lag(self) -> dict[str, int]:
        """Job to the number of records that no checkpoint of it is known to hold.

        A job tells Kafka after a checkpoint. On a topic where nothing comes it does so up to ten seconds late: Flink's
        reader waits that long in one fetch, and the commit waits for the reader.
        """
        return self._behind(self._ends())

    def _ends(self) -> dict[str, dict[Any, int]]:
        """Job to the ends of its partitions now."""
        from kafka import TopicPartition

        consumer = self.kafka.consumer()
        try:
            topics = {name: f"{self.settings.prefix}{jobs.READS[name]}" for name in self.ids}
            places = {name: [TopicPartition(t, p) for p in range(self.partitions[t])] for name, t in topics.items()}
            return {name: consumer.end_offsets(wanted) for name, wanted in places.items()}
        finally:
            consumer.close()

    def _behind(self, ends: Mapping[str, Mapping[Any, int]]) -> dict[str, int]:
        """As `lag`, up to `ends`."""
        from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError

        admin = self.kafka.admin()
        try:
            out = {}
            for name, wanted in ends.items():
                group = self.settings.group(name)
                try:
                    committed = admin.list_group_offsets({group: None}).get(group, {})
                except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
                    committed = {}  # nobody has committed yet, or the broker has just come back
                at = {place: max(entry.offset, 0) for place, entry in committed.items()}
                out[name] = sum(max(0, end - at.get(place, 0)) for place, end in wanted.items())
            return out
        finally:
            admin.close()

    def wait_read(
        self,
        beat_ms: int,
        *,
        seconds: float = 120.0,
        clock: Clock = monotonic,
        wait: Callable[[float], None] = time.sleep,
        on_round: Callable[[dict[str, int]], None] = lambda lag: None,
    ) -> None:
        """Wait until a checkpoint of each job holds every record that is in its topic now.

        While nothing moves, heartbeats of `beat_ms` (ms since 1970) go to all partitions: each ends a fetch in which
        Flink's reader would wait for ten seconds, and with it the commit of its offsets. Raises ServiceError after
        `seconds`.
        """
        deadline, ends, last = clock() + seconds, self._ends(), None
        out = sender.producer(self.settings.bootstrap)
        try:
            while any((lag := self._behind(ends)).values()):
                on_round(lag)
                if clock() > deadline:
                    raise ServiceError(f"{_TRANSIENT} within {seconds:.0f} s: {lag} records are not read yet")
                if lag == last:
                    sender.heartbeat(out, self.partitions, beat_ms)
                last = lag
                wait(0.3)
        finally:
            out.close()

    def settle(
        self,
        closing_ms: int,
        *,
        seconds: float = 120.0,
        clock: Clock = monotonic,
        wait: Callable[[float], None] = time.sleep,
        on_round: Callable[[dict[str, int]], None] = lambda lag: None,
    ) -> None:
        """Wait until every record is in a checkpoint and every window up to `closing_ms` has given its result.

        A heartbeat with that time goes to all partitions; then the jobs must have read it (no lag in the offsets they
        commit with a checkpoint), and a checkpoint begun after that must complete. A job that restarted in between may
        have lost the heartbeat's effect, since Flink keeps no watermark of a source in a checkpoint; so then it starts
        over with another one. Raises ServiceError after `seconds`.
        """
        deadline = clock() + seconds
        out = sender.producer(self.settings.bootstrap)
        try:
            while True:
                for id in self.ids.values():  # one that is about to restart would lose the first heartbeat's effect
                    self.flink.wait_running(id, max(1.0, deadline - clock()))
                before = self._restarts()  # one during the heartbeat may lose its effect as well
                sender.heartbeat(out, self.partitions, closing_ms)
                left = max(1.0, deadline - clock())
                self.wait_read(closing_ms, seconds=left, clock=clock, wait=wait, on_round=on_round)
                wait(1.0)  # watermarks go out five times a second; then the windows' rows are on their way
                left = max(1.0, deadline - clock())
                with ThreadPoolExecutor(max(1, len(self.ids))) as pool:
                    list(pool.map(lambda id, left=left: self.flink.checkpoint(id, seconds=left), self.ids.values()))
                if self._restarts() == before:
                    return
                if clock() > deadline:
                    raise ServiceError(f"{_TRANSIENT} within {seconds:.0f} s: they keep restarting")
        finally:
            out.close()

    def _restarts(self) -> dict[str, tuple[str, int, float]]:
        """Changes when a job restarts: restores are exact; the metric, a second old, counts also one from nothing."""
        return {
            name: (id, self.flink.restores(id), self.flink.job_metrics(id, "numRestarts").get("numRestarts", 0))
            for name, id in self.ids.items()
        }

    def read(self, name: str) -> pd.DataFrame:
        """A table's rows now."""
        return tables.read(self.lake, self.settings.namespace, name).to_pandas()

    def letters(self) -> list[dead_letters.Letter]:
        """The dead letters so far, each once."""
        consumer = self.kafka.consumer()
        try:
            return dead_letters.read(consumer, f"{self.settings.prefix}dead_letters")
        finally:
            consumer.close()

    def stop(self) -> None:
        """Cancel the jobs; topics and tables stay."""
        gone = self._gone()
        for name in list(self.ids):
            if name not in gone:
                self.flink.cancel(self.ids[name])
            del self.ids[name]
