"""The jar cache: whole or refused, fetched once, safe to fetch twice at once. Maven is a script here."""

from __future__ import annotations

import hashlib
import shutil
import threading

import pytest
from click.testing import CliRunner

from principal_kit.core.errors import CorruptionError, InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import jars

CONTENT = {"alpha-1.0.jar": b"alpha", "beta-1.0.jar": b"beta" * 1000}


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, and a manifest with one set, demo-1.0."""
    manifest = tmp_path / "jars.sha256"
    lines = [f"{hashlib.sha256(data).hexdigest()}  demo-1.0/{name}" for name, data in CONTENT.items()]
    manifest.write_text("\n".join(["# a comment", *lines]) + "\n")
    monkeypatch.setattr(jars, "MANIFEST", manifest)
    monkeypatch.setattr(jars, "SETS", {"demo": "1.0"})
    monkeypatch.setattr(jars, "PUBLISHED", ("demo",))
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def maven(monkeypatch, tmp_path):
    """`maven(content, tail)`: an `mvn` on the PATH that puts the files where it is told; counts its runs in `calls`."""
    source, calls, folder = tmp_path / "repository", tmp_path / "calls", tmp_path / "bin"
    for place in (source, calls, folder):
        place.mkdir()

    def install(content=CONTENT, last=""):
        for old in source.iterdir():
            old.unlink()
        for name, data in content.items():
            (source / name).write_bytes(data)
        program = folder / "mvn"
        program.write_text(
            f"""#!/bin/sh
for word in "$@"; do case "$word" in -DoutputDirectory=*) out="${{word#-DoutputDirectory=}}";; esac; done
: > {calls}/$$
cp {source}/* "$out"
{last}
"""
        )
        program.chmod(0o755)
        return calls

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return install


def runs(calls) -> int:
    return len(list(calls.iterdir()))


def leftovers(cache) -> list[str]:
    return [p.name for p in (cache / "jars").iterdir() if p.name.startswith(".") and p.name != ".lock"]


def test_fetched_once_then_offline(cache, maven):
    calls = maven()
    assert jars.fetch("demo") is True
    assert {p.name: p.read_bytes() for p in jars.verified("demo").glob("*.jar")} == CONTENT
    assert jars.fetch("demo") is False
    assert runs(calls) == 1
    assert leftovers(cache) == []


def test_never_fetched_names_the_command(cache):
    with pytest.raises(
        MissingPrerequisite, match=r"demo 1\.0 jars are not in the cache: run `python -m .*jars fetch demo`"
    ):
        jars.verified("demo")


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda d: (d / "beta-1.0.jar").unlink(), r"beta-1\.0\.jar is missing"),
        (lambda d: (d / "alpha-1.0.jar").write_bytes(b"alphA"), r"alpha-1\.0\.jar fails its checksum"),
        (lambda d: (d / "alpha-1.0.jar").write_bytes(b""), r"alpha-1\.0\.jar fails its checksum"),
        (lambda d: (d / "evil.jar").write_bytes(b"!"), r"evil\.jar does not belong there"),
    ],
)
def test_damage_is_found_named_and_mended(cache, maven, damage, problem):
    calls = maven()
    jars.fetch("demo")
    damage(jars.directory("demo"))
    with pytest.raises(CorruptionError, match=rf"{problem}.*jars fetch demo` mends it"):
        jars.verified("demo")
    assert jars.fetch("demo") is True
    assert jars.verified("demo") == jars.directory("demo")
    assert runs(calls) == 2
    assert leftovers(cache) == []


def test_a_failing_maven_shows_its_last_lines_and_leaves_nothing(cache, maven):
    maven(last="echo '[ERROR] Could not transfer artifact'; exit 1")
    with pytest.raises(ServiceError, match=r"(?s)Maven could not fetch.*Could not transfer artifact"):
        jars.fetch("demo")
    assert not jars.directory("demo").exists()
    assert leftovers(cache) == []


def test_what_is_not_in_the_manifest_is_not_kept(cache, maven):
    maven({**CONTENT, "alpha-1.0.jar": b"tampered"})
    with pytest.raises(CorruptionError, match=r"not what jars\.sha256 lists: alpha-1\.0\.jar fails.*nothing was kept"):
        jars.fetch("demo")
    assert not jars.directory("demo").exists()
    assert leftovers(cache) == []


def test_a_good_cache_survives_a_bad_fetch(cache, maven):
    maven()
    jars.fetch("demo")
    (jars.directory("demo") / "beta-1.0.jar").unlink()
    maven({"alpha-1.0.jar": b"tampered"})
    with pytest.raises(CorruptionError):
        jars.fetch("demo")
    assert (jars.directory("demo") / "alpha-1.0.jar").read_bytes() == CONTENT["alpha-1.0.jar"]


def test_two_fetches_at_once_both_end_well(cache, maven):
    maven()
    outcomes = []

    def fetch():
        outcomes.append(jars.fetch("demo"))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    assert jars.problems("demo", jars.directory("demo")) == []
    assert leftovers(cache) == []


def test_a_whole_set_that_came_meanwhile_stays_where_it_is(cache, maven, monkeypatch):
    """It was moved away and replaced by its equal, and for a moment whoever looked found nothing."""
    maven()
    copy_set, there = jars._copy_set, jars.directory("demo")

    def slower(name):
        target = copy_set(name)
        shutil.copytree(target, there)
        slower.other = there.stat().st_ino
        return target

    monkeypatch.setattr(jars, "_copy_set", slower)
    jars.fetch("demo")
    assert there.stat().st_ino == slower.other
    assert leftovers(cache) == []


def test_without_maven_the_command_that_installs_it_is_named(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match=r"apt-get install maven.*brew install maven"):
        jars.fetch("demo")


def test_an_unknown_set_lists_the_known(cache):
    with pytest.raises(InvalidArgument, match="jar set 'flink' is unknown; known: demo"):
        jars.directory("flink")


def test_the_command_line(cache, maven):
    maven()
    first = CliRunner().invoke(jars.main, ["fetch"])
    assert (first.exit_code, "fetched and verified" in first.output) == (0, True)
    second = CliRunner().invoke(jars.main, ["fetch", "demo"])
    assert (second.exit_code, "in the cache, verified" in second.output) == (0, True)
    assert CliRunner().invoke(jars.main, ["fetch", "flink"]).exit_code != 0
    maven(last="exit 1")
    (jars.directory("demo") / "beta-1.0.jar").unlink()
    failed = CliRunner().invoke(jars.main, ["fetch"])
    assert failed.exit_code == 1
    assert "Maven could not fetch the demo jars" in failed.output


def test_lock_writes_what_verify_reads(cache, maven):
    maven({"gamma-2.0.jar": b"gamma"})
    assert CliRunner().invoke(jars.main, ["lock"]).exit_code == 0
    assert jars.manifest("demo") == {"gamma-2.0.jar": hashlib.sha256(b"gamma").hexdigest()}
    assert jars.fetch("demo") is True


def test_the_real_cache_is_whole():
    """Of the sets beyond the published ones, those that somebody fetched."""
    for name in jars.SETS:
        if name not in jars.PUBLISHED and not jars.directory(name).is_dir():
            continue
        assert jars.problems(name, jars.directory(name)) == []
