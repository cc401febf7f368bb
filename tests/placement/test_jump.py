"""JumpHash against the published vectors, its own batch form, and the law of its moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.placement import JumpHash
from principal_kit.placement.jump import jump_bucket, jump_buckets

hashes = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    "key, buckets, bucket",
    [(1, 1, 0), (42, 57, 43), (0xDEAD10CC, 1, 0), (0xDEAD10CC, 666, 361), (256, 1024, 520)],
)
def test_vectors_shared_by_other_implementations(key, buckets, bucket):
    assert jump_bucket(key, buckets) == bucket


@given(st.lists(hashes, max_size=30), st.integers(1, 2000))
def test_batch_equals_scalar(keys, buckets):
    batch = jump_buckets(np.array(keys, dtype=np.uint64), buckets)
    assert batch.tolist() == [jump_bucket(key, buckets) for key in keys]


@given(hashes, st.integers(1, 1000))
def test_a_key_stays_or_jumps_to_the_new_bucket(key, buckets):
    assert jump_bucket(key, buckets + 1) in (jump_bucket(key, buckets), buckets)


def test_perfectly_even():
    """Chi-square with 99 degrees of freedom below 180: a false alarm in 700,000 new seeds."""
    counts = np.bincount(JumpHash(range(100)).nodes_for_many(np.arange(100_000)), minlength=100)
    assert ((counts - 1000) ** 2 / 1000).sum() < 180


def test_only_the_last_bucket_can_leave():
    jump = JumpHash(["s0", "s1", "s2"])
    with pytest.raises(InvalidArgument, match="only remove the last node"):
        jump.remove_node("s1")
    jump.remove_node("s2")
    assert jump.nodes == ("s0", "s1")


def test_preference_lists_spread_the_second_replica():
    jump = JumpHash(range(10))
    second = [jump.nodes_for(key, 2)[1] for key in range(2000) if jump.node_for(key) == "0"]
    assert len(set(second)) == 9


@pytest.mark.parametrize("buckets", [0, -1, 1.5, None, True, "3"])
def test_no_bucket_to_choose_is_refused_one_key_or_many(buckets):
    with pytest.raises(InvalidArgument):
        jump_bucket(5, buckets)
    with pytest.raises(InvalidArgument):
        jump_buckets(np.array([5], dtype=np.uint64), buckets)


def test_numpy_keys_jump_like_their_value():
    assert jump_bucket(np.uint64(2**63), 10) == jump_bucket(2**63, 10)
    for key in ("5", 1.5, None):
        with pytest.raises(InvalidArgument):
            jump_bucket(key, 10)
