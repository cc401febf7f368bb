"""HyperLogLog against theory: the error that information allows, no bias, no bump, one form for one set of keys."""

import math

import datasketches
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import HyperLogLog
from principal_kit.sketches.cardinality import HLL_ERROR, ertl_2017, hyperloglog_2007, loglog


def least_error(keys, precision):
    """The relative standard error that no unbiased estimator from these registers can beat (Cramér-Rao).

    A register that got a Poisson number of keys, keys / m on average, is at most r with probability exp(-mean 2^-r).
    Their Fisher information gives the error with a random number of keys; that number's own spread is taken off.
    """
    m, q = 1 << precision, 64 - precision
    part = 2.0 ** -np.arange(1, q + 1)
    mean = keys / m
    odds = np.r_[np.exp(-mean), np.exp(-mean * part) * -np.expm1(-mean * part), -np.expm1(-mean * part[-1])]
    slope = np.r_[-np.exp(-mean), -part * np.exp(-mean * part) + 2 * part * np.exp(-2 * mean * part),
                  part[-1] * np.exp(-mean * part[-1])]  # fmt: skip
    known = odds > 0
    information = m * mean**2 * (slope[known] ** 2 / odds[known]).sum()
    return math.sqrt(1 / information - 1 / keys)


def estimates(keys, precision, trials):
    """As many sketches of the keys 0, 1, 2 … under different seeds: structured keys, and nothing drawn."""
    stream, found = np.arange(keys), np.empty(trials)
    for seed in range(trials):
        sketch = HyperLogLog(precision, seed=seed)
        sketch.add_many(stream)
        found[seed] = sketch.estimate()
    return found


def drawn_histograms(keys, precision, trials, seed=0):
    """Registers for many keys without the keys: the greatest of Poisson many ranks, by its distribution."""
    wait = np.random.default_rng(seed).exponential(size=(trials, 1 << precision))
    ranks = np.clip(np.ceil(np.log2(keys / (1 << precision) / wait)), 0, 65 - precision).astype(np.int64)
    return np.stack([np.bincount(row, minlength=66 - precision) for row in ranks])


class TestAccuracy:
    @pytest.mark.parametrize("factor", [1 / 16, 0.12, 0.13, 0.5, 1, 2, 2.5, 3, 5, 10])
    def test_the_error_is_what_the_registers_allow_and_there_is_no_bias(self, factor):
        """2,000 trials: the measured error strays by 1.6 %, so 5 % is 3.2 sigma, a false alarm in 1,400 each."""
        precision, trials = 9, 2_000
        keys = int(factor * 2**precision)
        found, theory = estimates(keys, precision, trials) / keys, least_error(keys, precision)
        assert abs(found.std() / theory - 1) < 0.05
        assert abs(found.mean() - 1) < 4 * theory / math.sqrt(trials) + 1.1 / 2**precision

    @pytest.mark.parametrize("precision", [6, 9, 12])
    @pytest.mark.parametrize("keys", [10**6, 10**9, 10**12])
    def test_many_keys(self, precision, keys):
        """4,000 trials: 5 % is 4.5 sigma, a false alarm in 100,000 each; 64 registers are allowed their own 1.5 %."""
        histograms = drawn_histograms(keys, precision, 4_000)
        relative = ertl_2017(histograms) / keys
        theory = HLL_ERROR / 2 ** (precision / 2) * (1 + 1 / 2**precision)
        assert abs(relative.std() / theory - 1) < 0.05
        assert abs(relative.mean() - 1) < 4 * theory / math.sqrt(4_000) + 1.1 / 2**precision

    def test_two_sigmas_hold_in_95_of_100_cases(self):
        """1,000 sketches at each size; at 95 % fewer than 930 have a probability of 1 in 300."""
        for keys in (3, 100, 128, 129, 1_000, 2_500, 20_000):
            held, stream = 0, np.arange(keys)
            for seed in range(1_000):
                sketch = HyperLogLog(10, seed=seed)
                sketch.add_many(stream)
                low, high = sketch.bounds(2)
                held += low <= keys <= high
            assert held >= 930

    def test_at_the_end_of_the_scale(self):
        """At 2^62 keys a 64-bit hash runs out of ranks for some registers; the formula of 2007 would count on."""
        relative = ertl_2017(drawn_histograms(2**62, 8, 4_000)) / 2**62
        assert abs(relative.mean() - 1) < 0.01

    def test_the_older_estimators_and_their_flaws(self):
        """LogLog needs a quarter more error; the switch of 2007 leaves a bump of bias that Ertl's formula has not."""
        many = drawn_histograms(10**6, 10, 4_000)
        assert 1.2 < loglog(many).std() / hyperloglog_2007(many).std() < 1.3
        assert abs(loglog(many).mean() / 1e6 - 1) < 0.005
        around = np.arange(1024 * 2, 1024 * 3.5, 100)
        old = [hyperloglog_2007(drawn_histograms(n, 10, 1_000)).mean() / n - 1 for n in around]
        new = [ertl_2017(drawn_histograms(n, 10, 1_000)).mean() / n - 1 for n in around]
        assert max(np.abs(old)) > 0.008
        assert max(np.abs(new)) < 0.005

    def test_as_good_as_datasketches_on_the_same_keys(self):
        """Both within 4 sigmas of the truth; theirs has the smaller error (HIP) on a stream that is never merged."""
        for keys in (10, 1_000, 5_000, 200_000):
            peer, sketch = datasketches.hll_sketch(12), HyperLogLog(12)
            sketch.add_many(np.arange(keys))
            for n in range(keys):
                peer.update(n)
            limit = 4 * HLL_ERROR / 64
            assert abs(sketch.estimate() / keys - 1) < limit
            assert abs(peer.get_estimate() / keys - 1) < limit
            assert sketch.bounds(3)[0] <= peer.get_upper_bound(3)
            assert peer.get_lower_bound(3) <= sketch.bounds(3)[1]

    def test_by_hand(self):
        """Two registers in use of sixteen: 16 ln(16 / 14) by counting the empty ones, and ranks hardly matter."""
        sketch = HyperLogLog(4)
        registers = np.zeros(16, dtype=np.uint8)
        registers[[3, 9]] = 1, 7
        sketch._keep(registers)
        assert sketch.estimate() == pytest.approx(16 * math.log(16 / 14), rel=0.05)

    def test_duplicates_change_nothing(self):
        once, often = HyperLogLog(8), HyperLogLog(8)
        once.add_many(range(1_000))
        for _ in range(5):
            often.add_many(np.arange(1_000))
        assert once == often


