"""Seeded 64-bit hashes that give the same number in every process, on every machine, one key at a time or a million.

Text and bytes go through XXH3-64; integers through the SplitMix64 finaliser, which numpy runs over whole arrays.
Never use Python's `hash()` for placement: it is salted per process, so two workers would disagree about an owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from principal_kit.core.errors import InvalidArgument

Key = str | bytes | int

MASK64 = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: the SplitMix64 stride
_MUL1, _MUL2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_CHUNK = 1 << 15  # elements per pass: 256 KiB of uint64 stays in a core's second-level cache


def mix64(x: int) -> int:
    """Scramble a 64-bit integer; a bijection, so distinct inputs stay distinct. O(1).

    Source: Stafford's variant 13 of the MurmurHash3 finaliser, as used by SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    """
    x = ((x ^ (x >> 30)) * _MUL1) & MASK64
    x = ((x ^ (x >> 27)) * _MUL2) & MASK64
    return x ^ (x >> 31)


def mix64_many(values: np.ndarray) -> np.ndarray:
    """`mix64` over a uint64 array of any shape, as a new array. O(n), about ten passes over cached chunks."""
    out = np.array(values, dtype=np.uint64, order="C")  # so that the flat form below is a view, whatever came in
    flat = out.reshape(-1)
    scratch = np.empty(min(len(flat), _CHUNK), dtype=np.uint64)
    for start in range(0, len(flat), _CHUNK):
        x = flat[start : start + _CHUNK]
        t = scratch[: len(x)]
        for shift, factor in ((30, _MUL1), (27, _MUL2)):
            np.right_shift(x, np.uint64(shift), out=t)
            np.bitwise_xor(x, t, out=x)
            np.multiply(x, np.uint64(factor), out=x)
        np.right_shift(x, np.uint64(31), out=t)
        np.bitwise_xor(x, t, out=x)
    return out


def is_integer(value: object) -> bool:
    """True for Python's and numpy's integers, without bool (a condition) and timedelta64 (it has a unit). O(1)."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def check_seed(seed: int) -> int:
    """Return `seed` if it is an integer in [0, 2^64), else raise InvalidArgument. O(1)."""
    if not is_integer(seed) or not 0 <= seed <= MASK64:
        raise InvalidArgument(f"seed={seed!r}: expected an integer in [0, 2**64)")
    return int(seed)


@lru_cache(maxsize=256)
def _offset(seed: int) -> int:
    """What is added to an integer key before mixing; with seed 0 it makes the hash SplitMix64's first output."""
    return (GAMMA + mix64(seed)) & MASK64


def hash64(key: Key, seed: int = 0) -> int:
    """Hash one key to an integer in [0, 2^64).

    Text is hashed as its UTF-8 bytes, so ``"a"`` and ``b"a"`` agree. Integers live in a space of their own:
    ``1`` and ``"1"`` are different keys. A negative integer stands for its two's complement (-1 is 2^64 - 1).

    Args:
        key: str, bytes, or an integer in [-2^63, 2^64), numpy integers included. A bool is refused: it is nearly
            always a condition that was passed by mistake.
        seed: an integer in [0, 2^64); different seeds give independent hashes.

    Complexity: O(length of key). Raises InvalidArgument on any other key or seed.
    Source: XXH3 (Collet, xxHash specification); SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).

    >>> hex(hash64(0))
    '0xe220a8397b1dcdaf'
    >>> hash64("a") == hash64(b"a") != hash64("a", seed=1)
    True
    """
    if type(seed) is not int or not 0 <= seed <= MASK64:
        seed = check_seed(seed)
    kind = type(key)
    try:
        if kind is str:
            return xxh3_64_intdigest(key.encode(), seed)
        if kind is bytes:
            return xxh3_64_intdigest(key, seed)
    except UnicodeEncodeError:
        raise InvalidArgument(f"key {key!r} has no UTF-8 form (it holds a lone surrogate)") from None
    if kind is int:
        if not -(1 << 63) <= key <= MASK64:
            raise InvalidArgument(f"integer key {key} is outside [-2**63, 2**64); hash its decimal text instead")
        return mix64((key + _offset(seed)) & MASK64)
    if is_integer(key):
        return hash64(int(key), seed)
    if isinstance(key, str):
        return hash64(str.__str__(key), seed)
    if isinstance(key, bytes):
        return xxh3_64_intdigest(key, seed)  # its content, as in a batch; bytes() would ask the subclass
    raise InvalidArgument(f"key {key!r} of type {kind.__name__}: expected str, bytes or int")


