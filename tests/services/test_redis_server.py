"""Redis, embedded and attached."""

from __future__ import annotations

import socket
import threading

import psutil
import pytest

from principal_kit import services
from principal_kit.core.errors import InvalidArgument, KitError, MissingPrerequisite, ServiceError
from principal_kit.services import process as ports
from principal_kit.services import redis_server as module

pytestmark = pytest.mark.integration


@pytest.fixture
def occupied():
    """A port on which something that is not Redis listens and hangs up."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        taken.settimeout(0.2)
        done = threading.Event()

        def hang_up():
            while not done.is_set():
                try:
                    connection, _ = taken.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield taken.getsockname()[1]
        done.set()
        thread.join()


def test_it_is_the_real_one(redis_server):
    client = redis_server.client()
    client.set("services:key", "value")
    assert client.get("services:key") == b"value"
    assert redis_server.client(decode_responses=True).get("services:key") == "value"
    assert client.info("server")["redis_version"] == redis_server.version
    assert client.info("server")["process_id"] == redis_server.pid
    assert redis_server.source == "embedded"
    assert redis_server.url == f"redis://127.0.0.1:{redis_server.port}/0"


def test_it_listens_on_loopback_only(redis_server, listening):
    addresses = listening(redis_server.pid)
    assert [a.port for a in addresses] == [redis_server.port]
    assert {a.ip for a in addresses} == {"127.0.0.1"}


def test_it_writes_nothing_to_disk(redis_server):
    config = redis_server.client(decode_responses=True).config_get("*")
    assert config["save"] == ""
    assert config["appendonly"] == "no"
    assert config["dir"] == str(redis_server._process.directory)
    assert config["protected-mode"] == "yes"


def test_one_is_shared_by_the_interpreter_until_it_dies():
    first = services.redis()
    assert services.redis() is first
    first.kill()
    assert not first.ping()
    second = services.redis()
    assert second is not first
    assert second.ping()
    second.stop()
    first.stop()


def test_fresh_ones_are_apart():
    with services.redis(fresh=True) as a, services.redis(fresh=True) as b:
        assert a.port != b.port
        assert a.pid != b.pid
        a.client().set("k", 1)
        assert b.client().get("k") is None


def test_kill_and_restart_is_an_outage_that_forgets():
    with services.redis(fresh=True) as server:
        server.client().set("k", 1)
        port, pid = server.port, server.pid
        server.kill()
        assert not server.ping()
        assert not server.alive
        server.restart()
        assert server.ping()
        assert (server.port == port, server.pid == pid) == (True, False)
        assert server.client().get("k") is None


def test_stop_is_idempotent_and_removes_its_directory():
    server = services.redis(fresh=True)
    directory = server._process.directory
    server.stop()
    server.stop()
    assert not directory.exists()
    assert not server.ping()


def test_a_given_port_is_used_and_an_occupied_one_named():
    with services.redis(fresh=True) as first:
        with pytest.raises(ServiceError, match=f"port {first.port} is occupied"):
            services.redis(port=first.port)
        assert first.ping()
        port = ports.free_port()
        with services.redis(port=port) as second:
            assert second.port == port


def test_a_port_lost_to_a_quicker_server_is_replaced(redis_server, monkeypatch):
    """Between choosing a port and binding it, another notebook's Redis may take it: its answer must not fool us."""
    choices = iter([redis_server.port, ports.free_port()])
    monkeypatch.setattr(ports, "free_port", lambda: next(choices))
    with services.redis(fresh=True) as server:
        assert server.port != redis_server.port
        assert server.client().info("server")["process_id"] == server.pid


def test_a_port_that_is_always_taken_is_an_error_after_a_few_tries(redis_server, monkeypatch):
    monkeypatch.setattr(ports, "free_port", lambda: redis_server.port)
    with pytest.raises(ServiceError, match=r"(?s)ended before it answered.*Address already in use"):
        services.redis(fresh=True)


def test_two_interpreters_at_once_do_not_meet(script):
    body = "r = services.redis()\nr.client().set('who', os.getpid())\ntold = {'port': r.port, 'pid': r.pid}"
    a, b = script(body), script(body)
    assert a.told["port"] != b.told["port"]
    assert a.told["pid"] != b.told["pid"]


def test_without_the_program_the_command_that_installs_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match=r"apt-get install redis-server.*brew install redis"):
        services.redis(fresh=True)
    assert module.installed_version() is None


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    with pytest.raises(MissingPrerequisite, match=r"pip install 'principal-kit\[redis\]'"):
        module._driver()


