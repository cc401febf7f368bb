"""Count-Min against exact counts: never too low, too high by more than epsilon total for at most delta of the keys."""

import math
from collections import Counter
from fractions import Fraction

import datasketches
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument
from principal_kit.sketches import CountMinSketch

streams = st.lists(st.integers(0, 60), max_size=200)
both = pytest.mark.parametrize("conservative", [False, True])


def filled(stream, epsilon=0.2, delta=0.2, **more):
    sketch = CountMinSketch(epsilon, delta, **more)
    sketch.add_many(stream)
    return sketch


def zipf(skew, count, seed=0):
    return np.random.default_rng(seed).zipf(skew, count).astype(np.uint64)


class TestBounds:
    @both
    @given(stream=streams)
    def test_an_estimate_is_never_too_low_and_never_above_the_total(self, conservative, stream):
        sketch, exact = filled(stream, conservative=conservative), Counter(stream)
        for x in range(70):
            assert exact[x] <= sketch.estimate(x) <= len(stream)
            low, high = sketch.bounds(x)
            assert high == sketch.estimate(x)
            assert low == max(0, high - math.floor(0.2 * len(stream)))
        assert sketch.total == len(stream)

    @pytest.mark.parametrize(("epsilon", "delta"), [(math.e / 64, 0.05), (0.04, 0.13), (0.01, 0.01), (0.3, 0.5)])
    @pytest.mark.parametrize("stream", ["all different", "Zipf 1.1", "Zipf 1.5"])
    def test_violations_stay_below_delta(self, epsilon, delta, stream):
        """4,000 keys that were never added, under each of 100 seeds; the promise is on the mean over seeds."""
        count, broken = 20_000, []
        keys = np.arange(count) if stream == "all different" else zipf(float(stream[-3:]), count)
        absent = np.arange(10**15, 10**15 + 4_000)
        for seed in range(100):
            sketch = filled(keys, epsilon, delta, seed=seed)
            broken.append((sketch.estimate_many(absent) > epsilon * count).mean())
        assert np.mean(broken) <= delta

    def test_keys_that_were_added_keep_the_promise_too(self):
        keys = zipf(1.2, 30_000)
        exact = Counter(keys.tolist())
        asked = np.array(list(exact), dtype=np.uint64)
        truth = np.array(list(exact.values()))
        broken = []
        for seed in range(60):
            over = filled(keys, 0.005, 0.05, seed=seed).estimate_many(asked) - truth
            assert over.max() < 2**63  # unsigned: below 0 would be huge
            broken.append((over > 0.005 * len(keys)).mean())
        assert np.mean(broken) <= 0.05

    def test_the_mean_error_of_one_row_is_the_stream_over_the_width(self):
        """100,000 keys in 1,024 counters, 200 seeds: a Poisson mean of 97.7, known to about 0.1 %."""
        found = [filled(np.arange(100_000), math.e / 1024, 0.5, seed=n).estimate_many([10**12])[0] for n in range(200)]
        assert CountMinSketch(math.e / 1024, 0.5).depth == 1
        assert np.mean(found) == pytest.approx(100_000 / 1024, abs=4 * math.sqrt(97.7 / 200))

    def test_rows_are_independent(self):
        """Estimates over d rows are minima of d Poisson numbers: compared with drawn ones, 3,000 keys, 30 seeds."""
        depth, mean, asked = 7, 40.0, np.arange(10**9, 10**9 + 3_000)  # 7 rows of 12 bits need a second word
        keys = np.arange(int(mean * 4096))
        found = []
        for seed in range(30):
            sketch = filled(keys, math.e / 4096, 0.001, seed=seed)
            assert (sketch.depth, sketch.width) == (depth, 4096)
            found.append(sketch.estimate_many(asked).mean())
        expected = np.random.default_rng(0).poisson(mean, (400_000, depth)).min(-1).mean()
        assert np.mean(found) == pytest.approx(expected, abs=0.06)

    @given(stream=streams, seed=st.integers(0, 5))
    def test_conservative_counters_are_never_above_plain_ones(self, stream, seed):
        plain, careful = filled(stream, seed=seed), filled(stream, seed=seed, conservative=True)
        assert (careful._counters <= plain._counters).all()

    def test_conservative_update_makes_the_error_smaller(self):
        keys = zipf(1.1, 20_000)
        exact = Counter(keys.tolist())
        asked = list(exact)
        errors = [
            np.mean([sketch.estimate(x) - exact[x] for x in asked])
            for sketch in (filled(keys, 0.02, 0.05), filled(keys, 0.02, 0.05, conservative=True))
        ]
        assert errors[1] < 0.6 * errors[0]

    def test_as_good_as_datasketches_on_the_same_keys(self):
        keys = zipf(1.2, 50_000)
        exact, ours = Counter(keys.tolist()), filled(keys, math.e / 1024, 0.01)
        peer = datasketches.count_min_sketch(ours.depth, ours.width)
        for key in keys.tolist():
            peer.update(key)
        over = []
        for x, n in exact.items():
            assert ours.estimate(x) >= n
            assert peer.get_estimate(x) >= n
            over.append((ours.estimate(x) - n, peer.get_estimate(x) - n))
        ours_over, peer_over = np.mean(over, axis=0)
        assert ours_over < 1.1 * peer_over


