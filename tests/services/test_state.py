"""`up` and `down`: servers that outlive a command, and records that are believed only with proof."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from principal_kit import services
from principal_kit.core.errors import CorruptionError, InvalidArgument, ServiceError
from principal_kit.services import state
from principal_kit.services.process import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def ups():
    """Whatever a test brings up comes down again."""
    yield services.up
    services.down()


def write(kind: str = "redis", **changes) -> None:
    """A record of this very process, with some fields changed."""
    record = {
        "kind": kind,
        "pid": os.getpid(),
        "created": psutil.Process().create_time(),
        "host": "127.0.0.1",
        "port": free_port(),
        "version": "7.0.15",
        **changes,
    }
    state.directory().mkdir(parents=True, exist_ok=True)
    state.path(kind).write_text(json.dumps(record))


def test_what_a_command_brought_up_serves_the_next_ones_until_down(gone):
    """The command line: up in one process, used in another, down in a third."""
    run = [sys.executable, "-c"]
    subprocess.run([*run, "from principal_kit import services; services.up(['redis'])"], check=True, timeout=60)
    record = state.read("redis")
    daemon = psutil.Process(record.pid)
    family = [daemon, *daemon.children(recursive=True)]
    try:
        endpoint = services.redis()
        assert (endpoint.source, endpoint.port, endpoint.pid) == ("running", record.port, None)
        endpoint.client().set("kept", "yes")
        endpoint.stop()  # not ours
        code = "from principal_kit import services; print(services.redis().client().get('kept'))"
        said = subprocess.run([*run, code], check=True, timeout=60, capture_output=True, text=True).stdout
        assert said.strip() == "b'yes'"
    finally:
        assert services.down() == ["redis"]
    assert all(gone(p) for p in family)
    assert state.read("redis") is None
    assert services.down() == []


def test_up_twice_is_up_once(ups):
    (first,) = ups(["redis"])
    (second,) = ups(["redis"])
    assert first.port == second.port
    assert first.source == second.source == "running"


def test_it_listens_on_loopback_only(ups, listening):
    ups(["redis"])
    addresses = listening(state.read("redis").pid)
    assert {a.ip for a in addresses} == {"127.0.0.1"}


@pytest.mark.slow
def test_redis_and_kafka_are_what_up_means_by_default(ups, gone):
    redis, kafka = ups()
    assert (redis.name, kafka.name) == ("redis", "kafka")
    assert services.kafka().source == "running"
    family = [p for kind in state.KINDS for p in psutil.Process(state.read(kind).pid).children(recursive=True)]
    assert sorted(services.down()) == ["kafka", "redis"]
    assert all(gone(p) for p in family)


def test_a_killed_daemon_takes_its_server_with_it(ups, eventually, gone):
    ups(["redis"])
    daemon = psutil.Process(state.read("redis").pid)
    family = daemon.children(recursive=True)
    daemon.kill()
    eventually(lambda: all(gone(p) for p in family))
    assert state.read("redis") is None
    assert services.down() == []


def test_a_server_that_dies_ends_its_daemon_and_its_record(ups, eventually, gone):
    (endpoint,) = ups(["redis"])
    daemon = psutil.Process(state.read("redis").pid)
    endpoint.client().shutdown(nosave=True)
    eventually(lambda: gone(daemon))
    assert state.read("redis") is None
    (again,) = ups(["redis"])
    assert again.ping()


def test_a_record_of_a_dead_process_is_ignored_and_removed():
    with subprocess.Popen(["true"]) as ended:
        pass
    write(pid=ended.pid)
    with services.redis() as endpoint:
        assert endpoint.source == "embedded"
    assert not state.path("redis").exists()


def test_a_reused_pid_is_not_taken_for_the_daemon(redis_server):
    """The pid is alive (it is ours) and the port answers; the creation time tells that it is somebody else."""
    write(created=psutil.Process().create_time() - 3600, port=redis_server.port)
    assert state.read("redis") is None
    write(created=psutil.Process().create_time() - 3600, port=redis_server.port)
    assert services.down() == []  # and we are still here


def test_a_live_daemon_whose_server_does_not_answer_is_not_attached_to():
    write()  # our own pid and creation time, and a port where nothing listens
    assert state.read("redis") is None
    state.path("redis").unlink()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"kind": "redis"}', '{"a": 1}', "\x00\xff", "9" * 5000, "[" * 5000],
    ids=["empty", "cut", "list", "null", "fields", "foreign", "bytes", "number", "deep"],
)
def test_a_damaged_record_is_named_and_down_removes_it(text):
    write()
    state.path("redis").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptionError, match=r"redis\.json is not a record.*`principal-kit down` removes it"):
        services.redis()
    assert services.down() == []
    assert not state.path("redis").exists()


@pytest.mark.parametrize("changes", [{"pid": "1"}, {"pid": -1.5}, {"port": "x"}, {"created": None}, {"version": 7}])
def test_a_record_with_a_wrong_field_is_damaged(changes):
    write(**changes)
    with pytest.raises(CorruptionError, match="not a record"):
        state.read("redis")


@pytest.mark.parametrize("names", [["flink"], ["redis", "spark"], [""], ["redis", "Redis"]])
def test_an_unknown_name_starts_nothing(names):
    with pytest.raises(InvalidArgument, match="known: redis, kafka"):
        services.up(names)
    assert state.read("redis") is None


def test_a_daemon_that_cannot_start_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="redis could not be started: redis-server is missing"):
        services.up(["redis"])
    assert state.read("redis") is None


def test_the_environment_comes_before_the_running_set(ups, redis_server, monkeypatch):
    (running,) = ups(["redis"])
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", redis_server.address)
    assert services.redis().port == redis_server.port != running.port


def test_two_ups_at_once_start_one(eventually):
    code = "from principal_kit import services; print(services.up(['redis'])[0].port)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    deadline = time.monotonic() + 60
    ports = {p.communicate(timeout=max(1, deadline - time.monotonic()))[0].strip() for p in both}
    try:
        assert ports == {str(state.read("redis").port)}
    finally:
        assert services.down() == ["redis"]


def test_a_relative_state_directory_serves_too(ups, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRINCIPAL_KIT_STATE", "state-of-mine")
    assert [endpoint.source for endpoint in ups(["redis"])] == ["running"]
    assert (tmp_path / "state-of-mine" / "redis.json").is_file()
    assert services.down() == ["redis"]


def test_down_ends_the_daemon_whose_record_was_damaged(ups, gone):
    ups(["redis"])
    daemon = psutil.Process(state.read("redis").pid)
    state.path("redis").write_text("{")
    assert services.down() == ["redis"]
    assert gone(daemon)
    assert not state.path("redis").exists()
