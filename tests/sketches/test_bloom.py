"""Bloom filters of all kinds: never a false no, and false yeses at the rate they were designed for."""

import numpy as np
import pytest
import rbloom
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.sketches import BlockedBloomFilter, BloomFilter, CuckooFilter, ScalableBloomFilter
from principal_kit.sketches.blocked_bloom import _rates_by_keys, design, expected_fpr
from principal_kit.sketches.bloom import MAX_WORDS, set_bits

BITS = (BloomFilter, BlockedBloomFilter)
ALL = (*BITS, CuckooFilter, ScalableBloomFilter)
KEYS = st.lists(st.one_of(st.integers(-(2**63), 2**64 - 1)), max_size=300) | st.lists(
    st.text(max_size=20), max_size=100
)


def disjoint(keys: int, strangers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 2**62, keys), draw.integers(2**62, 2**63 - 1, strangers)


# ── the promise ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ALL)
@given(keys=KEYS, capacity=st.integers(1, 400), cut=st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_what_went_in_is_in_whatever_the_way(kind, keys, capacity, cut):
    if kind is CuckooFilter:
        capacity += 400  # it may be full, the others may not
    f = kind(capacity, 0.02)
    f.add_many(keys[:cut])
    for key in keys[cut:]:
        f.add(key)
    assert all(key in f for key in keys)
    assert f.contains_many(keys).all()


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("fpr", [0.1, 0.01, 0.001])
def test_the_rate_at_capacity_is_the_design_s_within_a_tenth(kind, fpr):
    """3,000 false yeses are expected, so a right filter leaves +-10 % with a chance below 1e-6 (5 sigma)."""
    keys, strangers = disjoint(100_000, int(3_000 / fpr), seed=1)
    f = kind(keys.size, fpr)
    f.add_many(keys)
    assert f.measured_fpr(strangers) == pytest.approx(fpr, rel=0.1)
    assert f.fpr == pytest.approx(fpr, rel=0.05)
    assert f.predicted_fpr() == pytest.approx(fpr, rel=0.03)


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("share", [0.25, 0.5, 2.0, 4.0])
def test_the_predicted_rate_holds_below_and_above_capacity(kind, share):
    keys, strangers = disjoint(int(50_000 * share), 400_000, seed=2)
    f = kind(50_000, 0.05)
    f.add_many(keys)
    wanted = f.predicted_fpr(keys.size)
    assert f.measured_fpr(strangers) == pytest.approx(wanted, abs=6 * (wanted / strangers.size) ** 0.5 + 0.02 * wanted)


@pytest.mark.parametrize("kind", BITS)
def test_the_rate_holds_over_many_small_filters(kind):
    """300 filters of 200 keys, 5,000 strangers each: the mean over filters, whose own spread is part of the error."""
    rates = []
    for seed in range(300):
        keys, strangers = disjoint(200, 5_000, seed)
        f = kind(200, 0.01, seed=seed)
        f.add_many(keys)
        rates.append(f.measured_fpr(strangers))
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) == pytest.approx(0.01, abs=5 * error)
    assert 5 * error < 0.002


def test_strings_that_differ_in_one_character_are_strangers():
    f = BloomFilter(20_000, 0.01)
    f.add_many([f"https://example.org/item?id={n}" for n in range(20_000)])
    assert f.measured_fpr([f"https://example.org/item?id={n}" for n in range(20_000, 220_000)]) == pytest.approx(
        0.01, rel=0.1
    )


def test_cuckoo_s_rate_stays_below_its_design():
    for fpr in (0.05, 0.002):
        keys, strangers = disjoint(3_800, 500_000, seed=3)
        f = CuckooFilter(keys.size, fpr)
        f.add_many(keys)
        assert f.measured_fpr(strangers) <= fpr
        assert f.measured_fpr(strangers) == pytest.approx(f.fpr, rel=0.15)


def test_a_scalable_filter_keeps_its_bound_at_a_hundred_times_its_first_capacity():
    keys, strangers = disjoint(100_000, 200_000, seed=4)
    f = ScalableBloomFilter(1_000, 0.02)
    f.add_many(np.tile(keys, 2))  # duplicates cost nothing
    assert f.fpr_bound <= 0.02
    assert f.contains_many(strangers).mean() <= 0.02
    assert len(f.filters) == 7  # 1,000 (2^7 - 1) = 127,000 keys
    assert f.contains_many(keys).all()
    fixed = BloomFilter(1_000, 0.02)
    fixed.add_many(keys)
    assert fixed.measured_fpr(strangers) > 0.99


