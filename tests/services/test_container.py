"""Servers in containers: what is asked of Docker, and how servers are named. tests/docker does it with real ones."""

import os
import stat

import pytest

from principal_kit import services
from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services.container import Container
from principal_kit.services.endpoint import Endpoint, parse_servers


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A `docker` that writes down what it is asked, and refuses a container named `gone`."""
    log, command = tmp_path / "log", tmp_path / "bin" / "docker"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\necho "$@" >>{log}\n[ "$2" != gone ] || {{ echo "Error: No such container: gone" >&2; exit 1; }}\n'
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda: log.read_text().splitlines()


def test_each_method_is_one_docker_command(docker):
    container = Container("kit-redis-0-1")
    container.kill()
    container.start()
    container.pause()
    container.unpause()
    assert docker() == [f"{verb} kit-redis-0-1" for verb in ("kill", "start", "pause", "unpause")]


def test_docker_s_own_words_are_in_the_error(docker):
    with pytest.raises(ServiceError, match=r"docker kill gone: .*No such container: gone"):
        Container("gone").kill()


def test_without_docker_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match="docker command is missing"):
        Container("kit").pause()


@pytest.mark.parametrize("name", ["", "-f", "--all", "a b", "a;b", "a\nb", "ü", "x" * 129])
def test_what_cannot_be_a_name_never_reaches_docker(name, docker):
    with pytest.raises(InvalidArgument):
        Container(name)


def test_an_endpoint_with_a_container_is_broken_through_docker(docker):
    endpoint = Endpoint("redis", "127.0.0.1", 1, "7.0.15", "external", container=Container("kit-redis-1"))
    endpoint.kill()
    endpoint.pause()
    endpoint.unpause()
    endpoint.stop()  # not ours to stop
    assert docker() == ["kill kit-redis-1", "pause kit-redis-1", "unpause kit-redis-1"]


@pytest.mark.parametrize("verb", ["kill", "pause", "unpause"])
def test_an_endpoint_without_one_is_left_alone_and_says_how_to_name_it(verb):
    endpoint = Endpoint("redis", "127.0.0.1", 1, "7.0.15", "external")
    with pytest.raises(ServiceError, match=f"will not {verb} it .*container@host:port"):
        getattr(endpoint, verb)()


def test_servers_are_named_by_address_or_by_container_and_address():
    first, second = parse_servers(" one@127.0.0.1:6390 ,host:6391, ", variable="V")
    assert (first[0], first[1], first[2].name) == ("127.0.0.1", 6390, "one")
    assert second == ("host", 6391, None)
    assert parse_servers("", variable="V") == []


@pytest.mark.parametrize("text", [",", "@host:1", "a b@host:1", "one@two@host:1", "one@host", "host:1;host:2"])
def test_malformed_servers_are_refused(text):
    with pytest.raises(InvalidArgument):
        parse_servers(text, variable="V")


@pytest.mark.integration
def test_a_paused_server_keeps_its_memory_and_answers_nobody():
    with services.redis(fresh=True) as server:
        server.client().set("key", "kept")
        server.pause()
        assert not server.ping()
        server.unpause()
        assert server.client().get("key") == b"kept"


@pytest.mark.integration
def test_a_restart_through_docker_waits_for_the_answer(docker, monkeypatch):
    monkeypatch.setattr("principal_kit.services.redis_server.START_SECONDS", 0.2)
    with services.redis(fresh=True) as server:
        monkeypatch.setenv("PRINCIPAL_KIT_REDIS", f"kit-redis-1@{server.address}")
        named = services.redis()
        assert named.source == "external"
        named.restart()
        assert docker() == ["start kit-redis-1"]
        server.kill()
        with pytest.raises(ServiceError, match="did not answer"):
            named.restart()


@pytest.mark.integration
def test_of_several_brokers_the_first_that_answers_is_asked_and_clients_know_all(kafka_server, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_KAFKA", f"127.0.0.1:1,broker-2@{kafka_server.address}")
    cluster = services.kafka()
    assert cluster.address == kafka_server.address
    assert cluster.bootstrap_servers == f"{kafka_server.address},127.0.0.1:1"
    admin = cluster.admin()
    assert admin.describe_cluster()["brokers"]
    admin.close()
