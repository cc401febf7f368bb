"""A fault drill: parts of the pipeline are killed at moments that a seed decides, and the end state must not show it.

Moments are counted in acknowledged records, not in seconds, so that a drill hits the same places of the day on a slow
machine and on a fast one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.platform.sender import Progress
from principal_kit.platform.shop import Shop


class Target(Protocol):
    """What can be killed and started again."""

    def kill(self) -> None:
        """SIGKILL."""

    def start(self) -> None:
        """Start it again and wait until it answers."""


@dataclass(frozen=True)
class Fault:
    """Kill `target` once `after` records are acknowledged; it stays away for `seconds`."""

    after: int
    target: str
    seconds: float


def schedule(targets: Sequence[str], faults: int, records: int, rng: np.random.Generator) -> list[Fault]:
    """`faults` kills over the middle nine tenths of `records`, each target at least once, in the order of time.

    Raises InvalidArgument on fewer faults than targets.
    """
    if faults < len(targets):
        raise InvalidArgument(f"{faults} faults for {len(targets)} targets: expected at least one each")
    names = [*targets, *rng.choice(list(targets), faults - len(targets))]
    rng.shuffle(names)
    after = np.sort(rng.integers(records // 20, records - records // 20, faults))
    away = rng.uniform(0.2, 2.0, faults).round(1)
    return [Fault(int(a), str(name), float(s)) for a, name, s in zip(after, names, away)]


class SenderProcess:
    """The shop's producer as a process of its own, so that it can be killed in mid-send and go on from its progress."""

    def __init__(
        self,
        shop: Shop,
        bootstrap: str,
        folder: Path,
        *,
        prefix: str = "shop.",
        window: int = 500,
        rate: float = 2000.0,
    ) -> None:
        self.progress = Progress(folder / "progress")
        self._command = [
            sys.executable, "-m", "principal_kit.platform.sender", "--bootstrap", bootstrap,
            "--shop", json.dumps(asdict(shop)), "--progress", str(self.progress.path),
            "--prefix", prefix, "--window", str(window), "--rate", str(rate),
        ]  # fmt: skip
        self._process: subprocess.Popen | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it where its progress says; nothing if it runs."""
        if self._process is None or self._process.poll() is not None:
            self.starts += 1
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def done(self) -> bool:
        """Whether it has ended well; one that ended with an error is started again, as a supervisor would."""
        code = self._process.poll() if self._process else 1
        if code not in (None, 0):
            self.start()
        return code == 0


@dataclass(frozen=True)
class Hit:
    """A fault that happened: when (seconds into the drill, and records acknowledged by then), and how long until the
    target answered again."""

    fault: Fault
    at: float
    back_after: float
    acknowledged: int = 0


def run(
    sender: SenderProcess,
    targets: Mapping[str, Target],
    faults: Sequence[Fault],
    *,
    after_start: Mapping[str, Callable[[], object]] | None = None,
    seconds: float = 300.0,
    clock: Clock = monotonic,
    wait: Callable[[float], None] = time.sleep,
    on_hit: Callable[[Hit], None] = lambda hit: None,
) -> list[Hit]:
    """Send the day and kill as scheduled; returns what was hit. The caller then settles the pipeline and audits it.

    Args:
        targets: by the names in `faults`.
        after_start: what an operator does once a target is back (a JobManager has forgotten its jobs).
        seconds: the drill's limit. Raises ServiceError beyond it; InvalidArgument on a fault without target.
    """
    if missing := {fault.target for fault in faults} - set(targets):
        raise InvalidArgument(f"no target for {', '.join(sorted(missing))}; there are {', '.join(sorted(targets))}")
    began, todo, hits = clock(), sorted(faults, key=lambda f: f.after), []
    sender.start()
    try:
        while True:
            done = sender.done()
            while todo and (done or sender.progress.read() >= todo[0].after):
                acknowledged = sender.progress.read()
                hits.append(_strike(todo.pop(0), targets, after_start or {}, began, acknowledged, clock, wait))
                on_hit(hits[-1])
            if done and sender.done() and not todo:
                return hits
            if clock() - began > seconds:
                raise ServiceError(
                    f"the drill did not end within {seconds:g} s: {sender.progress.read():,} records sent"
                )
            wait(0.05)
    finally:
        sender.kill()


def _strike(
    fault: Fault,
    targets: Mapping[str, Target],
    after_start: Mapping[str, Callable[[], object]],
    began: float,
    acknowledged: int,
    clock: Clock,
    wait: Callable[[float], None],
) -> Hit:
    at = clock()
    targets[fault.target].kill()
    wait(fault.seconds)
    targets[fault.target].start()
    if fault.target in after_start:
        after_start[fault.target]()
    return Hit(fault, at - began, clock() - at, acknowledged)