# ── against rbloom ───────────────────────────────────────────────────────────────────────────────


def test_bits_and_rate_are_those_of_rbloom():
    keys, strangers = disjoint(50_000, 300_000, seed=5)
    ours, peer = BloomFilter(keys.size, 0.01), rbloom.Bloom(keys.size, 0.01)
    ours.add_many(keys)
    peer.update(keys.tolist())
    assert ours.bits == pytest.approx(peer.size_in_bits, rel=0.01)
    theirs = sum(key in peer for key in strangers.tolist()) / strangers.size
    assert ours.measured_fpr(strangers) == pytest.approx(theirs, rel=0.15)
    assert ours.count() == pytest.approx(peer.approx_items, rel=0.02)


# ── parts ────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 63)), max_size=200))
def test_set_bits_is_a_loop_of_or(pairs):
    words = np.zeros(6, dtype=np.uint64)
    expected = [0] * 6
    for place, bit in pairs:
        expected[place] |= 1 << bit
    places = np.array([place for place, _ in pairs], dtype=np.int64)
    set_bits(words, places, np.array([1 << bit for _, bit in pairs], dtype=np.uint64))
    assert words.tolist() == expected


@pytest.mark.parametrize("k, keys", [(1, 3), (3, 4), (5, 8)])
def test_the_rate_of_one_word_is_what_a_simulation_gives(k, keys):
    draw, trials = np.random.default_rng(6), 60_000
    member = np.zeros((trials, 64), dtype=bool)
    member[np.arange(trials)[:, None], draw.integers(0, 64, (trials, k * keys))] = True
    hits = member[np.arange(trials)[:, None], draw.integers(0, 64, (trials, k))].all(axis=1).mean()
    exact = _rates_by_keys(k, keys)[keys]
    assert hits == pytest.approx(exact, abs=5 * (exact / trials) ** 0.5)


def test_the_design_has_the_fewest_bits_and_meets_the_rate():
    for fpr in (0.3, 0.05, 0.01, 0.001):
        k, load = design(fpr)
        assert expected_fpr(load, k) == pytest.approx(fpr, rel=1e-6)
        for other in (k - 1, k + 1):
            assert other < 1 or expected_fpr(load, other) > fpr
    assert 64 / design(0.01)[1] == pytest.approx(12.14, abs=0.01)  # bits a key, against 9.59 of a plain filter


def test_fill_and_count_follow_what_is_in():
    f = BloomFilter(10_000, 0.01)
    assert (f.fill_ratio, f.fpr, f.count()) == (0, 0, 0)
    f.add_many(range(10_000))
    f.add_many(range(10_000))
    assert f.fill_ratio == pytest.approx(0.5, abs=0.02)
    assert f.count() == pytest.approx(10_000, rel=0.02)
    assert f.nbytes * 8 == f.bits == pytest.approx(95_851, rel=0.002)  # 9.585 bits a key, rounded up


def test_merged_filters_are_the_filter_of_all():
    parts = [BloomFilter(1_000, 0.01, seed=3) for _ in range(3)]
    whole = BloomFilter(1_000, 0.01, seed=3)
    for n, part in enumerate(parts):
        part.add_many(range(300 * n, 300 * n + 300))
        whole.add_many(range(300 * n, 300 * n + 300))
    assert parts[0].merge(parts[1]).merge(parts[2]) == whole


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "9", None])
def test_a_capacity_is_a_positive_integer(kind, capacity):
    with pytest.raises(InvalidArgument, match="capacity"):
        kind(capacity, 0.1)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("fpr", [0, -0.1, 0.6, "x", float("nan"), True, None])
def test_a_rate_is_between_a_billionth_and_a_half(kind, fpr):
    with pytest.raises(InvalidArgument, match="fpr"):
        kind(10, fpr)


def test_too_large_a_filter_is_refused_before_memory_is_asked_for():
    for kind in (*BITS, CuckooFilter):
        with pytest.raises(InvalidArgument, match="split the keys"):
            kind(10**12, 0.01)
    with pytest.raises(InvalidArgument, match="use BloomFilter"):
        BlockedBloomFilter(1000, 1e-6)
    assert BloomFilter._size_for(1_000_000_000, 0.01) < MAX_WORDS


