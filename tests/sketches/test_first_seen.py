"""First occurrences: a repeat is never called new, and what is lost is the filter's rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.sketches import BlockedBloomFilter, BloomFilter
from principal_kit.sketches.first_seen import FirstSeen


@given(batches=st.lists(st.lists(st.integers(0, 50), max_size=40), max_size=8))
def test_with_room_to_spare_it_is_a_set(batches):
    seen, truth = FirstSeen(BloomFilter(10_000, 1e-6)), set()
    for batch in batches:
        expected = []
        for key in batch:
            expected.append(key not in truth)
            truth.add(key)
        assert seen.fresh(batch).tolist() == expected


@pytest.mark.parametrize("kind", [BloomFilter, BlockedBloomFilter])
def test_no_repeat_is_new_and_few_new_ones_are_lost(kind):
    keys = np.random.default_rng(1).integers(0, 60_000, 200_000)
    first = np.zeros(keys.size, dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    seen = FirstSeen(kind(int(first.sum()), 0.01))
    fresh = np.concatenate([seen.fresh(piece) for piece in np.array_split(keys, 7)])
    assert not (fresh & ~first).any()
    assert 0 < (first & ~fresh).sum() / first.sum() < 0.01  # the rate is reached only at the end


def test_bad_keys_are_refused_before_anything_is_taken_in():
    seen = FirstSeen(BloomFilter(100))
    before = seen.filter.to_bytes()
    with pytest.raises(InvalidArgument):
        seen.fresh([*map(str, range(70_000)), None])
    assert seen.filter.to_bytes() == before
    assert seen.fresh([]).tolist() == []
