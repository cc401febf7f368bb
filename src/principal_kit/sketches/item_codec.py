"""Sampled elements as bytes: integers, floats, text and bytes, in columns by kind so that a million take milliseconds.

Sketches that keep elements (and not only counts of them) write them with this. Anything else is refused, not pickled:
bytes from another machine must not be able to run code here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import is_integer

_INT, _FLOAT, _TEXT, _BYTES, _BIG = range(5)
_INT64 = range(-(1 << 63), 1 << 63)


def _kind(item: Any) -> int:
    if isinstance(item, str):
        return _TEXT
    if isinstance(item, bytes):
        return _BYTES
    if isinstance(item, (float, np.floating)):
        return _FLOAT
    if is_integer(item):
        return _INT if int(item) in _INT64 else _BIG
    raise InvalidArgument(
        f"an item of type {type(item).__name__} has no byte form here: expected int, float, str or bytes"
    )


_KIND_OF = {float: _FLOAT, str: _TEXT, bytes: _BYTES}


def write_items(writer: Writer, items: Sequence[Any]) -> None:
    """Append items of mixed kinds. O(total bytes). Raises InvalidArgument for any but int, float, str and bytes."""
    kinds = np.fromiter((_KIND_OF.get(type(x), -1) for x in items), dtype=np.int8, count=len(items))
    for i in np.flatnonzero(kinds < 0).tolist():
        kinds[i] = _kind(items[i])
    columns: list[list[Any]] = [[] for _ in range(5)]
    for kind, item in zip(kinds.tolist(), items):
        columns[kind].append(item)
    texts = [x.encode("utf-8", "surrogatepass") for x in columns[_TEXT]]
    blobs = texts + columns[_BYTES] + [b"%d" % int(x) for x in columns[_BIG]]
    writer.array(kinds)
    writer.array(np.array(columns[_INT], dtype=np.int64)).array(np.array(columns[_FLOAT], dtype=np.float64))
    writer.array(np.fromiter(map(len, blobs), dtype=np.int64, count=len(blobs))).blob(b"".join(blobs))


def read_items(reader: Reader) -> list[Any]:
    """The items that `write_items` wrote, as Python's int, float, str and bytes. Raises CorruptionError."""
    kinds = reader.array(np.int8)
    ints, floats, lengths, blob = (
        reader.array(np.int64),
        reader.array(np.float64),
        reader.array(np.int64),
        reader.blob(),
    )
    counts = np.bincount(kinds, minlength=5) if kinds.size == 0 or kinds.min() >= 0 else np.empty(0)
    if (
        counts.size != 5
        or (counts[_INT], counts[_FLOAT]) != (ints.size, floats.size)
        or kinds.size - ints.size - floats.size != lengths.size
    ):
        raise CorruptionError("the columns of sampled items do not fit together")
    if (lengths < 0).any() or lengths.sum() != len(blob):
        raise CorruptionError(f"{len(blob)} bytes of sampled items do not fit their lengths")
    ends = np.cumsum(lengths)
    parts = iter([blob[end - size : end] for end, size in zip(ends.tolist(), lengths.tolist())])
    texts = [next(parts).decode("utf-8", "surrogatepass") for _ in range(counts[_TEXT])]
    raw = [next(parts) for _ in range(counts[_BYTES])]
    columns = [iter(c) for c in (ints.tolist(), floats.tolist(), texts, raw, [int(b) for b in parts])]
    return [next(columns[kind]) for kind in kinds.tolist()]


def item_bytes(items: Sequence[Any]) -> int:
    """What items take as values: 8 bytes a number or reference, the length of text (UTF-8) and bytes. O(n)."""
    total = 0
    for x in items:
        size = len(x.encode("utf-8", "surrogatepass")) if isinstance(x, str) else len(x) if isinstance(x, bytes) else 8
        total += size
    return total