def test_a_rate_needs_strangers():
    for kind in (*BITS, CuckooFilter):
        with pytest.raises(InvalidArgument, match="strangers"):
            kind(10, 0.1).measured_fpr([])
    with pytest.raises(InvalidArgument):
        BloomFilter(10).predicted_fpr(-1)


# ── cuckoo: removing, and being full ─────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=400))
@settings(max_examples=60, deadline=None)
def test_cuckoo_is_a_multiset_that_forgets_nobody(operations):
    f, held = CuckooFilter(200, 0.001), dict.fromkeys(range(41), 0)
    for add, key in operations:
        if add:
            f.add(key)
            held[key] += 1
        elif held[key]:
            assert f.remove(key)
            held[key] -= 1
    assert all(key in f for key, copies in held.items() if copies)


def test_cuckoo_forgets_what_was_removed_as_often_as_added():
    f = CuckooFilter(1_000, 0.0001)
    f.add_many([*range(500), *range(500)])
    assert all(f.remove(key) for key in range(500))
    assert f.contains_many(range(500)).all()
    assert all(f.remove(key) for key in range(500))
    assert not f.contains_many(range(500)).any()
    assert (len(f), f.remove(7)) == (0, False)


def test_a_key_added_too_often_to_count_stays():
    f = CuckooFilter(10, 0.001)
    f.add_many(["again"] * 300)
    assert all(f.remove("again") for _ in range(300))
    assert "again" in f


def fill(f: CuckooFilter) -> int:
    """Add 0, 1, … until the filter says that it is full; returns how many went in."""
    for key in range(2 * f._table.size):
        try:
            f.add(key)
        except CapacityError:
            return key
    raise AssertionError("never full")


def test_a_full_cuckoo_filter_says_so_and_loses_nobody():
    f = CuckooFilter(1_000, 0.0001)
    added = fill(f)
    assert added >= 0.93 * f._table.size
    assert f.contains_many(range(added)).all()
    before = f.to_bytes()
    with pytest.raises(CapacityError, match="no place after 500 moves"):
        f.add_many(range(added, 2 * added))
    assert f.to_bytes() == before
    other = CuckooFilter(1_000, 0.0001)
    other.add_many(range(10_000, 10_000 + added // 2))
    with pytest.raises(CapacityError):
        f.merge(other)
    assert f.to_bytes() == before


# ── the edges ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("capacity", [1, 2, 5, 13, 30, 61, 100, 250])
def test_a_small_cuckoo_filter_takes_what_it_was_designed_for_under_any_seed(capacity):
    for seed in range(60):
        f = CuckooFilter(capacity, 0.01, seed=seed)
        f.add_many(range(capacity))
        assert f.contains_many(range(capacity)).all()


def test_a_rate_that_32_bit_fingerprints_cannot_keep_is_refused():
    with pytest.raises(InvalidArgument, match="2e-9"):
        CuckooFilter(10, 1e-9)
    assert CuckooFilter(10, 2e-9).fpr == 0


@pytest.mark.parametrize("kind", ALL)
def test_a_capacity_that_no_frame_can_hold_is_refused(kind):
    with pytest.raises(InvalidArgument, match="capacity"):
        kind(2**64, 0.1)


def test_a_filter_far_beyond_its_capacity_predicts_that_everybody_passes():
    f = BlockedBloomFilter(100, 0.01)
    loads = [f.predicted_fpr(keys) for keys in (100, 10_000, 100_000, 10**9)]
    assert loads == sorted(loads)
    assert loads[-1] == pytest.approx(1)


def test_merged_scalable_filters_stay_few_and_within_what_they_state():
    parts = [ScalableBloomFilter(1_000, 0.01) for _ in range(16)]
    for n, part in enumerate(parts):
        part.add_many(range(100 * n, 100 * n + 100))
    total = parts[0]
    for part in parts[1:]:
        total.merge(part)
    assert total.contains_many(range(1_600)).all()
    assert len(total.filters) <= 6  # 16 lists of one, each a tenth full
    assert total.contains_many(range(10**6, 10**6 + 100_000)).mean() <= total.fpr_bound
