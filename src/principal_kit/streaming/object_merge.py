"""Sorting records of any length by a key function: records are Python objects, counted by what they really take.

Runs are sorted lists, spilled in blocks of length-prefixed records; a merge keeps one block of each run unpacked.
"""

from __future__ import annotations

import heapq
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np

from principal_kit.streaming.records import LengthPrefixed, RecordFormat
from principal_kit.streaming.sort_plan import SortPlan, merge_plan
from principal_kit.streaming.spill import Extent, Output, Spill, clear

Run = list[Extent]
_PAIR_BYTES = 128  # a tuple, its place in two lists and in the sort's own, and what the allocator rounds up
_WIDTH_MAX = 64
_RECORD_PARTS = 8  # a record may take this part of the limit: a merge of two runs holds several copies of it
_FRAMED = LengthPrefixed()


class ObjectSorter:
    """Runs and merges of records in a format, by a key function."""

    def __init__(self, key: Callable[[bytes], Any] | None, records: RecordFormat, memory_limit: int) -> None:
        self._key, self._format, self._limit = key or (lambda record: record), records, memory_limit
        self._block = max(1, min(memory_limit // (4 * _WIDTH_MAX), 1 << 20))
        self._heaviest = 1  # bytes of the block that takes most when unpacked
        self.records = 0

    def make_runs(self, fd: int, size: int, spill: Spill, whole: Output, spilled: Callable[[int], None]) -> list[Run]:
        """Sorted runs in `spill`; none, and everything in `whole`, if it fits into memory. O(n log n)."""
        runs: list[Run] = []
        pairs: list[tuple[Any, bytes]] = []
        held = 0
        for record in self._read(fd):
            key = self._key(record)
            cost = sys.getsizeof(record) + (sys.getsizeof(key) if key is not record else 0) + _PAIR_BYTES
            if pairs and held + cost > self._limit:
                runs.append(self._write(self._in_order(pairs), _FRAMED, spill))
                pairs, held = [], 0
                spilled(len(runs))
            pairs.append((key, record))
            held += cost
            self.records += 1
        if runs:
            runs.append(self._write(self._in_order(pairs), _FRAMED, spill))
            spilled(len(runs))
        else:
            self._write(self._in_order(pairs), self._format, whole)
        return runs

    def plan(self, runs: list[Run]) -> SortPlan:
        """How to merge them: as many at a time as unpacked blocks fit into half the limit. O(log runs)."""
        return merge_plan(len(runs), max(2, min(_WIDTH_MAX, self._limit // 2 // self._heaviest)))

    def merge(self, runs: list[Run], spill: Spill, into: Spill | Output, merged: Callable[[int], None]) -> Run:
        """Merge runs into one; equal keys in the order of the runs. O(n log k)."""
        sources = [self._unpack(run, spill) for run in runs]
        framing = _FRAMED if isinstance(into, Spill) else self._format
        return self._write(heapq.merge(*sources, key=self._key), framing, into, merged)

    def _read(self, fd: int) -> Iterator[bytes]:
        with io.BufferedReader(io.FileIO(os.dup(fd)), self._block) as file:
            try:
                yield from self._format.read(file, self._limit // _RECORD_PARTS)
            except OSError as error:
                raise clear(error, "the input") from error

    @staticmethod
    def _in_order(pairs: list[tuple[Any, bytes]]) -> Iterator[bytes]:
        pairs.sort(key=itemgetter(0))
        return map(itemgetter(1), pairs)

    def _write(
        self,
        records: Iterable[bytes],
        framing: RecordFormat,
        into: Spill | Output,
        merged: Callable[[int], None] = lambda size: None,
    ) -> Run:
        """Records in blocks; a block ends where a record ends."""
        run: Run = []
        block, weight, at = bytearray(), 0, 0
        for record in records:
            block += framing.encode(record)
            weight += sys.getsizeof(record) + 24  # and its place in a list, and what the allocator rounds up
            if len(block) >= self._block:
                run.append(into.put(at, np.frombuffer(block, dtype=np.uint8)))
                merged(len(block))
                self._heaviest = max(self._heaviest, weight + len(block))
                at += len(block)
                block, weight = bytearray(), 0
        if block:
            run.append(into.put(at, np.frombuffer(block, dtype=np.uint8)))
            merged(len(block))
            self._heaviest = max(self._heaviest, weight + len(block))
        return run

    @staticmethod
    def _unpack(run: Run, spill: Spill) -> Iterator[bytes]:
        for extent in run:
            yield from list(_FRAMED.read(io.BytesIO(spill.get(extent)), extent.size))
