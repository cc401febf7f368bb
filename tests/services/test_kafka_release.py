"""The release of a broker from its ApiVersions reply, on bytes written by hand and on hostile ones."""

from __future__ import annotations

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import ServiceError
from principal_kit.services import kafka_release as module


def reply(level: int | None, error: int = 0) -> bytes:
    """ApiVersions v3: two APIs, throttle time, and unless `level` is None the supported feature metadata.version."""
    name = b"metadata.version"
    body = (
        struct.pack(">ih", 1, error) + bytes([3]) + 2 * (struct.pack(">hhh", 18, 0, 4) + b"\0") + struct.pack(">i", 0)
    )
    if level is None:
        return body + b"\0"
    features = bytes([2, len(name) + 1]) + name + struct.pack(">hh", 1, level) + b"\0"
    unknown_tag = bytes([7, 3]) + b"abc"
    return body + bytes([2, 0, len(features)]) + features + unknown_tag


@pytest.fixture
def broker():
    """`broker(bytes)`: a server that answers every request with them; returns its port."""
    threads, sockets = [], []

    def serve(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def run():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return listener.getsockname()[1]

    yield serve
    for s in sockets:
        s.close()
    for thread in threads:
        thread.join()


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


@pytest.mark.parametrize(
    "level, line",
    [(1, "3.x"), (21, "3.x"), (22, "4.0"), (25, "4.0"), (27, "4.1"), (29, "4.2"), (30, "4.3"), (99, "4.4 or newer")],
)
def test_the_level_tells_the_release(broker, level, line):
    assert module.release("127.0.0.1", broker(framed(reply(level)))) == line


def test_a_broker_without_the_feature_is_before_kraft(broker):
    assert module.release("127.0.0.1", broker(framed(reply(None)))) == "before 3.3"


def test_a_broker_too_old_for_the_request_is_before_kraft(broker):
    too_old = struct.pack(">ihi", 1, 35, 0)  # answered in version 0 of the reply
    assert module.release("127.0.0.1", broker(framed(too_old))) == "before 3.3"


@pytest.mark.parametrize(
    "answer", [b"", b"\0", b"HTTP/1.1 400 Bad Request\r\n\r\n", framed(b"\0" * 6), framed(reply(30)[:20]), b"\xff" * 64]
)
def test_what_is_not_kafka_is_named(broker, answer):
    with pytest.raises(ServiceError, match="does not answer as Kafka"):
        module.release("127.0.0.1", broker(answer))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(body):
    """It returns features or raises what `release` turns into a ServiceError; nothing else, and it does not hang."""
    try:
        module._supported_features(struct.pack(">ih", 1, 0) + body)
    except (ValueError, struct.error):
        pass


@pytest.mark.integration
def test_the_real_broker_is_recognised(kafka_server):
    assert module.release("127.0.0.1", kafka_server.port) == kafka_server.version.rpartition(".")[0]
