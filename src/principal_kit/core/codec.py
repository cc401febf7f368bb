"""Binary frames that know what they hold and notice damage: magic, kind, version, length, payload, checksum.

    "PKIT" | kind, 4 bytes | version, u16 | payload length, u64 | payload | XXH3-64 of all before it

Little-endian throughout. A frame that was cut, extended or changed in any bit is a CorruptionError, never data.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from principal_kit.core.errors import CorruptionError, InvalidArgument

MAGIC = b"PKIT"
_HEAD = struct.Struct("<4s4sHQ")
_SUM = struct.Struct("<Q")


def seal(kind: bytes, version: int, payload: bytes) -> bytes:
    """Frame `payload` as a value of `kind` (four ASCII bytes). O(n). Raises InvalidArgument on a bad kind or version.

    >>> unseal(b"DEMO", 1, seal(b"DEMO", 1, b"hello")).rest()
    b'hello'
    """
    if len(kind) != 4 or not 0 < version < 1 << 16:
        raise InvalidArgument(f"kind={kind!r}, version={version!r}: expected four bytes and a version in [1, 65535]")
    framed = _HEAD.pack(MAGIC, kind, version, len(payload)) + payload
    return framed + _SUM.pack(xxh3_64_intdigest(framed))


def unseal(kind: bytes, version: int, data: bytes) -> Reader:
    """Check a frame and return a reader of its payload. O(n), no copy of the payload.

    Raises InvalidArgument if `data` is not bytes-like, CorruptionError for anything that `seal` did not write as this
    kind, up to this version.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidArgument(f"data of type {type(data).__name__}: expected bytes")
    view = memoryview(data).cast("B")
    least = _HEAD.size + _SUM.size
    if len(view) < least:
        raise CorruptionError(f"{len(view)} bytes are too few for a frame (at least {least})")
    magic, found, written, length = _HEAD.unpack_from(view)
    # The checksum comes first: after it, a surprising field is a different kind of value and not a damaged one.
    if magic != MAGIC or length != len(view) - least:
        raise CorruptionError(f"not a whole frame: magic {magic!r}, {len(view)} bytes for a payload of {length}")
    (expected,) = _SUM.unpack_from(view, len(view) - _SUM.size)
    if xxh3_64_intdigest(view[: -_SUM.size]) != expected:
        raise CorruptionError(f"the checksum of a {found!r} frame does not match: its bytes were changed")
    if found != kind:
        raise CorruptionError(f"the frame holds {found!r}, expected {kind!r}")
    if not 0 < written <= version:
        raise CorruptionError(f"{kind!r} version {written} is unknown here; this kit reads up to version {version}")
    return Reader(view[_HEAD.size : -_SUM.size], written)


class Writer:
    """Builds a payload: `pack` for fields, `array` for numpy arrays, `blob` for bytes with their length in front."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def pack(self, fields: str, *values: Any) -> Writer:
        """Append values in `struct` notation, little-endian, without padding. Returns self."""
        self._parts.append(struct.pack("<" + fields, *values))
        return self

    def array(self, values: np.ndarray) -> Writer:
        """Append the number of elements and the elements, little-endian; shape and dtype are the reader's business."""
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        return self.blob(little.tobytes(), count=little.size)

    def blob(self, data: bytes, count: int | None = None) -> Writer:
        """Append a length (or `count`) as u64 and the bytes. Returns self."""
        self._parts += (_SUM.pack(len(data) if count is None else count), data)
        return self

    def payload(self) -> bytes:
        """All that was appended. O(n)."""
        return b"".join(self._parts)


class Reader:
    """Reads a payload in the order it was written; every read is checked against what is left."""

    def __init__(self, view: memoryview, version: int) -> None:
        self.version = version
        self._view, self._at = view, 0

    def unpack(self, fields: str) -> tuple[Any, ...]:
        """The next values in `struct` notation. Raises CorruptionError when the payload ends before them."""
        return struct.unpack("<" + fields, self._take(struct.calcsize("<" + fields)))

    def array(self, dtype: Any) -> np.ndarray:
        """The next array as a copy of one dimension. Raises CorruptionError when it is cut short."""
        (count,) = self.unpack("Q")
        kind = np.dtype(dtype).newbyteorder("<")
        return np.frombuffer(self._take(count * kind.itemsize), dtype=kind).astype(np.dtype(dtype))

    def blob(self) -> bytes:
        """The next bytes with a length in front."""
        (length,) = self.unpack("Q")
        return bytes(self._take(length))

    def rest(self) -> bytes:
        """All that was not read yet."""
        return bytes(self._take(len(self._view) - self._at))

    def end(self) -> None:
        """Raise CorruptionError unless everything was read."""
        if self._at != len(self._view):
            raise CorruptionError(f"{len(self._view) - self._at} bytes are left over in the payload")

    def _take(self, count: int) -> memoryview:
        if count > len(self._view) - self._at:
            raise CorruptionError(f"the payload ends {count - (len(self._view) - self._at)} bytes too early")
        self._at += count
        return self._view[self._at - count : self._at]