class TestForms:
    def test_sparse_until_an_eighth_of_the_registers_is_in_use(self):
        sketch = HyperLogLog(8)
        for n in range(100):
            before = sketch.copy()
            sketch.add(n)
            used = int(np.count_nonzero(sketch.registers))
            assert sketch.is_sparse == (used <= 32)
            assert sketch.nbytes == (4 * used if used <= 32 else 256)
            assert sketch.estimate() >= before.estimate()
        assert not sketch.is_sparse

    @given(left=st.integers(0, 200), right=st.integers(0, 200))
    def test_merges_across_forms(self, left, right):
        one, other, both = HyperLogLog(8), HyperLogLog(8), HyperLogLog(8)
        one.add_many(range(left))
        other.add_many(range(1_000, 1_000 + right))
        both.add_many(range(left))
        both.add_many(range(1_000, 1_000 + right))
        was = other.is_sparse
        assert one.copy().merge(other) == other.copy().merge(one) == both
        assert other.is_sparse == was

    def test_a_union_counts_shared_keys_once(self):
        monday, tuesday = HyperLogLog(12), HyperLogLog(12)
        monday.add_many(np.arange(0, 60_000))
        tuesday.add_many(np.arange(40_000, 100_000))
        assert abs(monday.merge(tuesday).estimate() / 100_000 - 1) < 3 * monday.error

    @pytest.mark.parametrize("precision", range(4, 19))
    def test_every_precision(self, precision):
        sketch = HyperLogLog(precision)
        assert sketch.size == 2**precision
        sketch.add_many(np.arange(20_000))
        assert abs(sketch.estimate() / 20_000 - 1) < 4 * sketch.error
        assert HyperLogLog.from_bytes(sketch.to_bytes()) == sketch
        assert sketch.nbytes <= sketch.size

    def test_registers_are_a_copy(self):
        sketch = HyperLogLog(4)
        sketch.add_many(range(100))
        sketch.registers[:] = 60
        assert sketch.estimate() < 300


class TestEdges:
    def test_empty(self):
        sketch = HyperLogLog()
        assert (sketch.estimate(), sketch.bounds(), sketch.nbytes, sketch.is_sparse) == (0.0, (0.0, 0.0), 0, True)
        assert HyperLogLog(4).bounds(10) == (0.0, 0.0)

    @given(keys=st.integers(0, 3_000), precision=st.integers(4, 12), sigmas=st.floats(0.1, 50))
    def test_bounds_hold_the_estimate_and_what_is_certain(self, keys, precision, sigmas):
        sketch = HyperLogLog(precision)
        sketch.add_many(range(keys))
        low, high = sketch.bounds(sigmas)
        assert np.count_nonzero(sketch.registers) <= low <= sketch.estimate() * (1 + 1e-12) <= high * (1 + 1e-12)
        assert low <= sketch.bounds(sigmas / 2)[0]
        assert high >= sketch.bounds(sigmas / 2)[1]

    def test_more_sigmas_than_the_precision_can_tell(self):
        sketch = HyperLogLog(4)
        sketch.add_many(range(100))
        assert sketch.bounds(4)[1] == math.inf

    @pytest.mark.parametrize("precision", [3, 19, 12.0, True, None, "12"])
    def test_bad_precision(self, precision):
        with pytest.raises(InvalidArgument):
            HyperLogLog(precision)

    @pytest.mark.parametrize("sigmas", [0, -1, math.inf, math.nan, True, None, "2"])
    def test_bad_sigmas(self, sigmas):
        with pytest.raises(InvalidArgument):
            HyperLogLog().bounds(sigmas)

    def test_impossible_contents_under_a_valid_checksum_are_corruption(self):
        def dense(registers):
            sketch = HyperLogLog(4)
            sketch._sparse, sketch._dense = None, bytearray(registers)
            return sketch

        def sparse(*entries):
            sketch = HyperLogLog(4)
            sketch._sparse = type(sketch._sparse)("I", entries)
            return sketch

        good = [dense([1] * 16), dense([61] * 16), sparse(3 << 6 | 5), sparse(3 << 6 | 5, 15 << 6 | 61)]
        bad = [
            dense([1] * 15), dense([62] + [1] * 15), dense([1, 1] + [0] * 14), sparse(16 << 6 | 1), sparse(3 << 6),
            sparse(3 << 6 | 62), sparse(4 << 6 | 1, 3 << 6 | 1), sparse(3 << 6 | 1, 3 << 6 | 2),
            sparse(1 << 6 | 1, 2 << 6 | 1, 3 << 6 | 1),
        ]  # fmt: skip
        for sketch in good:
            assert HyperLogLog.from_bytes(sketch.to_bytes()).to_bytes() == sketch.to_bytes()
        for sketch in bad:
            with pytest.raises(CorruptionError):
                HyperLogLog.from_bytes(sketch.to_bytes())
