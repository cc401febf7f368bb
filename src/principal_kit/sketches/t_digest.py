"""t-digest: a few hundred centroids that are fine where percentiles matter, at the tails, and coarse in the middle.

The scale function k1 cuts the quantiles into cells with widths like sqrt(q (1 - q)); what falls into a cell becomes one
centroid, and the extreme values stay single. Beyond the paper, a centroid remembers the least and the greatest of its
values: no error can be promised in advance, but how wrong an answer can be is known when it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import check_seed, is_integer
from principal_kit.sketches.real_numbers import fractions, number, numbers, reals, shaped
from principal_kit.sketches.sketch import Sketch

_PIECE = (
    1 << 14
)  # values sorted at once: 128 KiB stay in a core's second-level cache, and wide rows sort faster than long
_SLAB = 64 * _PIECE  # values thinned before a fold: bounds the working memory of a batch
_FEW = 64  # shorter batches join the single values
_MOST_WEIGHT = 1e308  # in all: sums of weights stay finite in any order

# A table of centroids is a float64 array of four rows, sorted by the first: mean, weight, least and greatest value.


class TDigest(Sketch):
    """Quantiles of a stream from at most ``2 * compression`` centroids. Most precise at the tails, and mergeable.

    The ``compression // 10`` least and greatest values are kept as they are, so that the extremes are exact, whatever
    was merged. The other centroids share ``2 * (compression - compression // 10)`` cells of the scale function k1, each
    about ``1.7 / compression * sqrt(q (1 - q))`` of the weight; joining never makes a centroid heavier than two cells.
    Up to ``2 * compression`` values nothing is joined, and every answer is exact.

    The rank error is small for smooth distributions in any order of arrival (measured: ``benchmarks/t_digest.py``), but
    not bounded in advance: values over many orders of magnitude, met in a hostile order, defeat it. `bounds` and
    `rank_bounds` are exact for what this digest has seen.

    Args:
        compression: an integer in [10, 100,000]; more is more precise. 100 keeps at most 200 centroids, 6.4 kB.
        seed: as for all sketches; nothing here is random.

    Complexity: `add` amortised O(1), folding ``20 * compression`` buffered values at a time; `add_many` O(n log n) in
    cached pieces; `merge` amortised O(compression); queries O(log compression) once folded; memory O(compression).

    Source: Dunning and Ertl, "Computing Extremely Accurate Quantiles Using t-Digests", arXiv:1902.04023, 2019: the
    merging variant and k1 (k2 and k3, with as many centroids, measured at least four times its error at the median).
    Cells are fixed in q where the paper packs greedily: centroids stay put from fold to fold, their number is bounded.

    >>> digest = TDigest()
    >>> digest.add_many(range(1, 1001))
    >>> round(digest.quantile(0.5)), digest.quantile(1.0), digest.cdf(10)
    (500, 1000.0, 0.01)
    """

    KIND = b"TDIG"

    def __init__(self, compression: int = 100, *, seed: int = 0) -> None:
        if not is_integer(compression) or not 10 <= compression <= 100_000:
            raise InvalidArgument(f"compression={compression!r}: expected an integer in [10, 100000]")
        self.compression, self.seed = int(compression), check_seed(seed)
        self._tail = self.compression // 10
        self._table = np.empty((4, 0))
        self._weight = 0.0  # of all but the single values
        self._buffer_size = 20 * self.compression
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._singles: list[float] = []
        self._arrays: list[np.ndarray] = []  # values of weight 1
        self._tables: list[np.ndarray] = []
        self._room = self._buffer_size  # singles that fit before the next fold
        self._curve: _Curve | None = None

    # ── taking in ────────────────────────────────────────────────────────────────────────────────

    def add(self, x: float) -> None:
        """Take in one finite number. Amortised O(1). Raises InvalidArgument on anything else."""
        if type(x) is not float or x - x != 0.0:
            x = number(x)
        self._singles.append(x)
        if len(self._singles) >= self._room:
            self._fold()

    def add_weighted(self, x: float, w: float) -> None:
        """Take in `x` as if it had come `w` > 0 times, a fraction or whole. Amortised O(1). Raises InvalidArgument."""
        x, w = number(x), number(w, "weight")
        self._check_weight(w, w)
        self._take_tables([np.array([[x], [w], [x], [x]])], w)

    def add_many(self, xs: Any, weights: Any = None) -> None:
        """Take in many numbers; an empty batch changes nothing.

        Args:
            xs: a one-dimensional array of floats or integers, a pandas Series, or an iterable of numbers.
            weights: None, or as many finite numbers > 0.

        Complexity: O(n log n) in pieces of 16,384, with 15 MB of working memory at most (besides a converted copy).
        Raises InvalidArgument on NaN, infinities, bools, other types or shapes; nothing has changed then.
        """
        values = numbers(xs)
        if weights is not None:
            self._add_weighted_many(values, numbers(weights, "weight"))
        elif values.size < _FEW:
            self._singles += values.tolist()
            self._fold_if_full()
        else:
            self._add_units(values)

    def _add_weighted_many(self, values: np.ndarray, weights: np.ndarray) -> None:
        if values.size != weights.size:
            raise InvalidArgument(f"{weights.size} weights for {values.size} values")
        if values.size:
            with np.errstate(over="ignore"):
                total = float(weights.sum())
            self._check_weight(float(weights.min()), total)
            for at in range(0, values.size, 4 * _PIECE):
                part, w = values[at : at + 4 * _PIECE], weights[at : at + 4 * _PIECE]
                self._take_tables([np.stack((part, w, part, part))], float(w.sum()))

    def _add_units(self, values: np.ndarray) -> None:
        """Whole pieces are sorted and thinned at once; what is left over waits for the next fold."""
        whole = values.size - values.size % _PIECE
        for at in range(0, whole, _SLAB):
            rows = values[at : min(at + _SLAB, whole)].reshape(-1, _PIECE)
            self._take_tables([_thinned(np.sort(rows, axis=1), self._tail, self.compression)], float(rows.size))
        if whole < values.size:
            self._arrays.append(values[whole:].copy())
            self._weight += values.size - whole
            self._room -= values.size - whole
            self._fold_if_full()

    def _take_tables(self, tables: list[np.ndarray], weight: float) -> None:
        self._tables += tables
        self._weight += weight
        self._room -= sum(table.shape[1] for table in tables)
        self._fold_if_full()

    def _fold_if_full(self) -> None:
        self._curve = None
        if len(self._singles) >= self._room:
            self._fold()

    def _check_weight(self, least: float, total: float) -> None:
        if least <= 0:
            raise InvalidArgument(f"a weight of {least!r}: expected finite numbers > 0")
        if not self._weight + len(self._singles) + total <= _MOST_WEIGHT:
            raise InvalidArgument(f"a weight of {total!r} more: the total can be {_MOST_WEIGHT} at most")

    # ── folding: the merging t-digest ────────────────────────────────────────────────────────────

    def _fold(self) -> None:
        """Sort what is pending together with the centroids, then give each cell of the scale function one centroid."""
        units = np.concatenate((np.array(self._singles, dtype=np.float64), *self._arrays))
        units.sort()
        parts = (self._table, *self._tables, np.stack((units, np.ones(units.size), units, units)))
        table = np.concatenate(parts, axis=1)
        order = np.argsort(table[0], kind="stable")  # runs that are sorted already merge in linear time
        self._table = self._joined(table[:, order])
        self._weight = float(self._table[1].sum())
        self._forget_pending()

    def _joined(self, table: np.ndarray) -> np.ndarray:
        """One centroid per cell that the middles of entries fall into; the tails stay single. O(entries)."""
        size, tail = table.shape[1], self._tail
        if size <= 2 * self.compression:
            return table
        mean, weight, low, high = table
        upto = np.cumsum(weight)
        cuts = np.searchsorted(upto - weight / 2, _edges(2 * (self.compression - tail)) * upto[-1])
        cuts = np.unique(cuts[(cuts > tail) & (cuts < size - tail)])
        starts = np.concatenate((np.arange(tail + 1), cuts, np.arange(size - tail, size)))
        ends = np.append(starts[1:], size)
        weights = np.add.reduceat(weight, starts)
        # Shares before the sum: no product overflows. The clip takes rounding out, and keeps the means in order.
        share = weight / np.repeat(weights, ends - starts)
        means = np.clip(np.add.reduceat(mean * share, starts), mean[starts], mean[ends - 1])
        return np.stack((means, weights, np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)))

    def _settled(self) -> _Curve:
        """The curve through the centroids, everything pending folded in. Raises InvalidArgument on an empty digest."""
        if self._singles or self._arrays or self._tables:
            self._fold()
        if not self._table.size:
            raise InvalidArgument("an empty digest has no quantiles: add a value first")
        if self._curve is None:
            self._curve = _curve(self._table)
        return self._curve

    # ── asking ───────────────────────────────────────────────────────────────────────────────────

    def quantile(self, q: Any) -> Any:
        """The value below which a fraction `q` of the weight lies: a float, or an array in the shape of `q`.

        Between neighbours it is interpolated (numpy's method "hazen"); 0 and 1 are the exact minimum and maximum.
        Raises InvalidArgument on q outside [0, 1] and on an empty digest.
        """
        wanted, curve = fractions(q), self._settled()
        at = wanted * curve.total
        low, high = curve.value_bounds(at)
        return shaped(np.clip(_interpolated(at, curve.middles, curve.values), low, high), q)

    def cdf(self, x: Any) -> Any:
        """The fraction of the weight at or below `x`, a float or an array in the shape of `x`; exact at the tails.

        Raises InvalidArgument on NaN, on anything but numbers and on an empty digest.
        """
        wanted, curve = reals(x), self._settled()
        least, most = curve.weight_bounds(wanted)
        at = np.clip(_interpolated(wanted, curve.values, curve.steps), least, most)
        return shaped(at / curve.total, x)

    def bounds(self, q: Any) -> tuple[Any, Any]:
        """Values that enclose the exact `q`-quantile (by any definition) of all that was added, as floats or arrays.

        Always right, for they come from the least and greatest value of each centroid; how far apart they are depends
        on the data. Raises InvalidArgument as `quantile` does.
        """
        wanted, curve = fractions(q), self._settled()
        low, high = curve.value_bounds(wanted * curve.total)
        return shaped(low, q), shaped(high, q)

    def rank_bounds(self, x: Any) -> tuple[Any, Any]:
        """Fractions that enclose the exact share of weight at or below `x`, floats or arrays. Raises as `cdf` does."""
        wanted, curve = reals(x), self._settled()
        least, most = curve.weight_bounds(wanted)
        return shaped(least / curve.total, x), shaped(most / curve.total, x)

    @property
    def count(self) -> float:
        """Total weight: the number of values, unless weights were given. An int when it is whole."""
        total = self._weight + len(self._singles)
        return int(total) if total.is_integer() else total

    @property
    def min(self) -> float:
        """The least value, exactly. Raises InvalidArgument on an empty digest."""
        return self._settled().lows[0].item()

    @property
    def max(self) -> float:
        """The greatest value, exactly. Raises InvalidArgument on an empty digest."""
        return self._settled().highs[-1].item()

    @property
    def centroids(self) -> tuple[np.ndarray, np.ndarray]:
        """Means in order and their weights, as copies; both empty before the first value."""
        if self.count:
            self._settled()
        return self._table[0].copy(), self._table[1].copy()

    # ── a sketch ─────────────────────────────────────────────────────────────────────────────────

    def merge_many(self, others: Iterable[Self]) -> Self:
        """Take in many digests and fold once: as `merge` in a loop, more precise and faster. Returns self.

        Raises InvalidArgument if one of them is of another type or has other parameters; nothing has changed then.
        """
        digests = list(others)
        for other in digests:
            if type(other) is not type(self) or other.parameters != self.parameters:
                found = getattr(other, "parameters", "")
                raise InvalidArgument(f"cannot merge {type(other).__name__} {found} into {self.parameters}")
        self._take_digests(digests)
        return self

    def _absorb(self, other: Self) -> None:
        self._take_digests([other])

    def _take_digests(self, digests: list[Self]) -> None:
        """Arrays are shared: no digest ever changes one in place. The lists are new, for self may be among them."""
        weight = sum(d._weight for d in digests)
        singles = [x for d in digests for x in d._singles]
        arrays = [array for d in digests for array in d._arrays]
        tables = [table for d in digests for table in (d._table, *d._tables) if table.size]
        self._check_weight(1.0, weight + len(singles))
        self._singles += singles
        self._arrays += arrays
        self._room -= sum(array.size for array in arrays)
        self._take_tables(tables, weight)

    @property
    def parameters(self) -> dict[str, Any]:
        """`compression` and `seed`."""
        return {"compression": self.compression, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Bytes of the centroids and of what is buffered until the next fold."""
        return 8 * (len(self._singles) + sum(a.size for a in (self._table, *self._arrays, *self._tables)))

    def _write(self, writer: Writer) -> None:
        if self.count:
            self._settled()
        writer.pack("QQ", self.compression, self.seed).array(self._table.ravel())

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        compression, seed = reader.unpack("QQ")
        digest = cls(compression, seed=seed)
        flat = reader.array(np.float64)
        if flat.size % 4 or flat.size > 8 * compression or not np.isfinite(flat).all():
            raise CorruptionError(f"{flat.size} numbers are no table of at most {2 * compression} finite centroids")
        table = flat.reshape(4, -1)
        mean, weights, low, high = table
        in_order = (mean[1:] >= mean[:-1]).all() and (low <= mean).all() and (mean <= high).all()
        if not in_order or not (weights > 0).all():
            raise CorruptionError("centroids out of order, or without weight")
        digest._check_weight(1.0, float(weights.sum()))
        digest._table, digest._weight = table, float(weights.sum())
        return digest


# ── the curve through the centroids ──────────────────────────────────────────────────────────────


class _Curve(NamedTuple):
    """What queries need of a table. Every centroid is two nodes, apart only where all its values are the same."""

    total: float
    values: np.ndarray
    middles: np.ndarray  # weight up to each node as `quantile` sees it: to the middle of a value
    steps: np.ndarray  # the same as `cdf` sees it: up to the value, and with it
    lows: np.ndarray
    weight_of_lows: np.ndarray
    highs: np.ndarray
    weight_of_highs: np.ndarray
    step: float

    def value_bounds(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The exact value at weight `at` is no less than the first and no greater than the second."""
        last = self.lows.size - 1
        low = np.searchsorted(self.weight_of_lows[1:], at - self.step)
        high = np.searchsorted(self.weight_of_highs[1:], at + self.step)
        return self.lows[np.minimum(low, last)], self.highs[np.minimum(high, last)]

    def weight_bounds(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the most weight that can lie at or below `x`: whole centroids below it, or begun below it."""
        least = self.weight_of_highs[np.searchsorted(self.highs, x, side="right")]
        return least, self.weight_of_lows[np.searchsorted(self.lows, x, side="right")]


def _curve(table: np.ndarray) -> _Curve:
    mean, weight, low, high = table
    after = np.cumsum(weight)
    before = np.append(0.0, after[:-1])
    middle, same = before + weight / 2, low == high
    half = np.minimum(weight, 1.0) / 2
    nodes = {}
    for name, left, right in (("middles", before + half, after - half), ("steps", before, after)):
        nodes[name] = np.column_stack((np.where(same, left, middle), np.where(same, right, middle))).ravel()
    by_low, by_high = np.argsort(low, kind="stable"), np.argsort(high, kind="stable")
    return _Curve(
        total=float(after[-1]),
        values=np.repeat(mean, 2),
        lows=low[by_low],
        weight_of_lows=_upto(weight[by_low], after[-1]),
        highs=high[by_high],
        weight_of_highs=_upto(weight[by_high], after[-1]),
        step=float(min(1.0, weight.min())),
        **nodes,
    )


def _upto(weights: np.ndarray, total: float) -> np.ndarray:
    """Weight before each, and all of it at the end: sums in another order may differ from `total` in the last bit."""
    upto = np.minimum(np.append(0.0, np.cumsum(weights)), total)
    upto[-1] = total
    return upto


def _interpolated(x: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """As `np.interp`, but right for repeated `xs` (the later one counts) and for distances beyond the largest float."""
    right = np.clip(np.searchsorted(xs, x, side="right"), 1, xs.size - 1)
    left = right - 1
    gap = xs[right] / 2 - xs[left] / 2
    share = np.divide(x / 2 - xs[left] / 2, gap, out=np.ones(np.shape(x)), where=gap > 0)
    share = np.clip(share, 0.0, 1.0)
    return np.clip(ys[left] * (1 - share) + ys[right] * share, ys[left], ys[right])


@lru_cache(maxsize=64)
def _edges(cells: int) -> np.ndarray:
    """Inner edges in q of the scale function's cells: k1(q) = asin(2q - 1) takes equal steps. Do not write to it."""
    return (np.sin((np.arange(1, cells) / cells - 0.5) * np.pi) + 1) / 2


def _thinned(rows: np.ndarray, tail: int, compression: int) -> np.ndarray:
    """Sorted rows of single values as a table of small groups, each row's tails untouched. O(values); changes `rows`.

    Groups are far finer than cells (16 values of 16,384 at compression 100), so the fold sees almost what it would see
    of a full sort, at a fraction of the time.
    """
    length = rows.shape[1]
    group = 1 << max(0, (1600 // compression).bit_length() - 1)
    tail = min(tail, length // 2)
    starts = np.concatenate((np.arange(tail), np.arange(tail, length - tail, group), np.arange(length - tail, length)))
    ends = np.append(starts[1:], length)
    low, high = rows[:, starts], rows[:, ends - 1]
    rows /= group  # a power of two, so nothing is rounded, and sums of the largest floats stay finite
    mean = np.clip(np.add.reduceat(rows, starts, axis=1) * (group / (ends - starts)), low, high)
    weight = np.broadcast_to((ends - starts).astype(np.float64), mean.shape)
    return np.stack((mean.ravel(), weight.ravel(), low.ravel(), high.ravel()))
