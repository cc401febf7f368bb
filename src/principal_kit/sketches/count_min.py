"""Count-Min: a few rows of counters; every key has one counter in each, and the smallest of them lies least.

A counter holds its keys' counts together, so it is never too low. In one row a key shares its counter with 1/width of
the stream on average; in the luckiest of several independent rows it shares it with little more than nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, e, floor, log
from numbers import Real
from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.core.hashing import GAMMA, MASK64, Key, hash64, is_integer, mix64, mix64_many
from principal_kit.sketches.hashed import WAITING, HashedSketch, hash_chunks

MOST = MASK64  # a total that fits a counter: then no counter can overflow
_MOST_CELLS = 1 << 31  # 16 GiB


def _checked_counts(counts: Any, size: int) -> tuple[np.ndarray, int]:
    """Counts of a batch as uint64, and their exact sum. O(n)."""
    try:
        array = np.asarray(counts)
    except ValueError as error:
        raise InvalidArgument(f"counts: expected {size} integers; {error}") from None
    if array.shape != (size,) or (size and array.dtype.kind not in "iu") or isinstance(counts, np.ma.MaskedArray):
        raise InvalidArgument(f"counts of shape {array.shape} and dtype {array.dtype}: expected {size} integers")
    if array is not counts and {bool, np.bool_} & set(map(type, counts)):  # numpy takes True among integers for 1
        raise InvalidArgument("counts hold a bool: expected integers")
    if size and array.min() < 1:
        raise InvalidArgument(f"a count of {array.min()}: expected integers >= 1")
    array = array.astype(np.uint64)
    return array, _exact_sum(array)


def _exact_sum(array: np.ndarray) -> int:
    high, low = (array >> np.uint64(32)).sum(), (array & np.uint64(0xFFFFFFFF)).sum()  # neither half can overflow
    return (int(high) << 32) + int(low)


class CountMinSketch(HashedSketch):
    """How often each key came, never too low, and too high by more than epsilon * total for at most delta of the keys.

    Args:
        epsilon: error as a part of the total count, in (0, 1).
        delta: probability that the error of a key is larger, in (0, 1).
        conservative: raise only the counters that must rise, which makes the error smaller, often several times. Then
            order matters, so batches take the slow road, about a microsecond a key, and a merge adds counters that
            each side raised alone: still never too low, but not the sketch that the joined stream would have left.
        seed: chooses the hash. Keep it secret where strangers choose the keys: who knows it can make keys collide.

    There are ceil(ln(1 / delta)) rows of at least e / epsilon counters, rounded up to a power of two so that columns
    are bits of the hash; rows use different bits, and so are as independent as the bits.

    Complexity: O(ln(1 / delta)) a key; memory 8 bytes a counter, at most 16 e ln(1 / delta) / epsilon bytes and a row.

    Raises InvalidArgument on other parameters, or more than 16 GiB of counters.

    Source: Cormode, Muthukrishnan, "An Improved Data Stream Summary: The Count-Min Sketch and its Applications",
    J. Algorithms 55, 2005; conservative update: Estan, Varghese, "New Directions in Traffic Measurement and
    Accounting", SIGCOMM 2002.

    >>> sketch = CountMinSketch(0.01, 0.01)
    >>> sketch.add_many(["to", "be", "or", "not", "to", "be"])
    >>> sketch.estimate("be"), sketch.bounds("be"), sketch.total
    (2, (2, 2), 6)
    """

    KIND = b"CMIN"

    def __init__(self, epsilon: float, delta: float, *, conservative: bool = False, seed: int = 0) -> None:
        super().__init__(seed)
        for name, value in (("epsilon", epsilon), ("delta", delta)):
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
                raise InvalidArgument(f"{name}={value!r}: expected a number between 0 and 1, neither of them")
        if not isinstance(conservative, (bool, np.bool_)):
            raise InvalidArgument(f"conservative={conservative!r}: expected True or False")
        self.epsilon, self.delta, self.conservative = float(epsilon), float(delta), bool(conservative)
        self.depth = ceil(-log(self.delta))
        self._bits = (ceil(e / max(self.epsilon, 1e-99) * (1 - 1e-12)) - 1).bit_length()  # e / (e / 1024) is 1024
        self.width = 1 << self._bits
        if self.width * self.depth > _MOST_CELLS:
            raise InvalidArgument(f"epsilon={epsilon!r}, delta={delta!r}: {self.depth} rows of {self.width:,} counters")
        self._counters = np.zeros((self.depth, self.width), dtype=np.uint64)
        self._cells = memoryview(self._counters).cast("B").cast("Q")  # the same memory: a single cell is cheaper here
        self._rows_a_word = 64 // self._bits
        self._total = 0

    def _columns(self, hashes: np.ndarray) -> Iterator[np.ndarray]:
        """Row by row the column of each hash: its next bits, and a fresh word from it when those are used up."""
        for row in range(self.depth):
            number, part = divmod(row, self._rows_a_word)
            if part == 0:
                word = mix64_many(hashes + np.uint64(number * GAMMA & MASK64)) if number else hashes
            columns = word >> np.uint64(part * self._bits)
            columns &= np.uint64(self.width - 1)
            yield columns.view(np.int64)

    def _cells_of(self, h: int) -> list[int]:
        """The cells of one hash: `_columns`, counted through all rows."""
        cells, word = [], h
        for row in range(self.depth):
            number, part = divmod(row, self._rows_a_word)
            if number and part == 0:
                word = mix64((h + number * GAMMA) & MASK64)
            cells.append((word >> part * self._bits & self.width - 1) + row * self.width)
        return cells

    def add(self, x: Key, count: int = 1) -> None:
        """Count `x` `count` times. O(depth).

        Raises InvalidArgument on a bad key or a count below 1, CapacityError when the total would exceed 2^64 - 1.
        """
        if type(count) is int and count == 1 and not self.conservative and self._total < MOST - 2 * WAITING:
            super().add(x)
            return
        if not is_integer(count) or count < 1:
            raise InvalidArgument(f"count={count!r}: expected an integer >= 1")
        h, count = hash64(x, self.seed), int(count)
        total = self._total_with(count)
        self._raise(self._cells_of(h), count)
        self._total = total

    def _total_with(self, more: int) -> int:
        total = self.total + more
        if total > MOST:
            raise CapacityError(f"a total of {total:,} exceeds 2**64 - 1, what a counter can hold; nothing was counted")
        return total

    def _raise(self, cells: list[int], count: int) -> None:
        counters = self._cells
        if self.conservative:
            level = min([counters[cell] for cell in cells]) + count
            for cell in cells:
                if counters[cell] < level:
                    counters[cell] = level
        else:
            for cell in cells:
                counters[cell] += count

    def add_many(self, keys: Any, counts: Any = None) -> None:
        """Count each key once, or `counts[i]` times; exactly a loop of `add`. O(n depth).

        Args:
            keys: an integer, text or object array, a pandas Series, or an iterable; all str, all bytes or all int.
            counts: None, or as many integers >= 1.

        Raises InvalidArgument on a bad key or count, CapacityError as `add` does; then nothing was counted.
        """
        if not hasattr(keys, "__len__"):
            keys = list(keys) if hasattr(keys, "__iter__") else keys
        chunks = hash_chunks(keys, self.seed)
        if counts is None:
            self._total_with(len(keys))
            self._take(chunks)
            return
        weights, more = _checked_counts(counts, len(keys))
        total, start = self._total_with(more), 0
        for hashes in chunks:
            self._count(hashes, weights[start : start + hashes.size])
            start += hashes.size
        self._total = total

    def _take(self, chunks: Iterator[np.ndarray]) -> None:
        for hashes in chunks:
            self._count(hashes, np.uint64(1))
            self._total += hashes.size

    def _count(self, hashes: np.ndarray, counts: np.ndarray | np.uint64) -> None:
        if not self.conservative and hashes.size > 8:  # a few cost less than numpy's calls
            for row, columns in zip(self._counters, self._columns(hashes)):
                np.add.at(row, columns, counts)
            return
        starts = np.arange(self.depth) * self.width
        cells = np.stack(list(self._columns(hashes)), axis=1) + starts
        for own, count in zip(cells.tolist(), np.broadcast_to(counts, hashes.shape).tolist()):
            self._raise(own, count)

    def _absorb(self, other: CountMinSketch) -> None:
        total = self._total_with(other.total)
        self._counters += other._counters
        self._total = total

    def estimate(self, x: Key) -> int:
        """The count of `x`, or more: the smallest of its counters. O(depth). Raises InvalidArgument on a bad key."""
        h = hash64(x, self.seed)
        self._settle()
        return min([self._cells[cell] for cell in self._cells_of(h)])

    def estimate_many(self, keys: Any) -> np.ndarray:
        """The estimate of each key, as a uint64 array. O(n depth). Raises InvalidArgument on a bad key."""
        self._settle()
        parts = []
        for hashes in hash_chunks(keys, self.seed):
            smallest = np.full(hashes.size, MASK64, dtype=np.uint64)
            for row, columns in zip(self._counters, self._columns(hashes)):
                np.minimum(smallest, row[columns], out=smallest)
            parts.append(smallest)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)

    def bounds(self, x: Key) -> tuple[int, int]:
        """Lower and upper bound of the count of `x`. The upper one always holds, the lower with 1 - delta. O(depth).

        The probability is over the seed, for a key chosen without knowing it.
        """
        upper = self.estimate(x)
        return max(0, upper - floor(self.epsilon * self._total)), upper

    @property
    def total(self) -> int:
        """All counts together."""
        self._settle()
        return self._total

    @property
    def parameters(self) -> dict[str, Any]:
        """`epsilon`, `delta`, `conservative` and `seed`."""
        return {
            "epsilon": self.epsilon, "delta": self.delta, "conservative": self.conservative, "seed": self.seed
        }  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes of the counters."""
        return self._counters.nbytes

    def _write(self, writer: Writer) -> None:
        total = self.total
        writer.pack("dd?QQ", self.epsilon, self.delta, self.conservative, self.seed, total)
        writer.array(self._counters.reshape(-1))

    @classmethod
    def _read(cls, reader: Reader) -> CountMinSketch:
        epsilon, delta, conservative, seed, total = reader.unpack("dd?QQ")
        sketch = cls(epsilon, delta, conservative=conservative, seed=seed)
        counters = reader.array(np.uint64)
        if counters.size != sketch._counters.size:
            raise InvalidArgument(f"{counters.size} counters for {sketch.depth} rows of {sketch.width}")
        sketch._counters[:] = counters.reshape(sketch._counters.shape)
        sums = [_exact_sum(row) for row in sketch._counters]
        if max(sums) > total or (min(sums) < total and not conservative):
            raise InvalidArgument(f"rows add up to {min(sums)} to {max(sums)}, expected {total}")
        sketch._total = total
        return sketch
