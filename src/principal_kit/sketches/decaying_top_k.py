"""Heavy hitters that forget: an element's weight halves every half-life, so what is new can overtake what is old.

Forward decay: instead of shrinking every counter all the time, let newer elements weigh more. Both give the same
ranking, because all weights shrink alike; only an answer is scaled to the moment it is asked for.
"""

from __future__ import annotations

import time
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from principal_kit.core.clock import Clock
from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import Key, check_seed, is_integer
from principal_kit.sketches.heavy_hitters import Hitter, checked_key, checked_keys, order_of
from principal_kit.sketches.item_codec import item_bytes, read_items, write_items
from principal_kit.sketches.misra_gries import cancel, summarise
from principal_kit.sketches.sketch import Sketch

_MOST = 1e200  # a count below it cannot overflow a float, weighted and summed up
_RAISE = 64.0  # half-lives after which weights are brought back to about 1: 2^64 is far from a float's end


class DecayingTopK(Sketch):
    """Misra-Gries over exponentially decayed counts: the trends of a stream from k counters.

    An element added at time t counts 2^-((now - t) / half_life) at time `now`. A counter is never above the decayed
    count, and below it by at most W / (k + 1), W being the decayed count of all elements (both up to float rounding).
    Elements may come late and in any order: their own time decides their weight. "Now" is the clock or the latest
    element's time, whichever is later, so one element from the future makes the past fade: check times before you add.

    Args:
        k: counters kept, >= 1; up to 2k are held between two cancellings.
        half_life: seconds, > 0.
        clock: the time in seconds where `at` is not given; the wall clock, since sketches of several machines merge.
            It is not part of the bytes: a sketch read from them takes the wall clock.
        seed: as for all sketches; nothing here is random.

    Complexity: `add` amortised O(1); `add_many` O(n log n) for integers, O(n) for text; `merge` O(k); memory O(k).

    Source: Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay: A Practical Time Decay Model for Streaming Systems",
    ICDE 2009, over Misra, Gries 1982.

    >>> trends = DecayingTopK(10, half_life=60)
    >>> trends.add("old", 8, at=0)
    >>> trends.add("new", 3, at=120)
    >>> [(hit.key, hit.estimate) for hit in trends.top(2, at=120)]
    [('new', 3.0), ('old', 2.0)]
    """

    KIND = b"DTOP"

    def __init__(self, k: int, half_life: float, *, clock: Clock = time.time, seed: int = 0) -> None:
        if not is_integer(k) or not 1 <= k < 1 << 32:
            raise InvalidArgument(f"k={k!r}: expected an integer of at least 1 (and below 2**32)")
        self.k, self.half_life, self.seed = int(k), _positive("half_life", half_life), check_seed(seed)
        self._clock = clock
        self._weights: dict[Key, float] = {}
        self._cancelled = self._total = 0.0
        self._landmark = self._latest = -np.inf  # weights are counts as of the landmark, which is never after latest

    def add(self, x: Key, count: float = 1, at: float | None = None) -> None:
        """Count `x` `count` times at time `at` (seconds), else at the clock's. Amortised O(1).

        Raises InvalidArgument on a bad key, a count that is not above 0, or a time that is not finite.
        """
        x, count = checked_key(x), _positive("count", count)
        weight = count * self._weight(_time(self._clock() if at is None else at))
        self._weights[x] = self._weights.get(x, 0.0) + weight
        self._total += weight
        self._settle()

    def add_many(self, keys: Any, counts: Any = None, at: Any = None) -> None:
        """Count each key once, or `counts[i]` times, at time `at`, or `at[i]`; without it, at the clock's.

        Raises InvalidArgument on a bad key, count or time; then nothing was counted.
        """
        keys = checked_keys(keys)
        counts = _numbers("counts", 1.0 if counts is None else counts, len(keys))
        times = _numbers("at", self._clock() if at is None else at, len(keys))
        if len(keys) == 0:
            return
        if counts.min() <= 0 or counts.max() >= _MOST:
            raise InvalidArgument(f"counts must be above 0 and below {_MOST:g}")
        self._weight(float(times.max()))
        weights = counts * np.exp2((times - self._landmark) / self.half_life)
        if isinstance(keys, np.ndarray):
            self._take(*summarise(keys, weights, self.k), float(weights.sum()))
            return
        held = self._weights
        for x, weight in zip(keys, weights.tolist()):
            held[x] = held.get(x, 0.0) + weight
            if len(held) > 2 * self.k:
                self._settle()
                held = self._weights
        self._total += float(weights.sum())

    def _weight(self, at: float) -> float:
        """What one element at time `at` weighs, after moving the landmark if that would be too much."""
        self._latest = max(self._latest, at)
        if (at - self._landmark) / self.half_life > _RAISE:
            self._move(at)
        return 2.0 ** ((at - self._landmark) / self.half_life)

    def _move(self, landmark: float) -> None:
        """Express all weights as of another landmark, at or after the present one. O(k)."""
        fade = 2.0 ** ((self._landmark - landmark) / self.half_life)
        self._weights = {x: faded for x, weight in self._weights.items() if (faded := weight * fade) > 0}
        self._cancelled, self._total = self._cancelled * fade, self._total * fade
        self._landmark = landmark

    def _settle(self) -> None:
        if len(self._weights) > 2 * self.k:
            self._weights, rounds = cancel(self._weights, self.k, np.float64)
            self._cancelled += rounds

    def _take(self, weights: dict[Key, float], cancelled: float, total: float) -> None:
        for x, weight in weights.items():
            self._weights[x] = self._weights.get(x, 0.0) + weight
        self._cancelled += cancelled
        self._total += total
        self._settle()

    def _absorb(self, other: DecayingTopK) -> None:
        if other._landmark == -np.inf:
            return
        self._latest = max(self._latest, other._latest)
        if self._landmark < other._landmark:
            self._move(other._landmark)
        fade = 2.0 ** ((other._landmark - self._landmark) / self.half_life)
        weights = {x: faded for x, weight in other._weights.items() if (faded := weight * fade) > 0}
        self._take(weights, other._cancelled * fade, other._total * fade)

    def _fade(self, at: float | None) -> float:
        """The factor from the landmark to the moment asked about."""
        if self._landmark == -np.inf:
            return 0.0
        now = max(_time(self._clock() if at is None else at), self._latest)
        return 2.0 ** ((self._landmark - now) / self.half_life)

    def total(self, at: float | None = None) -> float:
        """The decayed count of all elements. O(1)."""
        return self._total * self._fade(at)

    def error(self, at: float | None = None) -> float:
        """What a counter may lack, at most total / (k + 1). O(1)."""
        return self._cancelled * self._fade(at)

    def estimate(self, x: Key, at: float | None = None) -> float:
        """The decayed counter of `x`, which is never above its decayed count. O(1)."""
        return self._weights.get(checked_key(x), 0.0) * self._fade(at)

    def bounds(self, x: Key, at: float | None = None) -> tuple[float, float]:
        """Lower and upper bound of the decayed count of `x`. O(1)."""
        fade = self._fade(at)
        weight = self._weights.get(checked_key(x), 0.0)
        return weight * fade, (weight + self._cancelled) * fade

    def top(self, n: int, at: float | None = None) -> list[Hitter]:
        """The at most `n` keys (and at most `k`) with the largest decayed counters, with bounds. O(k log k).

        Raises InvalidArgument unless `n` is an integer >= 0.
        """
        if not is_integer(n) or n < 0:
            raise InvalidArgument(f"n={n!r}: expected an integer >= 0")
        fade, lack = self._fade(at), self._cancelled
        first = sorted(self._weights.items(), key=lambda pair: (-pair[1], order_of(pair[0])))[: min(int(n), self.k)]
        return [Hitter(x, weight * fade, weight * fade, (weight + lack) * fade) for x, weight in first]

    @property
    def parameters(self) -> dict[str, Any]:
        """`k`, `half_life` and `seed`."""
        return {"k": self.k, "half_life": self.half_life, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and 8 for each weight, without Python's overhead per object. O(k)."""
        return item_bytes(list(self._weights)) + 8 * len(self._weights)

    def _write(self, writer: Writer) -> None:
        keys = sorted(self._weights, key=order_of)
        writer.pack(
            "QdQdddd", self.k, self.half_life, self.seed, self._cancelled, self._total, self._landmark, self._latest
        )
        write_items(writer, keys)
        writer.array(np.array([self._weights[x] for x in keys], dtype=np.float64))

    @classmethod
    def _read(cls, reader: Reader) -> DecayingTopK:
        k, half_life, seed, cancelled, total, landmark, latest = reader.unpack("QdQdddd")
        sketch = cls(k, half_life, seed=seed)
        keys, weights = [checked_key(x) for x in read_items(reader)], reader.array(np.float64)
        if (
            not len(keys) == len(set(keys)) == weights.size <= 2 * k
            or not (np.isfinite(weights) & (weights >= 0)).all()
        ):
            raise InvalidArgument(f"{len(keys)} keys and {weights.size} weights do not fit k={k}")
        if not (isfinite(cancelled) and isfinite(total) and 0 <= cancelled <= total and landmark <= latest < np.inf):
            raise InvalidArgument(f"total {total}, cancelled {cancelled}, landmark {landmark}, latest {latest}")
        sketch._weights = dict(zip(keys, weights.tolist()))
        sketch._cancelled, sketch._total, sketch._landmark, sketch._latest = cancelled, total, landmark, latest
        return sketch

    def __len__(self) -> int:
        return len(self._weights)

    def __repr__(self) -> str:
        return f"DecayingTopK(k={self.k}, half_life={self.half_life:g}): {len(self)} counters"


def _positive(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)) or not 0 < value < _MOST:
        raise InvalidArgument(f"{name}={value!r}: expected a number above 0 and below {_MOST:g}")
    return float(value)


def _time(at: Any) -> float:
    if isinstance(at, (bool, np.bool_)) or not isinstance(at, (Real, np.number)) or not isfinite(at):
        raise InvalidArgument(f"at={at!r}: expected a finite time in seconds")
    return float(at)


def _numbers(name: str, values: Any, size: int) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.shape not in ((), (size,)) or not np.isfinite(array).all():
        raise InvalidArgument(f"{name} of shape {array.shape} and dtype {array.dtype}: expected {size} finite numbers")
    return np.broadcast_to(array.astype(np.float64), (size,))
