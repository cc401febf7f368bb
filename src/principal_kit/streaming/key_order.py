"""The stable order of fixed-width records by a byte-string key, without comparing two records in Python.

The top bits of a key and the record's position share one 64-bit word. Sorting words is what numpy does fastest, and
positions make it stable. Only records whose top bits agree are looked at again, with the whole key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BYTES_PER_RECORD = 40  # what `stable_order` holds at its peak for every record, the result included
_WORD = 8


def key_word(rows: np.ndarray, key: slice, number: int = 0) -> np.ndarray:
    """Bytes 8·number to 8·number + 8 of each key, as a number that compares as they do. Padded with zeros. O(n).

    >>> key_word(np.frombuffer(b"xab" b"xba", dtype=np.uint8).reshape(2, 3), slice(1, 3)) >> np.uint64(48)
    array([24930, 25185], dtype=uint64)
    """
    start = key.start + _WORD * number
    if not len(rows):
        return _NONE
    if start + _WORD <= key.stop:  # read in place: records lie one behind the other
        return np.ndarray(len(rows), ">u8", rows, offset=start, strides=rows.strides[:1]).astype(np.uint64)
    padded = np.zeros((len(rows), _WORD), dtype=np.uint8)
    padded[:, : key.stop - start] = rows[:, start : key.stop]
    return padded.view(">u8").ravel().astype(np.uint64)


_NONE = np.zeros(0, dtype=np.uint64)


def words_in(key: slice) -> int:
    """How many 8-byte words a key spans."""
    return -(-(key.stop - key.start) // _WORD)


def stable_order(rows: np.ndarray, key: slice, spans: Sequence[tuple[int, int]] | None = None) -> np.ndarray:
    """Positions of records in the order of their keys; equal keys stay in the order of their positions.

    Args:
        rows: records as bytes, shape (n, record size).
        key: where in a record its key lies.
        spans: ranges of rows [start, stop), ascending, that take part; None for all.

    Complexity: O(n log n) on machine words. Memory: `BYTES_PER_RECORD` for each record that takes part.

    >>> rows = np.frombuffer(b"b1" b"a2" b"b0" b"a1", dtype=np.uint8).reshape(4, 2)
    >>> stable_order(rows, slice(0, 1)).tolist()
    [1, 3, 0, 2]
    """
    spans = [(0, len(rows))] if spans is None else spans
    packed = np.concatenate([key_word(rows[start:stop], key) for start, stop in spans] or [_NONE])
    if not len(packed):
        return packed.astype(np.int64)
    bits = max(1, (len(rows) - 1).bit_length())
    low, high = int(packed.min()), int(packed.max())
    dropped = max(0, (high - low).bit_length() + bits - 64)  # low bits of the key that have to give way
    packed -= np.uint64(low)
    packed >>= np.uint64(dropped)
    packed <<= np.uint64(bits)
    at = 0
    for start, stop in spans:
        packed[at : at + stop - start] |= np.arange(start, stop, dtype=np.uint64)
        at += stop - start
    packed.sort()
    order = (packed & np.uint64((1 << bits) - 1)).view(np.int64)
    if dropped or words_in(key) > 1:
        packed >>= np.uint64(bits)
        order = _settle(order, packed, rows, key)
    return order


def _settle(order: np.ndarray, top: np.ndarray, rows: np.ndarray, key: slice) -> np.ndarray:
    """Puts records with equal top bits, which stand in the order of their positions, into the order of whole keys."""
    same = top[1:] == top[:-1]
    tied = np.zeros(len(top), dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    if np.count_nonzero(tied) > len(top) // 8:  # few distinct tops: sort by every word of the key, the last one first
        del same, tied, top
        order.sort()
        for number in reversed(range(words_in(key))):
            word = np.concatenate([key_word(rows[part], key, number) for part in _pieces(order)])
            order = order[np.argsort(word, kind="stable")]
        return order
    at = np.flatnonzero(tied)
    keys = np.ascontiguousarray(rows[order[at], key])
    inner = slice(0, key.stop - key.start)
    words = [key_word(keys, inner, number) for number in reversed(range(words_in(key)))]
    order[at] = order[at][np.lexsort((*words, top[at]))]
    return order


def _pieces(order: np.ndarray, size: int = 1 << 16) -> list[np.ndarray]:
    return [order[at : at + size] for at in range(0, len(order), size)]
