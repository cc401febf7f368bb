"""Event-time windows: which events belong together, and when is a group complete enough to report?

Aligned windows (tumbling, hopping) are known in advance; a session grows with its events and may swallow others.
A window reports when the watermark passes its end, corrects itself while late events are allowed, and is then
forgotten. Events in, results out: no clock, no I/O. Times are integers in one unit; windows are [start, end).
"""

from __future__ import annotations

import copy
import heapq
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from principal_kit.core.codec import Reader, Writer, seal, unseal
from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.streaming.watermarks import BEGINNING, END, TIME_MAX, duration, event_time, event_times

Span = tuple[int, int]


class Result(NamedTuple):
    """What a window holds when it reports. A consumer deletes this key's spans named in `replaces`, then stores it.

    `replaces` is empty for a first report; it names the window itself for a correction, and the sessions reported
    before that have become part of this one.
    """

    key: Hashable
    start: int
    end: int
    value: Any
    replaces: tuple[Span, ...] = ()


class Late(NamedTuple):
    """An event for the side output: it came after the windows `missed` were forgotten."""

    key: Hashable
    time: int
    value: Any
    missed: tuple[Span, ...]


@dataclass(slots=True)
class Counters:
    """What happened since the start: events taken, late ones, and the lives of windows."""

    events: int = 0
    late: int = 0
    opened: int = 0
    merged: int = 0
    reported: int = 0
    corrected: int = 0
    forgotten: int = 0


@dataclass(slots=True, eq=False)
class _Pane:
    """One key's share of one window."""

    key: Hashable
    start: int
    end: int
    aggregate: Any
    changed: bool = True  # since the last report
    reported: tuple[Span, ...] = ()  # spans a consumer holds for what is now in this pane
    open: bool = field(default=True)


