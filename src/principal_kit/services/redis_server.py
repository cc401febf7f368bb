"""Redis: `redis-server` as a local process on a free loopback port, or the one you point at.

Nothing is written to disk (no snapshot, no append-only file): a restart is a server that forgot everything, which is
what the chapters want to show.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from principal_kit.core.errors import InvalidArgument, KitError, MissingPrerequisite, ServiceError
from principal_kit.services.container import Container
from principal_kit.services.endpoint import Endpoint, Source, from_environment, parse_servers
from principal_kit.services.process import LOOPBACK, ServerProcess, on_a_port, says
from principal_kit.services.versions import check_version

if TYPE_CHECKING:
    import redis

START_SECONDS = 10.0
_MAX_NODES = 64


def _driver() -> Any:
    try:
        import redis
    except ImportError as error:
        raise MissingPrerequisite("the Redis client is missing: pip install 'principal-kit[redis]'") from error
    return redis


def _require_driver() -> None:
    """Fail early when the client is missing, without the 0.3 s that importing it takes."""
    if "redis" not in sys.modules and importlib.util.find_spec("redis") is None:
        _driver()


def _say(host: str, port: int, command: str, seconds: float) -> str:
    """The reply to one inline command, over a socket of its own. Raises OSError when there is none in time."""
    with socket.create_connection((host, port), timeout=seconds) as connection, connection.makefile("rb") as reply:
        connection.sendall(command.encode() + b"\r\n")
        line = reply.readline()
        if line.startswith(b"$"):
            line = reply.read(int(line[1:]))
        return line.decode("utf-8", "replace").strip()


def _about(host: str, port: int) -> tuple[str, int]:
    """Release and process id that a running server states. Raises ServiceError if it does not answer as Redis."""
    try:
        text = _say(host, port, "INFO server", 3.0)
    except (OSError, ValueError) as error:
        raise ServiceError(f"{host}:{port} does not answer as Redis: {error}") from error
    version, pid = re.search(r"^redis_version:(\S+)", text, re.M), re.search(r"^process_id:(\d+)", text, re.M)
    if not version or not pid:
        raise ServiceError(f"{host}:{port} does not answer as Redis: it said {text[:80]!r}")
    return version[1], int(pid[1])


def _binary() -> str:
    found = shutil.which("redis-server")
    if not found:
        raise MissingPrerequisite(
            "redis-server is missing: `sudo apt-get install redis-server` (Debian, Ubuntu), "
            "`brew install redis` (macOS)"
        )
    return found


def installed_version() -> str | None:
    """Version of the `redis-server` on PATH, None if there is none."""
    found = shutil.which("redis-server")
    if not found:
        return None
    text = says(found, "--version")
    return next((w[2:] for w in text.split() if w.startswith("v=")), None)


class RedisEndpoint(Endpoint):
    """A Redis server: `client()` gives a connection pool's client, `kill()` and `restart()` are for breaking it."""

    @property
    def url(self) -> str:
        """redis://host:port/0."""
        return f"redis://{self.host}:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A `redis.Redis` for this server. Options go to its constructor; replies are bytes by default."""
        return _driver().Redis(host=self.host, port=self.port, **options)

    def ping(self) -> bool:
        """Whether it answers PING within half a second."""
        try:
            return _say(self.host, self.port, "PING", 0.5) == "+PONG"
        except OSError:
            return False

    def restart(self) -> None:
        """Start it again on the same port, empty (a container: with what its volume holds).

        Raises ServiceError on a server that is not ours to restart, or that does not come up.
        """
        if self._container:
            self._container.start()
            _wait_for_pong(self, START_SECONDS)
            return
        self._own("restart").stop()
        self._process = _spawn(self.name, self.port)


def _wait_for_pong(endpoint: RedisEndpoint, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not endpoint.ping():
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{endpoint.name} at {endpoint.address} did not answer within {seconds:g} s of its start"
            )
        time.sleep(0.05)


def _spawn(name: str, port: int) -> ServerProcess:
    """Start redis-server on `port` and wait until it, not another server that was quicker to the port, answers."""

    def command(directory: Path) -> list[str]:
        options = {"port": port, "bind": LOOPBACK, "save": "", "appendonly": "no", "dir": directory, "daemonize": "no",
                   "maxmemory": "256mb", "maxmemory-policy": "noeviction", "databases": 4}  # fmt: skip
        return [_binary(), *(str(part) for key, value in options.items() for part in (f"--{key}", value))]

    process = ServerProcess(name, command, grace=2.0)

    def answers() -> bool:
        try:
            return _about(LOOPBACK, port)[1] == process.pid
        except ServiceError:
            return False

    process.wait_ready(answers, START_SECONDS)
    return process


def start(name: str = "redis", port: int | None = None) -> RedisEndpoint:
    """Start a new embedded Redis.

    Args:
        name: for messages and its directory.
        port: a TCP port, or None for a free one (retried if another process takes it first).

    Raises MissingPrerequisite without redis-server, ServiceError when the port is occupied or the server does not come
    up.
    """
    _require_driver()
    _binary()
    chosen, process = on_a_port(lambda chosen: (chosen, _spawn(name, chosen)), port)
    try:
        version = check_version("redis", _about(LOOPBACK, chosen)[0])
    except KitError:
        process.stop()
        raise
    return RedisEndpoint(name, LOOPBACK, chosen, version, "embedded", process)


def attach(
    host: str, port: int, source: Source, name: str = "redis", container: Container | None = None
) -> RedisEndpoint:
    """An endpoint for a server somebody else runs.

    Raises ServiceError if it does not answer as Redis, InvalidArgument if its version is unknown.
    """
    _require_driver()
    version = check_version("redis", _about(host, port)[0])
    return RedisEndpoint(name, host, port, version, source, container=container)


def external() -> RedisEndpoint | None:
    """The server PRINCIPAL_KIT_REDIS names, or None."""
    server = from_environment("PRINCIPAL_KIT_REDIS")
    return attach(*server[:2], "external", container=server[2]) if server else None


def nodes(n: int) -> list[RedisEndpoint]:
    """`n` separate Redis servers, named redis-0 …; PRINCIPAL_KIT_REDIS_NODES=[container@]host:port,… uses yours.

    Raises InvalidArgument if n is not in 1…64 or fewer addresses are given than asked for.
    """
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= _MAX_NODES:
        raise InvalidArgument(f"redis_nodes({n!r}): expected 1 to {_MAX_NODES} nodes")
    text = os.environ.get("PRINCIPAL_KIT_REDIS_NODES", "")
    if text:
        servers = parse_servers(text, variable="PRINCIPAL_KIT_REDIS_NODES")
        if len(servers) < n:
            raise InvalidArgument(f"PRINCIPAL_KIT_REDIS_NODES names {len(servers)} servers, this chapter needs {n}")
        return [
            attach(host, port, "external", f"redis-{i}", container)
            for i, (host, port, container) in enumerate(servers[:n])
        ]
    started: list[RedisEndpoint] = []
    try:
        for i in range(n):
            started.append(start(f"redis-{i}"))
    except BaseException:  # all of them or none
        for endpoint in started:
            endpoint.stop()
        raise
    return started
