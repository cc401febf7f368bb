"""Bloom filter: a set that may say yes to a stranger, at a rate you chose, and never says no to a member.

Every key sets k bits chosen by its hash; a key with one of them unset was never added. Ten bits a key give one false
yes in a hundred, whatever the keys' size.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, exp, log, log1p, log2
from numbers import Real
from typing import Any, Self

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import MASK64, Key, hash64, is_integer
from principal_kit.sketches.hashed import CHUNK, HashedSketch, hash_chunks

_ONES = np.array([bin(octet).count("1") for octet in range(256)], dtype=np.int64)  # set bits of each byte
_MARKS = 1 << 26  # bits of a filter that one byte each is spent on for a large batch
_FEW = 12  # waiting keys that plain Python takes in faster than numpy's cost per call
MAX_WORDS = 1 << 28  # 2 GiB of bits: a place is drawn with 32 bits of hash, which must stay many more than places


def check_design(capacity: int, fpr: float) -> tuple[int, float]:
    """`capacity` and `fpr` if a filter can be made for them. Raises InvalidArgument otherwise."""
    if not is_integer(capacity) or not 1 <= capacity <= MASK64:
        raise InvalidArgument(f"capacity={capacity!r}: expected an integer from 1 to 2^64, the keys it is designed for")
    if not isinstance(fpr, Real) or isinstance(fpr, bool) or not 1e-9 <= fpr <= 0.5:
        raise InvalidArgument(f"fpr={fpr!r}: expected a rate from 1e-9 to 0.5")
    return int(capacity), float(fpr)


def check_words(words: int, capacity: int, fpr: float) -> int:
    """`words` if they can be addressed. Raises InvalidArgument otherwise."""
    if words > MAX_WORDS:
        raise InvalidArgument(
            f"capacity={capacity}, fpr={fpr}: {words >> 17} MiB are beyond the {MAX_WORDS >> 17} MiB one filter can "
            "address; split the keys over several by hash"
        )
    return words


def set_bits(words: np.ndarray, places: np.ndarray, masks: np.ndarray) -> None:
    """``words[places] |= masks``, also where a place occurs twice, of which numpy would keep only the last.

    Each round sets what it can and goes on with what is still unset; a place that occurs d times takes at most d
    rounds, and in a filter larger than the batch nearly all need one. O(n + repeated places).
    """
    while places.size:
        words[places] |= masks
        unset = np.flatnonzero((words[places] & masks) != masks)
        places, masks = places[unset], masks[unset]


class BitSketch(HashedSketch):
    """Base of the filters over one array of 64-bit words; subclasses say which bits a hash stands for.

    `_bits_of(hashes)` yields (places, masks) in turn, for arrays; `_bits_of_one` the same for one hash.
    """

    k: int
    capacity: int
    design_fpr: float

    def __init__(self, words: int, seed: int) -> None:
        super().__init__(seed)
        self._set(np.zeros(words, dtype=np.uint64))

    def _set(self, words: np.ndarray) -> None:
        self._words = words
        self._view = memoryview(words)  # one element through it costs half of what it costs through numpy

    def _bits_of(self, hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        raise NotImplementedError

    def _bits_of_one(self, h: int) -> Iterator[tuple[int, int]]:
        raise NotImplementedError

    @property
    def bits(self) -> int:
        """Size in bits."""
        return self._words.size * 64

    @property
    def nbytes(self) -> int:
        """Memory of the bits, fixed when the filter is made."""
        return self._words.nbytes

    @property
    def parameters(self) -> dict[str, Any]:
        """What must agree for two filters to merge."""
        return {"capacity": self.capacity, "fpr": self.design_fpr, "seed": self.seed}

    @property
    def fill_ratio(self) -> float:
        """Share of bits that are set, 0 to 1. O(bits)."""
        self._settle()
        octets, ones = self._words.view(np.uint8), 0
        for start in range(0, octets.size, CHUNK):
            ones += int(_ONES[octets[start : start + CHUNK]].sum())
        return ones / self.bits

    def _take(self, chunks: Iterator[np.ndarray]) -> None:
        for hashes in chunks:
            if hashes.size <= _FEW:
                for h in hashes.tolist():
                    for place, mask in self._bits_of_one(h):
                        self._view[place] |= mask
            else:
                for places, masks in self._bits_of(hashes):
                    set_bits(self._words, places, masks)

    def __contains__(self, x: Key) -> bool:
        """Whether `x` may have been added; False is certain. O(k). Raises InvalidArgument as `add` does."""
        h, view = hash64(x, self.seed), self._view
        self._settle()
        for place, mask in self._bits_of_one(h):  # noqa: SIM110 - all() over a generator takes half as long again
            if view[place] & mask != mask:
                return False
        return True

    def contains_many(self, keys: Any) -> np.ndarray:
        """``x in filter`` for many keys, as a bool array. O(n k) in numpy. Raises as `add_many` does."""
        answers = [self.contains_hashes(hashes) for hashes in hash_chunks(keys, self.seed)]
        return np.concatenate(answers) if answers else np.zeros(0, dtype=bool)

    def add_hashes(self, hashes: np.ndarray) -> None:
        """Take in keys by their hashes, a uint64 array of `hash64_many` under this filter's seed. O(n k)."""
        self._take(hashes[start : start + CHUNK] for start in range(0, hashes.size, CHUNK))

    def contains_hashes(self, hashes: np.ndarray) -> np.ndarray:
        """`contains_many` by hashes, for callers that ask several filters of one seed. O(n k)."""
        self._settle()
        answer = np.ones(hashes.size, dtype=bool)
        for places, masks in self._bits_of(hashes):
            answer &= (self._words[places] & masks) == masks
        return answer

    def measured_fpr(self, strangers: Any) -> float:
        """Share of keys that were never added (the caller's word) and are said to be in. O(n k)."""
        answers = self.contains_many(strangers)
        if not answers.size:
            raise InvalidArgument("strangers is empty: a rate needs keys to measure it on")
        return float(answers.mean())

    def _absorb(self, other: Self) -> None:
        self._settle()
        other._settle()
        self._words |= other._words

    def _write(self, writer: Writer) -> None:
        self._settle()
        writer.pack("QdQ", self.capacity, self.design_fpr, self.seed).array(self._words)

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        capacity, fpr, seed = reader.unpack("QdQ")
        words = reader.array(np.uint64)
        # The size first: a forged capacity must not reserve memory that the frame does not have.
        if words.size != cls._size_for(*check_design(capacity, fpr)):
            raise CorruptionError(f"{words.size} words do not belong to a filter for {capacity} keys at {fpr}")
        new = cls(capacity, fpr, seed=seed)
        new._set(words)
        return new

    @classmethod
    def _size_for(cls, capacity: int, fpr: float) -> int:
        """Words of a filter of this design."""
        raise NotImplementedError