class Windows(ABC):
    """What all windows share: panes in a heap by the time they are due, reported as the watermark advances.

    Args:
        aggregate: makes an empty aggregate: anything with `add(value)` and `merge(other)`, a Sketch say; `add_many`
            is used where it exists.
        allowed_lateness: how long after its end a reported window is kept for corrections (>= 0).
        panes_max: most (key, window) pairs held at once. One more is a CapacityError, and nothing has changed.

    A result that may still be corrected holds a copy of the aggregate, the last one the aggregate itself.
    """

    def __init__(self, aggregate: Callable[[], Any], *, allowed_lateness: int = 0, panes_max: int = 100_000) -> None:
        self.allowed_lateness = duration("allowed_lateness", allowed_lateness, least=0)
        if not is_integer(panes_max) or panes_max < 1:
            raise InvalidArgument(f"panes_max={panes_max!r}: expected an integer >= 1")
        if not callable(aggregate):
            raise InvalidArgument(f"aggregate={aggregate!r}: expected a callable that makes an empty aggregate")
        self.panes_max = int(panes_max)
        self.watermark = BEGINNING
        self.counters = Counters()
        self._make = aggregate
        self._live = 0
        self._timers: list[tuple[int, int, _Pane]] = []  # every live pane once: when to look at it next
        self._corrections: dict[int, _Pane] = {}  # panes changed after a report, or after they were due
        self._serial = 0

    def __len__(self) -> int:
        """Panes held. O(1)."""
        return self._live

    @abstractmethod
    def add(self, key: Hashable, time: int, value: Any) -> list[Late]:
        """Take in an event. Returns it as `Late` if it missed a window, else nothing; results come from `advance`."""

    @abstractmethod
    def _chunks(self, codes: np.ndarray, times: np.ndarray) -> tuple[list[tuple[int, int, int, np.ndarray]], Any]:
        """A batch as [(key code, start, end, rows)], no two of which share a pane, and [(row, missed spans)]."""

    @abstractmethod
    def _absorb(self, key: Hashable, start: int, end: int, aggregate: Any) -> None:
        """Merge the aggregate of a chunk into the pane it belongs to."""

    @abstractmethod
    def _is_new(self, key: Hashable, start: int, end: int) -> bool:
        """Whether a chunk needs a pane of its own."""

    @abstractmethod
    def _forget(self, pane: _Pane) -> None:
        """Take a pane out of the index."""

    @abstractmethod
    def _panes(self) -> Iterator[_Pane]:
        """Every live pane."""

    @abstractmethod
    def _index(self, pane: _Pane) -> None:
        """Put a new pane into the index."""

    @property
    @abstractmethod
    def _shape(self) -> tuple[int, ...]:
        """What must be equal for a snapshot to fit."""

    def add_many(self, keys: Any, times: Any, values: Any) -> list[Late]:
        """Take in a batch: arrays or lists of equal length; the same panes as a loop of `add`.

        The batch is aggregated by pane first and merged then, so bad input changes nothing. O(n) plus a sort.
        """
        times, (codes, names) = event_times(times), _factorized(keys)
        values = values if isinstance(values, np.ndarray) else np.asarray(values)
        if not len(codes) == len(times) == len(values):
            raise InvalidArgument(
                f"{len(codes)} keys, {len(times)} times, {len(values)} values: expected as many of each"
            )
        if not len(times):
            return []
        chunks, missed = self._chunks(codes, times)
        self._make_room(sum(self._is_new(names[code], start, end) for code, start, end, _ in chunks))
        parts = []
        for *_, rows in chunks:
            part = self._make()
            if hasattr(part, "add_many"):
                part.add_many(values[rows])
            else:
                for value in values[rows].tolist():
                    part.add(value)
            parts.append(part)
        for (code, start, end, _), part in zip(chunks, parts):
            self._absorb(names[code], start, end, part)
        self.counters.events += len(times)
        self.counters.late += len(missed)
        return [Late(names[codes[row]], int(times[row]), values[row], spans) for row, spans in missed]

    def advance(self, watermark: int) -> list[Result]:
        """Say that no event before `watermark` is expected any more; returns what is due, by end, start, key (as text).

        A watermark that does not move reports corrections only; one below the last is taken for the last. `END` ends
        the input. O(log panes) a window looked at.
        """
        if not is_integer(watermark):
            raise InvalidArgument(f"watermark={watermark!r}: expected an integer")
        self.watermark = watermark = max(self.watermark, int(watermark))
        due = [pane for pane in self._corrections.values() if pane.open and pane.changed and pane.end <= watermark]
        listed = set(map(id, due))
        ending = []
        while self._timers and self._timers[0][0] <= watermark:
            pane = heapq.heappop(self._timers)[2]
            if not pane.open:
                continue  # a session that became part of another
            if pane.end <= watermark and pane.changed and id(pane) not in listed:
                due.append(pane)
            if pane.end + self.allowed_lateness <= watermark:
                ending.append(pane)
            else:
                self._set_timer(pane)
        for pane in ending:
            pane.open = False
            self._forget(pane)
        self._live -= len(ending)
        self.counters.forgotten += len(ending)
        self._corrections = {n: p for n, p in self._corrections.items() if p.open and p.changed and p.end > watermark}
        return [self._report(pane) for pane in sorted(due, key=lambda pane: (pane.end, pane.start, str(pane.key)))]

    def _report(self, pane: _Pane) -> Result:
        value = copy.deepcopy(pane.aggregate) if pane.open else pane.aggregate
        result = Result(pane.key, pane.start, pane.end, value, pane.reported)
        self.counters.corrected += bool(pane.reported)
        self.counters.reported += 1
        pane.reported, pane.changed = ((pane.start, pane.end),), False
        return result

    def _set_timer(self, pane: _Pane) -> None:
        """Look again when the pane is due, or when it is to be forgotten."""
        self._serial += 1
        due = pane.end if pane.end > self.watermark else pane.end + self.allowed_lateness
        heapq.heappush(self._timers, (due, self._serial, pane))

    def _opened(self, pane: _Pane) -> None:
        self._index(pane)
        self._live += 1
        self.counters.opened += 1
        self._set_timer(pane)
        if pane.end <= self.watermark:
            self._corrections[id(pane)] = pane

    def _touched(self, pane: _Pane) -> None:
        pane.changed = True
        if pane.reported or pane.end <= self.watermark:
            self._corrections[id(pane)] = pane

    def _make_room(self, needed: int) -> None:
        if self._live + needed > self.panes_max:
            raise CapacityError(
                f"{self._live} panes are held and {needed} more needed, but panes_max is {self.panes_max}: "
                "does the watermark advance?"
            )

    # ── Checkpoints ──────────────────────────────────────────────────────────────────────────────
    def to_bytes(self) -> bytes:
        """Watermark and panes as a checked frame; keys are str, bytes or int, aggregates have `to_bytes`. O(state)."""
        writer = Writer().pack("q", self.watermark).array(np.array(self._shape, dtype=np.int64))
        writer.pack("Q", self._live)
        for pane in self._panes():
            kind, raw = _key_bytes(pane.key)
            writer.pack("B", kind).blob(raw).pack("qq?", pane.start, pane.end, pane.changed)
            writer.array(np.array(pane.reported, dtype=np.int64).reshape(-1)).blob(pane.aggregate.to_bytes())
        return seal(b"WNDW", 1, writer.payload())

    def restore(self, data: bytes, read: Callable[[bytes], Any]) -> None:
        """Take the state of `to_bytes` into these windows, which must be empty and of the same shape.

        `read` makes an aggregate from its bytes (`TDigest.from_bytes`). Raises CorruptionError for damaged bytes,
        InvalidArgument for another shape or windows in use, CapacityError beyond `panes_max`; nothing has changed then.
        """
        reader = unseal(b"WNDW", 1, data)
        (watermark,) = reader.unpack("q")
        shape = tuple(reader.array(np.int64).tolist())
        if shape != self._shape or self._live or self.watermark != BEGINNING:
            raise InvalidArgument(f"a snapshot of shape {shape} needs empty windows of that shape, not {self._shape}")
        (count,) = reader.unpack("Q")
        panes = [_read_pane(reader, read) for _ in range(count)]
        reader.end()
        self._make_room(count)
        self.watermark = watermark
        for pane in panes:
            self._opened(pane)
            if pane.changed:
                self._touched(pane)


