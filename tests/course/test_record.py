"""Recorded runs: what goes in comes out, and nothing else is taken for one."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError, InvalidArgument, KitError, MissingPrerequisite
from principal_kit.course import project
from principal_kit.course.record import record, recorded


def told(value: object) -> str:
    """A parameter as a test's name: the same in every process, so without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


VALUES = {"seconds": 812.5, "keys": 10**9, "by_batch": [1, 2.5, None], "ours": {"peak_mib": 1146, "exact": False}}


def test_a_run_is_read_as_it_was_recorded(tmp_path):
    record("bloom-1b", VALUES, how="python benchmarks/crawl.py --keys 1000000000", folder=tmp_path)
    run = recorded("bloom-1b", folder=tmp_path)
    assert dict(run) == VALUES
    assert len(run) == 4
    assert "seconds" in run
    assert "minutes" not in run
    assert run.date.count("-") == 2
    assert "python benchmarks/crawl.py" in str(run)
    assert run.machine["cores"].endswith(("core", "cores"))
    with pytest.raises(InvalidArgument, match="no 'minutes'; it has by_batch, keys"):
        run["minutes"]


def test_numpy_values_are_plain_in_the_file(tmp_path):
    values = {"fpr": np.float64(0.25), "n": np.int64(3), "ok": np.bool_(True), "errors": np.array([1.5, 2.5])}
    record("numpy", values, how="x", folder=tmp_path)
    assert dict(recorded("numpy", folder=tmp_path)) == {"fpr": 0.25, "n": 3, "ok": True, "errors": [1.5, 2.5]}


def test_keys_are_sorted_and_a_second_run_takes_the_place_of_the_first(tmp_path):
    path = record("run", {"b": 1, "a": 2}, how="first", folder=tmp_path)
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    record("run", {"b": 3}, how="second", folder=tmp_path)
    assert dict(recorded("run", folder=tmp_path)) == {"b": 3}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": float("nan")}, {"x": float("inf")}, {"x": object()}, {"x": {1: 2}}, {"x": b"bytes"}, {},
        {"x": "/home/someone/file"}, {"deep": [{"x": "see /var/tmp/run.log"}]}, {"x": "~/file"}, {"x": "C:\\file"},
        {"x": np.array([1.0, np.nan])},
    ],
    ids=told,
)  # fmt: skip
def test_what_is_not_a_figure_is_refused_and_nothing_written(tmp_path, wrong):
    with pytest.raises(InvalidArgument):
        record("run", wrong, how="x", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["", "  ", "/usr/bin/python x.py", "python --out=/tmp/x"])
def test_how_is_a_command_without_absolute_paths(tmp_path, how):
    with pytest.raises(InvalidArgument):
        record("run", VALUES, how=how, folder=tmp_path)


@pytest.mark.parametrize("text", ["3 keys/s", "https://example.org/x", "benchmarks/x.py --out _build/x", "1 / 2"])
def test_slashes_that_start_no_path_are_fine(tmp_path, text):
    record("run", {"unit": text}, how=text, folder=tmp_path)
    assert recorded("run", folder=tmp_path)["unit"] == text


@pytest.mark.parametrize("name", ["", "Run", "../run", "a b", "a--b", None, "a.json"])
def test_names_are_plain_words(tmp_path, name):
    with pytest.raises(InvalidArgument):
        record(name, VALUES, how="x", folder=tmp_path)
    with pytest.raises(InvalidArgument):
        recorded(name, folder=tmp_path)


def test_a_missing_run_names_those_that_exist(tmp_path):
    with pytest.raises(MissingPrerequisite, match="there are: none"):
        recorded("sort", folder=tmp_path)
    record("bloom", VALUES, how="x", folder=tmp_path)
    with pytest.raises(KitError, match=r"'sort'.*there are: bloom"):
        recorded("sort", folder=tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"values": {}}'])
def test_another_file_is_not_read_as_a_run(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CorruptionError, match=r"run\.json"):
        recorded("run", folder=tmp_path)


def test_a_figure_changed_by_hand_is_noticed(tmp_path):
    path = record("run", VALUES, how="make it again", folder=tmp_path)
    path.write_text(path.read_text().replace("812.5", "81.25"))
    with pytest.raises(CorruptionError, match="checksum; run again: make it again"):
        recorded("run", folder=tmp_path)


figures = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
)


@given(st.dictionaries(st.text("abcdef_", min_size=1), figures, min_size=1, max_size=5))
def test_any_figures_make_the_way_there_and_back(tmp_path_factory, values):
    folder = tmp_path_factory.getbasetemp() / "records"
    record("any", values, how="x", folder=folder)
    assert dict(recorded("any", folder=folder)) == values


def test_every_committed_run_can_be_read():
    folder = project.root() / "data" / "runs"
    for path in folder.glob("*.json"):
        assert recorded(path.stem), path.name
        entry = json.loads(path.read_text())
        assert path.read_text() == json.dumps(entry, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
