"""Scalable Bloom filter: for a set whose size nobody knows. A full filter is followed by a larger and stricter one.

A stranger is refused only if every filter refuses it, so the rates add up; each is half of the one before, and the
series stays under the rate that was asked for, however many filters follow.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError
from principal_kit.core.hashing import Key, check_seed
from principal_kit.sketches.bloom import BloomFilter, check_design
from principal_kit.sketches.hashed import hash_all
from principal_kit.sketches.sketch import Sketch

_GROWTH, _TIGHTENING = 2, 0.5
_PIECE = 1 << 14


class ScalableBloomFilter(Sketch):
    """A set of unknown size that says yes to at most a share `fpr` of strangers.

    Args:
        capacity: keys of the first filter; filter i holds capacity 2^i.
        fpr: bound on the rate of all filters together. The first gets half of it, each next half of the one before.
        seed: chooses the hash.

    A filter is full when its bits say so, not after so many calls: duplicates cost nothing. A merge joins filters of
    one design whose keys fit into one, and keeps the others of both: their rates add up, and `fpr_bound` says to what.
    No filter is designed for less than 1e-9, so below an `fpr` of 1e-6 the bound holds for some dozen filters only.

    Complexity: O(number of filters) a key, which grows with the logarithm of the set's size.
    Source: Almeida, Baquero, Preguica, Hutchison, "Scalable Bloom Filters", IPL 101(6), 2007.

    >>> seen = ScalableBloomFilter(100, 0.01)
    >>> seen.add_many(range(1000))
    >>> bool(seen.contains_many(range(1000)).all()), len(seen.filters), seen.fpr_bound <= 0.01
    (True, 4, True)
    """

    KIND = b"SBLM"

    def __init__(self, capacity: int = 1024, fpr: float = 0.01, *, seed: int = 0) -> None:
        self.capacity, self.design_fpr = check_design(capacity, fpr)
        self.seed = check_seed(seed)
        self.filters: list[BloomFilter] = []
        self._room = 0  # keys until the last filter's fill is looked at again
        self._grow()

    def _grow(self) -> None:
        largest = max((f.capacity for f in self.filters), default=0)
        capacity = largest * _GROWTH or self.capacity
        fpr = self.design_fpr * (1 - _TIGHTENING) * _TIGHTENING ** len(self.filters)
        self.filters.append(BloomFilter(capacity, max(fpr, 1e-9), seed=self.seed))
        self._room = capacity

    def _look(self) -> None:
        """After as many keys as had room: full by its bits? Then a new filter; else room for what is missing."""
        last = self.filters[-1]
        missing = int(last.capacity - last.count())
        if missing < max(1, last.capacity >> 6):
            self._grow()
        else:
            self._room = missing

    def add(self, x: Key) -> None:
        """Take in one key. Raises InvalidArgument as `BloomFilter.add` does."""
        if any(x in f for f in self.filters[:-1]):
            return
        self.filters[-1].add(x)
        self._room -= 1
        if self._room <= 0:
            self._look()

    def add_many(self, keys: Any) -> None:
        """Take in many keys. O(n number of filters). The same members as a loop of `add`; bits may differ at the seams.

        Raises InvalidArgument as `BloomFilter.add_many` does; then nothing was taken in.
        """
        hashes, start = hash_all(keys, self.seed), 0
        while start < hashes.size:
            piece = hashes[start : start + min(self._room, _PIECE)]
            start += piece.size
            fresh = piece[~self._contains_hashes(piece, self.filters[:-1])]
            self.filters[-1].add_hashes(fresh)
            self._room -= fresh.size
            if self._room <= 0:
                self._look()

    def _contains_hashes(self, hashes: np.ndarray, filters: list[BloomFilter]) -> np.ndarray:
        found = np.zeros(hashes.size, dtype=bool)
        for f in filters:
            found |= f.contains_hashes(hashes)
        return found

    def __contains__(self, x: Key) -> bool:
        """Whether `x` may have been added; False is certain."""
        return any(x in f for f in reversed(self.filters))

    def contains_many(self, keys: Any) -> np.ndarray:
        """``x in filter`` for many keys, as a bool array."""
        return self._contains_hashes(hash_all(keys, self.seed), self.filters)

    @property
    def fpr_bound(self) -> float:
        """What the rate cannot exceed in expectation: 1 - prod(1 - rate of each filter's design)."""
        return 1 - prod(1 - f.design_fpr for f in self.filters)

    @property
    def fpr(self) -> float:
        """The rate now, from the bits that are set. O(bits)."""
        return 1 - prod(1 - f.fpr for f in self.filters)

    @property
    def parameters(self) -> dict[str, Any]:
        """What must agree for two filters to merge."""
        return {"capacity": self.capacity, "fpr": self.design_fpr, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Memory of all bits."""
        return sum(f.nbytes for f in self.filters)

    def _absorb(self, other: ScalableBloomFilter) -> None:
        """Each filter of `other` into one of mine, if there is one with its design and room, or else beside them.

        The last one, still filling, stays mine.
        """
        if other is self:
            return
        for theirs in other.filters:
            keys = theirs.count()
            for mine in self.filters if keys else ():
                if mine.parameters == theirs.parameters and mine.count() + keys <= mine.capacity:
                    mine.merge(theirs)
                    break
            else:
                if keys:
                    self.filters.insert(0, theirs.copy())
        self._look()

    def _write(self, writer: Writer) -> None:
        writer.pack("QdQQI", self.capacity, self.design_fpr, self.seed, max(self._room, 0), len(self.filters))
        for f in self.filters:
            writer.blob(f.to_bytes())

    @classmethod
    def _read(cls, reader: Reader) -> ScalableBloomFilter:
        capacity, fpr, seed, room, count = reader.unpack("QdQQI")
        check_design(capacity, fpr)
        filters = [BloomFilter.from_bytes(reader.blob()) for _ in range(count)]
        if not filters or room > filters[-1].capacity or any(f.seed != seed for f in filters):
            raise CorruptionError(f"{count} filters that do not belong together")
        new = cls.__new__(cls)
        new.capacity, new.design_fpr, new.seed, new.filters, new._room = capacity, fpr, check_seed(seed), filters, room
        return new
