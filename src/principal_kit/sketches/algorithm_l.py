"""Algorithm L: which elements of a stream enter a reservoir, decided without looking at the others.

Give every element a random key in (0, 1) and keep the k smallest. Only the largest key kept, W, decides how many
elements are passed over, so no other key is ever drawn: a few numbers for each element *taken*, none for the rest.
"""

from __future__ import annotations

from math import exp, log
from typing import Self

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.sketches.own_generator import read_generator, write_state

MOST_SEEN = 1 << 61  # elements; positions of what is taken stay below 2^63
_LEAST, _MOST = 64, 1 << 14  # elements planned at a time


class AlgorithmL:
    """The plan of a uniform sample of k: elements by their numbers, for callers that keep them where they like.

    Args:
        k: places in the sample, 1 <= k < 2^32.
        rng: this plan's own generator.

    `seen` elements have passed; element number `next` (counted from 0) is the next one taken. The plan depends on the
    generator only, not on how the stream is cut into batches.

    Complexity: O(k (1 + log(n / k))) expected for n elements, in all; memory O(min(k, 2^14)).
    Source: Li, "Reservoir-Sampling Algorithms of Time Complexity O(n(1 + log(N/n)))", ACM TOMS 20(4), 1994.
    """

    def __init__(self, k: int, rng: np.random.Generator) -> None:
        if not is_integer(k) or not 1 <= k < 1 << 32:
            raise InvalidArgument(f"k={k!r}: expected an integer of at least 1 (and below 2**32)")
        self.k, self.seen, self.next = int(k), 0, 0
        self._rng = rng

    def take(self) -> int:
        """Pass one element that is taken, `seen == next`; returns its place in the sample. O(1) amortised."""
        place = self.seen
        self.seen += 1
        if self.seen <= self.k:
            self._grown()
            return place
        place = int(self._places[self._at])
        self._step_to(self._at + 1)
        return place

    def advance(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Pass n elements: which of them are taken, rising in [0, n), and the place in the sample of each.

        A place may come twice: the later element stays. O(1 + what is taken).
        """
        start, end, taken, places = self.seen, self.seen + n, [], []
        if start < self.k:
            self.seen = min(self.k, end)
            taken.append(np.arange(start, self.seen))
            places.append(taken[0])
            self._grown()
        while self.next < end:
            stop = int(np.searchsorted(self._numbers, end))
            taken.append(self._numbers[self._at : stop])
            places.append(self._places[self._at : stop])
            self._step_to(stop)
        self.seen = end
        none = np.empty(0, dtype=np.int64)
        return np.concatenate([none, *taken]) - start, np.concatenate([none, *places])

    def __len__(self) -> int:
        """Elements in the sample."""
        return min(self.k, self.seen)

    def keys(self, rng: np.random.Generator) -> np.ndarray:
        """Keys for the elements kept, drawn now: one at random has the largest, W, the others are uniform below. O(k).

        With them the samples of several streams merge: the k smallest keys of all are a uniform sample of all.
        """
        if self.seen < self.k:
            return rng.random(self.seen)
        largest = exp(self._log_w[self._at])
        keys = largest * rng.random(self.k)
        keys[rng.integers(self.k)] = largest
        return keys

    def merged(self, seen: int, largest: float) -> None:
        """Go on as a plan that has seen `seen` elements and keeps keys up to `largest` (> 0)."""
        self.seen = seen
        if seen < self.k:
            self.next = seen
        else:
            self._plan(log(largest), seen)

    def _grown(self) -> None:
        """While there is room everyone is taken; then W is the largest of k uniform keys."""
        if self.seen < self.k:
            self.next = self.seen
        else:
            self._plan(-self._rng.standard_exponential() / self.k, self.k)

    def _plan(self, log_w: float, first: int) -> None:
        """Plan the next elements to be taken, from number `first` on.

        An element beats W with probability W, so the number passed over is geometric. The winner evicts one at random,
        and the new W is the largest of k keys below the old one: W times the k-th root of a uniform number.
        """
        self._start = self._rng.bit_generator.state, log_w, first
        size = min(max(self.k, _LEAST), _MOST)
        shrink, wait = self._rng.standard_exponential((2, size))
        places = self._rng.integers(self.k, size=size)
        logs = log_w - np.concatenate([[0.0], np.cumsum(shrink)]) / self.k
        gaps = np.floor(wait / -_log_of_rest(logs[:-1]))
        size = max(1, int(np.searchsorted(np.cumsum(gaps + 1), MOST_SEEN)))  # what lies beyond is never reached
        gaps = np.minimum(gaps[:size], MOST_SEEN).astype(np.int64)
        self._numbers = first + np.cumsum(gaps + 1) - 1
        self._places, self._log_w = places[:size], logs[: size + 1]
        self._step_to(0)

    def _step_to(self, at: int) -> None:
        self._at = at
        if at == self._numbers.size:
            self._plan(float(self._log_w[at]), int(self._numbers[-1]) + 1)
        else:
            self.next = int(self._numbers[at])

    @property
    def nbytes(self) -> int:
        """Bytes of what is planned ahead."""
        planned = (self._numbers, self._places, self._log_w) if self.seen >= self.k else ()
        return 64 + sum(array.nbytes for array in planned)

    def write(self, writer: Writer) -> None:
        """Append the state: what is planned is drawn again from where the generator stood."""
        state, log_w, first = self._start if self.seen >= self.k else (self._rng.bit_generator.state, 0.0, 0)
        writer.pack("QQ", self.k, self.seen)
        write_state(writer, state)
        writer.pack("dQ", log_w, first)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """The plan that `write` wrote. Raises CorruptionError, InvalidArgument."""
        k, seen = reader.unpack("QQ")
        plan = cls(k, read_generator(reader))
        log_w, first = reader.unpack("dQ")
        full = seen >= k
        if seen > MOST_SEEN or not (-50.0 < log_w <= 0.0) or not (k <= first <= seen if full else first == 0):
            raise CorruptionError(f"no plan of a reservoir: {seen} elements seen, planned from {first} on")
        plan.seen = plan.next = seen
        if full:
            plan._plan(log_w, first)
            at = int(np.searchsorted(plan._numbers, seen))
            if at == plan._numbers.size:
                raise CorruptionError("a plan of a reservoir that is used up")
            plan._step_to(at)
        return plan


def _log_of_rest(logs: np.ndarray) -> np.ndarray:
    """log(1 - exp(x)) for x <= 0, exact for x near 0 and far from it."""
    with np.errstate(divide="ignore"):
        return np.where(logs > -0.7, np.log(-np.expm1(logs)), np.log1p(-np.exp(logs)))
