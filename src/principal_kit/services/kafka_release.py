"""Which Kafka release a broker is: one ApiVersions request on a socket of its own.

The protocol names no release. A KRaft broker states how far its `metadata.version` feature goes, and every release
raised that level, so the level tells the release. An older or foreign server answers something else, or nothing.
"""

from __future__ import annotations

import io
import socket
import struct

from principal_kit.core.errors import ServiceError

API_VERSIONS, REQUEST_VERSION = 18, 3
UNSUPPORTED_VERSION = 35
_REPLY_BYTES_MAX = 1 << 20
# The lowest level of each release; source: org.apache.kafka.server.common.MetadataVersion, Apache Kafka 4.3.1.
LEVELS = ((31, "4.4 or newer"), (30, "4.3"), (28, "4.2"), (26, "4.1"), (22, "4.0"), (1, "3.x"))


def _request() -> bytes:
    """ApiVersions v3: header (key, version, correlation id, client id, no tags), then two compact strings, no tags."""
    name = b"principal-kit"
    header = struct.pack(">hhih", API_VERSIONS, REQUEST_VERSION, 1, len(name)) + name + b"\0"
    body = bytes([len(name) + 1]) + name + bytes([2]) + b"1" + b"\0"
    return struct.pack(">i", len(header + body)) + header + body


def _varint(stream: io.BytesIO) -> int:
    """An unsigned LEB128 number, as the protocol's flexible versions use."""
    value = shift = 0
    while True:
        (byte,) = stream.read(1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7
        if shift > 28:
            raise ValueError("a number of more than five bytes")


def _skip_tags(stream: io.BytesIO) -> None:
    for _ in range(_varint(stream)):
        _varint(stream)
        stream.read(_varint(stream))


def _supported_features(reply: bytes) -> dict[str, int]:
    """Feature name to the highest level the broker supports, from an ApiVersions v3 reply without its size."""
    stream = io.BytesIO(reply)
    _, error = struct.unpack(">ih", stream.read(6))
    if error == UNSUPPORTED_VERSION:
        return {}
    for _ in range(_varint(stream) - 1):
        stream.read(6)
        _skip_tags(stream)
    stream.read(4)  # throttle time
    features: dict[str, int] = {}
    for _ in range(_varint(stream)):
        tag, size = _varint(stream), _varint(stream)
        block = io.BytesIO(stream.read(size))
        if tag == 0:
            for _ in range(_varint(block) - 1):
                name = block.read(_varint(block) - 1).decode()
                features[name] = struct.unpack(">hh", block.read(4))[1]
                _skip_tags(block)
    return features


def release(host: str, port: int, seconds: float = 3.0) -> str:
    """The release line of the broker at host:port ("4.3"), "before 3.3" for one without KRaft. One round trip.

    Raises ServiceError if nothing there answers as Kafka within `seconds` a read.
    Source: KIP-511 (ApiVersions v3), KIP-584 (feature versions).
    """
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection, connection.makefile("rb") as stream:
            connection.sendall(_request())
            (size,) = struct.unpack(">i", stream.read(4))
            if not 6 <= size <= _REPLY_BYTES_MAX:
                raise ValueError(f"a reply of {size} bytes")
            level = _supported_features(stream.read(size)).get("metadata.version", 0)
    except (OSError, ValueError, struct.error) as error:
        raise ServiceError(f"{host}:{port} does not answer as Kafka: {error}") from error
    return next((line for lowest, line in LEVELS if level >= lowest), "before 3.3")
