"""Reservoirs: every set of k has the same chance (or the one its weights give), also after merges of unequal streams.

Statistical tests have fixed seeds and a limit at p = 1e-6: a right sampler fails one of them in a million. Where a test
could be too blunt, a wrong sampler goes through it, too, and must be caught.
"""

import doctest
import pickle
from itertools import accumulate, combinations, pairwise, permutations
from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import Reservoir, WeightedReservoir, algorithm_l, reservoir
from principal_kit.sketches.algorithm_l import AlgorithmL
from principal_kit.sketches.own_generator import own_generator

ALPHA = 1e-6
RUNS = 5_000  # wrong samplers are caught with as many
BOTH = [Reservoir, WeightedReservoir]
streams = st.lists(st.one_of(st.integers(), st.text(max_size=4), st.binary(max_size=4), st.floats(allow_nan=False)))
sizes = st.integers(1, 12)


def goodness(hits, odds):
    """p-value of Pearson's chi-square: counts of exclusive outcomes against their probabilities."""
    assert np.isclose(np.sum(odds), 1)
    return stats.chisquare(hits, np.sum(hits) * np.asarray(odds)).pvalue


def outcomes(draw, sets, runs=RUNS):
    """How often `draw(rng)` returned each of `sets`, which are all there are."""
    place, rng = {frozenset(each): i for i, each in enumerate(sets)}, np.random.default_rng(20)
    hits = np.zeros(len(place))
    for _ in range(runs):
        hits[place[frozenset(draw(rng))]] += 1
    return hits


def uniform(n, k):
    sets = list(combinations(range(n), k))
    return sets, np.full(len(sets), 1 / len(sets))


def by_weight(weights, k):
    """Probability of every set of k: draw one after the other, each in proportion to its weight among those left."""
    odds = dict.fromkeys(map(frozenset, combinations(range(len(weights)), k)), 0.0)
    for order in permutations(range(len(weights)), k):
        left, chance = sum(weights), 1.0
        for i in order:
            chance, left = chance * weights[i] / left, left - weights[i]
        odds[frozenset(order)] += chance
    return list(odds), np.array(list(odds.values()))


# ── what is kept, whatever the stream ────────────────────────────────────────────────────────────


@given(streams, sizes, st.integers(0, 5))
def test_a_short_stream_is_kept_whole_and_a_long_one_cut_to_k(stream, k, seed):
    for sketch in (Reservoir(k, seed=seed), WeightedReservoir(k, seed=seed)):
        sketch.add_many(stream)
        assert sketch.seen == len(stream)
        assert len(sketch.sample) == len(sketch) == min(k, len(stream))
        left = list(stream)
        for x in sketch.sample:
            left.remove(x)  # each element at most as often as it came
        if len(stream) <= k:
            assert left == []


@given(streams, sizes, st.lists(st.integers(0, 40), max_size=4), st.integers(0, 5))
def test_batches_of_any_cut_make_the_same_draws_as_one_by_one(stream, k, cuts, seed):
    one, many, lazy = (Reservoir(k, seed=seed) for _ in range(3))
    for x in stream:
        one.add(x)
    for a, b in pairwise([0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]):
        many.add_many(stream[a:b])
    lazy.add_many(iter(stream))
    assert one == many == lazy
    assert one.sample == many.sample == lazy.sample


@pytest.mark.parametrize("k", [1, 7, 100, 5000])
def test_a_long_stream_in_batches_makes_the_same_draws_as_one_by_one(k):
    values = np.random.default_rng(k).integers(0, 2**62, 60_000)
    one, many, mixed = (Reservoir(k, seed=3) for _ in range(3))
    for x in values.tolist():
        one.add(x)
    many.add_many(values)
    for part in np.split(values, [1, 2, 50, 4_000, 4_001, 5_000, 40_000]):
        if part.size < 3:
            for x in part:
                mixed.add(x)
        else:
            mixed.add_many(part)
    assert one == many == mixed
    assert all(type(x) is int for x in mixed.sample)


