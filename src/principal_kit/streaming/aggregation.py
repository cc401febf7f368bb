"""A tree of aggregators: servers report sketches, the middle merges them, the root answers and states its coverage.

Networks lose, repeat, delay and damage messages. So a report replaces whatever its sender said about that window before
and is never added to it, and every level keeps its children's reports apart until they are forgotten. Sans-IO: bytes
in, verdicts and bytes out; time is an argument, in integer milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from principal_kit.core.codec import Writer, seal, unseal
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches.sketch import Sketch
from principal_kit.streaming.watermarks import BEGINNING, duration, event_time, event_times


class Report(NamedTuple):
    """What a sender knows about one window; a later attempt replaces an earlier one as a whole.

    `window` is its start in ms. `servers` names those whose data is inside: for a server itself alone, for an
    aggregator all it has heard.
    """

    sender: str
    window: int
    attempt: int
    servers: tuple[str, ...]
    sketch: bytes

    def to_bytes(self) -> bytes:
        """As a checked frame. O(n)."""
        writer = Writer().blob(self.sender.encode()).pack("qQ", self.window, self.attempt)
        return seal(b"RPRT", 1, writer.blob("\n".join(self.servers).encode()).blob(self.sketch).payload())

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """The report in a frame. O(n). Raises CorruptionError for anything but an unchanged frame of a report."""
        reader = unseal(b"RPRT", 1, data)
        try:
            sender = reader.blob().decode()
            window, attempt = reader.unpack("qQ")
            servers = tuple(reader.blob().decode().split("\n"))
        except UnicodeDecodeError as error:
            raise CorruptionError("a report names servers in something other than UTF-8") from error
        sketch = reader.blob()
        reader.end()
        return cls(sender, window, attempt, servers, sketch)


@dataclass(slots=True)
class _Sending:
    """How far a window's report has come on its way to the parent: sent again until this attempt is acknowledged."""

    attempt: int = 0
    changed: bool = True  # since the attempt was numbered
    acknowledged: bool = False
    sent_at: int | None = None

    def touch(self) -> None:
        """There is more to say than was sent."""
        self.changed, self.acknowledged, self.sent_at = True, False, None

    def next_attempt(self, now: int, resend_ms: int) -> int | None:
        """The attempt to send now; None while there is nothing new, or an answer may still come."""
        if self.acknowledged or (self.sent_at is not None and now - self.sent_at < resend_ms):
            return None
        if self.changed:
            self.attempt, self.changed = max(self.attempt + 1, now), False
        self.sent_at = now
        return self.attempt

    def acknowledge(self, attempt: int) -> None:
        """The parent has this attempt, which says nothing about a later one."""
        self.acknowledged = self.acknowledged or (attempt == self.attempt and not self.changed)


