"""How the exporter asks a database for its slots; the answers are a real server's in `test_exporter_live.py`."""

from __future__ import annotations

import psycopg
import pytest

from principal_kit.platform import exporter
from principal_kit.platform.metrics import SlotState


@pytest.fixture
def asked(monkeypatch):
    """What psycopg was asked, with an answer of one slot."""
    found = {}

    class Connection:
        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def execute(self, query):
            found["query"] = query
            return self

        def fetchall(self):
            return [("store", True, 10, "reserved")]

    def connect(dsn, **options):
        found.update(options, dsn=dsn)
        return Connection()

    monkeypatch.setattr(psycopg, "connect", connect)
    return found


def test_a_server_that_falls_silent_after_the_login_is_waited_for_no_longer_than_said(asked):
    assert exporter.slot_states("postgresql://u@h/d", seconds=2.5) == {"store": SlotState(True, 10, "reserved")}
    assert asked["connect_timeout"] == 3
    assert asked["options"] == "-c statement_timeout=2500"
    assert asked["tcp_user_timeout"] == 2500
    assert (asked["keepalives_idle"], asked["keepalives_interval"], asked["keepalives_count"]) == (3, 1, 3)


def test_options_of_the_address_are_kept(asked):
    exporter.slot_states("postgresql://u@h/d?options=-c%20search_path%3Dshop", seconds=1)
    assert asked["options"] == "-c search_path=shop -c statement_timeout=1000"


def test_only_logical_slots_of_the_database_itself_are_asked_for(asked):
    exporter.slot_states("postgresql://u@h/d")
    assert "slot_type = 'logical' AND database = current_database()" in asked["query"]
