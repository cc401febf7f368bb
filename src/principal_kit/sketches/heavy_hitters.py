"""What Misra-Gries and Space-Saving share: a few counters, and for every key bounds that always hold.

A key is heavy when it makes up more than a share phi of the stream. With k counters no key above 1/k can hide, and
what is reported comes with a lower and an upper bound, so a caller knows which places of the ranking are certain.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import Key, check_seed, is_integer
from principal_kit.sketches.sketch import Sketch

PLAIN = frozenset((str, bytes, int))
MOST = (1 << 63) - 1  # the largest total: counts are int64 in a batch
CHUNK = 1 << 15  # keys sorted at a time: 256 KiB stays in a core's second-level cache
_RANK = {int: 0, str: 1, bytes: 2}


@dataclass(frozen=True)
class Hitter:
    """A key and what is known of its count: `lower` <= true count <= `upper`; `estimate` is one of the two."""

    key: Key
    estimate: float
    lower: float
    upper: float


def checked_key(x: Any) -> Key:
    """`x` as plain str, bytes or int. Raises InvalidArgument for anything else, bool included. O(1)."""
    if type(x) in PLAIN:
        return x
    if is_integer(x):
        return int(x)
    if isinstance(x, str):
        return str.__str__(x)
    if isinstance(x, bytes):
        return bytes(memoryview(x))
    raise InvalidArgument(f"key {x!r} of type {type(x).__name__}: expected str, bytes or int")


def checked_keys(keys: Any) -> np.ndarray | list[Key]:
    """Many keys as an integer array, which can be sorted, or a list of plain keys. O(n).

    Raises InvalidArgument on anything but a one-dimensional array, a pandas Series or an iterable of str, bytes, int.
    """
    if isinstance(keys, (str, bytes, bytearray, memoryview)) or keys is None:
        raise InvalidArgument(f"keys={keys!r}: expected many keys; use add for one")
    array = keys if isinstance(keys, np.ndarray) else keys.to_numpy() if hasattr(keys, "to_numpy") else None
    if array is not None:
        if isinstance(array, np.ma.MaskedArray) or array.ndim != 1:
            raise InvalidArgument(f"keys of shape {array.shape}: expected one dimension and nothing masked")
        if array.dtype.kind in "iu":
            return array
        if array.size and array.dtype.kind not in "OSU":
            raise InvalidArgument(f"keys of dtype {array.dtype}: expected integers, text or bytes")
        keys = array.tolist()
    try:
        keys = keys if isinstance(keys, list) else list(keys)
    except TypeError:
        raise InvalidArgument(f"keys of type {type(keys).__name__}: expected an iterable of keys") from None
    # set(map(type, …)) runs in C: checking a million plain keys costs a few milliseconds
    return keys if PLAIN.issuperset(map(type, keys)) else [checked_key(x) for x in keys]


def checked_counts(counts: Any, size: int, room: int) -> np.ndarray | None:
    """Counts of a batch as int64, None for all ones. O(n).

    Raises InvalidArgument unless there are `size` integers >= 1 that add up to at most `room`.
    """
    if counts is None:
        return None
    array = np.asarray(counts)
    if array.shape != (size,) or (size and array.dtype.kind not in "iu"):
        raise InvalidArgument(f"counts of shape {array.shape} and dtype {array.dtype}: expected {size} integers")
    if array is not counts and bool in set(map(type, counts)):  # numpy takes True among integers for 1
        raise InvalidArgument("counts hold a bool: expected integers")
    if size and (array.min() < 1 or (array.max() > room // size and sum(array.tolist()) > room)):
        raise InvalidArgument(f"counts must be at least 1, and all counts together at most {MOST}")
    return array.astype(np.int64)


def runs(array: np.ndarray, weights: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Distinct integers and their counts, chunk by chunk: sorted, equal keys stand together. O(n log CHUNK)."""
    for start in range(0, array.size, CHUNK):
        chunk = array[start : start + CHUNK]
        if weights is None:
            chunk = np.sort(chunk)
        else:
            order = np.argsort(chunk, kind="stable")
            chunk, part = chunk[order], weights[start : start + CHUNK][order]
        first = np.concatenate(([0], np.flatnonzero(chunk[1:] != chunk[:-1]) + 1))
        if weights is None:
            yield chunk[first], np.diff(first, append=chunk.size)
        else:
            yield chunk[first], np.add.reduceat(part, first)


