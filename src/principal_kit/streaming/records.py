"""How records lie in a file: fixed width, separated by newlines, or each behind its length.

A format yields records from a file and writes one back. It finds what is cut off or too long before anything is sorted
wrongly: half a record is never read as data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from principal_kit.core.errors import CorruptionError, InvalidArgument


class RecordFormat(Protocol):
    """What a sort asks of a format."""

    def read(self, file: BinaryIO, largest: int) -> Iterator[bytes]:
        """The records from here to the end. Raises CorruptionError for half a one, InvalidArgument if over largest."""

    def encode(self, record: bytes) -> bytes:
        """The record as it stands in a file."""


@dataclass(frozen=True)
class FixedWidth:
    """Records of `size` bytes each, nothing between them.

    >>> import io
    >>> list(FixedWidth(2).read(io.BytesIO(b"bbaa"), largest=100))
    [b'bb', b'aa']
    """

    size: int

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 1:
            raise InvalidArgument(f"size={self.size!r}: expected a positive number of bytes")

    def read(self, file: BinaryIO, largest: int) -> Iterator[bytes]:
        """The records. See `RecordFormat`."""
        _check(0, self.size, largest)
        number = 0
        while record := file.read(self.size):
            if len(record) < self.size:
                raise CorruptionError(
                    f"record {number:,} is cut off: {len(record)} bytes where {self.size} are expected"
                )
            yield record
            number += 1

    def encode(self, record: bytes) -> bytes:
        """The record itself."""
        return record


@dataclass(frozen=True)
class Lines:
    r"""Records that end in a newline. The last one may lack it, and is given one, as GNU sort does.

    >>> import io
    >>> list(Lines().read(io.BytesIO(b"b\n\na"), largest=100))
    [b'b', b'', b'a']
    """

    def read(self, file: BinaryIO, largest: int) -> Iterator[bytes]:
        """The records, without their newlines. See `RecordFormat`."""
        number = 0
        while line := file.readline(largest + 2):
            record = line[:-1] if line.endswith(b"\n") else line
            _check(number, len(record), largest)
            yield record
            number += 1

    def encode(self, record: bytes) -> bytes:
        """The record and its newline."""
        return record + b"\n"


@dataclass(frozen=True)
class LengthPrefixed:
    r"""Records behind their length, 4 bytes little-endian, so that they may hold any byte.

    >>> import io
    >>> LengthPrefixed().encode(b"a\nb")
    b'\x03\x00\x00\x00a\nb'
    """

    def read(self, file: BinaryIO, largest: int) -> Iterator[bytes]:
        """The records, without their lengths. See `RecordFormat`."""
        number = 0
        while prefix := file.read(4):
            length = int.from_bytes(prefix, "little")
            if len(prefix) == 4:
                _check(number, length, largest)
            record = file.read(length) if len(prefix) == 4 else b""
            if len(prefix) < 4 or len(record) < length:
                raise CorruptionError(f"record {number:,} is cut off: the file ends within it")
            yield record
            number += 1

    def encode(self, record: bytes) -> bytes:
        """The length and the record."""
        return len(record).to_bytes(4, "little") + record


def _check(number: int, size: int, largest: int) -> None:
    if size > largest:
        raise InvalidArgument(f"record {number:,} has over {largest:,} bytes: memory_limit is too small for it")
