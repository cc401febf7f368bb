"""The jobs' format: compiled once, of what it says, and again when its source changes. Its rules: tests/platform."""

from __future__ import annotations

import zipfile

import pytest

from principal_kit.core.errors import MissingPrerequisite, ServiceError
from principal_kit.services import flink_format as module
from principal_kit.services import jars


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A cache whose jars are the real ones and which has no format yet."""
    if not jars.directory("flink").is_dir():
        pytest.skip("Flink's jars were not fetched")
    for name in ("flink", "ecj"):
        real = jars.directory(name)
        (tmp_path / "jars").mkdir(exist_ok=True)
        (tmp_path / "jars" / real.name).symlink_to(real)
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    return tmp_path / "jars"


@pytest.mark.slow
def test_it_is_compiled_once_and_flink_finds_it(here, monkeypatch):
    jar = module.jar()
    with zipfile.ZipFile(jar) as archive:
        factory = archive.read(module._SERVICE).decode().strip()
        assert f"{factory.replace('.', '/')}.class" in archive.namelist()
    monkeypatch.setattr(module.subprocess, "run", None)  # not called again
    assert module.jar() == jar
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_what_does_not_compile_leaves_nothing_and_says_where(here, monkeypatch, tmp_path):
    source = tmp_path / module.SOURCE.name
    source.write_text(module.SOURCE.read_text().replace("DIGITS_MAX = 18;", "DIGITS_MAX = many;"))
    monkeypatch.setattr(module, "SOURCE", source)
    with pytest.raises(ServiceError, match=r"(?s)does not compile against Flink.*many cannot be resolved"):
        module.jar()
    assert not module.path().exists()


def test_another_source_is_another_jar(monkeypatch, tmp_path):
    before = module.path()
    source = tmp_path / module.SOURCE.name
    source.write_text(module.SOURCE.read_text() + "// changed")
    monkeypatch.setattr(module, "SOURCE", source)
    assert module.path() != before


def test_without_the_compiler_the_command_that_fetches_it_is_named(here):
    (here / jars.directory("ecj").name).unlink()
    with pytest.raises(MissingPrerequisite, match=r"jars fetch ecj"):
        module.jar()
