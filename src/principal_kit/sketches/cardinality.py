"""How many distinct keys left these registers? Three estimators, in the order in which they were found.

All take a histogram: how many registers hold 0, 1, … q + 1, where q = 64 - precision is the number of bits that a rank
is read from. The last axis counts; others are trials, so that thousands of sketches are estimated at once.
"""

from __future__ import annotations

import numpy as np

HLL_ERROR = float(3 * np.log(2) - 1) ** 0.5  # 1.0389: relative standard error times sqrt(registers), for many keys
LOGLOG_ERROR = 1.3  # the same for LogLog


def _alpha(m: int) -> float:
    """The bias of the harmonic mean, as tabulated for few registers (Flajolet et al. 2007, figure 3)."""
    return {16: 0.673, 32: 0.697, 64: 0.709}.get(m, 0.7213 / (1 + 1.079 / m))


def loglog(histogram: np.ndarray) -> np.ndarray:
    """The geometric mean of 2^register, corrected: good only for many keys, and moved far by one lucky register. O(q).

    Source: Durand, Flajolet, "Loglog Counting of Large Cardinalities", ESA 2003 (constant for many registers).
    """
    m = histogram.sum(-1)
    return 0.39701 * m * 2.0 ** (histogram @ np.arange(histogram.shape[-1]) / m)


def hyperloglog_2007(histogram: np.ndarray, *, small_range: bool = True) -> np.ndarray:
    """The harmonic mean of 2^register; up to 2.5 m it gives way to counting empty registers, which leaves a bump. O(q).

    Source: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog: the Analysis of a Near-optimal Cardinality Estimation
    Algorithm", AofA 2007, figure 3, without its correction for 32-bit hashes.
    """
    m = histogram.sum(-1)
    size = int(m.flat[0]) if np.ndim(m) else int(m)
    raw = _alpha(size) * m * m / (histogram @ 2.0 ** -np.arange(histogram.shape[-1]))
    if not small_range:
        return raw
    empty = histogram[..., 0]
    linear = m * np.log(m / np.maximum(empty, 1))
    return np.where((raw <= 2.5 * m) & (empty > 0), linear, raw)


def ertl_2017(histogram: np.ndarray) -> np.ndarray:
    """The harmonic mean with both ends of the scale corrected: one formula from 0 to 2^64 keys, and no switch. O(q).

    A register of 0 would go on counting below 0 if ranks could be negative, one of q + 1 above it if the hash were
    longer. sigma and tau put in what such registers would hold on average.

    Source: Ertl, "New Cardinality Estimation Algorithms for HyperLogLog Sketches", 2017, algorithm 6.
    """
    m = histogram.sum(-1).astype(np.float64)
    z = m * _tau(1 - histogram[..., -1] / m)
    for count in np.moveaxis(histogram, -1, 0)[-2:0:-1]:
        z = (z + count) / 2
    z = z + m * _sigma(histogram[..., 0] / m)
    return m * m / (2 * np.log(2) * z)  # z is infinite, and the estimate 0, when all registers are


def _sigma(x: np.ndarray) -> np.ndarray:
    """x + sum over k >= 1 of x^(2^k) 2^(k - 1), which is infinite at 1."""
    x = np.asarray(x, dtype=np.float64)
    power, weight, total = np.where(x < 1, x, 0.0), 1.0, np.where(x < 1, x, np.inf)
    while True:
        power, before = power * power, total
        total = total + power * weight
        if np.array_equal(total, before):
            return total
        weight *= 2


def _tau(x: np.ndarray) -> np.ndarray:
    """(1 - x - sum over k >= 1 of (1 - x^(2^-k))^2 2^-k) / 3."""
    root, weight = np.asarray(x, dtype=np.float64), 1.0
    total = 1 - root
    while True:
        root, before, weight = np.sqrt(root), total, weight / 2
        total = total - (1 - root) ** 2 * weight
        if np.array_equal(total, before):
            return total / 3
