"""Class archives are a cache: used when whole, ignored when not, never the reason for a failure."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.services import class_archive as module
from principal_kit.services import jars, java


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache with (empty) folders of jars and no archive."""
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path / "cache"))
    for name in jars.SETS:
        jars.directory(name).mkdir(parents=True)
    return tmp_path / "cache" / "classes"


@pytest.fixture
def training(monkeypatch):
    """`training(bytes)`: what the training process leaves where it is told; None for nothing. Counts the runs."""
    runs = []

    def install(content):
        def run(command, **_):
            runs.append(command[-2])
            if content is not None:
                with open(command[-1], "wb") as file:
                    file.write(content)
            return SimpleNamespace(stdout="", stderr="OutOfMemoryError\n", returncode=int(content is None))

        monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired))
        return runs

    return install


def test_without_an_archive_there_are_no_flags(cache):
    assert module.flags("kafka") == module.flags("spark") == []


def test_without_java_or_jars_there_are_no_flags(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert module.flags("kafka") == []


def test_made_once_and_then_used(cache, training):
    runs = training(b"classes")
    assert module.make("kafka") is True
    assert module.make("kafka") is False
    assert runs == ["kafka"]
    assert module.flags("kafka")[0] == f"-XX:SharedArchiveFile={module.find('kafka')}"
    assert list(cache.iterdir()) == [module.find("kafka")]


def test_other_jars_need_another_archive(cache, training):
    training(b"classes")
    module.make("kafka")
    os.utime(jars.directory("kafka"), ns=(1, 1))
    assert module.flags("kafka") == []
    assert module.make("kafka") is True


def test_a_start_that_leaves_none_is_named_and_leaves_nothing(cache, training):
    training(None)
    with pytest.raises(ServiceError, match=r"(?s)no class archive of spark came of its start.*OutOfMemoryError"):
        module.make("spark")
    assert list(cache.iterdir()) == []


def test_only_the_newest_are_kept(cache, training):
    training(b"classes")
    for moment in range(1, 6):
        os.utime(jars.directory("kafka"), ns=(moment, moment))
        module.make("kafka")
        os.utime(module.find("kafka"), (moment, moment))
    assert len(list(cache.iterdir())) == 3
    assert module.find("kafka") is not None


def test_an_unknown_kind_is_refused(cache):
    with pytest.raises(InvalidArgument, match="no class archive; known: kafka, spark, flink"):
        module.make("redis")


@pytest.fixture(scope="module")
def real_archive(tmp_path_factory):
    """A small archive that this Java has really written."""
    target = tmp_path_factory.mktemp("classes") / "version.jsa"
    subprocess.run([java.require(), *module.dump_flags(target), "-version"], check=True, capture_output=True)
    return target.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b,
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b"not an archive" * 1000,
        lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 0xFF]) + b[len(b) // 2 + 1 :],
        lambda b: b[:4000] + b"\xff" * 8000 + b[12000:],
    ],
    ids=["whole", "cut", "empty", "foreign", "one byte", "a page"],
)
def test_java_starts_with_any_archive_and_says_nothing_of_it(cache, training, real_archive, damage):
    training(real_archive)
    module.make("kafka")
    archive = module.find("kafka")
    archive.chmod(0o600)
    archive.write_bytes(damage(real_archive))
    flags = module.flags("kafka")
    assert bool(flags) == archive.exists() == (damage(real_archive) == real_archive)
    done = subprocess.run([java.require(), *flags, "-version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("openjdk version")


def test_a_whole_archive_of_another_class_path_is_no_fault(cache, training, real_archive, tmp_path):
    training(real_archive)
    module.make("kafka")
    command = [java.require(), *module.flags("kafka"), "-cp", str(tmp_path), "-version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
