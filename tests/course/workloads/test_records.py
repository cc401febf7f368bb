"""Records: the same for a seed, in their kinds, and a summary that notices every change."""

import numpy as np
import pytest

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.course.workloads import records


def rows_of(count, **options):
    return np.concatenate(list(records.batches(count, **({"seed": 1} | options))))


@pytest.mark.parametrize("keys, payload", [("uniform", "lines"), *((k, "random") for k in records.KEYS)])
def test_same_seed_same_records_and_their_numbers(keys, payload):
    rows = rows_of(25_000, keys=keys, payload=payload)
    assert rows.shape == (25_000, records.SIZE)
    assert (rows == rows_of(25_000, keys=keys, payload=payload)).all()
    numbers = rows[:, records.NUMBER].copy().view(">u8").ravel()
    assert (numbers[1:] > numbers[:-1]).all()
    if keys == "uniform":
        assert (rows[:12_000] == rows_of(12_000, payload=payload)).all()
        assert (rows[:, :10] != rows_of(25_000, seed=2, payload=payload)[:, :10]).any()


def test_kinds_are_what_they_say():
    keys = {kind: [bytes(row[:10]) for row in rows_of(20_000, keys=kind)] for kind in records.KEYS}
    assert keys["sorted"] == sorted(keys["sorted"])
    assert keys["reversed"] == sorted(keys["reversed"], reverse=True)
    assert len(set(keys["uniform"])) == 20_000
    assert len(set(keys["duplicates"])) <= 1000
    most = max(keys["duplicates"].count(key) for key in set(keys["duplicates"]))
    assert 9_700 < most < 10_300  # 10,000 expected, standard deviation 71
    assert 17_800 < sum(key.startswith(b"***") for key in keys["skewed"]) < 18_200


def test_lines_are_printable_and_text_repeats():
    lines = rows_of(3000, payload="lines").tobytes().splitlines(keepends=True)
    assert len(lines) == 3000
    assert all(len(line) == 100 and line[:-1].isascii() and min(line[:-1]) >= 32 for line in lines)
    assert len(np.unique(rows_of(3000, payload="text")[:, 20:34], axis=0)) == 4


def test_a_summary_of_any_order_has_the_same_checksum(tmp_path):
    records.write(tmp_path / "in", 12_345, seed=1, keys="duplicates")
    rows = np.fromfile(tmp_path / "in", dtype=np.uint8).reshape(-1, 100)
    before = records.summary(tmp_path / "in")
    assert (before.records, before.in_order, before.stable) == (12_345, False, False)
    order = sorted(range(len(rows)), key=lambda at: rows[at, :10].tobytes())
    rows[order].tofile(tmp_path / "out")
    after = records.summary(tmp_path / "out")
    distinct = len(np.unique(rows[:, :10], axis=0))
    assert after == (12_345, before.checksum, True, 12_345 - distinct, True)
    rows[order[::-1]].tofile(tmp_path / "back")
    assert not records.summary(tmp_path / "back").in_order
    unstable = sorted(range(len(rows)), key=lambda at: (rows[at, :10].tobytes(), -at))
    rows[unstable].tofile(tmp_path / "unstable")
    found = records.summary(tmp_path / "unstable")
    assert (found.in_order, found.stable, found.checksum) == (True, False, before.checksum)


@pytest.mark.parametrize("change", ["a bit", "a record twice", "two bytes swapped"])
def test_a_summary_notices_a_change(tmp_path, change):
    rows = rows_of(1000)
    rows.tofile(tmp_path / "a")
    if change == "a bit":
        rows[500, 77] ^= 4
    elif change == "a record twice":
        rows[500] = rows[501]
    else:
        rows[500, [40, 60]] = rows[500, [60, 40]]
    rows.tofile(tmp_path / "b")
    assert records.summary(tmp_path / "a").checksum != records.summary(tmp_path / "b").checksum


def test_bad_arguments_and_half_a_record(tmp_path):
    for options in ({"keys": "odd"}, {"payload": "odd"}, {"count": -1}, {"keys": "skewed", "payload": "lines"}):
        with pytest.raises(InvalidArgument):
            list(records.batches(**({"count": 1, "seed": 1} | options)))
    (tmp_path / "cut").write_bytes(b"x" * 150)
    with pytest.raises(CorruptionError, match="record 1 is cut off"):
        records.summary(tmp_path / "cut")
