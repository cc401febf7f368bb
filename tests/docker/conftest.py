"""The containers under test: started once by the project's own script, on free ports, under a name of their own.

`scripts/docker_test.sh` (make docker-test) provides the daemon and says whether stand-ins may take the place of
official images that cannot be pulled. An ordinary run of pytest leaves this folder out.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import standins

from principal_kit.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "principal-kit-test"
OURS = f"label=com.docker.compose.project={PROJECT}"


def docker(*command: str, check: bool = True, seconds: float = 300, err: int = subprocess.PIPE):
    """One call of docker, its output as text; `err`: where its errors go. Fails on another status than 0."""
    done = subprocess.run(
        ["docker", *command], stdout=subprocess.PIPE, stderr=err, text=True, timeout=seconds, check=False, cwd=ROOT
    )
    said = f"{done.stdout[-3000:]}{(done.stderr or '')[-3000:]}"
    assert not check or done.returncode == 0, f"docker {' '.join(command)}\n{said}"
    return done


DEADLINE = 120.0


def eventually(condition, seconds=DEADLINE):
    """Poll until `condition` is truthy and return it; a poll that raises counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except (OSError, subprocess.SubprocessError, AssertionError):
            value = None
        if value:
            return value
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        time.sleep(0.1)


def left_over() -> list[str]:
    """Every container, volume and network of the project under test."""
    listings = {"container": ("ps", "-aq"), "volume": ("volume", "ls", "-q"), "network": ("network", "ls", "-q")}
    return [
        f"{kind}: {name}"
        for kind, listing in listings.items()
        for name in docker(*listing, "--filter", OURS).stdout.split()
    ]


def show_ailing(lines: int = 60) -> None:
    """The last lines of every container under test that is not healthy, with what Docker says of its state."""
    listed = docker("ps", "--all", "--filter", OURS, "--format", "{{.Names}}\t{{.Status}}", check=False).stdout
    for name, status in (line.split("\t") for line in listed.splitlines()):
        if "(healthy)" not in status and status != "Created":
            sys.stderr.write(f"--- {name}: {status}; last lines of its log:\n")
            sys.stderr.write(docker("logs", "--tail", str(lines), name, check=False, err=subprocess.STDOUT).stdout)


def assert_bounded(stack: Stack, services: Iterable[str], *, writable: Iterable[str] = ()) -> None:
    """Healthy, without rights, limited, published on loopback alone; the root read-only but for `writable`."""
    names = {stack.container(service): service for service in services}
    for one in json.loads(docker("inspect", *names).stdout):
        host, name = one["HostConfig"], names[one["Name"].removeprefix("/")]
        assert one["State"]["Health"]["Status"] == "healthy", name
        assert not host["Privileged"], name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert host["CapDrop"] == ["ALL"], name
        assert one["Config"]["User"] not in ("", "root", "0"), name
        published = [p["HostIp"] for bound in (host["PortBindings"] or {}).values() for p in bound]
        assert set(published) <= {"127.0.0.1"}, name
        assert host["ReadonlyRootfs"] is (name not in writable), name


class Stack:
    """What `make docker-up` started, and how to reach it."""

    def __init__(self, env_file: Path) -> None:
        kept = {
            n: v
            for n, v in os.environ.items()
            if not re.match("PRINCIPAL_KIT_(KAFKA|REDIS|SPARK|FLINK|POSTGRES|CONNECT|TRINO)", n)
        }
        self.environment = {**kept, "DOCKER_ENV_FILE": str(env_file), "COMPOSE_PROJECT_NAME": PROJECT, "BUILD": "no"}

    def script(self, *arguments: str, seconds: float = 900) -> str:
        """scripts/docker.sh, as the make targets call it."""
        done = subprocess.run(
            ["scripts/docker.sh", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, f"docker.sh {' '.join(arguments)}\n{done.stdout[-3000:]}{done.stderr[-4000:]}"
        return done.stdout

    def exports(self, profile: str = "") -> dict[str, str]:
        """The variables that `docker.sh up` tells a reader to export."""
        lines = self.script("exports", *([profile] if profile else [])).splitlines()
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)

    def compose(self, *arguments: str, seconds: float = 600) -> str:
        """docker compose on the project's file, for parts of a profile."""
        file = ["--env-file", self.environment["DOCKER_ENV_FILE"], "-f", "docker/compose.yaml"]
        return docker("compose", "-p", PROJECT, *file, *arguments, seconds=seconds).stdout

    def container(self, service: str) -> str:
        return f"{PROJECT}-{service}-1"

    def ask(self, variable: str, path: str) -> Any:
        """The JSON that the server whose port is the environment file's `variable` answers."""
        values = dict(line.split("=", 1) for line in Path(self.environment["DOCKER_ENV_FILE"]).read_text().split())
        with urllib.request.urlopen(f"http://127.0.0.1:{values[variable]}/{path}", timeout=20) as reply:
            return json.load(reply)

    def python(self, code: str, **variables: str) -> subprocess.Popen:
        """A fresh interpreter with those variables, its output on a pipe: what a reader's shell would start."""
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )


def bring(wanted: dict[str, str], say) -> None:
    """Official images where they can be pulled; else the stand-ins, if this daemon may have them."""
    missing = {role: image for role, image in wanted.items() if not standins.exists(image)}
    unpullable = {role: image for role, image in missing.items() if docker("pull", "-q", image, check=False).returncode}
    if unpullable and os.environ.get("PRINCIPAL_KIT_STAND_INS") != "yes":
        pytest.skip(f"cannot be pulled: {', '.join(unpullable.values())}")
    if unpullable:
        began = time.monotonic()
        standins.make(unpullable)
        say(f"stand-ins for {', '.join(unpullable.values())}: built in {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="session")
def say(pytestconfig):
    """Print a measured figure whatever pytest captures."""
    return lambda text: print(f"      {text}", flush=True)


@pytest.fixture(scope="session")
def images(say):
    bring(standins.official_images(), say)


@pytest.fixture(scope="session")
def stack(images, say, tmp_path_factory):
    env_file = tmp_path_factory.mktemp("docker") / "env"
    names = [line.split("=")[0] for line in (ROOT / "docker/.env.example").read_text().splitlines() if "_PORT=" in line]
    lines = [f"{name}={free_port()}" for name in names]
    secret = [f"{name}={secrets.token_hex(16)}" for name in ("JUPYTER_TOKEN", "POSTGRES_PASSWORD")]
    env_file.write_text("\n".join([*secret, *lines]) + "\n")
    stack = Stack(env_file)
    assert left_over() == []
    began = time.monotonic()
    try:
        stack.script("build")
        say(f"images of the book and of its Spark: built in {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        stack.script("up")
        say(f"stack up and healthy in {time.monotonic() - began:.0f} s")
        yield stack
    finally:
        if sys.exc_info()[0]:
            show_ailing()
        stack.script("down")
    assert left_over() == []
