"""The real data sets: they are what their page says, and a changed file is noticed."""

import doctest
import gzip
import hashlib
import importlib.util
import io
import tarfile

import numpy as np
import pandas as pd
import pytest

from principal_kit.core.errors import CorruptionError, InvalidArgument, MissingPrerequisite
from principal_kit.course import data, project

FOLDER = project.root() / "data"


@pytest.fixture(scope="module")
def table():
    return data.flights()


def test_flights_are_the_published_table(table):
    """The counts that the source's documentation gives, and what can be recounted by hand."""
    assert len(table) == 336_776
    assert set(table.origin.unique()) == {"EWR", "JFK", "LGA"}
    assert (table.carrier.nunique(), table.dest.nunique(), table.tailnum.nunique()) == (16, 105, 4043)
    assert table.carrier.value_counts()["UA"] == 58_665
    assert table.dep_delay.isna().sum() == 8255
    assert (table.arr_delay.isna() & table.dep_delay.notna()).sum() == 1175
    assert table.tailnum.isna().sum() == 2512
    assert table.dep_delay.max() == 1301
    assert np.isclose(table.dep_delay.mean(), 12.63907)


def test_flights_are_in_order_of_their_time_and_all_of_2013(table):
    assert table.scheduled.is_monotonic_increasing
    assert (table.scheduled.min(), table.scheduled.max()) == (
        pd.Timestamp("2013-01-01 05:15"),
        pd.Timestamp("2013-12-31 23:59"),
    )


def test_flights_reads_only_the_columns_asked_for_in_their_order():
    few = data.flights(["carrier", "arr_delay"])
    assert list(few) == ["carrier", "arr_delay"]
    with pytest.raises(InvalidArgument, match=r"'delay'.*it has scheduled"):
        data.flights(["delay"])


def test_every_call_has_its_own_table(table):
    mine = data.flights(["distance"])
    mine.loc[:, "distance"] = 0
    assert (data.flights(["distance"]).distance > 0).all()


def test_words_are_words():
    listed = data.words()
    assert len(listed) == len(set(listed)) == 74_744
    assert listed == sorted(listed)
    assert {"distributed", "algorithm", "zebra", "America"} <= set(listed)
    assert all(word and "'" not in word and not any(map(str.isspace, word)) for word in listed)


@pytest.mark.parametrize("name, load", [("flights.parquet", data.flights), ("words.txt.gz", data.words)])
def test_a_changed_or_missing_file_is_not_loaded(tmp_path, monkeypatch, name, load):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    with pytest.raises(MissingPrerequisite, match=name):
        load()
    content = bytearray((FOLDER / name).read_bytes())
    (tmp_path / "data" / name).write_bytes(content)
    assert len(load()) > 0
    content[len(content) // 2] ^= 1
    (tmp_path / "data" / name).write_bytes(content)
    with pytest.raises(CorruptionError, match="it was changed"):
        load()


def test_every_file_has_a_checksum_a_source_and_a_licence():
    page = (FOLDER / "README.md").read_text()
    sets = {path.name for path in FOLDER.iterdir() if path.suffix in (".parquet", ".gz", ".csv")}
    assert sets == set(data.SHA256)
    for name in sets:
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        for heading in ("**Source**", "**Licence**", "**What was changed**", "**Make it again**"):
            assert heading in section, f"{name}: {heading}"
    assert sum((FOLDER / name).stat().st_size for name in sets) < 6e6


@pytest.fixture
def build(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def tarball(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_the_builder_reads_a_debian_package_and_sorts_its_words(build, tmp_path):
    files = {
        "./usr/share/dict/american-english": "zoo\nzoo's\nÅngström\napple\n".encode(),
        "./usr/share/doc/wamerican/copyright": b"free",
    }
    inner = tarball(files, "w:xz")
    package = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", inner)):
        package += f"{name:<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(content):<10}`\n".encode()
        package += content + b"\n" * (len(content) % 2)
    path = build.words(package)
    assert gzip.decompress(path.read_bytes()).decode() == "apple\nzoo\nÅngström\n"
    assert (tmp_path / "words.licence.txt").read_bytes() == b"free"


def test_the_builder_refuses_another_package(build, monkeypatch, tmp_path):
    other = tmp_path / "other.deb"
    other.write_bytes(b"!<arch>\n")
    monkeypatch.setattr("sys.argv", ["build.py", "words", str(other)])
    with pytest.raises(SystemExit, match="not the package"):
        build.main()
    assert len(build.PACKAGES["flights"]) == len(hashlib.sha256().hexdigest())


def test_examples_in_docstrings_hold():
    assert doctest.testmod(data).failed == 0
    assert doctest.testmod(data).attempted == 2
