"""Counts in fixed buckets, as Prometheus keeps them: merging is addition, and the error is what the buckets leave open.

Classic buckets are a list somebody wrote down before the first request; exponential ones bound the relative error of
every value in their range. Between a bucket's ends a quantile is a guess.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import check_seed
from principal_kit.sketches.real_numbers import fractions, number, numbers, shaped
from principal_kit.sketches.sketch import Sketch

CLASSIC_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The default buckets of Prometheus' client libraries, in seconds."""


class BucketHistogram(Sketch):
    """A histogram of values >= 0 over fixed upper ends; one more bucket takes what lies above the last.

    Args:
        ends: increasing upper ends > 0; a value equal to an end belongs below it ("le").
        geometric: interpolate on a logarithmic scale within a bucket, as for exponential buckets, not linearly.
        seed: as for all sketches; nothing here is random.

    `add_many` and `merge` equal a loop of `add` exactly. Complexity: `add` O(log buckets), `merge` O(buckets).

    Source: Prometheus, "Histograms and summaries" (practices) and `histogram_quantile`. With `exponential`, the buckets
    of DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019): relative error (g - 1) / (g + 1) for growth g.

    >>> histogram = BucketHistogram([1.0, 2.0, 4.0])
    >>> histogram.add_many([0.5, 1.5, 1.5, 3.0])
    >>> histogram.quantile(0.5), histogram.bounds(0.5)
    (1.5, (1.0, 2.0))
    """

    KIND = b"BHST"

    def __init__(self, ends: Any, *, geometric: bool = False, seed: int = 0) -> None:
        edges = numbers(ends, "end")
        if not edges.size or edges[0] <= 0 or (edges[1:] <= edges[:-1]).any():
            raise InvalidArgument(f"ends={ends!r}: expected at least one, increasing and > 0")
        if not isinstance(geometric, bool):
            raise InvalidArgument(f"geometric={geometric!r}: expected a bool")
        self.ends, self.geometric, self.seed = edges.copy(), geometric, check_seed(seed)
        self.counts = np.zeros(edges.size + 1, dtype=np.int64)

    @classmethod
    def exponential(cls, growth: float, low: float, high: float) -> Self:
        """Ends low, low * growth, low * growth^2, … up to high at least. Raises InvalidArgument; O(buckets)."""
        growth, low, high = number(growth, "growth"), number(low, "low"), number(high, "high")
        if not (growth > 1 and 0 < low < high) or np.log(high / low) / np.log(growth) > 1e6:
            raise InvalidArgument(
                f"growth={growth}, low={low}, high={high}: expected > 1, > 0, > low, under 10^6 buckets"
            )
        steps = int(np.ceil(np.log(high / low) / np.log(growth)))
        return cls(low * growth ** np.arange(steps + 1.0), geometric=True)

    def add(self, x: float) -> None:
        """Count one value >= 0. O(log buckets). Raises InvalidArgument."""
        x = number(x)
        if x < 0:
            raise InvalidArgument(f"a value of {x!r}: expected >= 0")
        self.counts[np.searchsorted(self.ends, x)] += 1

    def add_many(self, xs: Any) -> None:
        """Count many values >= 0. O(n log buckets). Raises InvalidArgument; nothing has changed then."""
        values = numbers(xs)
        if values.size and values.min() < 0:
            raise InvalidArgument(f"a value of {values.min()!r}: expected >= 0")
        self.counts += np.bincount(np.searchsorted(self.ends, values), minlength=self.counts.size)

    @property
    def count(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def quantile(self, q: Any) -> Any:
        """The `q`-quantile as `histogram_quantile` guesses it: interpolated within its bucket.

        Above the last end there is nothing to interpolate with: the answer is that end, as in Prometheus.
        Raises InvalidArgument on q outside [0, 1] and on an empty histogram.
        """
        wanted = fractions(q)
        bucket, share = self._bucket_of(wanted)
        low, high = self._below()[bucket], np.append(self.ends, self.ends[-1])[bucket]
        with np.errstate(divide="ignore"):
            between = np.where(low > 0, low * (high / np.where(low > 0, low, 1.0)) ** share, high * share)
        return shaped(between if self.geometric else low + (high - low) * share, q)

    def bounds(self, q: Any) -> tuple[Any, Any]:
        """The ends of the bucket that holds the exact `q`-quantile (the least value with q of all at or below it)."""
        wanted = fractions(q)
        bucket, _ = self._bucket_of(wanted)
        return shaped(self._below()[bucket], q), shaped(np.append(self.ends, np.inf)[bucket], q)

    def _below(self) -> np.ndarray:
        return np.concatenate(([0.0], self.ends))

    def _bucket_of(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bucket of each quantile, and how far into it the quantile lies."""
        upto = np.cumsum(self.counts)
        if not upto[-1]:
            raise InvalidArgument("an empty histogram has no quantiles: add a value first")
        at = np.maximum(q * upto[-1], 0.5)  # q = 0 asks for the first value, not for the bucket before it
        bucket = np.searchsorted(upto, at)
        before = np.append(0, upto)[bucket]
        return bucket, (at - before) / self.counts[bucket]

    def _absorb(self, other: Self) -> None:
        self.counts = self.counts + other.counts

    @property
    def parameters(self) -> dict[str, Any]:
        """`ends`, `geometric` and `seed`."""
        return {"ends": self.ends.tolist(), "geometric": self.geometric, "seed": self.seed}

    @property
    def nbytes(self) -> int:
        """Bytes of ends and counts."""
        return self.ends.nbytes + self.counts.nbytes

    def _write(self, writer: Writer) -> None:
        writer.pack("?Q", self.geometric, self.seed).array(self.ends).array(self.counts)

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        geometric, seed = reader.unpack("?Q")
        histogram = cls(reader.array(np.float64), geometric=geometric, seed=seed)
        counts = reader.array(np.int64)
        if counts.size != histogram.counts.size or (counts < 0).any():
            raise CorruptionError(f"{counts.size} counts for {histogram.counts.size} buckets, or negative ones")
        histogram.counts = counts
        return histogram