def test_arrays_series_lists_and_iterators_of_the_same_elements_agree():
    values = np.random.default_rng(0).normal(size=100_000)
    words = [f"{x:.6f}" for x in values]
    for forms in (
        [values, values.tolist(), pd.Series(values), iter(values.tolist()), values[:], tuple(values)],
        [words, np.array(words), np.array(words, dtype=object), pd.Series(words), (w for w in words)],
    ):
        sketches = [Reservoir(40, seed=2) for _ in forms]
        for sketch, form in zip(sketches, forms):
            sketch.add_many(form)
        assert all(sketch == sketches[0] for sketch in sketches)


def test_any_object_can_be_sampled_but_only_plain_ones_travel():
    sketch = Reservoir(2, seed=1)
    sketch.add_many([{"level": "error"}, ("a", 1), None])
    assert len(sketch.sample) == 2
    with pytest.raises(InvalidArgument):
        sketch.to_bytes()


def test_dates_stay_dates():
    dates = np.arange("2026-01-01", "2026-03-01", dtype="datetime64[D]").astype("datetime64[ns]")
    sketch = Reservoir(3, seed=1)
    sketch.add_many(dates)
    assert all(x in dates and isinstance(x, np.datetime64) for x in sketch.sample)


def test_the_same_seed_gives_the_same_sample_and_no_seed_another():
    def filled(**how):
        sketch = Reservoir(50, **how)
        sketch.add_many(range(10_000))
        return sketch

    assert filled(seed=4) == filled(seed=4)
    assert filled(rng=np.random.default_rng(9)) == filled(rng=np.random.default_rng(9))
    assert filled(seed=4) != filled(seed=5)
    assert filled() != filled()


def test_memory_follows_the_sample_and_not_the_stream():
    sketch = Reservoir(100, seed=1)
    sketch.add_many(range(1000))
    before = sketch.nbytes
    sketch.add_many(range(3_000_000))
    assert sketch.nbytes == before < 5_000
    big = Reservoir(200_000, seed=1)
    big.add_many(range(300_000))
    assert big.nbytes <= 200_000 * 8 + 400_000


def test_work_follows_what_is_taken_and_not_the_stream():
    """Counts of draws, not times: k (1 + ln(n / k)) elements are looked at."""

    class Watched(list):
        looked_at = 0

        def __getitem__(self, i):
            Watched.looked_at += 1
            return super().__getitem__(i)

    Reservoir(100, seed=5).add_many(Watched(range(1_000_000)))
    expected = 100 * (1 + np.log(10_000))
    assert 0.05 * expected < Watched.looked_at < 1.2 * expected  # of several that take one place only the last is read


# ── uniform ──────────────────────────────────────────────────────────────────────────────────────


def one_by_one(n, k, rng):
    sketch = Reservoir(k, rng)
    for x in range(n):
        sketch.add(x)
    return sketch.sample


def merged(parts, k, rng):
    """Streams of these lengths, each through its own reservoir, then merged from the left."""
    ends = list(accumulate(parts))
    sketches = [Reservoir(k, rng) for _ in parts]
    for sketch, end, size in zip(sketches, ends, parts):
        sketch.add_many(range(end - size, end))
    for other in sketches[1:]:
        sketches[0].merge(other)
    assert sketches[0].seen == sum(parts)
    return sketches[0].sample


@pytest.mark.parametrize(("n", "k"), [(6, 1), (6, 2), (7, 3), (6, 5), (9, 4)])
def test_every_set_of_k_is_as_likely_as_any_other(n, k):
    """This is the definition: it contains single and pair inclusion."""
    sets, odds = uniform(n, k)
    assert goodness(outcomes(lambda rng: one_by_one(n, k, rng), sets), odds) > ALPHA


@pytest.mark.parametrize("parts", [(3, 3), (1, 5), (5, 1), (2, 4), (1, 1, 4), (4, 0, 2), (1, 1, 1, 1, 1, 1)])
def test_every_set_is_as_likely_after_a_merge_of_unequal_streams(parts):
    sets, odds = uniform(6, 2)
    assert goodness(outcomes(lambda rng: merged(parts, 2, rng), sets), odds) > ALPHA