class Agent:
    """On a server: one sketch a window, reported when the window has ended, and again until acknowledged.

    Args:
        server: its name, on one line.
        make: makes an empty sketch, `lambda: TDigest(100)` say; the same at every level of the tree.
        window_ms: length of the windows, which start at its multiples.
        resend_ms: how long to wait for an acknowledgement.
        windows_max: most windows held. One more gives up the oldest: a server must not fill its memory because an
            aggregator is away.
        started: when this process began. Windows that had ended by then are not reported: the process before has done
            so, and a part would replace the whole.

    A repeated report keeps its attempt. Measurements that come after a report make a new attempt, which replaces the
    old one upstream; so a window that was given up never comes back. Attempts are numbered by the clock, so that they
    go on rising when the process restarts.
    """

    def __init__(
        self,
        server: str,
        make: Callable[[], Sketch],
        *,
        window_ms: int,
        resend_ms: int = 10_000,
        windows_max: int = 4,
        started: int | None = None,
    ) -> None:
        self.server = _name(server)
        self.window_ms, self.resend_ms = duration("window_ms", window_ms), duration("resend_ms", resend_ms)
        self.windows_max = duration("windows_max", windows_max)
        self.dropped = 0
        """Times that something nobody had acknowledged was given up: a window, or what came for one that is gone."""
        self._make = make
        self._windows: dict[int, tuple[Sketch, _Sending]] = {}
        self._horizon = BEGINNING if started is None else self._window(event_time(started))

    def record(self, time: int, value: float) -> None:
        """Take in one measurement. O(1) and the sketch's `add`. Raises InvalidArgument; nothing has changed then."""
        window = self._window(event_time(time))
        if window in self._windows:
            sketch, sending = self._windows[window]
            sketch.add(value)
            sending.touch()
        else:
            sketch = self._make()
            sketch.add(value)
            self._merge(window, sketch)

    def record_many(self, times: Any, values: Any) -> None:
        """Take in a batch: two arrays of equal length. O(n log n). Raises InvalidArgument; nothing has changed then."""
        times, values = event_times(times), np.asarray(values)
        if times.shape != values.shape:
            raise InvalidArgument(f"{times.size} times for {values.size} values")
        starts = times - times % self.window_ms
        parts = {window: self._make() for window in np.unique(starts).tolist()}
        for window, part in parts.items():
            part.add_many(values[starts == window])
        for window, part in parts.items():
            self._merge(window, part)

    def _merge(self, window: int, part: Sketch) -> None:
        if window < self._horizon:
            self.dropped += 1
            return
        if window in self._windows:
            sketch, sending = self._windows[window]
            sketch.merge(part)
            sending.touch()
        else:
            self._windows[window] = part, _Sending()
        if len(self._windows) > self.windows_max:
            oldest = min(self._windows)
            self._horizon = oldest + self.window_ms
            self._give_up(oldest)

    def _give_up(self, window: int) -> None:
        _, sending = self._windows.pop(window)
        self.dropped += not sending.acknowledged

    def poll(self, now: int) -> list[Report]:
        """The reports to send now: of windows that have ended and are new, changed, or unacknowledged for too long."""
        now, reports = event_time(now), []
        for window, (sketch, sending) in sorted(self._windows.items()):
            if window >= now + self.windows_max * self.window_ms:
                self._give_up(window)  # the clock was wrong, and it would hold its place until that moment comes
            elif window + self.window_ms <= now and (attempt := sending.next_attempt(now, self.resend_ms)) is not None:
                reports.append(Report(self.server, window, attempt, (self.server,), sketch.to_bytes()))
        return reports

    def acknowledge(self, window: int, attempt: int) -> None:
        """The aggregator has this attempt. The sketch stays for late measurements until newer windows displace it."""
        if window in self._windows:
            self._windows[window][1].acknowledge(attempt)

    def _window(self, time: int) -> int:
        return time - time % self.window_ms


class Verdict(StrEnum):
    """What became of a report. The first four are good news to its sender: stop sending it."""

    NEW = "new"
    REPLACED = "replaced"  # a later attempt took the place of an earlier one
    REPEATED = "repeated"  # this attempt is here already: a second delivery changes nothing
    STALE = "stale"  # a later attempt is here already
    CORRUPT = "corrupt"  # its bytes were damaged
    UNKNOWN = "unknown"  # from, or about, somebody who is not a part of this tree
    MISFIT = "misfit"  # not a window's start, or a sketch that does not merge with ours
    EXPIRED = "expired"  # its window is forgotten
    EARLY = "early"  # its window lies beyond those accepted: whose clock is wrong?
    TOO_LARGE = "too large"

    @property
    def acknowledges(self) -> bool:
        """Whether the sender may stop."""
        return self in (Verdict.NEW, Verdict.REPLACED, Verdict.REPEATED, Verdict.STALE)


