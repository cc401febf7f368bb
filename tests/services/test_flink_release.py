"""Flink's distribution out of a source package: its jars alone, of the package that was pinned. pip is a stub."""

from __future__ import annotations

import io
import subprocess
import tarfile
from types import SimpleNamespace

import pytest

from principal_kit.core.errors import ServiceError
from principal_kit.services import flink_release as module


@pytest.fixture
def pip(monkeypatch):
    """`pip(names, code)`: a pip that brings a package with these files; keeps the commands it got."""
    commands = []

    def install(names, code=0):
        def run(command, **_):
            commands.append([str(word) for word in command])
            requirement = command[command.index("-r") + 1].read_text()
            assert requirement == f"{module.PACKAGE}=={module.WANTED['flink']} --hash=sha256:{module.SHA256}\n"
            with tarfile.open(command[-1] / "package.tar.gz", "w:gz") as archive:
                for name in names:
                    member = tarfile.TarInfo(name)
                    member.size = len(name)
                    archive.addfile(member, io.BytesIO(name.encode()))
            return SimpleNamespace(returncode=code, stdout="", stderr="ERROR: No matching distribution\n")

        fake = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)
        monkeypatch.setattr(module, "subprocess", fake)
        return commands

    return install


def test_jars_come_out_and_nothing_else(pip, tmp_path):
    commands = pip(
        ["p-1/deps/lib/flink-dist.jar", "p-1/deps/opt/flink-sql.jar", "p-1/deps/plugins/m/metrics.jar", "p-1/setup.py",
         "p-1/deps/lib/../../../escape.jar", "p-1/deps/lib/readme.txt"]
    )  # fmt: skip
    target = tmp_path / "jars"
    target.mkdir()
    module.copy_jars(target)
    assert {p.name: p.read_text() for p in target.iterdir()} == {
        "flink-dist.jar": "p-1/deps/lib/flink-dist.jar",
        "flink-sql.jar": "p-1/deps/opt/flink-sql.jar",
    }
    assert list(tmp_path.iterdir()) == [target], "the download is gone"
    assert {"--require-hashes", "--no-deps"} <= set(commands[0])


def test_a_failing_pip_shows_its_last_lines(pip, tmp_path):
    pip([], code=1)
    with pytest.raises(ServiceError, match=r"(?s)pip could not fetch apache-flink-libraries 2\.1\.3.*No matching"):
        module.copy_jars(tmp_path)