def wrong_halves(parts, k, rng):
    """As many from each stream, whatever their lengths."""
    return {*rng.choice(parts[0], k // 2, replace=False), *(parts[0] + rng.choice(parts[1], k // 2, replace=False))}


def wrong_reservoir_of_samples(parts, k, rng):
    """One sample fed into the other's reservoir, as if it were a stream of k."""
    a, b = Reservoir(k, rng), Reservoir(k, rng)
    b.add_many(range(parts[0], sum(parts)))
    a.add_many(range(parts[0]))
    a.add_many(b.sample)
    return a.sample


def wrong_same_seed(parts, k, rng):
    """Both streams keep the same places; a random half of both samples together is kept."""
    size = parts[0]
    kept = rng.choice(size, k, replace=False)
    return rng.choice([*kept, *(size + kept)], k, replace=False).tolist()


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [(wrong_halves, (2, 4)), (wrong_reservoir_of_samples, (2, 4)), (wrong_reservoir_of_samples, (3, 3)),
     (wrong_same_seed, (3, 3))],
)  # fmt: skip
def test_wrong_merges_are_caught_by_the_same_test(wrong, parts):
    sets, odds = uniform(6, 2)
    assert goodness(outcomes(lambda rng: wrong(parts, 2, rng), sets), odds) < ALPHA


def test_inclusion_of_singles_and_pairs_on_a_stream_longer_than_a_plan():
    """200 elements, 20 kept, several plans of 64: chi-square over elements, and the pairs of neighbours by z."""
    n, k, runs = 200, 20, 2_500
    hits, neighbours = np.zeros(n), 0
    for seed in range(runs):
        sketch = Reservoir(k, seed=seed)
        sketch.add_many(range(90))
        sketch.add_many(np.arange(90, n))
        inside = np.zeros(n, dtype=bool)
        inside[sketch.sample] = True
        hits += inside
        neighbours += np.count_nonzero(inside[1:] & inside[:-1])
    expected = runs * k / n
    # Without replacement counts vary less than multinomial ones: scale by (n - 1) / (n - k).
    statistic = ((hits - expected) ** 2 / expected).sum() * (n - 1) / (n - k)
    assert stats.chi2.sf(statistic, n - 1) > ALPHA
    pair = k * (k - 1) / (n * (n - 1))
    assert abs(neighbours / runs / (n - 1) / pair - 1) < 5 / np.sqrt(runs * (n - 1) * pair)


@pytest.mark.parametrize("k", [1, 50, 3000])
def test_elements_taken_are_as_many_as_theory_says(k):
    """Element i is taken with probability k / (i + 1), independently: mean and variance of the sum; z at 5 sigma."""
    n, runs = 100_000, 100
    chance = np.minimum(1.0, k / np.arange(1, n + 1))
    counts = []
    for rng in np.random.default_rng(k).spawn(runs):
        taken, places = AlgorithmL(k, rng).advance(n)
        assert (np.diff(taken) > 0).all()
        assert ((places >= 0) & (places < k)).all()
        counts.append(taken.size)
    z = (np.mean(counts) - chance.sum()) / np.sqrt((chance * (1 - chance)).sum() / runs)
    assert abs(z) < 5


def test_how_many_come_from_each_stream_is_hypergeometric():
    parts, k, runs = (30, 170), 8, 5_000
    hits, rng = np.zeros(k + 1), np.random.default_rng(1)
    for _ in range(runs):
        hits[sum(x < parts[0] for x in merged(parts, k, rng))] += 1
    odds = [comb(parts[0], j) * comb(parts[1], k - j) / comb(sum(parts), k) for j in range(k + 1)]
    few = 5  # join the rare outcomes
    assert goodness([*hits[:few], hits[few:].sum()], [*odds[:few], sum(odds[few:])]) > ALPHA


def test_a_merged_reservoir_goes_on_as_one_that_saw_everything():
    """Merge at 4 + 3 elements, then 5 more one by one: all 66 pairs equally likely."""

    def draw(rng):
        a, b = Reservoir(2, rng), Reservoir(2, rng)
        a.add_many(range(4))
        b.add_many(range(4, 7))
        a.merge(b)
        for x in range(7, 12):
            a.add(x)
        return a.sample

    sets, odds = uniform(12, 2)
    assert goodness(outcomes(draw, sets), odds) > ALPHA


def test_short_streams_merge_into_a_short_or_a_just_full_one_that_goes_on():
    """1 + 2 elements into k = 3 (just full), then 3 more: all 20 triples equally likely."""

    def draw(rng):
        a, b = Reservoir(3, rng), Reservoir(3, rng)
        a.add(0)
        b.add_many([1, 2])
        a.merge(b)
        a.add_many([3, 4, 5])
        return a.sample

    sets, odds = uniform(6, 3)
    assert goodness(outcomes(draw, sets), odds) > ALPHA


def test_a_tree_of_merges_is_as_good_as_a_chain():
    def draw(rng):
        a, b, c, d = (Reservoir(2, rng) for _ in range(4))
        for sketch, part in zip((a, b, c, d), ([0], [1, 2, 3], [4], [5])):
            sketch.add_many(part)
        return a.merge(b).merge(c.merge(d)).sample

    sets, odds = uniform(6, 2)
    assert goodness(outcomes(draw, sets), odds) > ALPHA


@pytest.mark.parametrize("sketch", BOTH)
def test_streams_far_beyond_memory_merge_and_stay_even(sketch):
    """Two streams of 10^12 and 3 * 10^12 elements, as far as their numbers go: a quarter from the first; 5 sigma."""
    shares = []
    for seed in range(200):
        pair = [sketch(40, rng=rng) for rng in np.random.default_rng(seed).spawn(2)]
        for i, one in enumerate(pair):
            one.add_many([i] * 40)
            if sketch is Reservoir:
                one._plan.advance((2 * i + 1) * 10**12 - 40)
            else:  # keys of 40 smallest among as many of weight 1
                size = (2 * i + 1) * 1e12
                keys = np.cumsum(np.random.default_rng([seed, i]).standard_exponential(40)) / size
                one._set(keys, [i] * 40, [1.0] * 40)
        pair[0].merge(pair[1])
        shares.append(np.mean([x == 0 for x in pair[0].sample]))
    assert abs(np.mean(shares) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 40 / 200)


# ── weighted ─────────────────────────────────────────────────────────────────────────────────────

WEIGHTS = [1.0, 5.0, 0.5, 3.0, 0.1, 2.0]


def weighted_scalar(k, rng):
    sketch = WeightedReservoir(k, rng)
    for i, weight in enumerate(WEIGHTS):
        sketch.add(i, weight)
    return sketch.sample


def weighted_batch(k, rng):
    sketch = WeightedReservoir(k, rng)
    sketch.add_many(range(6), WEIGHTS)
    return sketch.sample


def weighted_mixed(k, rng):
    sketch = WeightedReservoir(k, rng)
    sketch.add_many([0, 1], WEIGHTS[:2])
    sketch.add(2, WEIGHTS[2])
    sketch.add_many([3], WEIGHTS[3:4])
    sketch.add_many([99], [0.0])
    sketch.add(4, WEIGHTS[4])
    sketch.add(5, WEIGHTS[5])
    return sketch.sample


def weighted_merged(k, rng):
    a, b = WeightedReservoir(k, rng), WeightedReservoir(k, rng)
    a.add_many([0, 1], WEIGHTS[:2])
    b.add_many([2, 3, 4], WEIGHTS[2:5])
    a.merge(b)
    a.add(5, WEIGHTS[5])
    return a.sample


@pytest.mark.parametrize("draw", [weighted_scalar, weighted_batch, weighted_mixed, weighted_merged])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_weighted_samples_are_drawn_in_proportion_to_what_is_left(draw, k):
    """Against every set's exact probability, by brute force over the orders of drawing."""
    sets, odds = by_weight(WEIGHTS, k)
    assert goodness(outcomes(lambda rng: draw(k, rng), sets), odds) > ALPHA


def test_weighted_by_chance_to_be_inside_would_be_caught():
    """The usual misreading: k independent draws, repeated until they differ."""

    def draw(rng):
        while True:
            got = set(rng.choice(6, 2, p=np.array(WEIGHTS) / sum(WEIGHTS)).tolist())
            if len(got) == 2:
                return got

    sets, odds = by_weight(WEIGHTS, 2)
    assert goodness(outcomes(draw, sets), odds) < ALPHA


@pytest.mark.parametrize("batch", [1, 100, 5000])
def test_weighted_inclusion_on_a_longer_stream_agrees_with_numpy(batch):
    """100 elements of weights 1 to 10, 10 kept: inclusion by weight class against numpy's own sequential draws."""
    weights = np.repeat(np.arange(1.0, 11.0), 10)
    runs = 600
    ours, theirs = np.zeros(10), np.zeros(10)
    for seed in range(runs):
        sketch = WeightedReservoir(10, seed=seed)
        order = np.random.default_rng([seed, 1]).permutation(100)
        for part in np.array_split(order, max(1, 100 // batch)):
            if part.size == 1:
                sketch.add(int(part[0]), weights[part[0]])
            else:
                sketch.add_many(part, weights[part])
        np.add.at(ours, np.array(sketch.sample) // 10, 1)
        other = np.random.default_rng([seed, 2]).choice(100, 10, replace=False, p=weights / weights.sum())
        np.add.at(theirs, other // 10, 1)
    assert stats.chi2_contingency([ours, theirs]).pvalue > ALPHA


def test_equal_weights_make_a_uniform_sample():
    sets, odds = uniform(6, 2)

    def draw(rng):
        sketch = WeightedReservoir(2, rng)
        sketch.add_many(range(3))
        for x in range(3, 6):
            sketch.add(x)
        return sketch.sample

    assert goodness(outcomes(draw, sets), odds) > ALPHA


def test_weights_stay_with_their_elements():
    draw = np.random.default_rng(1)
    weights = draw.random(5_000) + 0.1
    sketch = WeightedReservoir(50, seed=1)
    sketch.add_many(np.arange(4_000), weights[:4_000])
    for i in range(4_000, 5_000):
        sketch.add(i, weights[i])
    other = WeightedReservoir(50, seed=2)
    other.add_many(np.arange(5_000), weights)
    for one in (sketch, other, sketch.copy().merge(other)):
        assert one.weights == [weights[i] for i in one.sample]
    assert sketch.total == pytest.approx(weights.sum())


def test_what_weighs_nothing_is_counted_and_never_kept():
    sketch = WeightedReservoir(3, seed=1)
    sketch.add("never", 0)
    sketch.add_many(["never"] * 100 + ["yes"], [0.0] * 100 + [1.0])
    sketch.add("never", 0.0)
    assert (sketch.sample, sketch.seen, sketch.total) == (["yes"], 103, 1.0)


@pytest.mark.parametrize("k", [1, 3])
def test_weights_far_apart_do_no_harm(k):
    sketch = WeightedReservoir(k, seed=1)
    for x, weight in [("light", 1e-100), ("heavy", 1e100), ("light", 1e-100), ("heavy", 1e100)] * 5:
        sketch.add(x, weight)
    sketch.add_many(["light", "heavy"] * 5, [1e-100, 1e100] * 5)
    assert sketch.sample == ["heavy"] * k
    assert sketch.copy() == sketch


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sketch", BOTH)
@pytest.mark.parametrize("k", [0, -1, 1.0, True, None, "3", 1 << 32])
def test_a_bad_size_is_refused(sketch, k):
    with pytest.raises(InvalidArgument, match="k="):
        sketch(k)


@pytest.mark.parametrize("sketch", BOTH)
def test_a_bad_source_of_chance_is_refused(sketch):
    for how in ({"rng": 3}, {"rng": np.random.RandomState(1)}, {"seed": -1}, {"seed": 1.5}, {"seed": True}):
        with pytest.raises(InvalidArgument):
            sketch(3, **how)
    with pytest.raises(InvalidArgument, match="one of them"):
        sketch(3, np.random.default_rng(1), seed=1)


@pytest.mark.parametrize("sketch", BOTH)
@pytest.mark.parametrize(
    "bad", ["text", b"bytes", None, 5, np.zeros((2, 2)), np.ma.masked_array([1, 2], [0, 1]), np.float64(3), object()]
)
def test_bad_batches_are_refused_and_change_nothing(sketch, bad):
    one = sketch(3, seed=1)
    one.add_many([1, 2, 3, 4])
    before = one.to_bytes()
    with pytest.raises(InvalidArgument):
        one.add_many(bad)
    assert one.to_bytes() == before


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, 1e101, 1e-101, "1", None, True, 10**400])
def test_bad_weights_are_refused_and_change_nothing(weight):
    sketch = WeightedReservoir(3, seed=1)
    sketch.add_many([1, 2, 3, 4])
    before = sketch.to_bytes()
    with pytest.raises(InvalidArgument):
        sketch.add(5, weight)
    with pytest.raises(InvalidArgument):
        sketch.add_many([5, 6], [1, weight])
    with pytest.raises(InvalidArgument, match="2 elements, but 1 weights"):
        sketch.add_many([5, 6], [1])
    assert sketch.to_bytes() == before


@pytest.mark.parametrize("sketch", BOTH)
def test_an_empty_batch_changes_nothing(sketch):
    one = sketch(3, seed=1)
    for size in (0, 2, 5):
        one.add_many(range(size))
        before = one.to_bytes()
        for empty in ([], np.empty(0), iter(()), pd.Series(dtype=float)):
            one.add_many(empty)
        assert one.to_bytes() == before


@pytest.mark.parametrize("sketch", BOTH)
def test_samples_that_made_the_same_draws_do_not_merge(sketch):
    def filled(**how):
        one = sketch(3, **how)
        one.add_many(range(20))
        return one

    one = filled(seed=1)
    before = one.to_bytes()
    for other in (filled(seed=1), one, one.copy(), pickle.loads(pickle.dumps(one)), sketch(3, seed=1)):
        with pytest.raises(InvalidArgument, match="same generator"):
            one.merge(other)
    assert one.to_bytes() == before
    other = filled(seed=2)
    one.merge(other)
    with pytest.raises(InvalidArgument, match="same generator"):
        one.merge(other)  # a report that came twice
    shared = np.random.default_rng(1)
    filled(rng=shared).merge(filled(rng=shared))  # asked in turn, one generator gives different ones


@pytest.mark.parametrize("sketch", BOTH)
def test_other_sizes_and_other_kinds_do_not_merge(sketch):
    with pytest.raises(InvalidArgument, match="k 3 and 4"):
        sketch(3, seed=1).merge(sketch(4, seed=2))
    with pytest.raises(InvalidArgument, match="cannot merge"):
        Reservoir(3, seed=1).merge(WeightedReservoir(3, seed=2))


@pytest.mark.parametrize("sketch", BOTH)
def test_a_merge_leaves_the_other_as_it_was_and_depends_on_both_only(sketch):
    def pair():
        one, two = sketch(5, seed=1), sketch(5, seed=2)
        one.add_many(range(100))
        two.add_many(range(100, 150))
        return one, two

    one, two = pair()
    before = two.to_bytes()
    assert one.merge(two) is one
    assert two.to_bytes() == before
    again, two = pair()
    assert again.merge(two) == one


# ── bytes ────────────────────────────────────────────────────────────────────────────────────────


@given(streams, sizes, st.integers(0, 40))
def test_bytes_bring_back_the_sample_and_its_future(stream, k, cut):
    for sketch in BOTH:
        one = sketch(k, seed=7)
        one.add_many(stream[:cut])
        two = sketch.from_bytes(one.to_bytes())
        assert two == one
        assert (two.sample, two.seen, two.k) == (one.sample, one.seen, k)
        for x in stream[cut:]:
            one.add(x)
            two.add(x)
        assert two == one
        assert pickle.loads(pickle.dumps(two)) == one


def test_bytes_of_a_merged_sample_bring_back_its_future():
    one, two = Reservoir(10, seed=1), Reservoir(10, seed=2)
    one.add_many(range(1_000))
    two.add_many(range(5_000))
    one.merge(two)
    copy = one.copy()
    for sketch in (one, copy):
        sketch.add_many(range(100_000))
    assert copy == one


@pytest.mark.parametrize("sketch", BOTH)
@pytest.mark.parametrize("seen", [0, 2, 3, 40])
def test_every_flipped_bit_is_noticed(sketch, seen):
    one = sketch(3, seed=1)
    one.add_many([f"line {i}" for i in range(seen)])
    frame = one.to_bytes()
    for i in range(len(frame)):
        for bit in range(8):
            with pytest.raises(CorruptionError):
                sketch.from_bytes(frame[:i] + bytes([frame[i] ^ 1 << bit]) + frame[i + 1 :])
    for cut in range(len(frame)):
        with pytest.raises(CorruptionError):
            sketch.from_bytes(frame[:cut])
    with pytest.raises(CorruptionError):
        sketch.from_bytes(frame + b"\0")


def test_one_kind_is_not_read_as_the_other():
    with pytest.raises(CorruptionError, match="expected"):
        WeightedReservoir.from_bytes(Reservoir(3, seed=1).to_bytes())


@pytest.mark.parametrize(
    ("sketch", "break_it"),
    [
        (Reservoir, lambda one: one._items.pop()),
        (Reservoir, lambda one: setattr(one, "_origins", np.array([3, 3], dtype=np.uint64))),
        (Reservoir, lambda one: setattr(one, "_origins", np.empty(0, dtype=np.uint64))),
        (Reservoir, lambda one: setattr(one._plan, "seen", 10**15)),
        (Reservoir, lambda one: setattr(one._plan, "_start", (one._plan._start[0], 0.5, 3))),
        (Reservoir, lambda one: setattr(one._plan, "_start", (one._plan._start[0], -np.inf, 3))),
        (Reservoir, lambda one: setattr(one._plan, "_start", (one._plan._start[0], -1.0, 100))),
        (Reservoir, lambda one: setattr(one._plan, "_start", (one._plan._start[0], -1.0, 1))),
        (Reservoir, lambda one: setattr(one._plan, "k", 0)),
        (WeightedReservoir, lambda one: one._items.pop()),
        (WeightedReservoir, lambda one: one._weights.pop()),
        (WeightedReservoir, lambda one: setattr(one, "_target", one.total - 1)),
        (WeightedReservoir, lambda one: setattr(one, "_target", np.nan)),
        (WeightedReservoir, lambda one: setattr(one, "total", np.inf)),
        (WeightedReservoir, lambda one: setattr(one, "seen", 2)),
        (WeightedReservoir, lambda one: one._weights.__setitem__(0, -1.0)),
        (WeightedReservoir, lambda one: one._settled.__setitem__(0, np.nan)),
        (WeightedReservoir, lambda one: one._settled.__setitem__(0, 0.0)),
    ],
)
def test_a_valid_checksum_over_impossible_values_is_refused(sketch, break_it):
    one = sketch(3, seed=1)
    one.add_many(range(40))
    break_it(one)
    with pytest.raises(CorruptionError):
        sketch.from_bytes(one.to_bytes())


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────


def test_far_ahead_nothing_overflows():
    """k = 1 at 2^60 elements: gaps are of the order of 10^18."""
    plan = AlgorithmL(1, np.random.default_rng(1))
    for _ in range(60):
        plan.advance(max(1, plan.seen))
        assert plan.seen <= plan.next < 2**63
    assert plan.seen == 1 << 59


def test_log_of_the_rest_keeps_its_digits():
    logs = np.array([-1e-17, -1e-3, -0.69, -0.71, -5.0, -40.0])
    with np.errstate(under="ignore"):
        exact = [float(np.log(-np.expm1(np.longdouble(x)))) for x in logs[:4]] + [-np.exp(-5.0) - np.exp(-10.0) / 2]
    found = algorithm_l._log_of_rest(logs)
    assert found[:4] == pytest.approx(exact[:4], rel=1e-12)
    assert found[4] == pytest.approx(exact[4], rel=1e-4)
    assert found[5] == pytest.approx(-np.exp(-40.0), rel=1e-12)


def test_generators_of_their_own():
    shared = np.random.default_rng(1)
    (one, first), (two, second) = own_generator(shared, None), own_generator(shared, None)
    assert first != second
    assert one.random() != two.random()


def test_examples_in_docstrings():
    for module in (reservoir, algorithm_l):
        assert doctest.testmod(module).failed == 0
    assert "3 of 10" in repr(_ten(Reservoir))
    assert "total weight 10" in repr(_ten(WeightedReservoir))


def _ten(sketch):
    one = sketch(3, seed=1)
    one.add_many(range(10))
    return one