class HoppingWindows(Windows):
    """Windows of `size`, a new one every `every`: an event belongs to size / every of them, rounded up or down.

    Args:
        size: length, >= 1, in the unit of the event times.
        every: distance between starts, 1 <= every <= size.
        offset: starts are at offset + n * every.
        aggregate, allowed_lateness, panes_max: see `Windows`.

    An event is late for a window once the watermark has passed end + allowed_lateness, and may be in time for the next.
    `add` is O(size / every); memory one aggregate a pane.

    >>> from principal_kit.streaming import Tally
    >>> windows = HoppingWindows(60, 30, aggregate=Tally)
    >>> windows.add("web", 70, 1.0)
    []
    >>> [(r.start, r.end, r.value.count) for r in windows.advance(END)]
    [(30, 90, 1), (60, 120, 1)]
    """

    def __init__(self, size: int, every: int, *, aggregate: Callable[[], Any], offset: int = 0, **options: Any) -> None:
        self.size = duration("size", size)
        self.every = duration("every", every)
        if self.every > self.size:
            raise InvalidArgument(f"every={every} exceeds size={size}: events between two windows would be in neither")
        super().__init__(aggregate, **options)
        self.offset = event_time(offset) % self.every
        self._index_of: dict[tuple[Hashable, int], _Pane] = {}

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.size, self.every, self.offset, self.allowed_lateness

    def add(self, key: Hashable, time: int, value: Any) -> list[Late]:
        """Take in an event. O(size / every); see `Windows.add`."""
        key, time = _key(key), event_time(time)
        newest, closed = time - (time - self.offset) % self.every, self.watermark - self.allowed_lateness - self.size
        starts = range(newest, time - self.size, -self.every)
        open_starts = [start for start in starts if start > closed]
        self._make_room(sum((key, start) not in self._index_of for start in open_starts))
        for start in open_starts:
            pane = self._index_of.get((key, start))
            if pane is None:
                aggregate = self._make()
                aggregate.add(value)  # first, so that a refused value leaves no empty pane behind
                self._opened(_Pane(key, start, start + self.size, aggregate))
            else:
                pane.aggregate.add(value)
                self._touched(pane)
        self.counters.events += 1
        if len(open_starts) == len(starts):
            return []
        self.counters.late += 1
        return [Late(key, time, value, tuple((s, s + self.size) for s in starts if s <= closed))]

    def _chunks(self, codes, times):
        newest, closed = times - (times - self.offset) % self.every, self.watermark - self.allowed_lateness - self.size
        rows, starts, missed = [], [], {}
        for back in range(-(-self.size // self.every)):
            start = newest - back * self.every
            inside = np.flatnonzero(start > times - self.size)
            late = start[inside] <= closed
            for row in inside[late].tolist():
                missed[row] = (*missed.get(row, ()), (int(start[row]), int(start[row]) + self.size))
            rows.append(inside[~late])
            starts.append(start[inside[~late]])
        rows, starts = np.concatenate(rows), np.concatenate(starts)
        chunks = [
            (int(codes[part[0]]), start, start + self.size, part)
            for start, part in _grouped(codes, rows, starts, self.every)
        ]
        return chunks, sorted(missed.items())

    def _is_new(self, key, start, end):
        return (key, start) not in self._index_of

    def _absorb(self, key, start, end, aggregate):
        pane = self._index_of.get((key, start))
        if pane is None:
            self._opened(_Pane(key, start, end, aggregate))
        else:
            pane.aggregate.merge(aggregate)
            self._touched(pane)

    def _index(self, pane):
        self._index_of[pane.key, pane.start] = pane

    def _forget(self, pane):
        del self._index_of[pane.key, pane.start]

    def _panes(self):
        return iter(self._index_of.values())


class TumblingWindows(HoppingWindows):
    """Windows of `size` side by side: every event belongs to exactly one. Arguments as for `HoppingWindows`.

    >>> from principal_kit.streaming import Tally
    >>> windows = TumblingWindows(60, aggregate=Tally)
    >>> windows.add("web", 59, 0.2), windows.add("web", 61, 0.4), windows.add("web", 3, 0.6)
    ([], [], [])
    >>> [(r.start, r.end, r.value.count) for r in windows.advance(60)]
    [(0, 60, 2)]
    >>> windows.add("web", 58, 0.1)
    [Late(key='web', time=58, value=0.1, missed=((0, 60),))]
    """

    def __init__(self, size: int, *, aggregate: Callable[[], Any], offset: int = 0, **options: Any) -> None:
        super().__init__(size, size, aggregate=aggregate, offset=offset, **options)


class SessionWindows(Windows):
    """Events of a key that follow each other in less than `gap`; a session is [first, last + gap).

    An event between two sessions bridges them: they become one, and its result names those reported before that it
    replaces. An event is late once the watermark has passed its time + allowed_lateness. No session that it could
    touch has been forgotten before, so the sessions are always the gap-merge of the events taken, whatever their order.
    Events exactly a gap apart are two sessions, as [start, end) excludes the end; Spark's `session_window` joins them.

    Args:
        gap: silence that ends a session, >= 1.
        aggregate, allowed_lateness, panes_max: see `Windows`.

    `add` is O(log sessions of the key) plus a merge for every session swallowed.

    >>> from principal_kit.streaming import Tally
    >>> sessions = SessionWindows(30, aggregate=Tally)
    >>> sessions.add("ann", 0, 1), sessions.add("ann", 50, 1), len(sessions)
    ([], [], 2)
    >>> sessions.add("ann", 25, 1), len(sessions)                   # the bridge
    ([], 1)
    >>> [(r.start, r.end, r.value.count) for r in sessions.advance(80)]
    [(0, 80, 3)]
    """

    def __init__(self, gap: int, *, aggregate: Callable[[], Any], **options: Any) -> None:
        self.gap = duration("gap", gap)
        super().__init__(aggregate, **options)
        self._sessions: dict[Hashable, list[_Pane]] = {}  # disjoint, in order of time

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.gap, self.allowed_lateness

    def add(self, key: Hashable, time: int, value: Any) -> list[Late]:
        """Take in an event. O(log sessions of the key); see `Windows.add`."""
        key, time = _key(key), event_time(time)
        end = time + self.gap
        if time < self.watermark - self.allowed_lateness:
            self.counters.events += 1
            self.counters.late += 1
            return [Late(key, time, value, ((time, end),))]
        at = self._overlapping(key, time, end)
        if at.stop - at.start == 1:  # the usual case: the event continues a session
            pane = self._sessions[key][at.start]
            pane.aggregate.add(value)
            pane.start, pane.end = min(pane.start, time), max(pane.end, end)
            self._touched(pane)
        else:
            self._make_room(at.start == at.stop)
            aggregate = self._make()
            aggregate.add(value)
            self._absorb(key, time, end, aggregate)
        self.counters.events += 1
        return []

    def _overlapping(self, key: Hashable, start: int, end: int) -> slice:
        """Which of the key's sessions share a moment with [start, end)."""
        sessions = self._sessions.get(key, ())
        first = bisect_left(sessions, start + 1, key=lambda pane: pane.end)
        last = bisect_left(sessions, end, key=lambda pane: pane.start)
        return slice(first, last)

    def _absorb(self, key, start, end, aggregate):
        at = self._overlapping(key, start, end)
        swallowed = self._sessions.get(key, [])[at]
        if not swallowed:
            self._opened(_Pane(key, start, end, aggregate))
            return
        survivor, *others = swallowed
        for pane in others:
            survivor.aggregate.merge(pane.aggregate)
            survivor.reported += pane.reported
            pane.open = False
        survivor.aggregate.merge(aggregate)
        survivor.start, survivor.end = min(start, survivor.start), max(end, swallowed[-1].end)
        self._sessions[key][at] = [survivor]
        self._live -= len(others)
        self.counters.merged += len(others)
        self._touched(survivor)
        if len(self._timers) > 2 * self._live + 64:  # timers of swallowed sessions must not pile up
            self._timers = [timer for timer in self._timers if timer[2].open]
            heapq.heapify(self._timers)

    def _chunks(self, codes, times):
        late = times < self.watermark - self.allowed_lateness
        rows = np.flatnonzero(~late)
        order = rows[np.lexsort((times[rows], codes[rows]))]
        breaks = (np.diff(times[order]) >= self.gap) | (np.diff(codes[order]) != 0)
        parts = np.split(order, np.flatnonzero(breaks) + 1) if len(order) else []
        chunks = [(int(codes[p[0]]), int(times[p[0]]), int(times[p[-1]]) + self.gap, p) for p in parts]
        return chunks, [
            (row, ((int(times[row]), int(times[row]) + self.gap),)) for row in np.flatnonzero(late).tolist()
        ]

    def _is_new(self, key, start, end):
        at = self._overlapping(key, start, end)
        return at.start >= at.stop

    def _index(self, pane):
        sessions = self._sessions.setdefault(pane.key, [])
        sessions.insert(bisect_left(sessions, pane.start, key=lambda other: other.start), pane)

    def _forget(self, pane):
        sessions = self._sessions[pane.key]
        sessions.remove(pane)
        if not sessions:
            del self._sessions[pane.key]

    def _panes(self):
        return (pane for sessions in self._sessions.values() for pane in sessions)


def _key(key: Hashable) -> Hashable:
    """The key, if it can be found again. Raises InvalidArgument for None, NaN (unequal to itself) and mutable ones."""
    try:
        hash(key)
    except TypeError:
        raise InvalidArgument(f"key {key!r} of type {type(key).__name__}: expected a hashable value") from None
    if key is None or key != key:
        raise InvalidArgument("a key is None or NaN")
    return key


def _factorized(keys: Any) -> tuple[np.ndarray, list[Hashable]]:
    """Keys as codes and the distinct keys as Python values. O(n). Raises InvalidArgument on a missing key."""
    if isinstance(keys, (list, tuple)):
        keys = pd.Series(keys, dtype=object if keys and not is_integer(keys[0]) else None).to_numpy()
    try:
        codes, names = pd.factorize(np.asarray(keys))
    except TypeError as error:
        raise InvalidArgument(f"a key cannot be hashed: {error}") from None
    if codes.size and codes.min() < 0:
        raise InvalidArgument("a key is None or NaN")
    return codes, names.tolist()


def _grouped(codes, rows, starts, every) -> Iterator[tuple[int, np.ndarray]]:
    """Rows with the same key and start, as (start, rows in order of arrival)."""
    if not len(rows):
        return
    keys, first = codes[rows], int(starts.min())
    slots = (starts - first) // every
    across = int(slots.max()) + 1
    if across * (int(keys.max()) + 1) < TIME_MAX:
        group = keys * across + slots
        # numpy sorts narrow integers by radix, an order of magnitude faster than by comparison
        order = np.argsort(group.astype(np.min_scalar_type(int(group.max()))), kind="stable")
        breaks = np.flatnonzero(np.diff(group[order])) + 1
    else:
        order = np.lexsort((starts, keys))
        breaks = np.flatnonzero((np.diff(starts[order]) != 0) | (np.diff(keys[order]) != 0)) + 1
    edges = [0, *breaks.tolist(), len(order)]
    firsts = starts[order[edges[:-1]]].tolist()
    ordered = rows[order]
    for start, low, high in zip(firsts, edges, edges[1:]):
        yield start, ordered[low:high]


def _key_bytes(key: Hashable) -> tuple[int, bytes]:
    if isinstance(key, str):
        return 0, key.encode()
    if isinstance(key, bytes):
        return 1, key
    if is_integer(key):
        return 2, str(int(key)).encode()
    raise InvalidArgument(f"key {key!r} of type {type(key).__name__}: a snapshot takes str, bytes and int")


def _read_pane(reader: Reader, read: Callable[[bytes], Any]) -> _Pane:
    (kind,) = reader.unpack("B")
    raw = reader.blob()
    start, end, changed = reader.unpack("qq?")
    spans = reader.array(np.int64).reshape(-1, 2).tolist()
    if kind > 2 or start >= end:
        raise CorruptionError(f"a pane of kind {kind} from {start} to {end}")
    key = (bytes.decode, bytes, int)[kind](raw)
    return _Pane(key, start, end, read(reader.blob()), changed, tuple(map(tuple, spans)))


__all__ = [
    "BEGINNING",
    "END",
    "Counters",
    "HoppingWindows",
    "Late",
    "Result",
    "SessionWindows",
    "TumblingWindows",
    "Windows",
]
