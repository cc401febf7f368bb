"""Sketches that see nothing of a key but its 64-bit hash: one road for single keys, arrays and lists.

A good hash makes any stream look random, so the error depends on no one's keys; equal keys have equal hashes, so
duplicates change nothing unless the sketch counts them. Batches are hashed in pieces that stay in a core's cache.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np

from principal_kit.core.hashing import Key, check_seed, hash64, hash64_many
from principal_kit.sketches.sketch import Sketch

CHUNK = 1 << 15  # hashes at a time: 256 KiB
WAITING = 256  # single keys that wait to be taken in together, 2 KiB


def hash_chunks(keys: Any, seed: int) -> Iterator[np.ndarray]:
    """The hashes of many keys in uint64 arrays of up to CHUNK; all keys are checked before the first one comes. O(n).

    Raises InvalidArgument as `hash64_many` does, at once.
    """
    values = keys.to_numpy() if hasattr(keys, "to_numpy") else keys
    if isinstance(values, np.ndarray) and values.ndim == 1:
        if values.size == 0:
            return iter(())
        if values.dtype.kind in "iu" and not isinstance(values, np.ma.MaskedArray):
            pieces = (values[start : start + CHUNK] for start in range(0, values.size, CHUNK))
            return (hash64_many(piece, seed) for piece in pieces)
    hashes = hash64_many(values, seed)
    return (hashes[start : start + CHUNK] for start in range(0, hashes.size, CHUNK))


def hash_all(keys: Any, seed: int) -> np.ndarray:
    """The hashes of many keys as one uint64 array. O(n). Raises InvalidArgument as `hash64_many` does."""
    chunks = list(hash_chunks(keys, seed))
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.uint64)


def place_and_rank(hashes: np.ndarray, precision: int, floor: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """For each hash with a rank above `floor`: its place, from the top `precision` bits, and its rank. O(n).

    The rank is the position of the first 1 among the other bits, from 1 up: half of all hashes have rank 1, a quarter
    rank 2. A hash whose other bits are all 0 has the rank after the last, 65 - precision.
    """
    rest = hashes << np.uint64(precision)
    if floor:  # rank > floor: the first `floor` bits are 0, which is one comparison for many keys
        few = np.flatnonzero(rest < np.uint64(1 << (64 - floor)))
        hashes, rest = hashes[few], rest[few]
    rest |= np.uint64(1 << max(precision - 1, 0))  # a 1 behind the last bit, so that there always is one
    rest &= ~(rest >> np.uint64(1))  # 0111 -> 0100: rounding to float64 cannot carry into the next power of two
    exponent = rest.astype(np.float64).view(np.int64) >> 52
    return (hashes >> np.uint64(64 - precision)).view(np.int64), (1023 + 64 - exponent).astype(np.uint8)


class HashedSketch(Sketch):
    """Base of the sketches over hashes: subclasses say how arrays of them are taken in.

    numpy costs microseconds a call whatever its size, and hashing an integer in plain Python a dozen big-integer
    operations. So single keys wait until 256 are together, or until somebody looks: what reads the state settles first.
    """

    def __init__(self, seed: int) -> None:
        self.seed = check_seed(seed)
        self._integers = array("Q")  # wait to be hashed
        self._hashes = array("Q")  # of other keys, wait to be taken in

    @abstractmethod
    def _take(self, chunks: Iterator[np.ndarray]) -> None:
        """Take in the hashes of many keys."""

    def add(self, x: Key) -> None:
        """Take in one key. Amortised O(1). Raises InvalidArgument on anything but str, bytes and int."""
        waiting = self._integers
        try:
            if type(x) is int:
                waiting.append(x)
            else:
                waiting = self._hashes
                waiting.append(hash64(x, self.seed))
        except OverflowError:  # negative, or too large to be a key at all
            waiting = self._hashes
            waiting.append(hash64(x, self.seed))
        if len(waiting) == WAITING:
            self._settle()

    def add_many(self, keys: Any) -> None:
        """Take in many keys; the state is exactly that after a loop of `add`. O(n).

        Args:
            keys: an integer, text or object array, a pandas Series, or an iterable; all str, all bytes or all int.

        Raises InvalidArgument on any other key; then nothing was taken in.
        """
        self._take(hash_chunks(keys, self.seed))

    def _settle(self) -> None:
        """Take in what waits. O(1) when nothing does."""
        if self._integers:
            keys, self._integers = self._integers, array("Q")
            self._take(hash_chunks(np.frombuffer(keys, dtype=np.uint64), self.seed))
        if self._hashes:
            hashes, self._hashes = self._hashes, array("Q")
            self._take(iter([np.frombuffer(hashes, dtype=np.uint64)]))
