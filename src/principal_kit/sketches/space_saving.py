"""Space-Saving: a newcomer takes over the smallest counter and inherits its count as its possible error.

The counters then add up to n, so the smallest of k is at most n / k: no counter is too high by more, and whoever has no
counter was not seen more often than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from heapq import heapify, heappush, heapreplace
from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import Key
from principal_kit.sketches.heavy_hitters import (
    CHUNK,
    MOST,
    PLAIN,
    HeavyHitters,
    checked_counts,
    checked_key,
    checked_keys,
    largest,
    locate,
    runs,
)
from principal_kit.sketches.item_codec import item_bytes, read_items, write_items


class SpaceSaving(HeavyHitters):
    """The heavy hitters of a stream from k counters that are never too low, and too high by at most n / k.

    Every key with more than n / k of the n elements is held. `estimate` is the upper bound; each counter knows how much
    of it was inherited, which is its lower bound.

    Args:
        k: counters kept, >= 1.
        seed: as for all sketches; nothing here is random.

    `add_many` and `merge` may leave other counters than a loop of `add`, within the same bound n / k for the n of the
    whole stream: they keep the k largest of the sums, where a summary without the key counts as its smallest counter.

    Complexity: `add` O(1) for a held key, amortised O(log k) for a newcomer; `add_many` O(n log n) per chunk; `merge`
    O(k log k); memory O(k).

    Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
    ICDT 2005; merging: Agarwal, Cormode, Huang, Phillips, Wei, Yi, "Mergeable Summaries", PODS 2012.

    >>> summary = SpaceSaving(2)
    >>> summary.add_many("a b a c a".split())
    >>> [(hit.key, hit.lower, hit.upper) for hit in summary.top(1)]
    [('a', 3, 3)]
    """

    KIND = b"SPSV"

    def __init__(self, k: int, *, seed: int = 0) -> None:
        super().__init__(k, seed)
        self._counts: dict[Key, int] = {}
        self._inherited: dict[Key, int] = {}
        self._heap: list[tuple[int, int, Key]] = []  # (count when pushed, total then, key): lags behind

    def add(self, x: Key, count: int = 1) -> None:
        """Count `x` `count` times. Amortised O(log k). Raises InvalidArgument on a bad key or a count below 1."""
        if type(x) not in PLAIN:
            x = checked_key(x)
        if type(count) is not int or count != 1:
            count = self._checked_count(count)
        counts, inherited, heap = self._counts, self._inherited, self._heap
        self.total = now = self.total + count
        if x in counts:
            counts[x] += count
            return
        if len(counts) < self.k:
            heappush(heap, (count, now, x))
            counts[x], inherited[x] = count, 0
            return
        smallest, age, gone = heap[0]  # of equal ones the oldest
        while smallest != counts[gone]:  # as in `error`, whose call would be a tenth of the time
            heapreplace(heap, (counts[gone], age, gone))
            smallest, age, gone = heap[0]
        heapreplace(heap, (smallest + count, now, x))
        del counts[gone], inherited[gone]
        counts[x], inherited[x] = smallest + count, smallest

    @property
    def error(self) -> int:
        """The smallest counter once all are in use: no counter is higher by more. At most `error_bound`. O(1)."""
        if len(self._counts) < self.k:
            return 0
        heap, counts = self._heap, self._counts
        noted, age, key = heap[0]
        while noted != counts[key]:
            heapreplace(heap, (counts[key], age, key))  # it has grown since: sort it in again
            noted, age, key = heap[0]
        return noted

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
                self._unite(Counter(keys[start : start + CHUNK]), {}, 0)
            self.total += len(keys)

    def _add_integers(self, array: np.ndarray, weights: np.ndarray | None) -> None:
        """A summary of the batch in arrays, taken in as `merge` would."""
        keys, counts, inherited = array[:0], np.empty(0, np.int64), np.empty(0, np.int64)
        smallest = 0
        for names, tallies in runs(array, weights):
            place, known = locate(names, keys)
            slack = np.full(names.size, smallest)
            slack[place[known]] = inherited[known]
            tallies += smallest
            tallies[place[known]] += counts[known] - smallest
            keys, counts = np.concatenate((names, keys[~known])), np.concatenate((tallies, counts[~known]))
            stay = largest(counts, self.k)
            keys, counts, inherited = keys[stay], counts[stay], np.concatenate((slack, inherited[~known]))[stay]
            smallest = int(counts.min()) if keys.size == self.k else 0
        names = keys.tolist()
        self._unite(dict(zip(names, counts.tolist())), dict(zip(names, inherited.tolist())), smallest)
        self.total += array.size if weights is None else int(weights.sum())

    def _unite(self, counts: dict[Key, int], inherited: dict[Key, int], floor: int) -> None:
        """Take in another summary; its unseen keys had at most `floor`, and ours at most our smallest counter."""
        ours, smallest = self._counts, self.error
        new = [x for x in counts if x not in ours]
        uppers = [count + counts.get(x, floor) for x, count in ours.items()] + [counts[x] + smallest for x in new]
        slacks = [slack + (inherited.get(x, 0) if x in counts else floor) for x, slack in self._inherited.items()] + [
            inherited.get(x, 0) + smallest for x in new
        ]
        names = [*ours, *new]
        stay = largest(np.array(uppers, dtype=np.int64), self.k).tolist()
        self._counts = {names[i]: uppers[i] for i in stay}
        self._inherited = {names[i]: slacks[i] for i in stay}
        self._index()

    def _index(self) -> None:
        self._heap = [(count, age, x) for age, (x, count) in enumerate(self._counts.items())]
        heapify(self._heap)

    def _absorb(self, other: SpaceSaving) -> None:
        total = self._joined(other)
        self._unite(dict(other._counts), dict(other._inherited), other.error)
        self.total = total

    def estimate(self, x: Key) -> int:
        """The counter of `x`, which is never below its true count; 0 without one. O(1)."""
        return self._counts.get(checked_key(x), 0)

    def bounds(self, x: Key) -> tuple[int, int]:
        """Lower and upper bound of the count of `x`: its counter without and with what it inherited. O(1)."""
        x = checked_key(x)
        count = self._counts.get(x)
        return (0, self.error) if count is None else (count - self._inherited[x], count)

    @property
    def error_bound(self) -> float:
        """total / k, the promise for any stream of this length. O(1)."""
        return self.total / self.k

    @property
    def resolution(self) -> Fraction:
        """1 / k: every key with a larger share of the stream is held. O(1)."""
        return Fraction(1, self.k)

    def _held(self) -> Iterable[Key]:
        return self._counts

    @property
    def parameters(self) -> dict[str, Any]:
        """`k` and `seed`."""
        return {"k": self.k, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and 16 for each counter, without Python's overhead per object. O(k)."""
        return item_bytes(list(self._counts)) + 16 * len(self._counts)

    def _write(self, writer: Writer) -> None:
        writer.pack("QQQ", self.k, self.seed, self.total)
        write_items(writer, list(self._counts))  # in order of age, which breaks ties
        for values in (self._counts, self._inherited):
            writer.array(np.fromiter(values.values(), np.int64, len(values)))

    @classmethod
    def _read(cls, reader: Reader) -> SpaceSaving:
        k, seed, total = reader.unpack("QQQ")
        summary = cls(k, seed=seed)
        keys = [checked_key(x) for x in read_items(reader)]
        counts, inherited = reader.array(np.int64), reader.array(np.int64)
        if not len(keys) == len(set(keys)) == counts.size == inherited.size <= k:
            raise InvalidArgument(f"{len(keys)} keys, {counts.size} counts and {inherited.size} errors with k={k}")
        if total > MOST or sum(counts.tolist()) > total or (inherited < 0).any() or (inherited > counts).any():
            raise InvalidArgument(f"the counters do not fit {total} elements")
        summary._counts = dict(zip(keys, counts.tolist()))
        summary._inherited = dict(zip(keys, inherited.tolist()))
        summary.total = total
        summary._index()
        return summary