class TestCounts:
    @both
    @given(rows=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2**40)), max_size=40))
    def test_counts_in_a_batch_are_a_loop(self, conservative, rows):
        one, many = (CountMinSketch(0.3, 0.3, conservative=conservative) for _ in range(2))
        for key, count in rows:
            one.add(key, count)
        many.add_many([key for key, _ in rows], [count for _, count in rows])
        assert one.to_bytes() == many.to_bytes()
        assert many.total == sum(count for _, count in rows)

    def test_counts_in_every_form(self):
        expected = filled(["a"] * 3 + ["b"] * 5)
        for counts in ([3, 5], (3, 5), np.array([3, 5]), np.array([3, 5], dtype=np.uint8), pd.Series([3, 5])):
            sketch = CountMinSketch(0.2, 0.2)
            sketch.add_many(["a", "b"], counts)
            assert sketch == expected
        sketch = CountMinSketch(0.2, 0.2)
        sketch.add_many(iter(["a", "b"]), [3, 5])
        assert sketch == expected

    def test_repeating_is_counting(self):
        """Conservative, too, as long as the repetitions come together."""
        for conservative in (False, True):
            one, many = (CountMinSketch(0.2, 0.2, conservative=conservative) for _ in range(2))
            for key in range(30):
                one.add(key, 4)
                many.add_many([key] * 4)
            assert one == many

    @pytest.mark.parametrize("count", [0, -1, 1.0, True, np.True_, None, "1", math.nan, 2**64], ids=repr)
    def test_bad_counts_change_nothing(self, count):
        sketch = filled(["a", "b", "a", "c"])
        before = sketch.to_bytes()
        for call in (lambda: sketch.add("a", count), lambda: sketch.add_many(["a", "b"], [1, count])):
            with pytest.raises((InvalidArgument, CapacityError)):
                call()
        assert sketch.to_bytes() == before

    @pytest.mark.parametrize(
        "counts", [[1], [1, 2, 3], 1, "12", [[1], [2]], [[1], 2], [1.0, 2.0], np.ma.masked_array([1, 2], [0, 1])]
    )
    def test_counts_that_do_not_fit(self, counts):
        sketch = CountMinSketch(0.2, 0.2)
        with pytest.raises(InvalidArgument):
            sketch.add_many(["a", "b"], counts)
        assert sketch == CountMinSketch(0.2, 0.2)

    def test_bad_keys_with_counts_change_nothing(self):
        sketch = CountMinSketch(0.2, 0.2)
        for keys in (["a", None], [1, "a"], [1.5, 2]):
            with pytest.raises(InvalidArgument):
                sketch.add_many(keys, [1, 2])
        assert sketch == CountMinSketch(0.2, 0.2)

    @both
    def test_a_total_beyond_a_counter_is_refused(self, conservative):
        sketch = CountMinSketch(0.2, 0.2, conservative=conservative)
        sketch.add("a", 2**64 - 3)
        before = sketch.to_bytes()
        for call in (
            lambda: sketch.add("b", 3),
            lambda: sketch.add_many(["b", "c"], [1, 2]),
            lambda: sketch.add_many(["b", "c", "d"]),
            lambda: sketch.add_many(["b", "c"], np.array([2**63, 2**63], dtype=np.uint64)),
            lambda: sketch.merge(sketch),
        ):
            with pytest.raises(CapacityError):
                call()
        assert sketch.to_bytes() == before
        sketch.add("a")
        sketch.add("a")
        assert sketch.estimate("a") == sketch.total == 2**64 - 1
        with pytest.raises(CapacityError):
            sketch.add("a")


