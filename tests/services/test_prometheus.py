"""Where Prometheus' checker is found, and what is said when it is not there."""

import pytest

from principal_kit import services
from principal_kit.core.errors import MissingPrerequisite


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def program(folder):
    folder.mkdir(parents=True)
    path = folder / "promtool"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_one_on_the_path_comes_first_then_the_cache_s(nowhere):
    with pytest.raises(MissingPrerequisite, match=r"scripts/promtool\.sh --where"):
        services.promtool()
    cached = program(nowhere / "cache" / "tools")
    assert services.promtool() == cached
    on_the_path = program(nowhere / "bin")
    assert services.promtool() == on_the_path
