"""A server in a container that somebody else made and named to us: kill it, freeze it, start it again, nothing more.

Chapters break their servers. What SIGKILL and SIGSTOP are to a process of our own, `docker kill` and `docker pause` are
to one in a container; the address, published on the host, stays the same across a restart.
"""

from __future__ import annotations

import re
import subprocess

from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError

COMMAND_SECONDS = 60.0


class Container:
    """One container, by name or id; Docker's own variables (DOCKER_HOST, …) say which daemon has it.

    Raises InvalidArgument for what cannot be a container's name. Every command raises MissingPrerequisite without the
    `docker` command, and ServiceError, with Docker's own words, when it is refused or takes a minute.
    """

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[a-zA-Z0-9][\w.-]{0,127}", name, re.ASCII):
            raise InvalidArgument(f"{name!r} is no container's name")
        self.name = name

    def kill(self) -> None:
        """SIGKILL to its first process. A restart policy does not bring it back after this."""
        self._docker("kill")

    def start(self) -> None:
        """Start it again; its published ports and volumes are the ones it had."""
        self._docker("start")

    def pause(self) -> None:
        """Freeze every process in it, as SIGSTOP would: memory kept, connections open, no answers."""
        self._docker("pause")

    def unpause(self) -> None:
        """Let it go on where it was frozen."""
        self._docker("unpause")

    def _docker(self, verb: str) -> None:
        try:
            done = subprocess.run(
                ["docker", verb, self.name], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise MissingPrerequisite(f"the docker command is missing: it is needed to {verb} {self.name}") from error
        except subprocess.TimeoutExpired as error:
            raise ServiceError(f"docker {verb} {self.name}: no end after {COMMAND_SECONDS:g} s") from error
        if done.returncode:
            raise ServiceError(f"docker {verb} {self.name}: {(done.stderr or done.stdout).strip()}")
