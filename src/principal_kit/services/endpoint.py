"""What a service call returns: where the server is, who runs it, and how to stop it if we do."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from typing import Literal, Self

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.services.container import Container
from principal_kit.services.process import ServerProcess

Source = Literal["external", "running", "embedded"]


class Endpoint:
    """The address of one server and, if this interpreter started it, its process.

    Attributes: `name`, `host`, `port`, `version`, `source` ("external": named by an environment variable, "running":
    started by `principal-kit up`, "embedded": started here), `pid` (None unless embedded).

    A server that you name with its container (`container@host:port`) can be killed, paused and restarted like an
    embedded one; any other that we do not run is left alone.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        version: str,
        source: Source,
        process: ServerProcess | None = None,
        container: Container | None = None,
        again: Callable[[], ServerProcess] | None = None,
    ) -> None:
        self.name, self.host, self.port, self.version, self.source = name, host, port, version, source
        self._process, self._container, self._again = process, container, again

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of an embedded server, else None."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether something accepts connections there now. One TCP connect."""
        return accepts(self.host, self.port)

    def kill(self) -> None:
        """SIGKILL, as an outage would. Raises ServiceError on a server that is not ours to kill."""
        (self._container or self._own("kill")).kill()

    def start(self) -> None:
        """After `kill`: start it again on its port, its data as they were, and wait until it answers.

        Nothing if it runs. Raises ServiceError when it does not come up, or is not ours to start.
        """
        if self._container:
            self._container.start()
        elif not self._own("start").running():
            if self._again is None:
                raise ServiceError(f"an embedded {self.name} keeps nothing across a kill: get a new one instead")
            dead, self._process = self._process, self._again()
            dead.stop()

    def pause(self) -> None:
        """Freeze it: memory kept, connections open, no answers. Raises ServiceError on a server not ours to freeze."""
        (self._container or self._own("pause")).pause()

    def unpause(self) -> None:
        """Let a frozen server go on. Raises ServiceError on a server that is not ours."""
        (self._container or self._own("unpause")).unpause()

    def stop(self) -> None:
        """Stop an embedded server and remove its directory; does nothing to one we do not run."""
        if self._process:
            self._process.stop()

    def _own(self, verb: str) -> ServerProcess:
        if self._process is None:
            raise ServiceError(
                f"{self.name} at {self.address} is {self.source}: "
                f"this interpreter did not start it and will not {verb} it "
                "(a container may be named: container@host:port)"
            )
        return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{self.name} {self.version}, {self.source}>"  # no port: notebooks keep this text


def accepts(host: str, port: int, seconds: float = 0.5) -> bool:
    """Whether a TCP connection to host:port is accepted within `seconds`."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def parse_address(text: str, *, variable: str) -> tuple[str, int]:
    """Split host:port from the environment variable `variable`. Raises InvalidArgument when it is not of that form."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):(\d{1,5})", text.strip(), re.ASCII)
    if not match or not 0 < int(match[2]) < 65536:
        raise InvalidArgument(f"{variable}={text!r}: expected host:port, for example 127.0.0.1:6379")
    return match[1].strip("[]"), int(match[2])


def parse_servers(text: str, *, variable: str) -> list[tuple[str, int, Container | None]]:
    """Split a list of [container@]host:port, joined by commas. Raises InvalidArgument when a part is malformed."""
    servers = []
    for part in filter(None, map(str.strip, text.split(","))):
        container, at, address = part.rpartition("@")
        host, port = parse_address(address, variable=variable)
        servers.append((host, port, Container(container) if at else None))
    if text.strip() and not servers:
        raise InvalidArgument(f"{variable}={text!r}: expected host:port")
    return servers


def from_environment(variable: str) -> tuple[str, int, Container | None] | None:
    """The server named by `variable`, the first that answers of several; None when it is unset or empty.

    Raises InvalidArgument when malformed, ServiceError when nothing answers there.
    """
    text = os.environ.get(variable, "")
    if not text:
        return None
    for host, port, container in parse_servers(text, variable=variable):
        if accepts(host, port, seconds=3.0):
            return host, port, container
    raise ServiceError(
        f"{variable}={text}: nothing accepts connections there; start it, or unset {variable} to use an embedded server"
    )
