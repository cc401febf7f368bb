"""What stands under a measurement: enough to judge it, nothing about a person or a host."""

import getpass
import platform
import socket
from types import SimpleNamespace

import numpy
import pytest

import principal_kit
from principal_kit.course import machine


def test_it_names_processor_cores_memory_and_versions():
    text = str(machine())
    for fact in (platform.python_version(), principal_kit.__version__, numpy.__version__, "core", "GiB"):
        assert fact in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("form", [str, repr, lambda m: m._repr_html_()])
def test_it_names_neither_host_nor_user(form):
    text = form(machine())
    words = set(text.replace("<", " ").replace(">", " ").replace(",", " ").split())
    assert socket.gethostname() not in words
    assert getpass.getuser() not in words


def test_endpoints_add_the_server_that_was_measured():
    class RedisEndpoint(SimpleNamespace):
        pass

    facts = machine(RedisEndpoint(version="7.9.9", source="external")).facts
    assert facts["redis server"] == "7.9.9 (external)"


def test_a_server_elsewhere_is_not_given_the_local_version(monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", "127.0.0.1:1")
    monkeypatch.setenv("PRINCIPAL_KIT_KAFKA", "127.0.0.1:1")
    assert not {"redis server", "kafka server"} & set(machine().facts)
