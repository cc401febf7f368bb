"""Space-Saving's guarantees against exact counts; split keys that lead every write to every reader."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.placement import SpaceSaving, SplitKeys

streams = st.lists(st.sampled_from("abcdefghij"), max_size=200)


@given(streams, st.integers(1, 12))
def test_counts_are_bounded_on_both_sides_and_nothing_frequent_hides(stream, capacity):
    counter, exact = SpaceSaving(capacity), Counter(stream)
    counter.add_many(stream)
    top = counter.top(capacity)
    assert counter.total == len(stream)
    assert len(top) == min(capacity, len(exact))
    for hot in top:
        assert hot.count - hot.error <= exact[hot.key] <= hot.count
        assert hot.error <= len(stream) / capacity
    assert sum(hot.count for hot in top) == len(stream)
    assert {key for key, count in exact.items() if count > len(stream) / capacity} <= {hot.key for hot in top}


@given(streams, st.integers(1, 12), st.floats(0.01, 0.99))
def test_hotter_than_never_accuses_wrongly(stream, capacity, share):
    counter, exact = SpaceSaving(capacity), Counter(stream)
    counter.add_many(stream)
    for hot in counter.hotter_than(share):
        assert exact[hot.key] > share * len(stream)


@given(streams)
def test_exact_while_it_fits(stream):
    counter = SpaceSaving(10)
    for key in stream:
        counter.add(key)
    assert {hot.key: hot.count for hot in counter.top(10)} == Counter(stream)
    assert all(hot.error == 0 for hot in counter.top(10))


def test_memory_stays_bounded():
    counter = SpaceSaving(50)
    counter.add_many(range(20_000))
    assert len(counter._heap) == len(counter._counts) == 50


def test_add_counts_in_bulk():
    counter = SpaceSaving(2)
    counter.add("a", 5)
    counter.add("b", 2)
    counter.add("c", 1)
    assert [(hot.key, hot.count, hot.error) for hot in counter.top(2)] == [("a", 5, 0), ("c", 3, 2)]


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, None])
def test_bad_capacity(capacity):
    with pytest.raises(InvalidArgument):
        SpaceSaving(capacity)


def test_bad_counts_and_shares():
    counter = SpaceSaving(2)
    with pytest.raises(InvalidArgument):
        counter.add("a", 0)
    for share in (0, 1, -0.5):
        with pytest.raises(InvalidArgument):
            counter.hotter_than(share)
    assert counter.total == 0


@pytest.mark.parametrize("key, count", [([], 1), ({}, 1), ("a", float("nan")), ("a", 1.5), ("a", True), ("a", "1")])
def test_what_cannot_be_counted_is_refused_and_changes_nothing(key, count):
    counter = SpaceSaving(2)
    counter.add("a", 3)
    with pytest.raises(InvalidArgument):
        counter.add(key, count)
    assert (counter.total, [hot.count for hot in counter.top(2)]) == (3, [3])


class TestSplitKeys:
    @given(st.integers(1, 9), st.integers(0, 2**32))
    def test_every_read_finds_a_name_that_writes_reach(self, copies, seed):
        split = SplitKeys(copies, rng=np.random.default_rng(seed))
        split.split("hot")
        names = split.write_names("hot")
        assert len(set(names)) == copies
        assert names[0] == "hot"
        assert {split.read_name("hot") for _ in range(50)} <= set(names)
        assert split.read_name("cold") == "cold"
        assert split.write_names("cold") == ["cold"]

    def test_merge_names_what_to_delete(self):
        split = SplitKeys(3)
        split.split("hot")
        assert split.merge("hot") == ["hot#1", "hot#2"]
        assert split.hot == frozenset()
        with pytest.raises(InvalidArgument):
            split.merge("hot")

    @given(st.lists(st.text("a#12", max_size=5), unique=True, max_size=8), st.sampled_from(["#", "##", "a#"]))
    def test_no_two_keys_share_a_name(self, keys, separator):
        split, names = SplitKeys(3, separator=separator), []
        for key in keys:
            try:
                split.split(key)
            except InvalidArgument:
                assert key.rpartition(separator)[2].isdecimal()
            else:
                names += split.write_names(key)
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("key", ["post:1#1", "post:1#0", "#7", "a#b#12", b"post", 5, None])
    def test_keys_that_could_be_copies_and_what_is_no_text_are_refused(self, key):
        split = SplitKeys(3)
        for method in (split.split, split.merge, split.read_name, split.write_names):
            with pytest.raises(InvalidArgument):
                method(key)
        assert split.hot == frozenset()

    def test_another_separator_frees_such_keys(self):
        split = SplitKeys(2, separator="\0")
        split.split("post:1#1")
        assert split.write_names("post:1#1") == ["post:1#1", "post:1#1\x001"]

    @pytest.mark.parametrize("separator", ["", "1", "#1", None, b"#"])
    def test_bad_separators(self, separator):
        with pytest.raises(InvalidArgument):
            SplitKeys(2, separator=separator)

    def test_bounded(self):
        split = SplitKeys(2, capacity=1)
        split.split("a")
        split.split("a")
        with pytest.raises(CapacityError):
            split.split("b")
        assert split.hot == {"a"}

    @pytest.mark.parametrize("kwargs", [{"copies": 0}, {"copies": 1.5}, {"copies": True}, {"copies": 2, "capacity": 0}])
    def test_bad_arguments(self, kwargs):
        with pytest.raises(InvalidArgument):
            SplitKeys(**kwargs)
