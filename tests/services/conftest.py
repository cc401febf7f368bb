"""Tests of the services themselves: isolated from what runs on this machine, with a bounded wait instead of sleeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from principal_kit import services

VARIABLES = ("REDIS", "REDIS_NODES", "KAFKA", "SPARK", "FLINK", "FLINK_SQL", "CONNECT")
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No address from the environment, no server shared with an earlier test, records in a place of the test's own."""
    for name in VARIABLES:
        monkeypatch.delenv(f"PRINCIPAL_KIT_{name}", raising=False)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.setenv("PRINCIPAL_KIT_STATE", str(tmp_path / "state"))
    shared = {}
    monkeypatch.setattr(services, "_embedded", shared)
    yield
    for endpoint in shared.values():
        endpoint.stop()


@pytest.fixture
def eventually():
    """`eventually(condition)`: poll until it holds; fails after `seconds`."""

    def wait(condition, seconds=20.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"still not so after {seconds} s"
            time.sleep(0.02)

    return wait


def gone(process: psutil.Process) -> bool:
    """Whether this very process, not another with its pid, has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(name="gone")
def gone_fixture():
    return gone


@pytest.fixture
def listening():
    """Addresses a process and its descendants listen on."""

    def addresses(pid):
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
        return [c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]

    return addresses


class Script:
    """A Python program of a test's own: says one JSON line, then waits for its standard input to end."""

    def __init__(self, body: str) -> None:
        prelude = "import json, os, signal, sys, psutil\nfrom principal_kit import services\n"
        # Under nohup these tests themselves ignore SIGHUP, and a child inherits that.
        prelude += "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        said = "\nprint(json.dumps(told), flush=True)\nsys.stdin.read()\n"
        self.popen = subprocess.Popen(
            [sys.executable, "-c", prelude + body + said],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        line = self.popen.stdout.readline()
        if not line:
            raise AssertionError(self.popen.stderr.read())
        self.told = json.loads(line)
        self.family = psutil.Process(self.popen.pid).children(recursive=True)

    def end(self) -> None:
        """As a notebook does that is closed: no more input, then time to leave."""
        self.popen.stdin.close()
        self.popen.wait(timeout=30)


@pytest.fixture
def script():
    """`script(body)`: run it in another interpreter; whatever it leaves running is killed when the test ends."""
    started = []

    def run(body):
        started.append(Script(body))
        return started[-1]

    yield run
    for program in started:
        try:
            program.end()
        except subprocess.TimeoutExpired:
            program.popen.kill()
            program.popen.wait()
        for pipe in (program.popen.stdin, program.popen.stdout, program.popen.stderr):
            pipe.close()
    for process in [p for program in started for p in program.family]:
        if not gone(process):
            process.kill()
