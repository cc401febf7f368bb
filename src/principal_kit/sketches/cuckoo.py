"""Cuckoo filter: a Bloom filter's answers, and keys can be removed again. It stores short fingerprints of keys.

Each fingerprint may lie in two buckets of four; a newcomer that finds both full throws one out, which moves to its
other bucket, and so on. The second bucket follows from the first and the fingerprint, so the key is never needed again.
"""

from __future__ import annotations

from math import ceil, log2, sqrt
from typing import Any, Self

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument
from principal_kit.core.hashing import Key, check_seed, hash64, mix64, mix64_many
from principal_kit.sketches.bloom import check_design
from principal_kit.sketches.hashed import hash_all
from principal_kit.sketches.sketch import Sketch

SLOTS = 4
LOAD = 0.95  # share of slots that four-slot buckets can use before newcomers find no place
_KICKS = 500
_STAYS = 255
_MAX_BUCKETS = 1 << 28


def _buckets_for(capacity: int) -> int:
    """The fewest buckets, a power of two, that take `capacity` keys whatever their hashes; 2 _MAX_BUCKETS: too many.

    A few buckets fill less evenly than many: the first key without a place came up to 2 sqrt(slots) before LOAD.
    """
    buckets = 2
    while buckets <= _MAX_BUCKETS and LOAD * SLOTS * buckets - 2 * sqrt(SLOTS * buckets) < capacity:
        buckets *= 2
    return buckets


def _fingerprint_bits_for(fpr: float) -> int:
    """Bits with which a stranger, compared with 2 * 4 fingerprints, is refused as asked; more than 32: too many."""
    return ceil(log2(2 * SLOTS / fpr))