def hash64_many(keys: Iterable[Key] | np.ndarray, seed: int = 0) -> np.ndarray:
    """Hash many keys of one kind; element i equals ``hash64(keys[i], seed)`` exactly.

    Args:
        keys: a one-dimensional integer, ``U``, ``S`` or object array, a pandas Series, or any iterable; all text,
            all bytes or all integers. numpy drops trailing NULs from fixed-width ``S``/``U`` items before we see them.
        seed: an integer in [0, 2^64).

    Returns:
        uint64 array, one hash per key.

    Complexity: O(total bytes). Integers take a vectorised path (hundreds of millions a second), text one C call each.
    Raises InvalidArgument on mixed kinds, floats, bools, None, a masked array, or more than one dimension.

    >>> [int(h) for h in hash64_many(["a", "b"])] == [hash64("a"), hash64("b")]
    True
    """
    seed = check_seed(seed)
    if isinstance(keys, (str, bytes, bytearray, memoryview, int)) or keys is None:
        raise InvalidArgument(f"keys={keys!r}: expected many keys; use hash64 for one")
    array = keys if isinstance(keys, np.ndarray) else _as_array(keys)
    if array is not None:
        if isinstance(array, np.ma.MaskedArray):
            raise InvalidArgument("keys are a masked array: fill it or drop what is masked, a missing key has no hash")
        if array.ndim != 1:
            raise InvalidArgument(f"keys have shape {array.shape}: expected one dimension")
        if array.dtype.kind in "iu":
            return _hash_integers(array, seed)
        if array.dtype.kind not in "OSU":
            raise InvalidArgument(f"keys of dtype {array.dtype}: expected integers, text or bytes")
        keys = array.tolist()
    elif not isinstance(keys, (list, tuple)):
        try:
            keys = list(keys)
        except TypeError:
            raise InvalidArgument(f"keys of type {type(keys).__name__}: expected an iterable of keys") from None
    return _hash_list(keys, seed)


def _as_array(keys: Any) -> np.ndarray | None:
    """The numpy array behind a pandas Series or Index (anything with `to_numpy`), else None."""
    return keys.to_numpy() if hasattr(keys, "to_numpy") else None


def _hash_integers(array: np.ndarray, seed: int) -> np.ndarray:
    # int64 -> uint64 wraps: exactly the two's complement that hash64 takes
    return mix64_many(array.astype(np.uint64, copy=False) + np.uint64(_offset(seed)))


def _hash_list(keys: list | tuple, seed: int) -> np.ndarray:
    count = len(keys)
    if count == 0:
        return np.empty(0, dtype=np.uint64)
    if isinstance(keys[0], str):
        encoded = map(str.encode, keys)  # raises TypeError on anything that is not text: the type check costs nothing
    elif isinstance(keys[0], bytes):
        if not all(issubclass(kind, bytes) for kind in set(map(type, keys))):
            raise _mixed(keys)
        encoded = keys
    else:
        return _hash_integers(_integers(keys), seed)
    try:
        hashes = map(xxh3_64_intdigest, encoded, repeat(seed)) if seed else map(xxh3_64_intdigest, encoded)
        return np.fromiter(hashes, dtype=np.uint64, count=count)
    except TypeError:
        raise _mixed(keys) from None
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"key {error.object!r} has no UTF-8 form (it holds a lone surrogate)") from None


def _integers(keys: list | tuple) -> np.ndarray:
    for kind in set(map(type, keys)):
        if not issubclass(kind, (int, np.integer)) or issubclass(kind, (bool, np.timedelta64)):
            raise _mixed(keys)
    if min(keys) < -(1 << 63) or max(keys) > MASK64:
        raise InvalidArgument("an integer key is outside [-2**63, 2**64); hash its decimal text instead")
    try:
        return np.array(keys, dtype=np.int64)
    except OverflowError:  # values of 2^63 and more
        return np.fromiter((int(key) & MASK64 for key in keys), dtype=np.uint64, count=len(keys))


def _mixed(keys: list | tuple) -> InvalidArgument:
    kinds = ", ".join(sorted({type(key).__name__ for key in keys}))
    return InvalidArgument(f"keys of type {kinds} in one batch: expected all str, all bytes or all int")
