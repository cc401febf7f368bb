"""A server as a local process: started under a guardian, ready when it answers, gone when its owner is.

`ServerProcess` owns one end of a pipe; `supervise.py` watches the other. No signal handler, no `atexit` and no good
manners of the parent are needed for the clean-up, which is why a SIGKILL of the kernel leaves nothing behind.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import InvalidArgument, ServiceError

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 10.0
SERVER_PREFIX = "server-"  # of a process's directory inside a shared folder; supervise.py knows it too
_LOG_LINES = 12
_BIND_ATTEMPTS = 5
_POLL_SECONDS = 0.02
# Strong references: a forked child must find every pipe to close, also those of servers nobody mentions any more.
_alive: set[ServerProcess | Guard] = set()
T = TypeVar("T")


def free_port() -> int:
    """A TCP port nobody listens on now. Another process may take it before you bind: callers retry on a bind error."""
    with socket.socket() as s:
        s.bind((LOOPBACK, 0))
        return s.getsockname()[1]


def require_free(port: int) -> None:
    """Raise ServiceError if 127.0.0.1:port cannot be bound now, InvalidArgument if it is no port number."""
    if not isinstance(port, int) or not 0 < port < 65536:
        raise InvalidArgument(f"port={port!r}: expected an integer from 1 to 65535")
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((LOOPBACK, port))
        except OSError as error:
            raise ServiceError(
                f"port {port} is occupied or not yours to bind ({error.strerror}): "
                "stop what listens there, or leave out port= for a free one"
            ) from error


def on_a_port(start: Callable[[int], T], port: int | None = None, *, lost: str = "ddress already in use") -> T:
    """What `start` returns for `port`; for None, a free one, and another if a quicker process took it.

    Args:
        lost: what an error says (a regular expression) when the port was taken meanwhile; five attempts.

    Raises ServiceError (`port` is occupied, or every free one was lost), InvalidArgument (no port number), and what
    `start` raises.
    """
    if port is not None:
        require_free(port)
        return start(port)
    for _ in range(_BIND_ATTEMPTS - 1):
        try:
            return start(free_port())
        except ServiceError as error:
            if not re.search(lost, str(error)):
                raise
    return start(free_port())


def shared_folder(name: str) -> Path:
    """A new temporary folder for processes that share files (`ServerProcess(inside=…)`); gone with the last of them."""
    return Path(tempfile.mkdtemp(prefix=f"principal-kit-{name}-"))


def says(*command: str) -> str:
    """What a short command prints on both streams; empty if it cannot be run or hangs for `ANSWER_SECONDS`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def fetch(command: Sequence[str], what: str, *, seconds: float) -> None:
    """Run a command that downloads `what`. Raises ServiceError when it fails, with its last lines, or is too slow."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{what} was not there after {seconds:g} s; run the command again to go on") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-6:])
        raise ServiceError(f"{what} could not be fetched (is there a network?). The last lines:\n{tail}")


def runs(process: psutil.Process | None) -> bool:
    """Whether this very process (pid and creation time) exists and is not a zombie. O(1)."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _guardian(directory: Path, grace: float, *what: str) -> tuple[subprocess.Popen, int]:
    """Start `supervise.py`; returns it and the end of the pipe that we hold."""
    read_end, pipe = os.pipe()  # both close-on-exec: no other child keeps the server alive
    try:
        guardian = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(Path(__file__).with_name("supervise.py")),
                str(directory),
                str(grace),
                *what,
            ],
            stdin=read_end,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the notebook is for the notebook
        )
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(read_end)
    return guardian, pipe


class Guard:
    """A guardian over a process that something else started (PySpark's JVM): the pipe closes, both go, files too.

    Args:
        directory: removed when the process is gone.
        pid: the process; it gets `grace` seconds to end by itself, then SIGTERM, then SIGKILL.
        grace: seconds.
    """

    def __init__(self, directory: Path, pid: int, *, grace: float) -> None:
        self._owner, self._grace = os.getpid(), grace
        self._process, self._pipe = _guardian(directory, grace, f"pid:{pid}")
        self._process.stdout.close()
        _alive.add(self)

    def release(self) -> None:
        """Nothing is left to guard: let the guardian go. Idempotent."""
        if os.getpid() == self._owner:
            self._close_pipe()
            _alive.discard(self)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=self._grace + 7)

    stop = release

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            os.close(pipe)