class CuckooFilter(Sketch):
    """A set of up to `capacity` keys with `remove`, that says yes to at most a share `fpr` of strangers.

    Args:
        capacity: keys it is designed for. The number of buckets is rounded up to a power of two.
        fpr: bound on the false-positive rate, from 2e-9 to 0.5; fingerprints have log2(2 * 4 / fpr) bits, at most 32.
        seed: chooses the hash.

    Unlike a Bloom filter it can be full (CapacityError, and nothing has changed), and it forgets a member if you remove
    a key that was never added but shares its fingerprint. Beside each fingerprint is a byte that counts how often it
    was added, so that duplicates take no slots; at 255 it stays for good, since nobody knows the count any more.

    Complexity: O(1) expected a key for all operations; `add` throws out at most 500 fingerprints.
    Source: Fan, Andersen, Kaminsky, Mitzenmacher, "Cuckoo Filter: Practically Better Than Bloom", CoNEXT 2014.

    >>> sessions = CuckooFilter(1000, 0.001)
    >>> sessions.add("alice")
    >>> "alice" in sessions, sessions.remove("alice"), "alice" in sessions
    (True, True, False)
    """

    KIND = b"CKOO"

    def __init__(self, capacity: int, fpr: float = 0.01, *, seed: int = 0) -> None:
        self.capacity, self.design_fpr = check_design(capacity, fpr)
        self.seed = check_seed(seed)
        self.fingerprint_bits = _fingerprint_bits_for(self.design_fpr)
        if self.fingerprint_bits > 32:
            raise InvalidArgument(f"fpr={fpr}: fingerprints of 32 bits reach 2e-9")
        buckets = _buckets_for(self.capacity)
        if buckets > _MAX_BUCKETS:
            most = int(LOAD * SLOTS * _MAX_BUCKETS)
            raise InvalidArgument(f"capacity={capacity}: beyond about {most}; split the keys over several by hash")
        width = np.uint8 if self.fingerprint_bits <= 8 else np.uint16 if self.fingerprint_bits <= 16 else np.uint32
        self._table = np.zeros((buckets, SLOTS), dtype=width)  # 0 is an empty slot
        self._copies = np.zeros((buckets, SLOTS), dtype=np.uint8)

    def __len__(self) -> int:
        """Fingerprints held, each counted once. O(slots)."""
        return int(np.count_nonzero(self._table))

    def _place(self, h: int) -> tuple[int, int]:
        """(fingerprint, first bucket) of a hash: its upper bits, never 0, and its lower bits."""
        fingerprint = (h >> (64 - self.fingerprint_bits)) or 1
        return fingerprint, h & (len(self._table) - 1)

    def _other(self, fingerprint: int, bucket: int) -> int:
        """The bucket that `fingerprint` may lie in besides `bucket`: xor with a hash of it, so twice leads back."""
        return bucket ^ (mix64(fingerprint) & (len(self._table) - 1))

    def add(self, x: Key) -> None:
        """Take in one key, also if it is in already. Raises CapacityError, unchanged, when there is no place."""
        self._insert(*self._place(hash64(x, self.seed)))

    def _insert(self, fingerprint: int, bucket: int, copies: int = 1) -> None:
        other = self._other(fingerprint, bucket)
        for candidate in (bucket, other):
            slot = self._slot_of(fingerprint, candidate)
            if slot is not None:
                self._copies[candidate, slot] = min(_STAYS, int(self._copies[candidate, slot]) + copies)
                return
        for candidate in (bucket, other):
            if self._put(fingerprint, candidate, copies):
                return
        path, bucket = [], other
        for kick in range(_KICKS):
            slot = mix64(fingerprint << 32 ^ bucket ^ kick << 20) % SLOTS  # by chance, but the same on every machine
            thrown = int(self._table[bucket, slot]), int(self._copies[bucket, slot])
            path.append((bucket, slot, *thrown))
            self._table[bucket, slot], self._copies[bucket, slot] = fingerprint, copies
            fingerprint, copies = thrown
            bucket = self._other(fingerprint, bucket)
            if self._put(fingerprint, bucket, copies):
                return
        for bucket, slot, fingerprint, copies in reversed(path):
            self._table[bucket, slot], self._copies[bucket, slot] = fingerprint, copies
        raise CapacityError(f"no place after {_KICKS} moves: {len(self)} fingerprints in {self._table.size} slots")

    def _slot_of(self, fingerprint: int, bucket: int) -> int | None:
        row = self._table[bucket].tolist()
        return row.index(fingerprint) if fingerprint in row else None

    def _put(self, fingerprint: int, bucket: int, copies: int) -> bool:
        slot = self._slot_of(0, bucket)
        if slot is None:
            return False
        self._table[bucket, slot], self._copies[bucket, slot] = fingerprint, copies
        return True

    def add_many(self, keys: Any) -> None:
        """Take in many keys, in order. A Python loop: where one lands depends on all before it. O(n).

        Raises InvalidArgument on a bad key and CapacityError when there is no place; then nothing was taken in.
        """
        hashes = hash_all(keys, self.seed).tolist()
        before = self._table.copy(), self._copies.copy()
        try:
            for h in hashes:
                self._insert(*self._place(h))
        except CapacityError:
            self._table, self._copies = before
            raise

    def remove(self, x: Key) -> bool:
        """Take back one add of a key; False if it is not in. After 255 adds it stays. O(1).

        Only remove what you added: a stranger with the same fingerprint and bucket would take a member's place.
        """
        fingerprint, bucket = self._place(hash64(x, self.seed))
        for candidate in (bucket, self._other(fingerprint, bucket)):
            slot = self._slot_of(fingerprint, candidate)
            if slot is not None:
                copies = int(self._copies[candidate, slot])
                if copies < _STAYS:
                    self._copies[candidate, slot] = copies - 1
                if copies == 1:
                    self._table[candidate, slot] = 0
                return True
        return False

    def __contains__(self, x: Key) -> bool:
        """Whether `x` may be in; False is certain. O(1): two buckets."""
        fingerprint, bucket = self._place(hash64(x, self.seed))
        places = (bucket, self._other(fingerprint, bucket))
        return any(self._slot_of(fingerprint, candidate) is not None for candidate in places)

    def contains_many(self, keys: Any) -> np.ndarray:
        """``x in filter`` for many keys, as a bool array. O(n) in numpy."""
        hashes = hash_all(keys, self.seed)
        fingerprint = np.maximum(hashes >> np.uint64(64 - self.fingerprint_bits), np.uint64(1))
        last = np.uint64(len(self._table) - 1)
        first = hashes & last
        second = first ^ (mix64_many(fingerprint) & last)
        wanted = fingerprint.astype(self._table.dtype)[:, None]
        return (self._table[first.view(np.int64)] == wanted).any(axis=1) | (
            self._table[second.view(np.int64)] == wanted
        ).any(axis=1)

    def measured_fpr(self, strangers: Any) -> float:
        """Share of keys that were never added (the caller's word) and are said to be in."""
        answers = self.contains_many(strangers)
        if not answers.size:
            raise InvalidArgument("strangers is empty: a rate needs keys to measure it on")
        return float(answers.mean())

    @property
    def fpr(self) -> float:
        """The rate now: a stranger is compared with the fingerprints in two buckets, 8 slots at the present load."""
        return 1 - (1 - 2.0**-self.fingerprint_bits) ** (2 * SLOTS * len(self) / self._table.size)

    @property
    def parameters(self) -> dict[str, Any]:
        """What must agree for two filters to merge."""
        return {"capacity": self.capacity, "fpr": self.design_fpr, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return self._table.nbytes + self._copies.nbytes

    def _absorb(self, other: Self) -> None:
        """Every fingerprint of `other` from its bucket. Raises CapacityError, unchanged, when one finds no place."""
        before = self._table.copy(), self._copies.copy()
        table, copies = other._table.copy(), other._copies.copy()  # other may be self
        buckets, slots = np.nonzero(table)
        try:
            for bucket, fingerprint, times in zip(
                buckets.tolist(), table[buckets, slots].tolist(), copies[buckets, slots].tolist()
            ):
                self._insert(fingerprint, bucket, times)
        except CapacityError:
            self._table, self._copies = before
            raise

    def _write(self, writer: Writer) -> None:
        writer.pack("QdQ", self.capacity, self.design_fpr, self.seed).array(self._table.ravel()).array(
            self._copies.ravel()
        )

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        capacity, fpr, seed = reader.unpack("QdQ")
        new = cls.__new__(cls)
        check_design(capacity, fpr)
        bits, buckets = _fingerprint_bits_for(fpr), _buckets_for(capacity)
        table = reader.array(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)
        copies = reader.array(np.uint8)
        fits = bits <= 32 and table.size == copies.size == buckets * SLOTS
        if not fits or int(table.max()) >= 1 << bits or ((table == 0) != (copies == 0)).any():
            raise CorruptionError(f"a table of {table.size} slots does not belong to {capacity} keys at {fpr}")
        new.capacity, new.design_fpr, new.seed, new.fingerprint_bits = capacity, fpr, check_seed(seed), bits
        new._table, new._copies = table.reshape(buckets, SLOTS), copies.reshape(buckets, SLOTS)
        return new
