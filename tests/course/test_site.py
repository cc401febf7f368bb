"""The site's third-party scripts: fetched once, checked always, never read half."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from pathlib import Path

import pytest

from principal_kit.core.errors import CorruptionError, MissingPrerequisite, ServiceError
from principal_kit.course import site

SCRIPT = b"console.log('fake')"


class FakeMaven:
    """A `mvn` on the path that copies a jar of ours, counts its calls, and can be told to fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls"
        (folder / "bin").mkdir()

    def serves(self, asset: site.Asset, content: bytes) -> None:
        jar = self.folder / f"{asset.artifact}.jar"
        with zipfile.ZipFile(jar, "w") as archive:
            archive.writestr(asset.member, content)
        self._write(
            f'echo "$@" >> {self.log}\n'
            f'for a in "$@"; do case $a in -DoutputDirectory=*) cp {jar} "${{a#*=}}";; esac; done'
        )

    def fails(self) -> None:
        self._write('echo "[ERROR] no route to the repository"; exit 1')

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def _write(self, body: str) -> None:
        program = self.folder / "bin" / "mvn"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def asset(monkeypatch: pytest.MonkeyPatch) -> site.Asset:
    fake = site.Asset("fake", "1.2", "dist/fake.min.js", sha256=hashlib.sha256(SCRIPT).hexdigest())
    monkeypatch.setattr(site, "ASSETS", (fake,))
    return fake


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMaven:
    (tmp_path / "maven").mkdir()
    fake = FakeMaven(tmp_path / "maven")
    monkeypatch.setenv("PATH", f"{tmp_path / 'maven' / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path / "cache"))
    return fake


def test_a_script_is_taken_out_of_its_webjar(asset, maven):
    maven.serves(asset, SCRIPT)
    folder = site.fetch_assets()
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("fake-1.2.js", SCRIPT)]
    assert "-Dartifact=org.webjars.npm:fake:1.2" in maven.calls()[0]


def test_the_second_time_nothing_is_asked_for(asset, maven):
    maven.serves(asset, SCRIPT)
    site.fetch_assets()
    site.fetch_assets()
    assert len(maven.calls()) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(asset, maven):
    maven.serves(asset, SCRIPT)
    target = site.fetch_assets() / asset.name
    target.write_bytes(SCRIPT[:-1])
    site.fetch_assets()
    assert target.read_bytes() == SCRIPT


def test_other_bytes_than_expected_are_refused_and_leave_no_file(asset, maven):
    maven.serves(asset, SCRIPT + b";evil()")
    with pytest.raises(CorruptionError, match=r"org\.webjars\.npm:fake:1\.2"):
        site.fetch_assets()
    assert list(site.assets_dir().iterdir()) == []


def test_mavens_last_words_are_in_the_error(asset, maven):
    maven.fails()
    with pytest.raises(ServiceError, match="no route to the repository"):
        site.fetch_assets()


def test_without_maven_the_error_names_the_command(asset, maven, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingPrerequisite, match="apt-get install maven"):
        site.fetch_assets()