class ServerProcess:
    """One server process, its private directory and its log.

    Args:
        name: for messages and the directory's name.
        command: called with the directory, returns the argument vector.
        grace: seconds between SIGTERM and SIGKILL when it is stopped.
        inside: a folder that several processes share, made by `shared_folder`; the last guardian to go removes it.
        clock: seconds; injected so that start limits can be tested.

    Raises ServiceError, with the log's last lines, when the command cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[Path], Sequence[str]],
        *,
        grace: float = 3.0,
        inside: Path | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self.name, self._clock, self._owner = name, clock, os.getpid()
        prefix = f"{SERVER_PREFIX}{name}-" if inside else f"principal-kit-{name}-"
        self.directory = Path(tempfile.mkdtemp(prefix=prefix, dir=inside))
        argv = [str(part) for part in command(self.directory)]
        self._guardian, self._pipe = _guardian(self.directory, grace, *argv)
        self._grace = grace
        _alive.add(self)
        try:
            with self._guardian.stdout as answer:
                self.pid = int(answer.readline() or -1)
            self.process = psutil.Process(self.pid) if self.pid > 0 else None
        except psutil.NoSuchProcess:
            self.process = None  # it ended at once; wait_ready says so
        except BaseException:
            self.stop()
            raise
        if self.pid < 0:
            raise self._failure("could not be started")

    def running(self) -> bool:
        """Whether the server process exists. O(1)."""
        return runs(self.process)

    def log_tail(self, lines: int = _LOG_LINES) -> str:
        """The last `lines` lines the server wrote, or a note that it wrote none; a Java stack's frames count as one."""
        try:
            with open(self.directory / "log", "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 65_536))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            text = ""
        text = re.sub(r"(^\s+at .+\n?)+", "    …\n", text, flags=re.M)
        return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"

    def wait_ready(self, answers: Callable[[], bool], seconds: float) -> None:
        """Poll `answers` until it is True. Raises ServiceError, with the log's end, on death or after `seconds`."""
        deadline = self._clock() + seconds
        try:
            while not answers():
                if not self.running():
                    raise self._failure("ended before it answered")
                if self._clock() > deadline:
                    raise self._failure(f"did not answer within {seconds:g} s")
                time.sleep(_POLL_SECONDS)
        except BaseException:  # Ctrl-C while it starts: half a server is no server
            self.stop()
            raise

    def _failure(self, what: str) -> ServiceError:
        tail = self.log_tail()
        self.stop()
        return ServiceError(f"{self.name} {what}. Last lines of its log:\n{tail}")

    def kill(self) -> None:
        """SIGKILL the server, as an outage would; its directory stays until `stop`."""
        with contextlib.suppress(psutil.Error):
            if self.process is not None:
                self.process.kill()
                self.process.wait(timeout=5)

    def pause(self) -> None:
        """SIGSTOP: the server keeps its memory and its connections, and answers nobody."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.process is not None:
                self.process.suspend()

    def unpause(self) -> None:
        """SIGCONT after `pause`."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.process is not None:
                self.process.resume()

    def let_go(self) -> None:
        """Have the guardian end the server, without waiting: for several at once, before `stop` of each."""
        if os.getpid() == self._owner:
            self._close_pipe()

    def stop(self) -> None:
        """End the server and remove its directory; idempotent, returns when both are gone. At most grace + 7 s."""
        if os.getpid() != self._owner:
            return  # a forked child owns nothing
        self._close_pipe()
        if self not in _alive:
            return
        _alive.discard(self)
        try:
            self._guardian.wait(timeout=self._grace + 7)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        self.kill()  # does nothing, unless the guardian was killed before it could
        shutil.rmtree(self.directory, ignore_errors=True)

    def detach(self) -> psutil.Process:
        """Let the server outlive this interpreter; returns its guardian, which stops it on SIGTERM."""
        guardian = psutil.Process(self._guardian.pid)
        os.write(self._pipe, b"detach")
        self._close_pipe()
        _alive.discard(self)
        return guardian

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            with contextlib.suppress(OSError):
                os.close(pipe)


def _release_in_child() -> None:
    """A forked worker must not hold the pipe open: if the parent is killed, the server has to notice."""
    for server in list(_alive):
        server._close_pipe()
    _alive.clear()


@atexit.register
def _stop_all() -> None:
    servers = [s for s in _alive if s._owner == os.getpid()]
    for server in servers:  # all pipes first: they shut down side by side
        server._close_pipe()
    for server in servers:
        server.stop()


os.register_at_fork(after_in_child=_release_in_child)
