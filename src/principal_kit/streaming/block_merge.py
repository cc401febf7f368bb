"""Sorting fixed-width records as blocks of bytes: no record ever becomes a Python object.

A merge holds some blocks of every run. Whatever sorts up to the smallest of the runs' last keys in memory is complete:
nothing still on disk comes before it. That much is ordered at once and gathered, by several threads, into the output.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from principal_kit.core.errors import CorruptionError
from principal_kit.streaming.key_order import stable_order
from principal_kit.streaming.sort_plan import BlockBudget, SortPlan, merge_plan
from principal_kit.streaming.spill import Extent, Output, Spill, read_at

Run = list[Extent]


class BlockSorter:
    """Runs and merges of records of `budget.record_size` bytes whose key is a slice of them."""

    def __init__(self, key: slice, budget: BlockBudget) -> None:
        self.key, self.budget = key, budget
        self.records = 0
        self._own = threading.local()  # buffers of a thread

    def make_runs(self, fd: int, size: int, spill: Spill, whole: Output, spilled: Callable[[int], None]) -> list[Run]:
        """Sorted runs in `spill`; none, and everything in `whole`, if it fits into memory. O(n log n)."""
        self.records, rest = divmod(size, self.budget.record_size)
        if rest:
            raise CorruptionError(
                f"record {self.records:,} is cut off: {rest} bytes where {self.budget.record_size} are expected"
            )
        if self.records <= self.budget.area_records:
            with _pool(self.budget.threads) as pool:
                rows = self._load(fd, 0, self.records)
                self._gather(pool.map, rows, stable_order(rows, self.key), whole, 0)
            return []

        def make(first: int) -> Run:
            rows = self._load(fd, first, min(self.budget.run_records, self.records - first))
            return self._gather(map, rows, stable_order(rows, self.key), spill, 0)

        runs: list[Run] = []
        with _pool(self.budget.threads) as pool:
            for run in pool.map(make, range(0, self.records, self.budget.run_records)):
                runs.append(run)
                spilled(len(runs))
        return runs

    def plan(self, runs: list[Run]) -> SortPlan:
        """How to merge them. O(log runs)."""
        return merge_plan(len(runs), self.budget.width_max)

    def merge(self, runs: list[Run], spill: Spill, into: Spill | Output, merged: Callable[[int], None]) -> Run:
        """Merge runs into one; equal keys in the order of the runs. O(n log n)."""
        size, share = self.budget.record_size, max(self.budget.block_records, self.budget.area_records // len(runs))
        area = np.empty((share * len(runs), size), dtype=np.uint8)
        inputs = [_Input(run, spill, area, n * share, share) for n, run in enumerate(runs)]
        done: Run = []
        at = 0
        with _pool(self.budget.threads) as pool:
            while True:
                list(pool.map(_Input.refill, inputs))
                spans = self._complete(inputs)
                if not spans:
                    return done
                order = stable_order(area, self.key, spans)
                done += self._gather(pool.map, area, order, into, at)
                at += len(order) * size
                merged(len(order) * size)

    def _complete(self, inputs: list[_Input]) -> list[tuple[int, int]]:
        """Spans of the area before which nothing on disk can come; the inputs give them away."""
        more = [(source.key_at(source.stop - 1, self.key), n) for n, source in enumerate(inputs) if source.more]
        last, owner = min(more, default=(None, 0))
        spans = []
        for n, source in enumerate(inputs):
            cut = source.stop
            if last is not None and n != owner:
                # a run before the owner of the last key goes first among equals, a run after it has to wait
                search = bisect.bisect_right if n < owner else bisect.bisect_left
                cut = search(range(source.stop), last, source.start, key=lambda i, s=source: s.key_at(i, self.key))
            if cut > source.start:
                spans.append((source.base + source.start, source.base + cut))
                source.start = cut
        return spans

    def _load(self, fd: int, first: int, count: int) -> np.ndarray:
        size = self.budget.record_size
        if getattr(self._own, "rows", None) is None or len(self._own.rows) < count:
            self._own.rows = np.empty((count, size), dtype=np.uint8)
        rows = self._own.rows[:count]
        if read_at(fd, rows.reshape(-1), first * size, "the input") < rows.size:
            raise CorruptionError("the input became shorter while it was read")
        return rows

    def _gather(self, each: Callable, rows: np.ndarray, order: np.ndarray, into: Spill | Output, at: int) -> Run:
        """Write rows in an order, a block at a time; `each` is map, or a pool's."""
        step, size = self.budget.block_records, self.budget.record_size

        def write(first: int) -> Extent | None:
            chosen = order[first : first + step]
            if getattr(self._own, "block", None) is None:
                self._own.block = np.empty((step, size), dtype=np.uint8)
            block = np.take(rows, chosen, axis=0, out=self._own.block[: len(chosen)], mode="clip")
            return into.put(at + first * size, block.reshape(-1))

        return list(each(write, range(0, len(order), step)))


class _Input:
    """A run under merge: some of its blocks lie in its part of the area, the others are still on disk."""

    def __init__(self, run: Run, spill: Spill, area: np.ndarray, base: int, share: int) -> None:
        self._rows, self.base = area[base : base + share], base
        self._spill, self._blocks, self._next = spill, run, 0
        self.start = self.stop = 0

    @property
    def more(self) -> bool:
        """Whether blocks are left on disk."""
        return self._next < len(self._blocks)

    def key_at(self, at: int, key: slice) -> bytes:
        return self._rows[at, key].tobytes()

    def refill(self) -> None:
        """Read blocks while they fit, once half of this part is free."""
        left, (share, size) = self.stop - self.start, self._rows.shape
        if not self.more or (left > share // 2):
            return
        if self.start:
            self._rows[:left] = self._rows[self.start : self.stop]
            self.start, self.stop = 0, left
        while self.more and self._blocks[self._next].size // size <= share - self.stop:
            extent = self._blocks[self._next]
            end = self.stop + extent.size // size
            self._spill.get(extent, self._rows[self.stop : end].reshape(-1))
            self.stop, self._next = end, self._next + 1


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are gone when the block is left, however that happens."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="sort")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
