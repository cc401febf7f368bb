"""What the deployed commands refuse before anything is asked of a server."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from principal_kit.services import deployed


@pytest.mark.parametrize(
    "source",
    [
        "postgres//user:sEcret@host/db",
        "host=db password=sEcret",
        "postgresql://user:%zzsEcret@host/db",  # no such escape
        "postgresql://user:sEcret/42@host/db",  # an unescaped slash: what is in front of it is host and port
    ],
)
def test_an_address_of_a_database_that_is_none_is_refused_without_its_password(monkeypatch, source):
    monkeypatch.setenv("PIPELINE_SOURCE", source)
    monkeypatch.setenv("PIPELINE_JOBS", "fraud=nowhere:8081")
    result = CliRunner().invoke(deployed.main, ["exporter"])
    assert result.exit_code == 1
    assert "PIPELINE_SOURCE is no address of a database" in result.output
    assert "sEcret" not in result.output


@pytest.mark.parametrize("source", ["postgresql://user:p%40ss@a:5432,b:5433/db", "postgres://host/db"])
def test_an_address_is_taken_as_it_is(monkeypatch, source):
    monkeypatch.setenv("PIPELINE_SOURCE", source)
    assert deployed.source() == source


def test_without_an_address_no_slots_are_watched(monkeypatch):
    monkeypatch.delenv("PIPELINE_SOURCE", raising=False)
    assert deployed.source() is None