# ── Somebody else's server ──────────────────────────────────────────────────────────────────────


def test_the_environment_names_an_external_one(redis_server, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", redis_server.address)
    external = services.redis()
    assert (external.source, external.port, external.pid) == ("external", redis_server.port, None)
    assert external.version == redis_server.version
    external.stop()  # not ours: does nothing
    assert redis_server.ping()
    for verb in (external.kill, external.restart):
        with pytest.raises(ServiceError, match="did not start it"):
            verb()
    assert services.redis(fresh=True).source == "embedded"


def test_the_variable_counts_even_after_an_embedded_start(redis_server, monkeypatch):
    embedded = services.redis()
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", redis_server.address)
    assert services.redis().source == "external"
    monkeypatch.delenv("PRINCIPAL_KIT_REDIS")
    assert services.redis() is embedded


@pytest.mark.parametrize(
    "text", ["localhost", ":6379", "localhost:", "localhost:port", "localhost:0", "h:70000", "redis://h:1/0", "a b:1"]
)
def test_a_malformed_variable_is_refused(monkeypatch, text):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", text)
    with pytest.raises(InvalidArgument, match=r"PRINCIPAL_KIT_REDIS=.*expected host:port"):
        services.redis()


def test_an_address_where_nothing_listens_is_named(monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", f"127.0.0.1:{ports.free_port()}")
    with pytest.raises(ServiceError, match="nothing accepts connections there"):
        services.redis()


def test_an_address_of_something_else_is_named(monkeypatch, occupied):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", f"127.0.0.1:{occupied}")
    with pytest.raises(ServiceError, match=f"127.0.0.1:{occupied} does not answer as Redis"):
        services.redis()


def test_a_release_this_book_does_not_know_is_refused(redis_server, monkeypatch):
    monkeypatch.setattr(module, "_about", lambda *_: ("5.0.14", 1))
    with pytest.raises(InvalidArgument, match=r"redis version '5.0.14' is unknown.*7\.x, 8\.x"):
        module.attach("127.0.0.1", redis_server.port, "external")


def test_an_embedded_release_this_book_does_not_know_is_stopped(monkeypatch):
    about = module._about
    monkeypatch.setattr(module, "_about", lambda *where: ("5.0.14", about(*where)[1]))
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    with pytest.raises(InvalidArgument, match=r"5\.0\.14"):
        services.redis(fresh=True)
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


def test_an_unknown_version_lists_the_known():
    with pytest.raises(InvalidArgument, match=r"redis version '9.9' cannot be started embedded; known: 7\.x, 8\.x"):
        services.redis(version="9.9")


# ── Several ─────────────────────────────────────────────────────────────────────────────────────


def test_nodes_are_separate_processes():
    nodes = services.redis_nodes(3)
    try:
        assert [n.name for n in nodes] == ["redis-0", "redis-1", "redis-2"]
        assert len({n.port for n in nodes}) == len({n.pid for n in nodes}) == 3
        nodes[1].kill()
        assert [n.ping() for n in nodes] == [True, False, True]
    finally:
        for node in nodes:
            node.stop()


@pytest.mark.parametrize("n", [0, -1, 65, 1.5, "3", None, True])
def test_a_number_of_nodes_that_makes_no_sense_is_refused(n):
    with pytest.raises(InvalidArgument, match="expected 1 to 64 nodes"):
        services.redis_nodes(n)


def test_nodes_come_all_or_none(monkeypatch):
    start, started = module.start, []

    def third_fails(name):
        if len(started) == 2:
            raise ServiceError("no more")
        started.append(start(name))
        return started[-1]

    monkeypatch.setattr(module, "start", third_fails)
    with pytest.raises(ServiceError, match="no more"):
        services.redis_nodes(3)
    assert len(started) == 2
    assert not any(node.ping() for node in started)


def test_nodes_from_the_environment(redis_server, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS_NODES", f"{redis_server.address}, {redis_server.address}")
    assert [n.source for n in services.redis_nodes(2)] == ["external", "external"]
    with pytest.raises(InvalidArgument, match="names 2 servers"):
        services.redis_nodes(3)
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS_NODES", "one:1,two")
    with pytest.raises(KitError, match="expected host:port"):
        services.redis_nodes(1)


def test_what_a_notebook_prints_holds_no_port(redis_server):
    assert str(redis_server.port) not in repr(redis_server)