class TestMerge:
    @given(left=streams, right=streams)
    def test_conservative_ones_stay_never_too_low_and_below_plain_ones(self, left, right):
        merged = filled(left, conservative=True).merge(filled(right, conservative=True))
        plain, exact = filled(left + right), Counter(left + right)
        for x in range(61):
            assert exact[x] <= merged.estimate(x) <= plain.estimate(x)
        assert merged.total == len(left + right)

    @both
    def test_with_itself_it_doubles(self, conservative):
        sketch = filled([1, 1, 2], conservative=conservative)
        sketch.merge(sketch)
        assert [sketch.estimate(x) for x in (1, 2)] == [4, 2]
        assert sketch.total == 6

    def test_plain_and_conservative_do_not_mix(self):
        with pytest.raises(InvalidArgument, match="conservative"):
            CountMinSketch(0.1, 0.1).merge(CountMinSketch(0.1, 0.1, conservative=True))


class TestEdges:
    @given(epsilon=st.floats(1e-4, 0.999), delta=st.floats(1e-4, 0.999))
    @settings(max_examples=50)
    def test_sizes_follow_from_the_promise(self, epsilon, delta):
        sketch = CountMinSketch(epsilon, delta)
        assert sketch.width * (1 + 1e-11) >= math.e / epsilon
        assert sketch.width < 2 * math.e / epsilon + 1
        assert math.exp(-sketch.depth) <= delta * (1 + 1e-12)
        assert sketch.depth <= math.log(1 / delta) + 1
        assert sketch.nbytes == 8 * sketch.depth * sketch.width

    @pytest.mark.parametrize("bits", range(2, 21))
    def test_a_width_asked_for_is_got(self, bits):
        assert CountMinSketch(math.e / 2**bits, 0.5).width == 2**bits

    @given(stream=st.lists(st.integers(0, 1000), max_size=50), asked=st.lists(st.integers(-5, 1000), max_size=50))
    def test_many_estimates_are_a_loop_of_estimates(self, stream, asked):
        sketch = filled(stream, 0.05, 1e-9)  # 21 rows of 6 bits: three words
        found = sketch.estimate_many(asked)
        assert found.dtype == np.uint64
        assert found.tolist() == [sketch.estimate(x) for x in asked]

    @both
    def test_many_rows_need_more_bits_than_a_hash_has(self, conservative):
        sketch = CountMinSketch(0.001, 1e-12, conservative=conservative)
        sketch.add_many(["a"] * 3)
        for _ in range(2):
            sketch.add("a")
        assert sketch.depth == 28
        assert (sketch.estimate("a"), sketch.estimate("b")) == (5, 0)

    def test_numpy_arguments(self):
        sketch = CountMinSketch(np.float64(0.1), np.float32(0.1), conservative=np.True_)
        sketch.add("a", np.int64(2))
        assert sketch.estimate("a") == 2
        assert CountMinSketch.from_bytes(sketch.to_bytes()) == sketch

    @pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, math.nan, True, None, "0.1", Fraction(1, 10**400)], ids=repr)
    def test_bad_parameters(self, value):
        for arguments in ((value, 0.1), (0.1, value)):
            with pytest.raises(InvalidArgument):
                CountMinSketch(*arguments)

    @pytest.mark.parametrize("conservative", [None, 1, "yes"])
    def test_bad_option(self, conservative):
        with pytest.raises(InvalidArgument):
            CountMinSketch(0.1, 0.1, conservative=conservative)

    def test_sizes_beyond_reason_are_refused_before_memory_is_asked_for(self):
        for epsilon in (1e-12, 5e-324):
            with pytest.raises(InvalidArgument, match="counters"):
                CountMinSketch(epsilon, 0.1)

    @pytest.mark.parametrize("bad", [None, 1.5, True, 2**64, ["a"]], ids=repr)
    def test_bad_questions(self, bad):
        sketch = filled(["a", "b"])
        for call in (lambda: sketch.estimate(bad), lambda: sketch.bounds(bad), lambda: sketch.estimate_many([bad])):
            with pytest.raises(InvalidArgument):
                call()

    def test_impossible_contents_under_a_valid_checksum_are_corruption(self):
        def changed(change, **more):
            sketch = filled(range(20), **more)
            change(sketch)
            return sketch.to_bytes()

        def off_by_one(sketch):
            sketch._counters[0, 0] += 1

        def longer(sketch):
            sketch._counters = np.zeros((sketch.depth, 2 * sketch.width), dtype=np.uint64)

        def total(sketch):
            sketch._total = 5

        for data in (changed(off_by_one), changed(longer), changed(total), changed(total, conservative=True)):
            with pytest.raises(CorruptionError):
                CountMinSketch.from_bytes(data)
