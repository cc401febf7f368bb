"""PostgreSQL: a real server, with logical replication, that comes back from a kill with what it committed."""

from __future__ import annotations

import os

import psutil
import psycopg
import pytest

from principal_kit import services
from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import postgres_server as module

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server():
    with services.postgres(fresh=True) as endpoint:
        yield endpoint


def test_it_is_a_database_with_logical_replication(server):
    with server.connect() as connection:
        assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SELECT current_database()").fetchone() == ("shop",)
        assert connection.execute("SHOW server_version").fetchone()[0].startswith(server.version)


def test_nobody_connects_without_the_password_or_from_elsewhere(server):
    with pytest.raises(psycopg.OperationalError, match=r"no password supplied|password authentication failed"):
        psycopg.connect(host=server.host, port=server.port, user=server.user, password="", dbname="shop")
    listens = [c.laddr.ip for c in psutil.Process(server.pid).net_connections(kind="inet") if c.status == "LISTEN"]
    assert set(listens) == {"127.0.0.1"}
    assert server.password not in repr(server)
    assert server.password not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_it_does_not_run_as_root(server):
    assert psutil.Process(server.pid).uids().effective != 0


def test_a_killed_server_comes_back_with_what_it_committed():
    with services.postgres(fresh=True) as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
            connection.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        folder, first = server._process.directory.parent, server.pid
        server.kill()
        assert not server.alive
        server.start()
        assert server.pid != first
        with server.connect() as connection:
            assert connection.execute("SELECT count(*), sum(n) FROM kept").fetchone() == (1000, 500500)
            assert connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == [("s",)]
    assert not folder.exists()


def test_an_occupied_port_is_named(server):
    with pytest.raises(ServiceError, match=f"port {server.port} is occupied"):
        services.postgres(port=server.port)


def test_the_environment_names_an_external_one(server, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_POSTGRES", server.dsn)
    external = services.postgres()
    assert (external.source, external.address, external.version) == ("external", server.address, server.version)
    with external.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    external.stop()
    assert server.alive


@pytest.mark.parametrize("text", ["localhost:5432", "postgresql://host", "postgresql://kit:secret@host:port/shop", "x"])
def test_a_malformed_address_is_refused_and_not_repeated(monkeypatch, text):
    monkeypatch.setenv("PRINCIPAL_KIT_POSTGRES", text)
    with pytest.raises(InvalidArgument, match="expected postgresql://") as error:
        services.postgres()
    assert "secret" not in str(error.value)


def test_nothing_there(monkeypatch, free_tcp_port):
    monkeypatch.setenv("PRINCIPAL_KIT_POSTGRES", f"postgresql://kit:secret@127.0.0.1:{free_tcp_port}/shop")
    with pytest.raises(ServiceError, match="nothing accepts connections") as error:
        services.postgres()
    assert "secret" not in str(error.value)


def test_no_postgresql_names_the_command(monkeypatch):
    monkeypatch.setattr(module.Path, "glob", lambda *_: iter(()))
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(MissingPrerequisite, match="apt-get install postgresql"):
        module.binary()
