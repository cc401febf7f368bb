import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.codec import Writer, seal, unseal
from principal_kit.core.errors import CorruptionError, InvalidArgument


@given(st.binary(max_size=200), st.integers(1, 65535))
def test_what_was_sealed_comes_back(payload, version):
    assert unseal(b"TEST", version, seal(b"TEST", version, payload)).rest() == payload


@given(st.binary(max_size=40), st.data())
def test_a_flipped_bit_anywhere_is_corruption(payload, data):
    frame = bytearray(seal(b"TEST", 1, payload))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptionError):
        unseal(b"TEST", 1, bytes(frame))


@given(st.binary(max_size=40), st.data())
def test_cut_or_extended_is_corruption(payload, data):
    frame = seal(b"TEST", 1, payload)
    cut = data.draw(st.integers(0, len(frame) - 1))
    for damaged in (frame[:cut], frame + b"\0", b"\0" + frame):
        with pytest.raises(CorruptionError):
            unseal(b"TEST", 1, damaged)


def test_another_kind_or_a_newer_version_is_refused():
    with pytest.raises(CorruptionError, match="holds b'AAAA', expected b'BBBB'"):
        unseal(b"BBBB", 1, seal(b"AAAA", 1, b""))
    with pytest.raises(CorruptionError, match="version 2 is unknown"):
        unseal(b"AAAA", 1, seal(b"AAAA", 2, b""))


@pytest.mark.parametrize("kind, version", [(b"ABC", 1), (b"ABCDE", 1), (b"ABCD", 0), (b"ABCD", 65536)])
def test_bad_kinds_and_versions_are_refused(kind, version):
    with pytest.raises(InvalidArgument):
        seal(kind, version, b"")


def test_text_is_not_bytes():
    with pytest.raises(InvalidArgument, match="str"):
        unseal(b"TEST", 1, "PKIT")


def test_fields_arrays_and_blobs_come_back_in_order():
    counts = np.arange(6, dtype=np.uint32).reshape(2, 3)
    writer = Writer().pack("IdB", 7, 0.5, 1).array(counts).blob(b"abc").array(np.empty(0, dtype=np.float64))
    reader = unseal(b"TEST", 1, seal(b"TEST", 1, writer.payload()))
    assert reader.unpack("IdB") == (7, 0.5, 1)
    array = reader.array(np.uint32)
    assert array.tolist() == [0, 1, 2, 3, 4, 5]
    assert array.flags.writeable
    assert reader.blob() == b"abc"
    assert len(reader.array(np.float64)) == 0
    reader.end()


def test_reading_past_the_end_or_leaving_something_is_corruption():
    reader = unseal(b"TEST", 1, seal(b"TEST", 1, Writer().pack("I", 1).payload()))
    with pytest.raises(CorruptionError, match="left over"):
        reader.end()
    with pytest.raises(CorruptionError, match="too early"):
        reader.unpack("Q")


def test_a_length_that_lies_does_not_allocate():
    reader = unseal(b"TEST", 1, seal(b"TEST", 1, Writer().pack("Q", 1 << 60).payload()))
    with pytest.raises(CorruptionError, match="too early"):
        reader.array(np.uint64)
