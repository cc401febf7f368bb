"""Misra-Gries and Space-Saving against exact counts: bounds hold for any stream, split, batch and tree of merges."""

import doctest
import pickle
import re
from collections import Counter
from fractions import Fraction

import datasketches
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import MisraGries, SpaceSaving, decaying_top_k, misra_gries, space_saving
from principal_kit.sketches import heavy_hitters as shared


def told(value: object) -> str:
    """A parameter as a test's name: the same in every process, so without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


BOTH = [MisraGries, SpaceSaving]
KINDS = [MisraGries, SpaceSaving, lambda k: MisraGries(k, room=k)]
keys = st.one_of(st.integers(-3, 3), st.sampled_from("abcdefgh"), st.sampled_from([b"a", b"b", b"1"]), st.just("1"))
streams = st.lists(keys, max_size=120)
sizes = st.integers(1, 9)


def promises(summary, exact):
    """What a summary must keep, whatever it went through to get here."""
    total = sum(exact.values())
    assert summary.total == total
    assert summary.error <= summary.error_bound
    for x in [*exact, "never seen", 10**30]:
        low, high = summary.bounds(x)
        assert low <= exact[x] <= high
        assert high - low <= summary.error
    top = summary.top(10**6)
    assert len(top) <= summary.k
    assert [hit.estimate for hit in top] == sorted((hit.estimate for hit in top), reverse=True)
    assert all((hit.lower, hit.upper) == summary.bounds(hit.key) for hit in top)
    assert {type(hit.key) for hit in top} <= {int, str, bytes}
    for phi in (0.9, 0.5, 0.34, 0.2, 0.1):
        above = {x for x, n in exact.items() if n > Fraction(phi) * total}
        assert {hit.key for hit in summary.guaranteed(phi)} <= above
        if phi >= summary.resolution:
            assert above <= {hit.key for hit in summary.candidates(phi)}


def feed(summary, stream, split):
    """The stream in pieces: alternately one at a time, as a list, as distinct keys with counts."""
    for i, start in enumerate(range(0, len(stream), split)):
        part = stream[start : start + split]
        if i % 3 == 0:
            for x in part:
                summary.add(x)
        elif i % 3 == 1:
            summary.add_many(part)
        else:
            exact = Counter(part)
            summary.add_many(list(exact), list(exact.values()))
    return summary


@pytest.mark.parametrize("make", KINDS)
class TestBounds:
    @given(stream=streams, k=sizes, split=st.integers(1, 40))
    def test_they_hold_for_any_stream_in_any_pieces(self, make, stream, k, split):
        promises(feed(make(k), stream, split), Counter(stream))

    @given(parts=st.lists(streams, min_size=1, max_size=6), k=sizes, order=st.randoms(use_true_random=False))
    def test_they_hold_for_any_tree_of_merges(self, make, parts, k, order):
        forest = [(feed(make(k), part, 7), Counter(part)) for part in parts]
        while len(forest) > 1:
            order.shuffle(forest)
            (summary, exact), (other, others) = forest.pop(), forest.pop()
            before = other.to_bytes()
            forest.append((summary.merge(other), exact + others))
            assert other.to_bytes() == before
        promises(*forest[0])

    @given(
        array=st.lists(st.integers(-5, 20), max_size=200), k=sizes, chunk=st.integers(1, 50), before=streams,
        weights=st.none() | st.integers(0, 2**32),
    )  # fmt: skip
    def test_they_hold_for_integer_arrays_in_chunks_of_any_size(self, make, array, k, chunk, before, weights):
        counts = None if weights is None else np.random.default_rng(weights).integers(1, 2**40, len(array))
        summary, exact = make(k), Counter(before)
        summary.add_many(before)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shared, "CHUNK", chunk)
            summary.add_many(np.array(array, dtype=np.int64), counts)
        for i, x in enumerate(array):
            exact[x] += 1 if counts is None else int(counts[i])
        promises(summary, exact)

    @given(stream=st.lists(st.tuples(keys, st.integers(1, 50)), max_size=80), k=sizes)
    def test_they_hold_for_counts(self, make, stream, k):
        summary, exact = make(k), Counter()
        for x, count in stream:
            summary.add(x, count)
            exact[x] += count
        promises(summary, exact)

    @given(stream=streams, k=sizes)
    def test_what_fits_is_exact(self, make, stream, k):
        exact = Counter(stream)
        summary = make(max(1, len(exact)))
        summary.add_many(stream)
        assert {hit.key: (hit.lower, hit.upper) for hit in summary.top(200)} == {x: (n, n) for x, n in exact.items()}

    @pytest.mark.parametrize("k", [1, 5, 40])
    def test_they_hold_on_streams_made_against_them(self, make, k):
        distinct = list(range(2000))
        for stream in (
            distinct,  # nothing repeats
            distinct[: k + 1] * 50,  # one key too many, in turn
            ["hot"] * 40 + distinct,  # a heavy key first, then a flood
            distinct + ["hot"] * 40,  # a flood, then a heavy key
            [x for x in distinct for _ in range(x % 7 + 1)],
            sorted(distinct[: 2 * k] * 20),
        ):
            one, many = make(k), make(k)
            for x in stream:
                one.add(x)
            many.add_many(stream)
            promises(one, Counter(stream))
            promises(many, Counter(stream))

    @given(left=streams, right=streams, k=sizes)
    def test_merging_is_no_worse_than_one_summary(self, make, left, right, k):
        merged = feed(make(k), left, 5).merge(feed(make(k), right, 9))
        assert merged.error_bound == feed(make(k), left + right, 5).error_bound >= merged.error

    @given(stream=streams, k=sizes)
    def test_merging_with_itself_doubles(self, make, stream, k):
        summary = feed(make(k), stream, 4)
        summary.merge(summary)
        promises(summary, Counter(stream * 2))

    @given(stream=streams, more=streams, k=sizes)
    def test_a_copy_from_bytes_goes_on_exactly_alike(self, make, stream, more, k):
        summary = feed(make(k), stream, 5)
        copies = [type(summary).from_bytes(summary.to_bytes()), pickle.loads(pickle.dumps(summary)), summary.copy()]
        for other in copies:
            assert other == summary
            assert feed(other, more, 6).top(99) == feed(summary.copy(), more, 6).top(99)

    @given(stream=streams.filter(bool), k=sizes, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_a_flipped_bit_is_corruption(self, make, stream, k, where, bit):
        data = bytearray(feed(make(k), stream, 5).to_bytes())
        data[int(where * len(data))] ^= 1 << bit
        with pytest.raises(CorruptionError):
            type(make(k)).from_bytes(bytes(data))


@pytest.mark.parametrize("kind", BOTH)
class TestInterface:
    def test_keys_keep_their_type(self, kind):
        summary = kind(10)
        summary.add_many([1, "1", b"1", np.int64(1), np.str_("1"), 2**64 - 1, -1])
        summary.add_many(np.array([2**64 - 1, 1], dtype=np.uint64))
        summary.add_many(np.array(["1"]))
        summary.add_many(np.array([b"1"]))
        summary.add_many(pd.Series(["1", "x"]))
        assert {(type(hit.key), hit.key): hit.lower for hit in summary.top(10)} == {
            (int, 1): 3, (str, "1"): 4, (bytes, b"1"): 2, (int, 2**64 - 1): 2, (int, -1): 1, (str, "x"): 1,
        }  # fmt: skip
        again = kind.from_bytes(summary.to_bytes())
        assert again.top(10) == summary.top(10)

    @pytest.mark.parametrize(
        "bad", [None, 1.5, True, (1, 2), ["a"], float("nan"), np.datetime64("2020"), object()], ids=told
    )
    def test_other_keys_are_refused_and_nothing_changes(self, kind, bad):
        summary = feed(kind(3), list("abacad"), 2)
        before = summary.to_bytes()
        for call in (
            lambda: summary.add(bad),
            lambda: summary.add_many(["a", bad]),
            lambda: summary.add_many(["a", bad], [1, 1]),
            lambda: summary.bounds(bad),
            lambda: summary.estimate(bad),
        ):
            with pytest.raises(InvalidArgument):
                call()
        assert summary.to_bytes() == before

    @pytest.mark.parametrize(
        "batch",
        [
            "text",
            b"bytes",
            None,
            7,
            np.array([1.5]),
            np.array([[1]]),
            np.array([True]),
            np.ma.masked_array([1], [True]),
        ],
        ids=told,
    )
    def test_what_is_not_many_keys_is_refused(self, kind, batch):
        summary = kind(3)
        with pytest.raises(InvalidArgument):
            summary.add_many(batch)
        assert summary == kind(3)

    @pytest.mark.parametrize("count", [0, -1, 1.0, True, None, "1", float("nan"), 2**63], ids=told)
    def test_bad_counts_change_nothing(self, kind, count):
        summary = feed(kind(3), list("abacad"), 2)
        before = summary.to_bytes()
        for call in (
            lambda: summary.add("a", count),
            lambda: summary.add_many(["a", "b"], [1, count]),
            lambda: summary.add_many(np.array([1, 2]), [1]),
        ):
            with pytest.raises(InvalidArgument):
                call()
        assert summary.to_bytes() == before

    def test_the_total_has_an_end_that_is_no_overflow(self, kind):
        summary = kind(2)
        summary.add("a", 2**63 - 2)
        for call in (lambda: summary.add("a", 2), lambda: summary.add_many(np.array([1, 1]), np.array([1, 1]))):
            with pytest.raises(InvalidArgument):
                call()
        with pytest.raises(InvalidArgument):
            summary.merge(summary)
        summary.add("a")
        assert summary.bounds("a") == (2**63 - 1, 2**63 - 1)

    def test_empty_batches_are_nothing(self, kind):
        summary = kind(2)
        for nothing in ([], (), np.array([]), np.array([], dtype=np.uint64), pd.Series([], dtype=object)):
            summary.add_many(nothing)
            summary.add_many(nothing, [])
        assert summary == kind(2)
        assert summary.top(5) == []

    @pytest.mark.parametrize("k", [0, -1, 1.5, True, None, 2**32])
    def test_bad_k(self, kind, k):
        with pytest.raises(InvalidArgument):
            kind(k)

    @pytest.mark.parametrize("phi", [0, 1, -0.1, 1.5, True, None, float("nan")])
    def test_bad_shares(self, kind, phi):
        for ask in (kind(3).guaranteed, kind(3).candidates):
            with pytest.raises(InvalidArgument):
                ask(phi)

    def test_a_share_finer_than_the_counters_is_refused_for_candidates_only(self, kind):
        assert kind(9).guaranteed(0.01) == []
        with pytest.raises(InvalidArgument, match="k=100 can"):
            kind(9).candidates(0.01)
        assert kind(3).candidates(1 / 3) == []

    @pytest.mark.parametrize("n", [-1, 1.5, None, True])
    def test_bad_n(self, kind, n):
        with pytest.raises(InvalidArgument):
            kind(3).top(n)

    def test_incompatible_ones_do_not_merge(self, kind):
        for other in (kind(4), kind(3, seed=1), BOTH[kind is MisraGries](3), "text"):
            with pytest.raises(InvalidArgument):
                kind(3).merge(other)

    def test_memory_is_bounded(self, kind):
        summary = kind(50)
        summary.add_many(np.arange(100_000))
        summary.add_many([str(x) for x in range(100_000)])
        for x in range(1_000):
            summary.add(x)
        assert len(summary) <= 100
        assert summary.nbytes <= 100 * (16 + 8)

    @pytest.mark.parametrize("skew", [1.1, 1.5])
    def test_the_top_of_a_zipf_stream_is_found_as_by_the_peer(self, kind, skew):
        array = np.random.default_rng(5).zipf(skew, 60_000).astype(np.uint64)
        summary, peer, exact = kind(768), datasketches.frequent_items_sketch(10), Counter(array.tolist())
        summary.add_many(array)
        for x in array.tolist():
            peer.update(x)
        best = {x for x, _ in exact.most_common(10)}
        assert {hit.key for hit in summary.top(10)} == best
        for x in best:
            assert summary.bounds(x)[0] <= exact[x] <= summary.bounds(x)[1]
            assert peer.get_lower_bound(x) <= exact[x] <= peer.get_upper_bound(x)
        assert summary.error_bound < peer.get_epsilon_for_lg_size(10) * len(array)


@pytest.mark.parametrize("summary", [MisraGries(4, room=4), SpaceSaving(5)])
def test_the_bound_is_reached(summary):
    for x in [x for _ in range(10) for x in range(5 + isinstance(summary, SpaceSaving))][:50]:
        summary.add(x)
    assert summary.error == summary.error_bound == 10


def test_misra_gries_merges_alike_in_both_orders():
    left, right = feed(MisraGries(3), list("aabbccdde"), 4), feed(MisraGries(3), list("xxxaayz"), 4)
    assert left.copy().merge(right) == right.copy().merge(left)


@given(stream=streams, k=sizes)
def test_space_saving_is_misra_gries_with_one_more_counter(stream, k):
    """Agarwal et al. 2012, section 3: its counters less the smallest one are those of Misra-Gries."""
    gries, saving = MisraGries(k, room=k), SpaceSaving(k + 1)
    for x in stream:
        gries.add(x)
        saving.add(x)
        assert gries.error == saving.error
    counters = {hit.key: hit.estimate - saving.error for hit in saving.top(k + 1)}
    assert {x: n for x, n in counters.items() if n} == {hit.key: hit.estimate for hit in gries.top(k)}


@given(stream=streams, k=sizes)
def test_space_saving_counters_add_up_to_the_stream(stream, k):
    summary = SpaceSaving(k)
    for x in stream:
        summary.add(x)
    assert sum(hit.estimate for hit in summary.top(k)) == len(stream)


def test_a_newcomer_takes_the_oldest_of_the_smallest_counters():
    summary = SpaceSaving(3)
    for x in "abcabd":
        summary.add(x)
    assert [(hit.key, hit.lower, hit.upper) for hit in summary.top(3)] == [("a", 2, 2), ("b", 2, 2), ("d", 1, 2)]


@pytest.mark.parametrize("room", [0, 4, 4.5, True, "9"])
def test_bad_room(room):
    with pytest.raises(InvalidArgument):
        MisraGries(5, room=room)


def test_impossible_contents_under_a_valid_checksum_are_corruption():
    summary = MisraGries(3)
    summary.add_many(list("aab"))
    summary._counts["a"] = 9  # more than the total
    with pytest.raises(CorruptionError):
        MisraGries.from_bytes(summary.to_bytes())
    other = SpaceSaving(3)
    other.add_many(list("aab"))
    other._inherited["a"] = 5  # more than its count
    with pytest.raises(CorruptionError):
        SpaceSaving.from_bytes(other.to_bytes())


@pytest.mark.parametrize("module", [misra_gries, space_saving, decaying_top_k])
def test_the_examples_of_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
