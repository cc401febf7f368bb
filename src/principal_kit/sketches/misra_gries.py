"""Misra-Gries: k + 1 different elements cancel, so whatever is left stood out.

Each cancelling takes k + 1 elements away, so n elements allow at most n / (k + 1) of them: no counter can be too low by
more. Several rounds can be cancelled at once, which is how a batch, a merge and a single `add` all end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import compress
from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import Key, is_integer
from principal_kit.sketches.heavy_hitters import (
    CHUNK,
    MOST,
    PLAIN,
    HeavyHitters,
    checked_counts,
    checked_key,
    checked_keys,
    kth_largest,
    locate,
    order_of,
    runs,
)
from principal_kit.sketches.item_codec import item_bytes, read_items, write_items


def cancel(counts: dict[Key, Any], k: int, dtype: Any = np.int64) -> tuple[dict[Key, Any], Any]:
    """Cancel as many rounds as leave k counters: the (k + 1)th largest count says how many. O(k log k).

    Every round takes one from at least k + 1 different keys. Returns the counters left, and the rounds.
    """
    values = np.fromiter(counts.values(), dtype, len(counts))
    rounds = kth_largest(values, k + 1)
    stay = values > rounds
    return dict(zip(compress(counts, stay.tolist()), (values[stay] - rounds).tolist())), rounds


def summarise(array: np.ndarray, weights: np.ndarray | None, k: int) -> tuple[dict[int, Any], Any]:
    """Counters and cancelled rounds of an integer array, all in numpy: sort a chunk, add, cancel. O(n log CHUNK)."""
    keys, counts, cancelled = array[:0], np.empty(0, np.int64), 0
    for names, tallies in runs(array, weights):
        place, known = locate(names, keys)
        tallies[place[known]] += counts[known]
        keys, counts = np.concatenate((names, keys[~known])), np.concatenate((tallies, counts[~known]))
        if keys.size > k:
            rounds = kth_largest(counts, k + 1)
            stay = counts > rounds
            keys, counts, cancelled = keys[stay], counts[stay] - rounds, cancelled + rounds
    return dict(zip(keys.tolist(), counts.tolist())), cancelled


class MisraGries(HeavyHitters):
    """The heavy hitters of a stream from k counters that are never too high, and too low by at most n / (k + 1).

    Every key with more than n / (k + 1) of the n elements is held. `estimate` is the lower bound.

    Args:
        k: counters kept, >= 1.
        room: counters held before cancelling brings them back to k; k is the textbook's algorithm, the default of 2k
            cancels once in k new keys at the earliest. The bound is the same.
        seed: as for all sketches; nothing here is random.

    `add_many` and `merge` may leave other counters than a loop of `add`, within the same bound n / (k + 1) for the n
    of the whole stream, in whatever pieces and shape of tree it came together.

    Complexity: `add` amortised O(1), with counts too; `add_many` O(n log n) per chunk; `merge` O(k); memory O(room).

    Source: Misra, Gries, "Finding repeated elements", Science of Computer Programming 2, 1982; merging: Agarwal,
    Cormode, Huang, Phillips, Wei, Yi, "Mergeable Summaries", PODS 2012.

    >>> summary = MisraGries(2)
    >>> summary.add_many("a b a c a d a".split())
    >>> [(hit.key, hit.lower, hit.upper) for hit in summary.top(1)]
    [('a', 4, 4)]
    """

    KIND = b"MGRS"

    def __init__(self, k: int, *, room: int | None = None, seed: int = 0) -> None:
        super().__init__(k, seed)
        room = 2 * self.k if room is None else room
        if not is_integer(room) or not self.k <= room < 1 << 33:
            raise InvalidArgument(f"room={room!r}: expected an integer of at least k={self.k}")
        self.room = int(room)
        self._counts: Counter[Key] = Counter()
        self._cancelled = 0  # rounds in which k + 1 different elements went: what a counter may lack

    def add(self, x: Key, count: int = 1) -> None:
        """Count `x` `count` times. Amortised O(1). Raises InvalidArgument on a bad key or a count below 1."""
        if type(x) not in PLAIN:
            x = checked_key(x)
        if type(count) is not int or count != 1:
            count = self._checked_count(count)
        counts = self._counts
        counts[x] = counts.get(x, 0) + count
        self.total += count
        if len(counts) > self.room:
            self._cancel()

    def _cancel(self) -> None:
        left, rounds = cancel(self._counts, self.k)
        self._counts = Counter(left)
        self._cancelled += rounds

    def add_many(self, keys: Any, counts: Any = None) -> None:
        """Count each key once, or `counts[i]` times. Integers are sorted chunk by chunk, the rest go to a hash table.

        Args:
            keys: an integer, text or object array, a pandas Series, or an iterable of str, bytes and int.
            counts: None, or as many integers >= 1.

        Raises InvalidArgument on a bad key or count; then nothing was counted.
        """
        keys = checked_keys(keys)
        weights = checked_counts(counts, len(keys), MOST - self.total)
        if isinstance(keys, np.ndarray):
            self._add_integers(keys, weights)
        elif weights is not None:
            for x, count in zip(keys, weights.tolist()):
                self.add(x, count)
        else:
            for start in range(0, len(keys), CHUNK):
                self._counts.update(keys[start : start + CHUNK])  # counts in C
                if len(self._counts) > self.room:
                    self._cancel()
            self.total += len(keys)

    def _add_integers(self, array: np.ndarray, weights: np.ndarray | None) -> None:
        """A summary of the batch in arrays, taken in as `merge` would."""
        counts, cancelled = summarise(array, weights, self.k)
        total = array.size if weights is None else int(weights.sum())
        self._take(counts, cancelled, self.total + total)

    def _take(self, counts: dict[Key, int], cancelled: int, total: int) -> None:
        self._counts.update(counts)  # a Counter adds
        self._cancelled += cancelled
        self.total = total
        if len(self._counts) > self.room:
            self._cancel()

    def _absorb(self, other: MisraGries) -> None:
        total = self._joined(other)
        self._take(dict(other._counts), other._cancelled, total)

    def estimate(self, x: Key) -> int:
        """The counter of `x`, which is never above its true count; 0 without one. O(1)."""
        return self._counts.get(checked_key(x), 0)

    def bounds(self, x: Key) -> tuple[int, int]:
        """Lower and upper bound of the count of `x`: its counter, and its counter plus `error`. O(1)."""
        count = self.estimate(x)
        return count, count + self._cancelled

    @property
    def error(self) -> int:
        """Rounds cancelled so far: no counter lacks more. At most `error_bound`. O(1)."""
        return self._cancelled

    @property
    def error_bound(self) -> float:
        """total / (k + 1), the promise for any stream of this length. O(1)."""
        return self.total / (self.k + 1)

    @property
    def resolution(self) -> Fraction:
        """1 / (k + 1): every key with a larger share of the stream is held. O(1)."""
        return Fraction(1, self.k + 1)

    def _held(self) -> Iterable[Key]:
        return self._counts

    @property
    def parameters(self) -> dict[str, Any]:
        """`k`, `room` and `seed`."""
        return {"k": self.k, "room": self.room, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and 8 for each count, without Python's overhead per object. O(k)."""
        return item_bytes(list(self._counts)) + 8 * len(self._counts)

    def _write(self, writer: Writer) -> None:
        keys = sorted(self._counts, key=order_of)  # one order, so that equal counters are equal bytes
        writer.pack("QQQQQ", self.k, self.room, self.seed, self.total, self._cancelled)
        write_items(writer, keys)
        writer.array(np.array([self._counts[x] for x in keys], dtype=np.int64))

    @classmethod
    def _read(cls, reader: Reader) -> MisraGries:
        k, room, seed, total, cancelled = reader.unpack("QQQQQ")
        summary = cls(k, room=room, seed=seed)
        keys, counts = read_items(reader), reader.array(np.int64).tolist()
        held = dict(zip(map(checked_key, keys), counts))
        lost = (k + 1) * cancelled
        if len(keys) != len(counts) or len(held) != len(keys) or len(held) > room or min(counts, default=1) < 1:
            raise InvalidArgument(f"{len(keys)} keys and {len(counts)} counts do not fit k={k} with room={room}")
        if total > MOST or sum(counts) + lost > total:
            raise InvalidArgument(f"counters of {sum(counts)} and {cancelled} rounds are too many for {total} elements")
        summary._counts, summary.total, summary._cancelled = Counter(held), total, cancelled
        return summary
