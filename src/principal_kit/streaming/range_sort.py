"""A range-partitioned distributed sort over processes, small enough to see why splitters decide everything.

Splitters cut the keys into ranges; mappers send each record to its range, reducers sort one range each, and the ranges
one after another are the sorted file. A range too large for a reducer is an error here: that is what skew does.
Source: Blelloch et al., "A Comparison of Sorting Algorithms for the Connection Machine" (sample sort), section 4.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument, KitError
from principal_kit.core.hashing import is_integer
from principal_kit.streaming.key_order import BYTES_PER_RECORD, key_word, stable_order, words_in
from principal_kit.streaming.spill import clear, read_at, write_at

CHOICES = ("sampled", "first", "equal")
OVERSAMPLING = 64  # records looked at for each partition


class Splitter(NamedTuple):
    """Where a partition begins: at this key, and among equal keys at this position of the input."""

    key: bytes
    position: int = 0


@dataclass(frozen=True)
class RangeSortStats:
    """Records in each partition, and the splitters between them."""

    partitions: tuple[int, ...]
    splitters: tuple[Splitter, ...]

    @property
    def records(self) -> int:
        """Records of all partitions."""
        return sum(self.partitions)

    @property
    def skew(self) -> float:
        """The largest partition over the mean: by this factor the slowest reducer holds up the sort."""
        return max(self.partitions) * len(self.partitions) / max(1, self.records)


def splitters_of(sample: Sequence[Splitter], partitions: int) -> list[Splitter]:
    """Splitters that divide a sample of (key, position) evenly. O(s log s).

    >>> splitters_of([Splitter(b"b", 1), Splitter(b"a", 0), Splitter(b"a", 9), Splitter(b"c", 3)], 2)
    [Splitter(key=b'b', position=1)]
    """
    ordered = sorted(sample)
    return [ordered[len(ordered) * p // partitions] for p in range(1, partitions)] if ordered else []


def equal_width(partitions: int) -> list[Splitter]:
    """Splitters that divide the space of keys evenly, whatever the keys are. O(partitions).

    >>> equal_width(2)
    [Splitter(key=b'\\x80\\x00\\x00\\x00\\x00\\x00\\x00\\x00', position=0)]
    """
    return [Splitter((2**64 * p // partitions).to_bytes(8, "big")) for p in range(1, partitions)]


def partition_of(rows: np.ndarray, key: slice, first: int, splitters: Sequence[Splitter]) -> np.ndarray:
    """The partition of each record: how many splitters are at or before its key and position.

    Args:
        rows: consecutive records of the input as bytes, shape (n, record size); the first is at position `first`.
        key: where in a record its key lies.
        splitters: ascending.

    Complexity: O(n log p), and O(p) for a record that shares its first eight bytes with splitters.
    """
    length = key.stop - key.start
    cuts = np.frombuffer(b"".join(s.key[:length].ljust(8 * words_in(key), b"\0") for s in splitters), dtype=">u8")
    cuts = cuts.reshape(len(splitters), words_in(key)).astype(np.uint64)
    top = key_word(rows, key)
    found = np.searchsorted(cuts[:, 0], top, side="left")
    last = np.searchsorted(cuts[:, 0], top, side="right")
    close = np.flatnonzero(found < last)  # the first eight bytes do not decide: look at the rest, then the position
    low, high = found[close], last[close]
    words = [key_word(rows[close], key, number) for number in range(words_in(key))]
    for number, splitter in enumerate(splitters):
        passed, equal = np.zeros(len(close), dtype=bool), (low <= number) & (number < high)
        for word, cut in zip(words, cuts[number]):
            passed |= equal & (word > cut)
            equal &= word == cut
        found[close] += passed | (equal & (first + close >= splitter.position))
    return found.astype(np.uint16)


def range_sort(
    path_in: str | os.PathLike[str],
    path_out: str | os.PathLike[str],
    key: slice,
    memory_limit: int,
    *,
    workers: int = 2,
    partitions: int | None = None,
    splitters: str = "sampled",
    break_ties: bool = True,
    record_size: int = 100,
    seed: int = 0,
) -> RangeSortStats:
    """Sort fixed-width records by ranges, with a pool of worker processes; stable.

    Args:
        path_in, path_out: a regular file; a file to make or to replace.
        key: where in a record its key lies.
        memory_limit: bytes for records of all workers together.
        workers: processes, started afresh (spawn): a script that calls this needs a `__main__` guard.
        partitions: ranges; default: as many as fit one into a worker's share, a quarter to spare, and one a worker.
        splitters: "sampled" from all over the input; from the "first" records; or of "equal" width.
        break_ties: whether equal keys may be divided by their position in the input.
        record_size: bytes.
        seed: of the sample.

    Complexity: O(n log n) work over the workers; the input is read twice and written twice.
    Raises InvalidArgument for bad arguments, CorruptionError for a record that is cut off, CapacityError for a full
    disk or a partition beyond a worker's share of the memory. No file is left behind then; only if this process itself
    is killed, its folder stays beside the output.
    Source: Blelloch et al., A Comparison of Sorting Algorithms for the Connection Machine, section 4 (sample sort).
    """
    job = _job(path_in, key, memory_limit, workers, partitions, record_size)
    if splitters not in CHOICES:
        raise InvalidArgument(f"splitters={splitters!r}: expected one of {', '.join(CHOICES)}")
    target = Path(path_out).resolve()
    cuts = _choose(job, splitters, seed)
    cuts = cuts if break_ties else [Splitter(cut.key) for cut in cuts]
    try:
        with tempfile.TemporaryDirectory(prefix=".range-sort-", dir=target.parent) as name:
            counts = _run(job, cuts, Path(name), workers)
            os.replace(Path(name, "out"), target)
    except BrokenProcessPool as error:
        raise KitError("a worker process died; nothing was left behind") from error
    except OSError as error:
        raise clear(error, f"the output {target.name}") from error
    return RangeSortStats(tuple(counts), tuple(cuts))


@dataclass(frozen=True)
class _Job:
    """What every worker knows."""

    path: Path
    key: slice
    size: int  # of a record
    records: int
    share: int  # records that a worker may hold
    partitions: int


def _job(path: str | os.PathLike[str], key: slice, limit: int, workers: int, partitions: int | None, size: int) -> _Job:
    for name, value in (("memory_limit", limit), ("workers", workers), ("record_size", size)):
        if not is_integer(value) or value < 1:
            raise InvalidArgument(f"{name}={value!r}: expected a positive number")
    if partitions is not None and (not is_integer(partitions) or not 1 <= partitions <= 1024):
        raise InvalidArgument(f"partitions={partitions!r}: expected 1 to 1024")
    if (
        not isinstance(key, slice)
        or not 0 <= (key.start or 0) < (key.stop or size) <= size
        or key.step not in (None, 1)
    ):
        raise InvalidArgument(f"key={key!r}: expected a range of bytes within a record of {size}")
    share = limit // workers // (size + BYTES_PER_RECORD)
    if not share:
        raise InvalidArgument(f"memory_limit={limit}: less than one record of {size} bytes for each worker")
    if not Path(path).is_file():
        raise InvalidArgument(f"the input {Path(path).name}: expected a regular file")
    records, rest = divmod(os.path.getsize(path), size)
    if rest:
        raise CorruptionError(f"record {records:,} is cut off: {rest} bytes where {size} are expected")
    needed = max(int(workers), -(-records * 5 // (4 * share)))
    if partitions is None and needed > 1024:
        raise InvalidArgument(f"memory_limit={limit}: {needed:,} partitions would be needed, expected up to 1024")
    return _Job(Path(path), slice(key.start or 0, key.stop or size), int(size), records, share, partitions or needed)


def _choose(job: _Job, how: str, seed: int) -> list[Splitter]:
    if how == "equal" or not job.records:
        return equal_width(job.partitions)
    count = min(job.records, OVERSAMPLING * job.partitions)
    positions = np.arange(count)
    if how == "sampled":
        positions = np.sort(np.random.default_rng(seed).choice(job.records, count, replace=False))
    with open(job.path, "rb") as file:
        sample = [Splitter(_key_at(file.fileno(), job, at), at) for at in positions.tolist()]
    return splitters_of(sample, job.partitions)


def _key_at(fd: int, job: _Job, at: int) -> bytes:
    return os.pread(fd, job.key.stop - job.key.start, at * job.size + job.key.start)


Pieces = dict[int, list[tuple[Path, int, int]]]  # by partition: file, offset in records, count


def _run(job: _Job, cuts: list[Splitter], folder: Path, workers: int) -> list[int]:
    """Map, wait for all, reduce. Returns the records of each partition."""
    bounds = [job.records * m // workers for m in range(workers + 1)]
    with open(folder / "out", "wb") as file:
        file.truncate(job.records * job.size)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), signal.signal, _IGNORE_CTRL_C)
    try:
        mapped = [pool.submit(_map, job, cuts, folder / f"map-{m}", *part) for m, part in enumerate(pairwise(bounds))]
        pieces: Pieces = {p: [] for p in range(len(cuts) + 1)}
        for done in mapped:  # in the order of the input: equal keys stay in it
            for partition, piece in done.result():
                pieces[partition].append(piece)
        counts = [sum(count for *_, count in pieces[p]) for p in pieces]
        begins = np.cumsum([0, *counts])[:-1].tolist()
        tasks = [pool.submit(_reduce, job, p, pieces[p], folder / "out", at) for p, at in zip(pieces, begins)]
        for done in tasks:
            done.result()
        return counts
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_IGNORE_CTRL_C = (signal.SIGINT, signal.SIG_IGN)  # workers finish what they do; the parent decides and cleans up


def _map(job: _Job, cuts: list[Splitter], path: Path, start: int, stop: int) -> list[tuple[int, tuple[Path, int, int]]]:
    """Write a part of the input, batch by batch, in the order of partitions; return where each piece lies."""
    found, written = [], 0
    step = max(1, min(job.share // 2, 1 << 16))
    with open(job.path, "rb") as source, open(path, "wb") as file:
        for first in range(start, stop, step):
            rows = _rows(source.fileno(), job, first, min(step, stop - first))
            partition = partition_of(rows, job.key, first, cuts)
            order = np.argsort(partition, kind="stable")  # 16-bit numbers: a radix sort
            write_at(file.fileno(), memoryview(rows[order].reshape(-1)), written * job.size, "a mapper's file")
            for number, count in enumerate(np.bincount(partition, minlength=len(cuts) + 1).tolist()):
                if count:
                    found.append((number, (path, written, count)))
                    written += count
    return found


def _reduce(job: _Job, number: int, pieces: list[tuple[Path, int, int]], out: Path, at: int) -> None:
    """Sort one partition in memory and write it to its place in the output."""
    total = sum(count for *_, count in pieces)
    if total > job.share:
        raise CapacityError(
            f"partition {number} has {total:,} of {job.records:,} records and a worker has room for {job.share:,}: "
            "these splitters do not divide these keys"
        )
    rows, filled = np.empty((total, job.size), dtype=np.uint8), 0
    for path, offset, count in pieces:
        with open(path, "rb") as file:
            rows[filled : filled + count] = _rows(file.fileno(), job, offset, count)
        filled += count
    order = stable_order(rows, job.key)
    with open(out, "r+b") as file:
        for first in range(0, total, 10_000):
            block = rows[order[first : first + 10_000]]
            write_at(file.fileno(), memoryview(block.reshape(-1)), (at + first) * job.size, "the output")


def _rows(fd: int, job: _Job, first: int, count: int) -> np.ndarray:
    rows = np.empty((count, job.size), dtype=np.uint8)
    if read_at(fd, rows.reshape(-1), first * job.size, "the input") < rows.size:
        raise CorruptionError("a file became shorter while it was read")
    return rows
