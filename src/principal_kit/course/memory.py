"""Peak memory of a chapter: the kernel, everything it started, and the services that `principal-kit up` started for it.

A process' share is its proportional set size (PSS: shared pages divided by those who share them), so that the sum over
processes is what the machine really holds; where the system does not tell, the resident size.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import psutil


def kind_of(command: list[str]) -> str:
    """Which of the chapter's programs a command line belongs to.

    >>> kind_of(["java", "-Xmx256m", "kafka.Kafka", "server.properties"]), kind_of(["/usr/bin/redis-server *:6379"])
    ('Kafka', 'Redis')
    """
    line = " ".join(command)
    if "kafka.Kafka" in line:
        return "Kafka"
    if "org.apache.spark" in line or "pyspark" in line:
        return "Spark"
    if "org.apache.kafka.connect" in line:
        return "Kafka Connect"
    if "org.apache.flink" in line:
        return "Flink"
    if "redis-server" in line:
        return "Redis"
    if command and command[0].rsplit("/", 1)[-1].startswith("postgres"):
        return "PostgreSQL"
    return "Python" if "python" in line else "other"


class PeakMemory:
    """Samples a set of processes on a thread; a context manager. Costs a few milliseconds a sample.

    Args:
        processes: returns the processes to sum up now.
        interval: seconds between samples.
    """

    def __init__(self, processes: Callable[[], Iterable[psutil.Process]], *, interval: float = 0.5) -> None:
        self._processes, self._interval = processes, interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="peak-memory")
        self.peak: Counter[str] = Counter()  # bytes by program, at the moment when their sum was highest

    @property
    def mib(self) -> int:
        """The highest sum seen, in MiB."""
        return round(self.peak.total() / 2**20)

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {size / 2**20:,.0f}" for kind, size in self.peak.most_common())
        return f"{self.mib:,} MiB" + (f" ({parts})" if parts else "")

    def sample(self) -> Counter[str]:
        """Bytes by program now."""
        now: Counter[str] = Counter()
        for process in self._processes():
            try:
                now[kind_of(process.cmdline())] += _bytes(process)
            except psutil.Error:  # gone since it was listed
                continue
        return now

    def _watch(self) -> None:
        while True:
            now = self.sample()
            if now.total() > self.peak.total():
                self.peak = now
            if self._done.wait(self._interval):
                return

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def children_and_services() -> list[psutil.Process]:
    """This process' descendants (the kernel and what it started) and the daemons of `principal-kit up` with theirs."""
    roots = [psutil.Process()]
    found: dict[int, psutil.Process] = {}
    for pid in _daemons():
        try:
            roots.append(psutil.Process(pid))
            found[pid] = roots[-1]
        except psutil.Error:
            continue
    for root in roots:
        try:
            found.update((child.pid, child) for child in root.children(recursive=True))
        except psutil.Error:
            continue
    return list(found.values())


def cpu_seconds() -> Counter[str]:
    """CPU seconds so far of this process ("this notebook") and of its services, by program. For differences."""
    me = psutil.Process().cpu_times()
    spent = Counter({"this notebook": me.user + me.system})
    for process in children_and_services():
        try:
            times, kind = process.cpu_times(), kind_of(process.cmdline())
        except psutil.Error:  # gone since it was listed
            continue
        spent[kind] += times.user + times.system
    return spent


def _daemons() -> list[int]:
    from principal_kit.core.errors import KitError
    from principal_kit.services import state

    pids = []
    for kind in state.KINDS:
        try:
            record = state.read(kind)
        except KitError:  # a broken record is for `doctor` to report
            continue
        if record is not None:
            pids.append(record.pid)
    return pids


def _bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return process.memory_info().rss
    return getattr(full, "pss", 0) or full.rss