def _hashes_for(fpr: float) -> int:
    """Bits for each key: log2(1/fpr), at which half of the filter's bits are set at capacity."""
    return max(1, round(log2(1 / fpr)))


class BloomFilter(BitSketch):
    """A set of up to `capacity` keys that says yes to a share `fpr` of strangers.

    Args:
        capacity: distinct keys it is designed for. More may be added: the rate rises, and `fpr` says to what.
        fpr: false-positive rate when `capacity` distinct keys are in, from 1e-9 to 0.5.
        seed: chooses the hash. Keep it secret where strangers choose the keys: who knows it can fill chosen bits.

    Bits: capacity ln(1/fpr) / ln(2)^2, that is 9.6 a key at 1 %; k = log2(1/fpr) of them for each key, placed by
    enhanced double hashing from one 64-bit hash (Dillinger, Manolios, FMCAD 2004), at no measurable cost in accuracy.

    Complexity: O(k) a key. Keys cannot be removed, nor listed. Duplicates change nothing.
    Source: Bloom, CACM 13(7), 1970.

    >>> seen = BloomFilter(1000, 0.01)
    >>> seen.add("https://example.org/")
    >>> "https://example.org/" in seen, "https://example.org/new" in seen, seen.nbytes
    (True, False, 1200)
    """

    KIND = b"BLOM"

    def __init__(self, capacity: int, fpr: float = 0.01, *, seed: int = 0) -> None:
        self.capacity, self.design_fpr = check_design(capacity, fpr)
        words = check_words(self._size_for(self.capacity, self.design_fpr), capacity, fpr)
        self.k = _hashes_for(self.design_fpr)
        super().__init__(words, seed)

    @classmethod
    def _size_for(cls, capacity: int, fpr: float) -> int:
        k = _hashes_for(fpr)  # a whole number, so the size is the one at which this k meets the rate
        return ceil(-k * capacity / log(1 - fpr ** (1 / k)) / 64)

    def _bits_of(self, hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        words = np.uint64(self._words.size)
        for x in self._drawn(hashes):
            place = ((x >> np.uint64(32)) * words) >> np.uint64(32)
            yield place.view(np.int64), np.uint64(1) << (x & np.uint64(63))

    def _drawn(self, hashes: np.ndarray) -> Iterator[np.ndarray]:
        """k times 64 bits for each hash: the upper half chooses a word, the lowest six a bit in it.

        Double hashing, x + i step, of the hash and the hash with its halves exchanged; a step that grows keeps two keys
        that agree in two of their places from agreeing in all.
        """
        x, step = hashes.copy(), hashes << np.uint64(32) | hashes >> np.uint64(32)
        for i in range(self.k):
            yield x
            x += step
            step += np.uint64(i + 1)

    def add_many(self, keys: Any) -> None:
        """Take in many keys; the state is exactly that after a loop of `add`. O(n k).

        A batch that sets a good part of the bits marks them in an array of one byte a bit first, up to 64 MiB: marks
        need no reading before writing. Raises InvalidArgument on a bad key; then nothing was taken in.
        """
        many = getattr(keys, "size", None) or (len(keys) if isinstance(keys, (list, tuple)) else 0)
        if self.bits > _MARKS or not isinstance(many, int) or many * self.k * 8 < self.bits:
            super().add_many(keys)
            return
        chunks, marks = hash_chunks(keys, self.seed), np.zeros(self.bits, dtype=bool)
        words = np.uint64(self._words.size)
        for hashes in chunks:
            for x in self._drawn(hashes):
                place = x >> np.uint64(32)
                place *= words
                place >>= np.uint64(26)  # the word, times 64, and six bits to replace
                place &= ~np.uint64(63)
                place |= x & np.uint64(63)
                marks[place.view(np.int64)] = True
        self._words |= np.packbits(marks, bitorder="little").view("<u8")

    def _bits_of_one(self, h: int) -> Iterator[tuple[int, int]]:
        x, step, words = h, (h << 32 | h >> 32) & MASK64, self._words.size
        for i in range(self.k):
            yield ((x >> 32) * words) >> 32, 1 << (x & 63)
            x = (x + step) & MASK64
            step = (step + i + 1) & MASK64

    def predicted_fpr(self, keys: int | None = None) -> float:
        """The rate that theory expects with `keys` distinct keys in (default: `capacity`): (1 - e^(-k n / m))^k."""
        n = self.capacity if keys is None else keys
        if not is_integer(n) or n < 0:
            raise InvalidArgument(f"keys={keys!r}: expected an integer from 0")
        return (1 - exp(-self.k * n / self.bits)) ** self.k

    @property
    def fpr(self) -> float:
        """The rate now, from the bits that are set: fill_ratio^k. O(bits)."""
        return self.fill_ratio**self.k

    def count(self) -> float:
        """About how many distinct keys are in, from the fill: -m/k ln(1 - fill) (Swamidass, Baldi, 2007). O(bits)."""
        fill = self.fill_ratio
        return -self.bits / self.k * log1p(-fill) if fill < 1 else float("inf")
