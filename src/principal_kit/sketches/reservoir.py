"""Reservoir sampling: k elements of a stream whose length nobody knows, each set of k as likely as any other.

`Reservoir` gives all elements the same chance, `WeightedReservoir` a chance that grows with their weight. Both give an
element a random key and keep the k smallest; so samples of parts merge into the sample of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappush, heapreplace
from itertools import islice
from math import expm1, inf, log1p
from typing import Any, Self

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.sketches.algorithm_l import MOST_SEEN, AlgorithmL
from principal_kit.sketches.item_codec import item_bytes, read_items, write_items
from principal_kit.sketches.own_generator import joined_origins, own_generator, read_generator, write_state
from principal_kit.sketches.real_numbers import number, numbers
from principal_kit.sketches.sketch import Sketch

_CHUNK = 1 << 16  # elements of an iterator held at a time
_LIGHTEST, _HEAVIEST = 1e-100, 1e100
_WEIGHTS = f"expected 0, or between {_LIGHTEST} and {_HEAVIEST}"
_LEAST_KEY = 1e-120  # a random number may be 0, a key must not


class Reservoir(Sketch):
    """A uniform sample without replacement of at most k elements of a stream (Algorithm L).

    Args:
        k: size of the sample, 1 <= k < 2^32. Of a shorter stream everything is kept.
        rng: source of chance, asked once. Streams that are to be merged need generators that differ: `rng.spawn(n)`.
        seed: an integer instead of `rng`; with neither, fresh entropy.

    After n elements every set of min(k, n) of them is the sample with the same probability, whatever the elements are
    and in whatever order they come. `add_many` makes the same draws as `add` one by one: same seed, same sample,
    however the stream is cut. `merge` gives the sample of both streams together, whatever their lengths: the same
    distribution as one reservoir over all, with draws of its own.

    Elements may be any object; `to_bytes`, `copy` and pickle need int, float, str or bytes.
    Complexity: O(k (1 + log(n / k))) random numbers for n elements, O(1) for one that is passed over; memory O(k).
    Source: Li 1994, see `AlgorithmL`; merging by keys, Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches",
    PODC 2007.

    >>> reservoir = Reservoir(3, seed=1)
    >>> reservoir.add_many(range(1_000_000))
    >>> sorted(reservoir.sample), reservoir.seen
    ([152079, 486047, 949407], 1000000)
    """

    KIND = b"RSVR"

    def __init__(self, k: int, rng: np.random.Generator | None = None, *, seed: int | None = None) -> None:
        own, origin = own_generator(rng, seed)
        self._plan = AlgorithmL(k, own)
        self._items: list[Any] = []
        self._origins = np.array([origin], dtype=np.uint64)  # of all generators whose draws are in the sample

    @property
    def k(self) -> int:
        """Size of the sample once the stream is long enough."""
        return self._plan.k

    @property
    def seen(self) -> int:
        """Elements of the stream so far, merged streams included."""
        return self._plan.seen

    @property
    def sample(self) -> list[Any]:
        """The min(k, seen) elements kept, as a new list. As a *set* it is uniform; its order is not random. O(k)."""
        return self._items.copy()

    def add(self, x: Any) -> None:
        """Take in one element. O(1) expected; 3 random numbers if it enters the sample, else none."""
        plan = self._plan
        if plan.seen < plan.next:
            plan.seen += 1
        else:
            self._put([plan.take()], [_plain(x)])

    def add_many(self, xs: Any) -> None:
        """Take in an array of one dimension, a pandas Series, a list or any iterable of elements.

        Only what enters the sample is looked at: O(1 + elements taken), plus O(n) to read an iterator, which is done in
        pieces (if it raises, whole pieces before that count). Raises InvalidArgument on anything else; nothing has
        changed then.
        """
        for part in _parts(xs):
            taken, places = self._plan.advance(len(part))
            if places.size > self.k:  # of those that take the same place, the last stays
                last = np.full(self.k, -1)
                last[places] = np.arange(places.size)
                stay = last[last >= 0]
                taken, places = taken[stay], places[stay]
            self._put(places.tolist(), _pick(part, taken))

    def _put(self, places: list[int], items: list[Any]) -> None:
        mine = self._items
        mine += [None] * (len(self._plan) - len(mine))
        for place, item in zip(places, items):
            mine[place] = item

    def _absorb(self, other: Self) -> None:
        """Draw the keys that Algorithm L never needed, and keep the k smallest of both sides."""
        origins = joined_origins(self._origins, other._origins)
        seen = _checked_seen(self.seen + other.seen)
        plan = self._plan
        keys = np.concatenate([plan.keys(plan._rng), other._plan.keys(plan._rng)])
        items = self._items + other._items
        stay = _smallest(keys, self.k)
        self._items = [items[i] for i in stay.tolist()]
        self._origins = origins
        plan.merged(seen, float(keys[stay].max(initial=_LEAST_KEY)))

    @property
    def parameters(self) -> dict[str, Any]:
        """The size. Generators need not agree: they must differ."""
        return {"k": self.k}

    @property
    def nbytes(self) -> int:
        """Bytes of the elements kept, of the plan ahead (at most 400 KB), and 8 for each stream merged. O(k)."""
        return item_bytes(self._items) + self._plan.nbytes + self._origins.nbytes

    def _write(self, writer: Writer) -> None:
        self._plan.write(writer)
        writer.array(self._origins)
        write_items(writer, self._items)

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        plan = AlgorithmL.read(reader)
        reservoir = cls(plan.k)
        reservoir._plan, reservoir._origins, reservoir._items = plan, reader.array(np.uint64), read_items(reader)
        if len(reservoir._items) != min(plan.k, plan.seen):
            raise CorruptionError(f"{len(reservoir._items)} elements kept of {plan.seen}, with k={plan.k}")
        _check_origins(reservoir._origins)
        return reservoir

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Reservoir(k={self.k}): {len(self)} of {self.seen} elements"


class WeightedReservoir(Sketch):
    """A weighted sample without replacement of at most k elements of a stream (A-ExpJ).

    Args:
        k: size of the sample, 1 <= k < 2^32.
        rng, seed: as for `Reservoir`.

    The sample is distributed as k draws one after the other, each taking one of the elements left with a probability
    proportional to its weight. (The chance to be *in* the sample is thus not proportional to the weight: a heavy
    element cannot be in it twice.) Elements of weight 0 are counted and never kept. `add` one by one, `add_many` in
    batches of any size, and `merge` give the same distribution as one reservoir over the whole stream, each with its
    own draws: the same seed gives the same sample only when batches are the same, too.

    Complexity: `add` draws for the O(k log(n / k)) elements taken only (weights in no particular order), O(log k) each;
    `add_many` draws one number an element; memory O(k).
    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97(5),
    2006, algorithm A-ExpJ; keys here are -log(u) / w, so the smallest stay.

    >>> reservoir = WeightedReservoir(2, seed=1)
    >>> reservoir.add_many(["info"] * 1000 + ["error"], [1] * 1000 + [1_000_000])
    >>> "error" in reservoir.sample
    True
    """

    KIND = b"WRSV"

    def __init__(self, k: int, rng: np.random.Generator | None = None, *, seed: int | None = None) -> None:
        if not is_integer(k) or not 1 <= k < 1 << 32:
            raise InvalidArgument(f"k={k!r}: expected an integer of at least 1 (and below 2**32)")
        self.k, self.seen, self.total = int(k), 0, 0.0
        self._rng, origin = own_generator(rng, seed)
        self._origins = np.array([origin], dtype=np.uint64)
        self._heap: list[tuple[float, int]] | None  # (-key, place), the largest key on top; made when `add` needs it
        self._set(np.empty(0), [], [])
        self._target = 0.0  # the element with which `total` reaches it is the next one taken

    @property
    def sample(self) -> list[Any]:
        """The elements kept, as a new list, in no meaningful order. O(k)."""
        return self._items.copy()

    @property
    def weights(self) -> list[float]:
        """Their weights, in the same order. O(k)."""
        return self._weights.copy()

    def add(self, x: Any, weight: float = 1.0) -> None:
        """Take in one element. O(1) for one passed over. Raises InvalidArgument on a bad weight."""
        weight = number(weight, "weight")
        if weight != 0 and not _LIGHTEST <= weight <= _HEAVIEST:
            raise InvalidArgument(f"a weight of {weight}: {_WEIGHTS}")
        self.seen += 1
        self.total += weight
        if self.total >= self._target and weight:
            self._take(_plain(x), weight)

    def add_many(self, xs: Any, weights: Any = None) -> None:
        """Take in elements and their weights (all 1 if None): arrays, Series, lists or iterables of one length.

        One number is drawn for each element: in numpy that costs less than an interpreted jump. O(n), and O(k log n)
        for what is taken. Raises InvalidArgument on lengths that differ and on a bad weight; nothing has changed then.
        """
        xs = _sequence(xs)
        weights = np.ones(len(xs)) if weights is None else numbers(weights, "weight")
        if weights.size != len(xs):
            raise InvalidArgument(f"{len(xs)} elements, but {weights.size} weights")
        bad = (weights != 0) & ((weights < _LIGHTEST) | (weights > _HEAVIEST))
        if bad.any():
            raise InvalidArgument(f"a weight of {weights[bad][0]}: {_WEIGHTS}")
        at, size = 0, max(_CHUNK, 2 * self.k)
        while at < weights.size:
            self._take_chunk(xs[at : at + size], weights[at : at + size])
            at, size = at + size, 2 * size
        if at:
            self._jump()

    def _take_chunk(self, xs: Sequence[Any] | np.ndarray, weights: np.ndarray) -> None:
        """Keys for all; only those below the largest key kept so far matter."""
        with np.errstate(divide="ignore"):  # a weight of 0 has an infinite key
            keys = self._rng.standard_exponential(weights.size) / weights
        below = np.flatnonzero(keys < (self._largest if len(self._items) == self.k else inf))
        keys, items, heavy = np.maximum(keys[below], _LEAST_KEY), _pick(xs, below), weights[below].tolist()
        self.seen += weights.size
        self.total += float(weights.sum())
        if len(items) > len(self._items) // 8:
            self._keep_smallest(keys, items, heavy)
            return
        for key, x, weight in zip(keys.tolist(), items, heavy):
            if len(self._items) < self.k or key < self._largest:
                self._insert(key, x, weight)

    def _keep_smallest(self, keys: np.ndarray, items: list[Any], weights: list[float]) -> None:
        keys = np.concatenate([self._keys, keys])
        items, weights = self._items + items, self._weights + weights
        stay = _smallest(keys, self.k)
        self._set(keys[stay], [items[i] for i in stay.tolist()], [weights[i] for i in stay.tolist()])

    def _take(self, x: Any, weight: float) -> None:
        """Put in an element, in place of the one with the largest key, and draw how much weight to pass over next."""
        u = self._rng.random()
        if len(self._items) == self.k:  # its key, an exponential of rate `weight`, is known to be below the largest
            u *= -expm1(-self._largest * weight)
        self._insert(max(-log1p(-u) / weight, _LEAST_KEY), x, weight)
        self._jump()

    def _insert(self, key: float, x: Any, weight: float) -> None:
        if self._heap is None:
            self._heap = [(-key, place) for place, key in enumerate(self._settled.tolist())]
            heapify(self._heap)
        if len(self._items) < self.k:
            heappush(self._heap, (-key, len(self._items)))
            self._items.append(x)
            self._weights.append(weight)
        else:
            place = self._heap[0][1]
            heapreplace(self._heap, (-key, place))
            self._items[place], self._weights[place] = x, weight
        self._largest = -self._heap[0][0]

    def _jump(self) -> None:
        """A stretch of weight w holds no key below the largest with probability exp(-w * largest)."""
        if len(self._items) == self.k:
            self._target = self.total + self._rng.standard_exponential() / self._largest

    def _absorb(self, other: Self) -> None:
        """Every element kept has its key: the k smallest of both stay."""
        origins = joined_origins(self._origins, other._origins)
        seen = _checked_seen(self.seen + other.seen)
        self._keep_smallest(other._keys, other._items, other._weights)
        self.seen, self.total, self._origins = seen, self.total + other.total, origins
        self._jump()

    @property
    def _keys(self) -> np.ndarray:
        """Keys by place."""
        if self._heap is None:
            return self._settled
        keys = np.empty(len(self._heap))
        for key, place in self._heap:
            keys[place] = -key
        return keys

    def _set(self, keys: np.ndarray, items: list[Any], weights: list[float]) -> None:
        self._settled, self._heap, self._items, self._weights = keys, None, items, weights
        self._largest = float(keys.max(initial=_LEAST_KEY))

    @property
    def parameters(self) -> dict[str, Any]:
        """The size. Generators need not agree: they must differ."""
        return {"k": self.k}

    @property
    def nbytes(self) -> int:
        """Bytes of the elements kept, 24 for the key, place and weight of each, and 8 for each stream merged. O(k)."""
        return item_bytes(self._items) + 24 * len(self._items) + self._origins.nbytes

    def _write(self, writer: Writer) -> None:
        writer.pack("QQdd", self.k, self.seen, self.total, self._target)
        write_state(writer, self._rng.bit_generator.state)
        writer.array(self._origins).array(self._keys).array(np.array(self._weights, dtype=np.float64))
        write_items(writer, self._items)

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        k, seen, total, target = reader.unpack("QQdd")
        reservoir = cls(k)
        reservoir._rng = read_generator(reader)
        reservoir._origins, keys, weights = (reader.array(kind) for kind in (np.uint64, np.float64, np.float64))
        items = read_items(reader)
        full = len(items) == k
        if not len(items) == keys.size == weights.size <= min(k, seen) or seen > MOST_SEEN:
            raise CorruptionError("the parts of a weighted reservoir do not fit together")
        if not ((keys >= _LEAST_KEY) & (keys < inf) & (weights >= _LIGHTEST) & (weights <= _HEAVIEST)).all():
            raise CorruptionError("a weighted reservoir with impossible keys or weights")
        if not 0 <= total < inf or not (target >= total if full else target == 0):
            raise CorruptionError("a weighted reservoir that missed an element")
        _check_origins(reservoir._origins)
        reservoir._set(keys, items, weights.tolist())
        reservoir.seen, reservoir.total, reservoir._target = seen, total, target
        return reservoir

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"WeightedReservoir(k={self.k}): {len(self)} of {self.seen} elements, total weight {self.total:g}"


# ── elements on their way in ─────────────────────────────────────────────────────────────────────


def _plain(x: Any) -> Any:
    """Python's own number or text for numpy's, so that one element equals the same element of a batch."""
    return x.item() if isinstance(x, (np.number, np.str_, np.bytes_, np.bool_)) and x.dtype.kind in "iufcSUb" else x


def _sequence(xs: Any) -> Sequence[Any] | np.ndarray:
    """Something with a length and an index. Raises InvalidArgument."""
    if isinstance(xs, (list, tuple, range)):
        return xs
    if isinstance(xs, (str, bytes, bytearray, memoryview)) or xs is None:
        raise InvalidArgument(f"elements of type {type(xs).__name__}: expected many elements; use add for one")
    if hasattr(xs, "to_numpy"):
        xs = xs.to_numpy()
    if isinstance(xs, np.ndarray):
        if isinstance(xs, np.ma.MaskedArray) or xs.ndim != 1:
            raise InvalidArgument(f"elements of shape {xs.shape}: expected one dimension and nothing masked")
        return xs
    if not isinstance(xs, Iterable):
        raise InvalidArgument(f"elements of type {type(xs).__name__}: expected an array or an iterable")
    return list(xs)


def _smallest(keys: np.ndarray, k: int) -> np.ndarray:
    """Where the k smallest keys are, rising. O(len(keys) + k log k)."""
    return np.sort(np.argpartition(keys, k)[:k]) if keys.size > k else np.arange(keys.size)


def _parts(xs: Any) -> Iterator[Sequence[Any] | np.ndarray]:
    if isinstance(xs, Iterator):
        while part := list(islice(xs, _CHUNK)):
            yield part
    else:
        yield _sequence(xs)


def _pick(xs: Sequence[Any] | np.ndarray, at: np.ndarray) -> list[Any]:
    if isinstance(xs, np.ndarray):
        picked = xs[at]
        return picked.tolist() if xs.dtype.kind in "iufcSUbO" else list(picked)
    return [_plain(xs[i]) for i in at.tolist()]


def _checked_seen(seen: int) -> int:
    if seen > MOST_SEEN:
        raise InvalidArgument(f"{seen} elements are more than a reservoir counts, {MOST_SEEN}")
    return seen


def _check_origins(origins: np.ndarray) -> None:
    if not origins.size or (np.diff(origins.astype(object)) <= 0).any():
        raise CorruptionError("a reservoir of no stream, or of one twice")
