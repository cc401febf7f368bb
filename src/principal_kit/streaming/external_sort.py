"""External merge sort: sort a file that does not fit into memory, by sorted runs and a k-way merge.

Pieces that fit are sorted and spilled as runs; a merge then reads all runs side by side, a block of each at a time.
The output appears whole or not at all, and an interrupted sort leaves nothing behind.
Source: Knuth, The Art of Computer Programming 3, section 5.4.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.streaming.block_merge import BlockSorter
from principal_kit.streaming.object_merge import ObjectSorter
from principal_kit.streaming.records import FixedWidth, Lines, RecordFormat
from principal_kit.streaming.sort_plan import BlockBudget, SortPlan
from principal_kit.streaming.spill import Extent, Output, Spill, clear, codec

OVERHEAD_BYTES = 64 << 20
"""What a process that sorts holds beyond `memory_limit`: the interpreter, numpy, a few blocks in flight."""

Run = list[Extent]


@dataclass(frozen=True)
class SortStats:
    """What a sort did. Bytes count files only: input, spilled blocks as stored, output.

    `runs` sorted pieces were spilled (0 if everything fitted into memory) and merged in `passes`, at most
    `merge_width` at a time.
    """

    records: int
    runs: int
    passes: int
    merge_width: int
    bytes_read: int
    bytes_written: int
    bytes_spilled: int


class SortObserver:
    """Told how a sort gets on, from the thread that called it; every method may be overridden."""

    def spilled(self, runs: int) -> None:
        """So many runs are on disk."""

    def merged(self, size: int) -> None:
        """So many bytes went through the merge of this pass."""


class Sorter(Protocol):
    """Sorts one kind of records: by blocks of bytes (`BlockSorter`) or by Python objects (`ObjectSorter`)."""

    records: int

    def make_runs(self, fd: int, size: int, spill: Spill, whole: Output, spilled: Callable[[int], None]) -> list[Run]:
        """Sorted runs in `spill`; none, and everything in `whole`, if it fitted into memory."""

    def plan(self, runs: list[Run]) -> SortPlan:
        """How to merge so many runs."""

    def merge(self, runs: list[Run], spill: Spill, into: Spill | Output, merged: Callable[[int], None]) -> Run:
        """One run made of several; equal keys in the order of the runs."""


def external_sort(
    path_in: str | os.PathLike[str],
    path_out: str | os.PathLike[str],
    key: slice | Callable[[bytes], Any] | None,
    memory_limit: int,
    compression: str | None = None,
    *,
    records: RecordFormat | None = None,
    threads: int = 2,
    temp_dir: str | os.PathLike[str] | None = None,
    durable: bool = False,
    observer: SortObserver | None = None,
) -> SortStats:
    """Sort the records of a file by a key into another file (or the same), stable, in bounded memory.

    Args:
        path_in, path_out: a regular file; a file to make or to replace, which happens at the end and at once.
        key: where the key lies in fixed-width records, as `slice(0, 10)`, compared as bytes; or a function from a
            record to anything that can be compared (slower: records become objects); None for the whole record.
        memory_limit: bytes for records. The process holds at most `OVERHEAD_BYTES` more.
        compression: of what is spilled: None, "lz4", "zstd" or "zlib".
        records: the format. Default: 100 bytes wide for a slice, lines otherwise.
        threads: that sort, gather and compress side by side (fixed-width records only).
        temp_dir: for what is spilled, as much as the input; default: where the output goes.
        durable: wait until the output is on the disk before it gets its name.
        observer: told about progress.

    Complexity: O(n log n) time; the input is read once, spilled and read again once per merge pass, written once.
    Raises InvalidArgument for bad arguments, a path that cannot be used or a memory_limit below one record's need,
    CorruptionError for a record that is cut off or cannot be read, CapacityError for a full disk. Whatever is raised,
    KeyboardInterrupt included, no file is left behind and an older output stays as it was.
    Source: Knuth, TAOCP 3, section 5.4.1 (multiway merging).
    """
    sorter = _sorter(key, records, memory_limit, threads)
    codec(compression)
    source, target = Path(path_in), Path(path_out).resolve()
    spill_in = target.parent if temp_dir is None else Path(temp_dir)
    _check_target(target)
    fd, size = _open(source)
    with ExitStack() as opened:
        opened.callback(os.close, fd)
        output = opened.enter_context(Output(target, durable=durable))
        spills = [opened.enter_context(Spill(spill_in, compression))]
        observer = observer or SortObserver()
        runs = sorter.make_runs(fd, size, spills[0], output, observer.spilled)
        plan = sorter.plan(runs)
        for to_come in reversed(range(plan.passes)):
            into = opened.enter_context(Spill(spill_in, compression)) if to_come else output
            runs = _merge_pass(sorter, runs, plan.width, spills[-1], into, observer)
            spills[-1].close()
            spills += [into] if to_come else []
    spilled = sum(spill.written for spill in spills)
    read = size + sum(spill.read for spill in spills)
    return SortStats(sorter.records, plan.runs, plan.passes, plan.width, read, output.written + spilled, spilled)


def _merge_pass(
    sorter: Sorter, runs: list[Run], width: int, spill: Spill, into: Spill | Output, observer: SortObserver
) -> list[Run]:
    """Merge neighbours, so that equal keys keep their order."""
    groups = [runs[at : at + width] for at in range(0, len(runs), width)]
    return [sorter.merge(group, spill, into, observer.merged) for group in groups]


def _sorter(key: object, records: RecordFormat | None, memory_limit: int, threads: int) -> Sorter:
    if not is_integer(memory_limit) or memory_limit < 1:
        raise InvalidArgument(f"memory_limit={memory_limit!r}: expected a positive number of bytes")
    if not is_integer(threads) or threads < 1:
        raise InvalidArgument(f"threads={threads!r}: expected a positive number")
    if not isinstance(key, slice):
        if key is not None and not callable(key):
            raise InvalidArgument(f"key={key!r}: expected a slice of bytes, a function or None")
        return ObjectSorter(key, records or Lines(), int(memory_limit))
    records = records or FixedWidth(100)
    if not isinstance(records, FixedWidth):
        raise InvalidArgument(f"key={key!r} with {records!r}: a slice is for records of fixed width, give a function")
    start, stop, step = key.indices(records.size)
    if step != 1 or not start < stop or (key.stop is not None and key.stop > records.size):
        raise InvalidArgument(f"key={key!r}: expected a range of bytes within a record of {records.size}")
    return BlockSorter(slice(start, stop), BlockBudget(records.size, int(memory_limit), int(threads)))


def _open(source: Path) -> tuple[int, int]:
    try:
        fd = os.open(source, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise clear(error, f"the input {source.name}") from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise InvalidArgument(f"the input {source.name}: expected a regular file")
    return fd, found.st_size


def _check_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise InvalidArgument(f"the output {target.name}: its folder does not exist")
    if target.exists() and not target.is_file():
        raise InvalidArgument(f"the output {target.name}: exists and is not a regular file")
