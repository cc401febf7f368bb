"""A sorted string table: records in order of their keys, in checked blocks, with an index and a Bloom filter behind.

    block … block | filter frame or nothing | index | footer
    block: u32 payload length, (u32 key length, u32 value length, key, value) …, u64 XXH3 of all before it

A table is written once and never changed. A lookup reads one block, the only one whose range holds the key; with the
filter, a lookup of an absent key mostly reads none. Log-structured stores ask dozens of tables for each key they miss.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xxhash import xxh3_64_intdigest

from principal_kit.core.codec import Writer, seal, unseal
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches.bloom import BloomFilter

BLOCK = 4096  # bytes of records after which a block is closed
_KIND, _VERSION = b"SSTB", 1
_FOOTER = struct.Struct("<QQQ8s")  # where the filter and the index start, records, magic
_MAGIC = b"PKSSTBL1"
_LENGTHS, _SIZE, _SUM = struct.Struct("<II"), struct.Struct("<I"), struct.Struct("<Q")
_LARGEST = 1 << 30


def write_sstable(path: Path | str, items: Iterable[tuple[bytes, bytes]], *, fpr: float | None = None) -> int:
    """Write records as a table, under a temporary name first: the file is whole or not there. Returns their number.

    Args:
        path: the new file; one that exists is replaced.
        items: (key, value) in strictly ascending order of keys.
        fpr: false-positive rate of the filter that goes with it; None for a table without.

    Complexity: O(bytes); memory O(keys) with a filter, else O(blocks). Raises InvalidArgument when keys are not bytes,
    not in order or repeated, and whatever the disk raises; there is no new file then.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(draft, "wb") as file:
            count = _write(file, items, fpr)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _write(file, items: Iterable[tuple[bytes, bytes]], fpr: float | None) -> int:
    firsts: list[bytes] = []
    offsets: list[int] = []
    keys: list[bytes] = []
    block, last, count = bytearray(), None, 0

    def close() -> None:
        framed = _SIZE.pack(len(block)) + block
        offsets.append(file.tell())
        file.write(framed + _SUM.pack(xxh3_64_intdigest(framed)))
        block.clear()

    for key, value in items:
        if not isinstance(key, bytes) or not isinstance(value, bytes) or len(key) + len(value) > _LARGEST:
            raise InvalidArgument(f"record {count}: expected bytes for key and value, at most {_LARGEST:,} together")
        if last is not None and key <= last:
            raise InvalidArgument(f"record {count}: key {key!r} does not come after {last!r}")
        if not block:
            firsts.append(key)
        block += _LENGTHS.pack(len(key), len(value)) + key + value
        if fpr is not None:
            keys.append(key)
        if len(block) >= BLOCK:
            close()
        last, count = key, count + 1
    if block:
        close()
    filter_at = file.tell()
    if fpr is not None:
        bloom = BloomFilter(max(1, count), fpr)
        bloom.add_many(keys)
        file.write(bloom.to_bytes())
    index_at, index = file.tell(), Writer().pack("Q", len(firsts))
    for first, offset in zip(firsts, offsets):
        index.pack("Q", offset).blob(first)
    file.write(seal(_KIND, _VERSION, index.pack("Q", filter_at).payload()))
    footer = _FOOTER.pack(filter_at, index_at, count, _MAGIC)
    file.write(footer + _SUM.pack(xxh3_64_intdigest(footer)))
    return count


class SSTable:
    """An open table. Reads the footer, the index and the filter once; then a lookup reads at most one block.

    Args:
        path: a file of `write_sstable`.
        use_filter: False leaves the filter on the disk, to see what it is worth.

    Attributes: `blocks_read` since it was opened; `lookups_saved`, lookups that the filter answered alone; `filter`, a
    `BloomFilter` or None.

    Complexity: memory O(blocks) and the filter. Raises CorruptionError for a file that is not a whole, unchanged table.
    """

    def __init__(self, path: Path | str, *, use_filter: bool = True) -> None:
        self.blocks_read = self.lookups_saved = 0
        self._file = os.open(path, os.O_RDONLY)
        try:
            self._open(use_filter)
        except BaseException:
            self.close()
            raise

    def _open(self, use_filter: bool) -> None:
        size, tail = os.fstat(self._file).st_size, _FOOTER.size + _SUM.size
        footer = self._read(size - tail, tail) if size >= tail else b""
        if len(footer) < tail or xxh3_64_intdigest(footer[: _FOOTER.size]) != _SUM.unpack(footer[_FOOTER.size :])[0]:
            raise CorruptionError(f"{size} bytes do not end in the footer of a table")
        filter_at, index_at, self._count, magic = _FOOTER.unpack(footer[: _FOOTER.size])
        if magic != _MAGIC or not filter_at <= index_at <= size - tail:
            raise CorruptionError(f"the footer of a table, but of another kind or size: {magic!r}")
        reader = unseal(_KIND, _VERSION, self._read(index_at, size - tail - index_at))
        pairs = [(reader.unpack("Q")[0], reader.blob()) for _ in range(reader.unpack("Q")[0])]
        self._firsts, self._ends = [first for _, first in pairs], [offset for offset, _ in pairs] + [filter_at]
        reader.unpack("Q")
        reader.end()
        framed = self._read(filter_at, index_at - filter_at) if use_filter else b""
        self.filter = BloomFilter.from_bytes(framed) if framed else None

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file, size, offset)

    def __len__(self) -> int:
        return self._count

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if it is not there. One block read, or none. Raises CorruptionError."""
        if self.filter is not None and key not in self.filter:
            self.lookups_saved += 1
            return None
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return None
        return next((value for found, value in self._block(at) if found == key), None)

    def _block(self, at: int) -> Iterator[tuple[bytes, bytes]]:
        start, end = self._ends[at], self._ends[at + 1]
        framed = self._read(start, end - start)
        self.blocks_read += 1
        if len(framed) != end - start or len(framed) < _SIZE.size + _SUM.size:
            raise CorruptionError(f"block {at} is cut short: {len(framed)} of {end - start} bytes")
        if xxh3_64_intdigest(framed[: -_SUM.size]) != _SUM.unpack(framed[-_SUM.size :])[0]:
            raise CorruptionError(f"the checksum of block {at} does not match: its bytes were changed")
        at, stop = _SIZE.size, len(framed) - _SUM.size
        while at < stop:
            key_size, value_size = _LENGTHS.unpack_from(framed, at)
            at += _LENGTHS.size
            yield framed[at : at + key_size], framed[at + key_size : at + key_size + value_size]
            at += key_size + value_size

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """All records in order; reads every block once."""
        for at in range(len(self._firsts)):
            yield from self._block(at)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> SSTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tables:
    """Several tables as one store: the newest that has a key answers.

    Args:
        tables: newest first.
    """

    def __init__(self, tables: Sequence[SSTable]) -> None:
        self.tables = list(tables)

    def get(self, key: bytes) -> bytes | None:
        """The newest value of `key`, None if no table has it. A miss asks every table."""
        return next((value for table in self.tables if (value := table.get(key)) is not None), None)

    @property
    def blocks_read(self) -> int:
        """Blocks that all tables together have read."""
        return sum(table.blocks_read for table in self.tables)
