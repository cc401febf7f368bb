"""Flajolet-Martin: which ranks were ever seen? The first one missing says how many keys there were.

Half of all hashes have rank 1, a quarter rank 2: with n keys the ranks up to about log2(n) are all there. One bitmap is
off by a factor of two; PCSA spreads the keys over many and averages where each has its first gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import inf
from numbers import Real
from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.sketches.hashed import HashedSketch, place_and_rank

PHI = 0.7735162909  # for many keys the first gap is at log2(PHI n) on average
PCSA_ERROR = 0.78  # relative standard error times sqrt(bitmaps), for many keys


def first_gaps(bitmaps: np.ndarray) -> np.ndarray:
    """How many ranks from the first on each bitmap has without a gap; bit 0 is rank 1. O(len)."""
    gap = ~bitmaps & (bitmaps + np.uint64(1))  # the lowest 0, alone; nothing when all 64 bits are 1
    return np.where(gap == 0, 64, (gap.astype(np.float64).view(np.int64) >> 52) - 1023)


class FlajoletMartin(HashedSketch):
    """The number of different keys from bitmaps of ranks: probabilistic counting with stochastic averaging (PCSA).

    Args:
        bitmaps: a power of two from 1 to 65,536; the relative standard error is about 0.78 / sqrt(bitmaps).
        seed: chooses the hash.

    A bitmap takes 64 bits. `HyperLogLog` with as many registers keeps of each only the highest bit that is set: a byte,
    with a third more error. At equal memory that is the better deal, which is why PCSA is history. With fewer keys than
    bitmaps most have no gap but the first place, and the error grows to that of a small sample, about 1 / sqrt(keys).

    Complexity: O(1) a key; `add_many` O(n + bitmaps); `merge` O(bitmaps).

    Raises InvalidArgument on other parameters.

    Source: Flajolet, Martin, "Probabilistic Counting Algorithms for Data Base Applications", JCSS 31, 1985. Their
    formula, bitmaps / PHI * 2^mean, is the limit for many keys of the one used here, and 29 % too high for few.

    >>> visitors = FlajoletMartin(bitmaps=1024)
    >>> visitors.add_many(f"user-{n % 1000}" for n in range(5000))
    >>> round(visitors.estimate())
    1026
    """

    KIND = b"PCSA"

    def __init__(self, bitmaps: int = 256, *, seed: int = 0) -> None:
        super().__init__(seed)
        if not is_integer(bitmaps) or not 1 <= bitmaps <= 1 << 16 or bitmaps & (bitmaps - 1):
            raise InvalidArgument(f"bitmaps={bitmaps!r}: expected a power of two from 1 to 65536")
        self._precision = int(bitmaps).bit_length() - 1
        self._bitmaps = np.zeros(int(bitmaps), dtype=np.uint64)

    def _take(self, chunks: Iterator[np.ndarray]) -> None:
        for hashes in chunks:
            floor = int(first_gaps(self._bitmaps).min())  # ranks that all bitmaps have
            places, ranks = place_and_rank(hashes, self._precision, floor)
            np.bitwise_or.at(self._bitmaps, places, np.uint64(1) << (ranks - 1).astype(np.uint64))

    def _absorb(self, other: FlajoletMartin) -> None:
        self._settle()
        self._bitmaps |= other.bitmaps

    def estimate(self) -> float:
        """About how many different keys were added; 0.0 for none, and never fewer than bits are set. O(bitmaps)."""
        bitmaps = self.bitmaps
        return max(_bits_set(bitmaps), bitmaps.size * float(keys_per_bitmap(first_gaps(bitmaps).mean())))

    def bounds(self, sigmas: float = 2) -> tuple[float, float]:
        """Lower and upper bound of the number of keys, `sigmas` standard errors of the mean gap away. O(bitmaps).

        The lower bound is at least the number of bits set, which is certain: each key sets one.
        Raises InvalidArgument unless `sigmas` is a number > 0.
        """
        if isinstance(sigmas, bool) or not isinstance(sigmas, Real) or not 0 < sigmas < inf:
            raise InvalidArgument(f"sigmas={sigmas!r}: expected a number > 0")
        bitmaps = self.bitmaps
        least = _bits_set(bitmaps)
        if not least:
            return 0.0, 0.0
        mean, spread = gap_moments(self.estimate() / bitmaps.size)
        mean = max(float(mean), first_gaps(bitmaps).mean())  # unless the bits set say more
        around = mean + float(sigmas) * float(spread) / bitmaps.size**0.5 * np.array([-1, 1])
        low, high = bitmaps.size * keys_per_bitmap(around)
        return max(least, float(low)), max(least, float(high))

    @property
    def error(self) -> float:
        """The relative standard error for many keys, 0.78 / sqrt(bitmaps). O(1)."""
        return PCSA_ERROR / self._bitmaps.size**0.5

    @property
    def bitmaps(self) -> np.ndarray:
        """A copy of the bitmaps, uint64; bit k - 1 is set when rank k was seen. O(bitmaps)."""
        self._settle()
        return self._bitmaps.copy()

    @property
    def parameters(self) -> dict[str, Any]:
        """`bitmaps` and `seed`."""
        return {"bitmaps": self._bitmaps.size, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Eight bytes a bitmap."""
        return self._bitmaps.nbytes

    def _write(self, writer: Writer) -> None:
        writer.pack("Q", self.seed).array(self.bitmaps)

    @classmethod
    def _read(cls, reader: Reader) -> FlajoletMartin:
        (seed,) = reader.unpack("Q")
        bitmaps = reader.array(np.uint64)
        sketch = cls(bitmaps.size, seed=seed)
        if sketch._precision and (bitmaps >> np.uint64(65 - sketch._precision)).any():
            raise InvalidArgument(f"a rank beyond {65 - sketch._precision}")
        sketch._bitmaps = bitmaps
        return sketch


def _bits_set(bitmaps: np.ndarray) -> float:
    return float(np.bitwise_count(bitmaps).sum())


def gap_moments(keys: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the first gap of a bitmap that got `keys` keys on average. O(len).

    Rank k is missing with probability exp(-keys / 2^k), each for itself, and there are at least k ranks without a gap
    when none of the first k is missing.
    """
    k = np.arange(1, 65)
    at_least = np.cumprod(-np.expm1(-np.asarray(keys)[..., None] * 2.0**-k), axis=-1)
    mean = at_least.sum(-1)
    return mean, np.sqrt(np.maximum(((2 * k - 1) * at_least).sum(-1) - mean**2, 0))


@cache
def _curve() -> tuple[np.ndarray, np.ndarray]:
    """log2 of the keys in a bitmap, in steps of 1/128, and the mean gap there."""
    log2_keys = np.arange(-40 * 128, 66 * 128) / 128
    return log2_keys, gap_moments(2.0**log2_keys)[0]


def keys_per_bitmap(mean_gap: np.ndarray | float) -> np.ndarray:
    """How many keys a bitmap must get for this mean gap: `gap_moments` read backwards, to five in a million. O(len).

    Towards 2^mean_gap / PHI for many keys, as Flajolet and Martin have it; 0 for a mean of 0 or less.
    """
    log2_keys, means = _curve()
    return np.where(np.asarray(mean_gap) > 0, 2.0 ** np.interp(mean_gap, means, log2_keys), 0.0)