class Merged(NamedTuple):
    """The answer for a window, and how much of the fleet is in it."""

    window: int
    sketch: Sketch
    servers: frozenset[str]
    missing: frozenset[str]
    doubled: frozenset[str]
    """Servers that two children claim: their data is in the sketch twice."""

    @property
    def coverage(self) -> float:
        """Share of the fleet that is in the answer."""
        return len(self.servers) / (len(self.servers) + len(self.missing))


class Aggregator:
    """A middle node or the root: one report a child and window, merged when asked.

    Args:
        name: its name as a sender, on one line.
        children: names of those whose reports it takes.
        make: makes an empty sketch; only sketches with the same parameters are taken.
        window_ms: length of the windows.
        fleet: the servers whose data should arrive; by default the children themselves.
        windows_max: windows accepted at a time: those that start within this many lengths from the horizon.
        report_bytes_max: larger reports are refused.
        resend_ms: how long its own reports wait for an acknowledgement.

    Memory: at most children x windows_max sketches, whatever the network delivers. Refusals are verdicts, counted in
    `verdicts`, since a sender far away cannot be raised at.
    Complexity: `receive` O(report); `merged` O(children x sketch).
    """

    def __init__(
        self,
        name: str,
        children: Iterable[str],
        make: Callable[[], Sketch],
        *,
        window_ms: int,
        fleet: Iterable[str] | None = None,
        windows_max: int = 8,
        report_bytes_max: int = 1 << 20,
        resend_ms: int = 10_000,
    ) -> None:
        self.name, self.children = _name(name), frozenset(map(_name, children))
        self.fleet = self.children if fleet is None else frozenset(map(_name, fleet))
        if not self.children or not self.fleet:
            raise InvalidArgument(f"aggregator {name!r} has no children, or no fleet")
        self.window_ms, self.windows_max = duration("window_ms", window_ms), duration("windows_max", windows_max)
        self.report_bytes_max = duration("report_bytes_max", report_bytes_max)
        self.resend_ms = duration("resend_ms", resend_ms)
        self.horizon = 0
        self.verdicts: Counter[Verdict] = Counter()
        self._make, self._empty = make, make()
        self._windows: dict[int, dict[str, tuple[int, frozenset[str], Sketch]]] = {}
        self._sending: dict[int, _Sending] = {}

    def receive(self, data: bytes) -> Verdict:
        """Take in a report as it came from the network. Never raises for what the bytes hold; O(report)."""
        verdict = self._receive(data)
        self.verdicts[verdict] += 1
        return verdict

    def _receive(self, data: bytes) -> Verdict:
        if len(data) > self.report_bytes_max:
            return Verdict.TOO_LARGE
        try:
            report = Report.from_bytes(data)
            sketch = type(self._empty).from_bytes(report.sketch)
        except CorruptionError:
            return Verdict.CORRUPT
        servers = frozenset(report.servers)
        if report.sender not in self.children or not servers <= self.fleet:
            return Verdict.UNKNOWN
        if report.window % self.window_ms or sketch.parameters != self._empty.parameters:
            return Verdict.MISFIT
        if report.window < self.horizon:
            return Verdict.EXPIRED
        if report.window >= self.horizon + self.windows_max * self.window_ms:
            return Verdict.EARLY
        return self._store(report, servers, sketch)

    def _store(self, report: Report, servers: frozenset[str], sketch: Sketch) -> Verdict:
        """Keep the latest attempt of each child: replacing makes a repeated delivery harmless."""
        reports = self._windows.setdefault(report.window, {})
        known = reports[report.sender][0] if report.sender in reports else None
        if known is not None and report.attempt <= known:
            return Verdict.REPEATED if report.attempt == known else Verdict.STALE
        reports[report.sender] = (report.attempt, servers, sketch)
        self._sending.setdefault(report.window, _Sending()).touch()
        return Verdict.NEW if known is None else Verdict.REPLACED

    def merged(self, window: int) -> Merged:
        """All reports of a window as one sketch, with who is in it, who is missing, and who is in it twice."""
        children = self._windows.get(window, {})
        reports = [children[name] for name in sorted(children)]  # in one order: the same reports, the same bytes
        total, seen = self._make(), Counter()
        if hasattr(total, "merge_many"):
            total.merge_many([sketch for *_, sketch in reports])
        else:
            for *_, sketch in reports:
                total.merge(sketch)
        for _, servers, _ in reports:
            seen.update(servers)
        doubled = frozenset(server for server, times in seen.items() if times > 1)
        return Merged(window, total, frozenset(seen), self.fleet - seen.keys(), doubled)

    def poll(self, now: int) -> list[Report]:
        """Reports for the parent: of windows that have ended and are new, changed, or unacknowledged for too long."""
        now, reports = event_time(now), []
        for window, sending in sorted(self._sending.items()):
            if window + self.window_ms <= now and (attempt := sending.next_attempt(now, self.resend_ms)) is not None:
                answer = self.merged(window)
                names = tuple(sorted(answer.servers))
                reports.append(Report(self.name, window, attempt, names, answer.sketch.to_bytes()))
        return reports

    def acknowledge(self, window: int, attempt: int) -> None:
        """The parent has this attempt. O(1)."""
        if window in self._sending:
            self._sending[window].acknowledge(attempt)

    def forget(self, before: int) -> None:
        """Windows that start before this moment are done: drop them, and refuse what still comes for them."""
        self.horizon = max(self.horizon, -(-event_time(before) // self.window_ms) * self.window_ms)
        for window in [window for window in self._windows if window < self.horizon]:
            del self._windows[window]
            del self._sending[window]


class Tree:
    """Two levels of aggregators over a fleet, in one process: mids of `fan_in` servers each, and a root.

    Args:
        servers: names of the fleet.
        make: makes an empty sketch.
        window_ms: length of the windows.
        fan_in: servers a mid (>= 1).
        options: for each `Aggregator`.

    `bytes_up` counts what servers and mids have sent. Between the levels stands the network; here it is a call.
    """

    def __init__(
        self, servers: Iterable[str], make: Callable[[], Sketch], *, window_ms: int, fan_in: int, **options: Any
    ) -> None:
        servers, fan_in = list(servers), duration("fan_in", fan_in)
        groups = [servers[at : at + fan_in] for at in range(0, len(servers), fan_in)]
        options["window_ms"] = window_ms
        self.mids = [Aggregator(f"mid-{n}", group, make, **options) for n, group in enumerate(groups)]
        self.root = Aggregator("root", [mid.name for mid in self.mids], make, fleet=servers, **options)
        self.bytes_up = {"servers": 0, "mids": 0}
        self._mid_of = {server: mid for mid, group in zip(self.mids, groups) for server in group}

    def mid_of(self, server: str) -> Aggregator:
        """The aggregator a server reports to. Raises InvalidArgument for an unknown server."""
        if server not in self._mid_of:
            raise InvalidArgument(f"server {server!r} is not part of this tree")
        return self._mid_of[server]

    def deliver(self, server: str, data: bytes) -> Verdict:
        """Hand a server's report to its mid. O(report)."""
        self.bytes_up["servers"] += len(data)
        return self.mid_of(server).receive(data)

    def roll_up(self, now: int) -> list[int]:
        """Send what has changed from the mids to the root; returns the windows whose answer may have changed."""
        touched = set()
        for mid in self.mids:
            for report in mid.poll(now):
                data = report.to_bytes()
                self.bytes_up["mids"] += len(data)
                if self.root.receive(data).acknowledges:
                    mid.acknowledge(report.window, report.attempt)
                touched.add(report.window)
        return sorted(touched)


def _name(name: Any) -> str:
    """A name that fits on one line. Raises InvalidArgument for anything else."""
    if not isinstance(name, str) or not name or "\n" in name:
        raise InvalidArgument(f"name={name!r}: expected text on one line")
    return name
