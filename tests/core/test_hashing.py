"""hash64 and hash64_many: the same number scalar or batch, in every process, and an error for what is not a key."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import hash64, hash64_many, mix64, mix64_many


def told(value: object) -> str:
    """A parameter as a test's name: the same in every process, so without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


texts = st.text(st.characters(codec="utf-8"), max_size=40)
integers = st.integers(-(2**63), 2**64 - 1)
seeds = st.integers(0, 2**64 - 1)


@given(st.lists(texts, max_size=30), seeds)
def test_text_batch_equals_scalar(keys, seed):
    assert hash64_many(keys, seed).tolist() == [hash64(key, seed) for key in keys]


@given(st.lists(st.binary(max_size=40), max_size=30), seeds)
def test_bytes_batch_equals_scalar(keys, seed):
    assert hash64_many(keys, seed).tolist() == [hash64(key, seed) for key in keys]


@given(st.lists(integers, max_size=30), seeds)
def test_integer_batch_equals_scalar(keys, seed):
    assert hash64_many(keys, seed).tolist() == [hash64(key, seed) for key in keys]


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=30), st.sampled_from(["int8", "int16", "int32", "int64"]))
def test_every_integer_width_hashes_alike(keys, width):
    assert hash64_many(np.array(keys, dtype=width)).tolist() == hash64_many(keys).tolist()


@given(st.lists(st.text("abcé€", min_size=1, max_size=8), min_size=1, max_size=30))
def test_numpy_text_containers_hash_as_their_items(keys):
    wanted = [hash64(key) for key in keys]
    encoded = np.array([key.encode() for key in keys])
    containers = [np.array(keys), np.array(keys, dtype=object), pd.Series(keys), tuple(keys), iter(keys), encoded]
    for container in containers:
        assert hash64_many(container).tolist() == wanted


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_mix64_batch_equals_scalar_and_leaves_its_input_alone(values):
    array = np.array(values, dtype=np.uint64)
    assert mix64_many(array).tolist() == [mix64(value) for value in values]
    assert array.tolist() == values


def test_mix64_takes_any_layout():
    grid = np.arange(12, dtype=np.uint64).reshape(3, 4)
    for array in (grid, grid.T, grid[:, ::2], np.asfortranarray(grid), grid[0, 0]):
        assert mix64_many(array).tolist() == np.vectorize(mix64, otypes=[object])(array.astype(object)).tolist()


def test_subclasses_hash_as_their_content():
    class Named(bytes):
        def __bytes__(self):
            return b"another"

    assert hash64(Named(b"x")) == hash64_many([Named(b"x")])[0] == hash64(b"x")


def test_batches_longer_than_a_chunk_agree_at_the_seams():
    keys = np.arange(100_000, dtype=np.int64) - 50_000
    hashes = hash64_many(keys, seed=3)
    for at in (0, 32_767, 32_768, 65_535, 65_536, 99_999):
        assert hashes[at] == hash64(int(keys[at]), 3)


def test_published_values():
    # SplitMix64 seeded with 0 and 1, first outputs (the reference implementation's)
    assert hash64(0) == 0xE220A8397B1DCDAF
    assert hash64(1) == 0x910A2DEC89025CC1
    # XXH3-64 of the empty input with seed 0, from the xxHash specification
    assert hash64("") == hash64(b"") == 0x2D06800538D394C2


def test_another_process_with_another_hash_salt_agrees():
    code = "from principal_kit.core.hashing import hash64; print(hash64('clé', 5), hash64(-7, 5))"
    for salt in ("1", "2"):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": salt})
        assert ran.stdout.split() == [str(hash64("clé", 5)), str(hash64(-7, 5))], ran.stderr


def test_key_spaces():
    assert hash64("1") == hash64(b"1") != hash64(1)
    assert hash64(-1) == hash64(2**64 - 1)
    assert hash64(np.int32(7)) == hash64(np.uint64(7)) == hash64(7)
    assert hash64(np.str_("x")) == hash64("x")
    assert hash64(np.bytes_(b"x")) == hash64(b"x")
    assert hash64("x", 1) != hash64("x", 2)
    assert hash64(5, 1) != hash64(5, 2)


@pytest.mark.parametrize(
    "key",
    [
        None,
        1.0,
        True,
        np.True_,
        np.float64(1),
        ("a",),
        2**64,
        -(2**63) - 1,
        "\ud800",
        bytearray(b"a"),
        memoryview(b"a"),
        np.timedelta64(5, "s"),
        np.timedelta64("NaT"),
    ],
    ids=told,
)
def test_what_is_not_a_key_is_refused(key):
    with pytest.raises(InvalidArgument):
        hash64(key)
    with pytest.raises(InvalidArgument):
        hash64_many([key])


@pytest.mark.parametrize(
    "keys",
    [
        ["a", b"a"], [b"a", "a"], ["a", 1], [1, "a"], [1, 1.0], [1, True], [b"a", np.int64(1)], ["a", None], [2**64, 1],
        "abc", b"abc", 5, None, object(), np.array([1.5]), np.array([True]), np.zeros((2, 2), dtype=int),
        np.array(["2024-01-01"], dtype="datetime64[D]"), pd.Series([1.5]), bytearray(b"ab"), memoryview(b"ab"),
        np.ma.array([1, 2], mask=[True, False]), [1, np.timedelta64(5, "s")], np.array([5], dtype="timedelta64[s]"),
    ],
    ids=told,
)  # fmt: skip
def test_bad_batches_are_refused(keys):
    with pytest.raises(InvalidArgument):
        hash64_many(keys)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.0, 1.0, "1", True, False, None, np.timedelta64(5, "s")])
@pytest.mark.parametrize("key", ["a", b"a", 1])
def test_bad_seeds_are_refused(key, seed):
    with pytest.raises(InvalidArgument):
        hash64(key, seed)
    with pytest.raises(InvalidArgument):
        hash64_many([key], seed)


def test_bits_are_balanced():
    """Each of 64 bits is set in half of 2^16 hashes: |z| < 6 on 2 * 64 bits, a false alarm in 4 million new seeds."""
    for keys in (np.arange(2**16), [f"user:{number}" for number in range(2**16)]):
        bits = np.unpackbits(hash64_many(keys).view(np.uint8)).reshape(-1, 64).sum(axis=0, dtype=np.int64)
        assert np.all(np.abs(bits - 2**15) < 6 * np.sqrt(2**16 / 4))
