"""Records as gensort makes them for the sort benchmark: 100 bytes, of which the first 10 are a random key.

Fixed seeds, written in pieces, so that any size can be made in little memory. A record carries its number, so that
stability can be checked; a checksum of a file does not depend on the order, so that a sort can be checked (valsort).
Source: Nyberg, "gensort Data Generator" (sortbenchmark.org), whose layout is followed, not its generator.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import mix64_many

SIZE = 100
KEY = slice(0, 10)
NUMBER = slice(12, 20)  # the record's number, big-endian
PAYLOADS = ("random", "text", "lines")
KEYS = ("uniform", "skewed", "duplicates", "sorted", "reversed")
_PIECE = 10_000


def batches(count: int, *, seed: int, keys: str = "uniform", payload: str = "random") -> Iterator[np.ndarray]:
    """Records in batches of up to 10,000: bytes of shape (batch, 100). O(count), in bounded memory.

    Args:
        count: number of records.
        seed: which records; record i does not depend on `count`, except for "sorted" and "reversed".
        keys: "uniform"; "skewed": of ten keys nine share their first three bytes, and crowd within what is left;
            "duplicates": half of all records have the same key, the rest one of 1,000; "sorted"; "reversed".
        payload: "random" bytes; "text", which compresses; "lines": everything printable (keys too, which is gensort's
            -a) and a newline at the end, for programs that sort lines; goes with "uniform" keys.

    Raises InvalidArgument for an unknown kind.
    """
    if keys not in KEYS or payload not in PAYLOADS or count < 0:
        raise InvalidArgument(f"{count} records, {keys!r}, {payload!r}: expected count >= 0, {KEYS}, {PAYLOADS}")
    if payload == "lines" and keys != "uniform":
        raise InvalidArgument(f"payload='lines' goes with keys='uniform', not {keys!r}")
    for first in range(0, count, _PIECE):
        rng = np.random.default_rng([seed, first // _PIECE])
        numbers = np.arange(first, first + _PIECE, dtype=np.uint64)
        rows = np.empty((_PIECE, SIZE), dtype=np.uint8)
        rows[:, KEY] = _keys(keys, rng, numbers, count)
        rows[:, 10:12] = (0x00, 0x11)
        rows[:, NUMBER] = numbers.astype(">u8").view(np.uint8).reshape(_PIECE, 8)
        rows[:, 20:] = _payload(payload, rng, _PIECE)
        yield (_as_lines(rows, numbers) if payload == "lines" else rows)[: count - first]


def _keys(kind: str, rng: np.random.Generator, numbers: np.ndarray, count: int) -> np.ndarray:
    size = len(numbers)
    found = rng.integers(0, 256, (size, 10), dtype=np.uint8)
    if kind == "skewed":
        crowd = rng.random(size) < 0.9
        found[crowd, :3] = (0x2A, 0x2A, 0x2A)
        found[crowd, 3] = np.minimum(rng.exponential(8, size)[crowd], 255).astype(np.uint8)
    elif kind == "duplicates":
        common = np.where(rng.random(size) < 0.5, 500, rng.integers(0, 1000, size))
        found = mix64_many((common + 1).astype(np.uint64)).astype(">u8").view(np.uint8).reshape(size, 8)
        found = np.concatenate([found, found[:, :2]], axis=1)
    elif kind in ("sorted", "reversed"):
        rank = numbers if kind == "sorted" else np.uint64(count - 1) - numbers
        found[:, :8] = rank.astype(">u8").view(np.uint8).reshape(size, 8)
        found[:, 8:] = 0
    return found


def _as_lines(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    hexadecimal = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    nibbles = numbers[:, None] >> np.arange(28, -4, -4, dtype=np.uint64) & np.uint64(15)
    rows = (32 + rows % 95).astype(np.uint8)
    rows[:, NUMBER] = hexadecimal[nibbles]  # in the order of the numbers still
    rows[:, -1] = ord("\n")
    return rows


def _payload(kind: str, rng: np.random.Generator, size: int) -> np.ndarray:
    if kind != "text":
        return rng.integers(0, 256, (size, SIZE - 20), dtype=np.uint8)
    words = np.frombuffer(b"GET /cart 200 PUT /item 201 GET /home 304 POST /pay 402 ", dtype=np.uint8).reshape(4, 14)
    return words[rng.integers(0, 4, (size, 6))].reshape(size, -1)[:, : SIZE - 20]


def write(
    path: str | os.PathLike[str], count: int, *, seed: int, keys: str = "uniform", payload: str = "random"
) -> None:
    """Write a file of `count` records; see `batches`. O(count)."""
    with open(path, "wb") as file:
        for rows in batches(count, seed=seed, keys=keys, payload=payload):
            file.write(rows)


class Summary(NamedTuple):
    """What valsort says of a file."""

    records: int
    checksum: int  # the sum of the records' own checksums modulo 2^64: the same for any order of the same records
    in_order: bool
    duplicates: int  # neighbours with equal keys
    stable: bool  # neighbours with equal keys are in the order of their numbers


def summary(path: str | os.PathLike[str]) -> Summary:
    """Count, checksum and order of a file of records. O(records), in bounded memory.

    Raises CorruptionError if the file does not end with a record.
    """
    records = checksum = duplicates = 0
    in_order = stable = True
    weights = mix64_many(np.arange(1, SIZE // 4 + 1, dtype=np.uint64)) | np.uint64(1)
    last = np.empty((0, SIZE), dtype=np.uint8)
    with open(path, "rb") as file:
        while data := file.read(_PIECE * SIZE):
            if len(data) % SIZE:
                raise CorruptionError(f"record {records + len(data) // SIZE:,} is cut off")
            rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, SIZE)
            checksum += int(mix64_many((rows.view("<u4").astype(np.uint64) * weights).sum(axis=1)).sum(dtype=np.uint64))
            records += len(rows)
            keys = np.concatenate([last, rows])
            numbers = keys[:, NUMBER].copy().view(">u8").ravel()
            keys = keys[:, KEY].copy().view("S10").ravel()  # trailing zeros do not count in S10: as equal as they are
            same = keys[1:] == keys[:-1]
            in_order &= bool((keys[1:] >= keys[:-1]).all())
            stable &= bool((numbers[1:] > numbers[:-1])[same].all())
            duplicates += int(same.sum())
            last = rows[-1:]
    return Summary(records, checksum % 2**64, in_order, duplicates, stable and in_order)