def locate(names: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each key its place in the sorted `names`, and whether it is there. O(len(keys) log len(names))."""
    place = np.minimum(np.searchsorted(names, keys), names.size - 1)
    return place, names[place] == keys


def kth_largest(values: np.ndarray, k: int) -> Any:
    """The k-th largest of at least k values, as a Python number. O(n log n)."""
    return np.sort(values)[-k].item()  # on counts, mostly equal, 20 times as fast as np.partition


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest values, in order; of equal ones at the edge the first stay. O(n log n)."""
    if values.size <= k:
        return np.arange(values.size)
    edge = kth_largest(values, k)
    stay = values > edge
    stay[np.flatnonzero(values == edge)[: k - np.count_nonzero(stay)]] = True
    return np.flatnonzero(stay)


def order_of(key: Key) -> tuple[int, Key]:
    """A sort key over str, bytes and int together, so that ties are broken alike everywhere."""
    return _RANK[type(key)], key


class HeavyHitters(Sketch):
    """Base of the counter summaries: `k`, `total`, and the questions that need only bounds.

    Nothing here is hashed or random. The seed is there so that all sketches are made alike; it must agree to merge.
    """

    def __init__(self, k: int, seed: int) -> None:
        if not is_integer(k) or not 1 <= k < 1 << 32:
            raise InvalidArgument(f"k={k!r}: expected an integer of at least 1 (and below 2**32)")
        self.k, self.seed, self.total = int(k), check_seed(seed), 0

    @property
    @abstractmethod
    def error(self) -> int:
        """The widest interval `bounds` can give now; never above `error_bound`. O(1)."""

    @property
    @abstractmethod
    def error_bound(self) -> float:
        """The error the algorithm promises for a stream of this length, whatever it holds. O(1)."""

    @property
    @abstractmethod
    def resolution(self) -> Fraction:
        """The smallest share of the stream above which no key can hide. O(1)."""

    @abstractmethod
    def bounds(self, x: Key) -> tuple[int, int]:
        """A lower and an upper bound of the number of times `x` was added. O(1)."""

    @abstractmethod
    def estimate(self, x: Key) -> int:
        """The counter of `x`, 0 without one. O(1)."""

    @abstractmethod
    def _held(self) -> Iterable[Key]:
        """The keys that have a counter."""

    def top(self, n: int) -> list[Hitter]:
        """The at most `n` keys (and at most `k`) with the largest counters, largest first, each with its bounds.

        O(k log k). Raises InvalidArgument unless `n` is an integer >= 0.
        """
        if not is_integer(n) or n < 0:
            raise InvalidArgument(f"n={n!r}: expected an integer >= 0")
        hitters = [Hitter(x, self.estimate(x), *self.bounds(x)) for x in self._held()]
        hitters.sort(key=lambda hitter: (-hitter.estimate, order_of(hitter.key)))
        return hitters[: min(int(n), self.k)]

    def guaranteed(self, phi: float) -> list[Hitter]:
        """Keys that certainly make up more than `phi` of the stream: no false alarm, perhaps not all. O(k log k).

        Raises InvalidArgument unless 0 < phi < 1.
        """
        threshold = self._threshold(phi)
        return [hitter for hitter in self.top(self.k) if hitter.lower > threshold]

    def candidates(self, phi: float) -> list[Hitter]:
        """All keys that may make up more than `phi` of the stream: none is missing, some may be below. O(k log k).

        Raises InvalidArgument unless `resolution` <= phi < 1: below it a key could hide from k counters.
        """
        threshold = self._threshold(phi)
        if phi < float(self.resolution):  # as floats: 1 / 3 is what three counters can see
            raise InvalidArgument(f"phi={phi!r} is finer than k={self.k} can see; k={ceil(1 / phi)} can")
        threshold = max(threshold, self.resolution * self.total)
        return [hitter for hitter in self.top(self.k) if hitter.upper > threshold]

    def _threshold(self, phi: float) -> Fraction:
        if not isinstance(phi, (float, Fraction, np.floating)) or not 0 < phi < 1:
            raise InvalidArgument(f"phi={phi!r}: expected a share 0 < phi < 1")
        return Fraction(phi if isinstance(phi, Fraction) else float(phi)) * self.total

    def _checked_count(self, count: Any) -> int:
        if not is_integer(count) or count < 1 or int(count) > MOST - self.total:
            raise InvalidArgument(f"count={count!r}: expected an integer >= 1, and a total of at most {MOST}")
        return int(count)

    def _joined(self, other: HeavyHitters) -> int:
        """The total of both. Raises InvalidArgument where it cannot be counted."""
        if self.total + other.total > MOST:
            raise InvalidArgument(f"{self.total} + {other.total} is more than the largest total, {MOST}")
        return self.total + other.total

    def __len__(self) -> int:
        return sum(1 for _ in self._held())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k={self.k}): {len(self)} counters for {self.total} elements, error {self.error}"
