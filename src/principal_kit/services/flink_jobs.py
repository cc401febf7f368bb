"""Jobs of a Flink session cluster over the JobManager's REST API: state, checkpoints, savepoints, metrics.

Every wait polls until a deadline and ends early, with the root cause, when the job has failed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.services.flink_failure import FlinkError, root_cause
from principal_kit.services.flink_sql import answer, http

ENDED = ("FINISHED", "CANCELED", "FAILED")
METRICS = {  # name in Flink: how the values of a vertex's subtasks become one
    "numRecordsIn": "sum",
    "numRecordsOut": "sum",
    "busyTimeMsPerSecond": "max",
    "backPressuredTimeMsPerSecond": "max",
    "currentInputWatermark": "min",
}
_POLL_SECONDS = 0.05
T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """A completed checkpoint or savepoint. `path` is what a job can be started from."""

    id: int
    path: str
    duration_ms: int
    size_bytes: int
    savepoint: bool


@dataclass(frozen=True)
class Job:
    """A job as the JobManager sees it now. `tasks` counts them by state, `failures` are root causes, latest first."""

    id: str
    name: str
    state: str
    tasks: dict[str, int]
    failures: tuple[str, ...]
    vertices: dict[str, str]  # name to id

    @property
    def running(self) -> bool:
        """Whether the job and each of its tasks run (or have done all their work)."""
        at_work = self.tasks.get("RUNNING", 0) + self.tasks.get("FINISHED", 0)
        return self.state == "RUNNING" and 0 < at_work == sum(self.tasks.values())

    @property
    def ended(self) -> bool:
        """Whether it never runs again. One that is being started or restarted does not run and has not ended."""
        return self.state in ENDED


class JobControl:
    """What an endpoint can ask of the JobManager at `self.address`. Ids are those that `submit` returns.

    Every method raises FlinkError with the root cause when Flink refuses, ServiceError when it does not answer in time.
    """

    address: str
    _rest_client: Any = None

    def rest(self, method: str, path: str, json: Any = None) -> Any:
        """The JSON answer to one request of the JobManager's REST API, for what has no method here."""
        if self._rest_client is None:
            self._rest_client = http(self.address)
        return answer(self._rest_client, method, path, json)

    def jobs(self) -> dict[str, str]:
        """Job id to state, of all that the JobManager remembers."""
        return {job["id"]: job["status"] for job in self.rest("GET", "/jobs")["jobs"]}

    def job(self, id: str) -> Job:
        """One job's state, tasks and failures."""
        about = self.rest("GET", f"/jobs/{id}")
        history = self.rest("GET", f"/jobs/{id}/exceptions").get("exceptionHistory", {}).get("entries", [])
        tasks: dict[str, int] = {}
        for vertex in about["vertices"]:
            for state, count in vertex["tasks"].items():
                if count:
                    tasks[state] = tasks.get(state, 0) + count
        return Job(
            id, about["name"], about["state"], tasks,
            tuple(root_cause(entry["stacktrace"]) for entry in history),
            {vertex["name"]: vertex["id"] for vertex in about["vertices"]},
        )  # fmt: skip

    def checkpoints(self, id: str) -> list[Checkpoint]:
        """Completed checkpoints and savepoints that the JobManager remembers (the last ten), oldest first."""
        history = self.rest("GET", f"/jobs/{id}/checkpoints").get("history", [])
        done = [entry for entry in history if entry["status"] == "COMPLETED"]
        return sorted((_checkpoint(entry) for entry in done), key=lambda c: c.id)

    def restores(self, id: str) -> int:
        """How often the job went back to a checkpoint or savepoint, the one it was started from included.

        Exact at every moment, unlike the metric `numRestarts`, which is a second old.
        """
        return self.rest("GET", f"/jobs/{id}/checkpoints")["counts"]["restored"]

    def wait_running(self, id: str, seconds: float = 60.0) -> Job:
        """Wait until every task of the job runs; returns at once for one that has finished."""

        def condition() -> Job | None:
            job = self.job(id)
            if job.state == "FINISHED" or job.running:
                return job
            self._must_go_on(job)
            return None

        return self._until(condition, seconds, f"job {id} does not run", id)

    def wait_finished(self, id: str, seconds: float = 120.0) -> Job:
        """Wait until a bounded job has done all its work."""

        def condition() -> Job | None:
            job = self.job(id)
            if job.state != "FINISHED":
                self._must_go_on(job)
                return None
            return job

        return self._until(condition, seconds, f"job {id} has not finished", id)

    def wait_checkpoint(self, id: str, after: int | None = None, seconds: float = 60.0) -> Checkpoint:
        """Wait for a completed checkpoint with an id above `after` (default: one that begins after this call)."""
        if after is None:
            history = self.rest("GET", f"/jobs/{id}/checkpoints").get("history", [])
            after = max((entry["id"] for entry in history), default=0)

        def condition() -> Checkpoint | None:
            for checkpoint in self.checkpoints(id):
                if checkpoint.id > after and not checkpoint.savepoint:
                    return checkpoint
            self._must_go_on(self.job(id))
            return None

        return self._until(condition, seconds, f"no checkpoint of job {id} above {after} was completed", id)

    def checkpoint(self, id: str, seconds: float = 60.0) -> Checkpoint:
        """Take a checkpoint now, without waiting for the interval, and wait until it is complete."""
        taken = self._triggered(f"/jobs/{id}/checkpoints", {"checkpointType": "CONFIGURED"}, seconds)
        number = taken["checkpointId"]

        def condition() -> Checkpoint | None:
            try:
                said = self.rest("GET", f"/jobs/{id}/checkpoints/details/{number}")
                return _checkpoint(said) if said["status"] == "COMPLETED" else None
            except FlinkError as error:  # it answers from a copy of its statistics, renewed every web.refresh-interval
                if f"statistics for checkpoint {number}" not in str(error):
                    raise
                return None

        return self._until(condition, seconds, f"the JobManager has no statistics of checkpoint {number} of job {id}")

    def savepoint(self, id: str, seconds: float = 120.0) -> str:
        """Take a savepoint; the job goes on. Returns the path to start from."""
        return self._triggered(f"/jobs/{id}/savepoints", {"cancel-job": False}, seconds)["location"]

    def stop_job(self, id: str, *, drain: bool = False, seconds: float = 120.0) -> str:
        """Stop the job with a savepoint and return its path.

        Args:
            drain: first let every window and timer fire, as at the end of time. Only for a job that never comes back.
        """
        path = self._triggered(f"/jobs/{id}/stop", {"drain": drain}, seconds)["location"]
        self.wait_finished(id)
        return path

    def cancel(self, id: str, seconds: float = 60.0) -> None:
        """Cancel the job and wait until it has ended; its last checkpoints are kept."""
        self.rest("PATCH", f"/jobs/{id}?mode=cancel")
        self._until(lambda: self.jobs().get(id, "CANCELED") in ENDED or None, seconds, f"job {id} is not cancelled")

    def metrics(self, id: str, *names: str) -> dict[str, dict[str, float]]:
        """Vertex name to metric to value (default: those of `METRICS`); what a vertex does not have is left out.

        Counts are summed over subtasks, times are the busiest subtask's, the watermark is the slowest one's; of any
        other metric the sum. Refreshed every second. Of operators chained into one vertex each has metrics of its own
        (`Source__clicks[1].numRecordsOut`); the vertex counts only what comes in at the first and leaves the last.
        """
        found: dict[str, dict[str, float]] = {}
        for vertex, vertex_id in self.job(id).vertices.items():
            found[vertex] = {}
            for name in names or METRICS:  # one by one: asked for several, of which it lacks one, Flink gives none
                for said in self.rest("GET", f"/jobs/{id}/vertices/{vertex_id}/subtasks/metrics?get={name}"):
                    value = float(said[METRICS.get(name, "sum")])
                    if not math.isnan(value):
                        found[vertex][name] = value
        return found

    def job_metrics(self, id: str, *names: str) -> dict[str, float]:
        """Metrics of the job as a whole, by name: numRestarts, lastCheckpointDuration, lastCheckpointSize, …"""
        values = self.rest("GET", f"/jobs/{id}/metrics?get={','.join(names)}")
        return {value["id"]: float(value["value"]) for value in values}

    def _triggered(self, path: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Start an asynchronous operation and wait for its end."""
        trigger = self.rest("POST", path, body)["request-id"]
        status = path.replace("/stop", "/savepoints")

        def condition() -> dict[str, Any] | None:
            said = self.rest("GET", f"{status}/{trigger}")
            return said if said["status"]["id"] == "COMPLETED" else None

        operation = self._until(condition, seconds, f"{path} has not ended").get("operation", {})
        if "failure-cause" in operation:
            trace = operation["failure-cause"].get("stack-trace", "")
            raise FlinkError(f"{path}: {root_cause(trace)}", trace)
        return operation

    def _why(self, id: str) -> str:
        """What is known about a job that keeps somebody waiting."""
        job = self.job(id)
        tasks = ", ".join(f"{count} {state}" for state, count in sorted(job.tasks.items()))
        return f": it is {job.state} (tasks: {tasks or 'none'})" + (f"; {job.failures[0]}" if job.failures else "")

    @staticmethod
    def _must_go_on(job: Job) -> None:
        if job.ended:
            why = f": {job.failures[0]}" if job.failures else ""
            raise FlinkError(f"job {job.id} ({job.name}) is {job.state}{why}")

    def _until(self, condition: Callable[[], T | None], seconds: float, otherwise: str, id: str | None = None) -> T:
        if seconds <= 0:
            raise InvalidArgument(f"seconds={seconds!r}: expected a positive number")
        deadline = time.monotonic() + seconds
        while (result := condition()) is None:
            if time.monotonic() > deadline:
                raise ServiceError(f"{otherwise} after {seconds:g} s{self._why(id) if id else ''}")
            time.sleep(_POLL_SECONDS)
        return result


def _checkpoint(entry: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        entry["id"],
        entry.get("external_path") or "",
        entry["end_to_end_duration"],
        entry["state_size"],
        entry["is_savepoint"],
    )
