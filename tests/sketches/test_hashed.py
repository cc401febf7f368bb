"""What every sketch over hashes keeps: a batch is a loop to the byte, damage is noticed, bad input changes nothing."""

import doctest
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import hash64
from principal_kit.sketches import (
    CountMinSketch,
    FlajoletMartin,
    HyperLogLog,
    cardinality,
    count_min,
    flajolet_martin,
    hashed,
    hyperloglog,
)


def told(value: object) -> str:
    """A parameter as a test's name: the same in every process, so without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


KINDS = {
    "HyperLogLog": lambda **more: HyperLogLog(5, **more),
    "FlajoletMartin": lambda **more: FlajoletMartin(8, **more),
    "CountMin": lambda **more: CountMinSketch(0.1, 0.05, **more),
    "conservative": lambda **more: CountMinSketch(0.1, 0.05, conservative=True, **more),
}
MERGE_IS_EXACT = [name for name in KINDS if name != "conservative"]
each = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
integers = st.integers(-(2**63), 2**64 - 1) | st.integers(-3, 3)
batches = st.one_of(
    st.lists(integers, max_size=80),
    st.lists(st.text(max_size=3), max_size=80),
    st.lists(st.binary(max_size=3), max_size=80),
)
seeds = st.sampled_from([0, 1, 2**64 - 1])


def looped(sketch, keys):
    for key in keys:
        sketch.add(key)
    return sketch


def batched(sketch, keys):
    sketch.add_many(keys)
    return sketch


@each
class TestBatches:
    @settings(max_examples=40)
    @given(parts=st.lists(batches, max_size=4), seed=seeds)
    def test_a_batch_is_a_loop(self, make, parts, seed):
        one, many = make(seed=seed), make(seed=seed)
        for part in parts:
            looped(one, part)
            many.add_many(part)
        assert one.to_bytes() == many.to_bytes()

    @pytest.mark.parametrize("size", [1, 8, 9, 255, 256, 257, 513, (1 << 15) - 1, 1 << 15, (1 << 15) + 1])
    def test_at_the_edges_of_chunks_and_of_what_waits(self, make, size):
        keys = np.random.default_rng(size).integers(0, 2**64, size, dtype=np.uint64) >> np.uint64(50)
        assert looped(make(), keys.tolist()) == batched(make(), keys)

    @settings(max_examples=40)
    @given(keys=st.lists(st.integers(-100, 100), max_size=300), cuts=st.lists(st.integers(0, 300), max_size=3))
    def test_any_mixture_of_both(self, make, keys, cuts):
        sketch, edges = make(), sorted(min(cut, len(keys)) for cut in cuts)
        for n, (start, end) in enumerate(zip([0, *edges], [*edges, len(keys)])):
            (looped if n % 2 else batched)(sketch, keys[start:end])
            if n == 1:
                assert sketch.nbytes > 0 or not keys[:end]  # looking in between changes nothing
        assert sketch == batched(make(), keys)

    def test_every_form_of_the_same_keys(self, make):
        words, numbers = ["to", "be", "or", "not", "to", "be"], [3, 1, 2**40, 3, 0]
        text = looped(make(), words)
        for form in (words, tuple(words), iter(words), np.array(words), np.array(words, dtype=object), pd.Series(words),
                     [word.encode() for word in words], np.array([word.encode() for word in words])):  # fmt: skip
            assert batched(make(), form) == text
        ints = looped(make(), numbers)
        forms = (
            numbers, iter(numbers), np.array(numbers), np.array(numbers, dtype=np.uint64), pd.Series(numbers),
            np.array(numbers, dtype=object), np.array([numbers, numbers]).T[:, 0], map(np.int64, numbers),
        )  # fmt: skip
        for form in forms:
            assert batched(make(), form) == ints
        assert looped(make(), map(np.int64, numbers)) == ints

    def test_negative_integers_stand_for_their_twos_complement(self, make):
        assert looped(make(), [-1, -(2**63)]) == batched(make(), np.array([2**64 - 1, 2**63], dtype=np.uint64))

    def test_an_integer_is_not_its_text(self, make):
        assert looped(make(), range(20)) != looped(make(), map(str, range(20)))

    def test_empty_batches_are_nothing(self, make):
        for nothing in ([], (), iter(()), np.array([]), np.array([], dtype=np.uint64), pd.Series([], dtype=object)):
            assert batched(make(), nothing) == make()

    def test_the_seed_chooses_the_hash(self, make):
        assert batched(make(seed=1), range(100)) != batched(make(seed=2), range(100))
        assert make(seed=2**64 - 1).parameters["seed"] == 2**64 - 1

    @settings(max_examples=40)
    @given(keys=st.lists(integers, max_size=60), data=st.data())
    def test_order_matters_only_to_conservative_counters(self, make, keys, data):
        sketch = batched(make(), keys)
        if not getattr(sketch, "conservative", False):
            assert sketch == batched(make(), data.draw(st.permutations(keys)))


class TestMerge:
    @pytest.mark.parametrize("name", MERGE_IS_EXACT)
    @settings(max_examples=40)
    @given(parts=st.lists(st.lists(st.integers(0, 300), max_size=200), min_size=1, max_size=5), order=st.randoms())
    def test_any_tree_of_merges_is_the_sketch_of_the_joined_stream(self, name, parts, order):
        make = KINDS[name]
        forest = [looped(make(), part) for part in parts]
        while len(forest) > 1:
            order.shuffle(forest)
            one, other = forest.pop(), forest.pop()
            before = other.to_bytes()
            assert one.merge(other) is one
            assert other.to_bytes() == before
            forest.append(one)
        assert forest[0].to_bytes() == batched(make(), [x for part in parts for x in part]).to_bytes()

    @pytest.mark.parametrize("name", ["HyperLogLog", "FlajoletMartin"])
    @settings(max_examples=40)
    @given(keys=st.lists(st.integers(0, 1000), max_size=200))
    def test_merging_again_changes_nothing(self, name, keys):
        sketch = batched(KINDS[name](), keys)
        before = sketch.to_bytes()
        assert sketch.merge(sketch).merge(sketch.copy()).to_bytes() == before

    @each
    def test_other_parameters_are_refused_and_nothing_changes(self, make):
        sketch = batched(make(seed=1), ["abc"])
        before = sketch.to_bytes()
        others = [other(seed=1) for other in KINDS.values() if other is not make]
        others += [make(seed=2), HyperLogLog(6, seed=1), FlajoletMartin(16, seed=1), CountMinSketch(0.1, 0.06, seed=1)]
        for other in [*others, None, "sketch"]:
            with pytest.raises(InvalidArgument):
                sketch.merge(other)
        assert sketch.to_bytes() == before
        with pytest.raises(InvalidArgument, match="seed 1 and 2"):
            sketch.merge(make(seed=2))


@each
class TestBytes:
    @settings(max_examples=40)
    @given(keys=batches, seed=seeds)
    def test_there_and_back(self, make, keys, seed):
        sketch = looped(make(seed=seed), keys)
        for again in (type(sketch).from_bytes(sketch.to_bytes()), pickle.loads(pickle.dumps(sketch)), sketch.copy()):
            assert again == sketch
            assert again.parameters == sketch.parameters
            assert batched(again, ["more"]) == batched(sketch.copy(), ["more"])  # and it goes on working

    @pytest.mark.parametrize("count", [0, 2, 300], ids=["empty", "few", "many"])
    def test_any_flipped_bit_is_corruption(self, make, count):
        data = batched(make(), range(count)).to_bytes()
        for at in range(0, 8 * len(data), 1 if len(data) < 300 else 7):
            damaged = bytearray(data)
            damaged[at // 8] ^= 1 << at % 8
            with pytest.raises(CorruptionError):
                type(make()).from_bytes(bytes(damaged))

    def test_cut_or_extended_bytes_are_corruption(self, make):
        data = batched(make(), range(40)).to_bytes()
        for damaged in [data[:at] for at in range(0, len(data), 5)] + [data + b"\0", b"", data[1:]]:
            with pytest.raises(CorruptionError):
                type(make()).from_bytes(damaged)
        with pytest.raises(InvalidArgument):
            type(make()).from_bytes("text")


@each
class TestRefusals:
    @pytest.mark.parametrize(
        "bad", [None, 1.5, True, (1, 2), ["a"], float("nan"), 2**64, -(2**63) - 1, "\ud800", object()], ids=told
    )
    def test_other_keys(self, make, bad):
        sketch = looped(batched(make(), range(300)), ["a"] * 3)
        before = sketch.to_bytes()
        for call in (
            lambda: sketch.add(bad),
            lambda: sketch.add_many(["a", bad]),
            lambda: sketch.add_many([*range(500, 900), bad]),
            lambda: sketch.add_many(iter([*map(str, range(500)), bad])),
        ):
            with pytest.raises(InvalidArgument):
                call()
        assert sketch.to_bytes() == before

    @pytest.mark.parametrize(
        "batch",
        ["text", b"bytes", None, 7, np.array([1.5]), np.array([[1]]), np.array(7), np.array([True]),
         np.ma.masked_array([1], [True]), pd.DataFrame({"a": [1]}), pd.Series([1, None]), [1, "a"], object()],
        ids=lambda batch: type(batch).__name__,
    )  # fmt: skip
    def test_what_is_not_many_keys(self, make, batch):
        sketch = make()
        with pytest.raises(InvalidArgument):
            sketch.add_many(batch)
        assert sketch == make()

    @pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, None, "0"])
    def test_seeds(self, make, seed):
        with pytest.raises(InvalidArgument):
            make(seed=seed)


class TestPlaceAndRank:
    @settings(max_examples=40)
    @given(
        hashes=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 70).map(lambda n: (1 << n) % 2**64), max_size=50),
        precision=st.integers(0, 18), floor=st.integers(0, 40),
    )  # fmt: skip
    def test_as_the_paper_counts_them(self, hashes, precision, floor):
        expected = []
        for h in hashes:
            bits = format(h, "064b")
            place, rest = bits[:precision], bits[precision:]
            rank = rest.find("1") + 1 or (64 if precision == 0 else len(rest) + 1)
            if rank > floor:
                expected.append((int(place or "0", 2), rank))
        places, ranks = hashed.place_and_rank(np.array(hashes, dtype=np.uint64), precision, floor)
        assert list(zip(places.tolist(), ranks.tolist())) == expected

    def test_the_hashes_given_are_left_alone(self):
        hashes = np.array([hash64(n) for n in range(100)], dtype=np.uint64)
        before = hashes.copy()
        hashed.place_and_rank(hashes, 8)
        assert (hashes == before).all()


@pytest.mark.parametrize("module", [hashed, cardinality, count_min, hyperloglog, flajolet_martin])
def test_the_examples_of_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0 or module in (hashed, cardinality)
