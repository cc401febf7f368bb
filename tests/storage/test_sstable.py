"""Tables on disk: a dictionary in order, whose every changed bit is noticed, and what its filter saves."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.storage import SSTable, Tables, write_sstable

RECORDS = st.dictionaries(st.binary(max_size=12), st.binary(max_size=600), max_size=60)


def keys(count, start=0):
    return [b"key-%08d" % n for n in range(start, start + count)]


def table(path, count=5_000, start=0, **options):
    write_sstable(path, [(key, key[::-1]) for key in keys(count, start)], **options)
    return path


@given(records=RECORDS, asked=st.lists(st.binary(max_size=12), max_size=30), fpr=st.sampled_from([None, 0.1, 0.001]))
@settings(max_examples=80, deadline=None)
def test_it_answers_as_a_dictionary(tmp_path_factory, records, asked, fpr):
    path = tmp_path_factory.mktemp("t") / "table"
    assert write_sstable(path, sorted(records.items()), fpr=fpr) == len(records)
    with SSTable(path) as t:
        assert list(t) == sorted(records.items())
        assert len(t) == len(records)
        assert [t.get(key) for key in [*records, *asked]] == [records.get(key) for key in [*records, *asked]]


def test_a_hit_reads_one_block_and_a_miss_with_a_filter_mostly_none(tmp_path):
    with SSTable(table(tmp_path / "plain")) as plain, SSTable(table(tmp_path / "with", fpr=0.01)) as filtered:
        for key in keys(1_000):
            assert plain.get(key) == filtered.get(key) == key[::-1]
        assert plain.blocks_read == filtered.blocks_read == 1_000
        absent = [key + b"x" for key in keys(5_000)]
        assert {plain.get(key) for key in absent} == {filtered.get(key) for key in absent} == {None}
        assert plain.blocks_read == 6_000
        assert 1_000 <= filtered.blocks_read <= 1_000 + 90  # 50 expected of 5,000; a binomial stays below 90, p < 1e-6
        assert filtered.lookups_saved == 6_000 - filtered.blocks_read


def test_the_filter_can_be_left_on_the_disk(tmp_path):
    with SSTable(table(tmp_path / "t", fpr=0.01), use_filter=False) as t:
        assert t.filter is None
        assert t.get(b"absent key") is None
        assert (t.get(b"key-00000007x"), t.blocks_read) == (None, 1)


def test_before_the_first_key_nothing_is_read(tmp_path):
    with SSTable(table(tmp_path / "t")) as t:
        assert (t.get(b"a"), t.get(b""), t.blocks_read) == (None, None, 0)


def test_the_newest_table_answers(tmp_path):
    write_sstable(tmp_path / "old", [(b"a", b"1"), (b"b", b"1")])
    write_sstable(tmp_path / "new", [(b"b", b"2"), (b"c", b"2")])
    with SSTable(tmp_path / "new") as new, SSTable(tmp_path / "old") as old:
        store = Tables([new, old])
        assert [store.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"1", b"2", b"2", None]
        assert (
            store.blocks_read == new.blocks_read + old.blocks_read == 5
        )  # a comes before the first key of the new one


@pytest.mark.parametrize("fpr", [None, 0.05])
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, fpr):
    whole = table(tmp_path / "t", count=40, fpr=fpr).read_bytes()
    records = [(key, key[::-1]) for key in keys(40)]
    for at in range(len(whole)):
        (tmp_path / "bad").write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(CorruptionError), SSTable(tmp_path / "bad") as t:
            assert list(t) == records, "unreachable: reading it all must have raised"


def test_a_cut_or_extended_file_is_noticed(tmp_path):
    whole = table(tmp_path / "t", count=40).read_bytes()
    for bad in (b"", b"x", whole[:-1], whole[1:], whole + b"\0", whole[: len(whole) // 2]):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(CorruptionError), SSTable(tmp_path / "bad") as t:
            list(t)


@pytest.mark.parametrize(
    "items, why",
    [
        ([(b"b", b""), (b"a", b"")], "does not come after"),
        ([(b"a", b""), (b"a", b"")], "does not come after"),
        ([("a", b"")], "expected bytes"),
        ([(b"a", None)], "expected bytes"),
    ],
)
def test_bad_records_leave_no_file_and_the_old_one_alone(tmp_path, items, why):
    target = table(tmp_path / "t", count=3)
    before = target.read_bytes()
    with pytest.raises(InvalidArgument, match=why):
        write_sstable(target, items)
    assert target.read_bytes() == before
    assert os.listdir(tmp_path) == ["t"]


def test_a_source_that_breaks_leaves_no_file(tmp_path):
    def broken():
        yield b"a", b"1"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        write_sstable(tmp_path / "t", broken(), fpr=0.1)
    assert os.listdir(tmp_path) == []


def test_a_failed_open_leaks_no_descriptor(tmp_path):
    (tmp_path / "bad").write_bytes(b"x" * 100)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(CorruptionError):
            SSTable(tmp_path / "bad")
    assert before == (len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)
