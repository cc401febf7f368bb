"""Services that outlive a command: `up` starts one small daemon a service, records it, and later calls attach to it.

A record is a JSON file: daemon pid, the moment that process was created, address, version. Pids are reused, so a record
counts only if a process with that pid *and* that creation time exists; anything else is a leftover and is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from platformdirs import user_state_dir

from principal_kit.core.errors import CorruptionError, InvalidArgument, KitError, ServiceError
from principal_kit.services import jars
from principal_kit.services.endpoint import Endpoint, accepts
from principal_kit.services.process import runs

KINDS = ("redis", "kafka")
_STOP_SECONDS = 15
_SAME_MOMENT = 1.0  # seconds: creation times are read with less precision than they are written


@dataclass(frozen=True)
class Record:
    """One running service. `created` is the daemon's creation time in seconds since the epoch."""

    kind: str
    pid: int
    created: float
    host: str
    port: int
    version: str

    def alive(self) -> bool:
        """Whether the recorded daemon, not another process with its pid, is running."""
        try:
            process = psutil.Process(self.pid)
            return runs(process) and abs(process.create_time() - self.created) < _SAME_MOMENT
        except (psutil.Error, ValueError, OverflowError):
            return False


def directory() -> Path:
    """Where records are kept: PRINCIPAL_KIT_STATE, or the platform's own place for state."""
    return Path(os.environ.get("PRINCIPAL_KIT_STATE") or user_state_dir("principal-kit")).expanduser().absolute()


def path(kind: str) -> Path:
    """The record's file. Raises InvalidArgument on an unknown kind."""
    if kind not in KINDS:
        raise InvalidArgument(
            f"{kind!r} is not a service that `up` can start; known: {', '.join(KINDS)} "
            "(a Spark session lives in its notebook)"
        )
    return directory() / f"{kind}.json"


def _load(kind: str) -> Record | None:
    """The record of `kind` if its daemon lives; a dead one's file is removed. Raises CorruptionError otherwise."""
    file = path(kind)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _corrupt(file, error) from error
    try:
        record = Record(**json.loads(text))
        types = (record.kind, record.pid, record.created, record.host, record.port, record.version)
        if record.kind != kind or [type(x) for x in types] != [str, int, float, str, int, str]:
            raise ValueError("its fields are not those of a record")
    except (ValueError, TypeError, RecursionError) as error:
        raise _corrupt(file, error) from error
    if record.alive():
        return record
    file.unlink(missing_ok=True)
    return None


def _corrupt(file: Path, error: Exception) -> CorruptionError:
    return CorruptionError(f"{file} is not a record of a running service ({error}): `principal-kit down` removes it")


def read(kind: str) -> Record | None:
    """The record of `kind` if its daemon lives and its port accepts connections, else None.

    Raises InvalidArgument on an unknown kind, CorruptionError if the file is not a record.
    """
    record = _load(kind)
    return record if record and accepts(record.host, record.port, 2.0) else None


def running(kind: str, attach: Callable[[str, int, Any], Endpoint]) -> Endpoint | None:
    """The endpoint of a service that `up` started, None if there is none."""
    record = read(kind)
    return attach(record.host, record.port, "running") if record else None


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """One `up` or `down` at a time, machine-wide for this user."""
    directory().mkdir(parents=True, exist_ok=True)
    with open(directory() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(names: list[str] | None = None) -> list[Endpoint]:
    """Start services that outlive this process, or attach to those that run already.

    Raises InvalidArgument on an unknown name before anything is started, ServiceError if one does not come up.
    """
    kinds = list(names or KINDS)
    for kind in kinds:
        path(kind)
    from principal_kit.services import kafka_broker, redis_server

    with _exclusive():
        for kind in kinds:
            if read(kind) is None:
                leftover = _load(kind)  # its daemon lives, its server does not answer
                if leftover:
                    _end(leftover)
                _launch(kind)
        return [running(kind, {"redis": redis_server, "kafka": kafka_broker}[kind].attach) for kind in kinds]


def _launch(kind: str) -> None:
    """Start the daemon of one service and wait for its one line: `ready`, or why not."""
    environment = {k: v for k, v in os.environ.items() if k != f"PRINCIPAL_KIT_{kind.upper()}"}
    # Spelled out: the daemon works in another folder, and `down` recognises it by them.
    environment |= {"PRINCIPAL_KIT_STATE": str(directory()), "PRINCIPAL_KIT_CACHE": str(jars.cache_directory())}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "principal_kit.services.state", kind],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
        cwd="/",
    )
    with daemon.stdout as pipe:
        message = pipe.read().decode(errors="replace").strip()  # the daemon closes it once it is ready
    if message != "ready":
        daemon.wait(timeout=_STOP_SECONDS)
        raise ServiceError(f"{kind} could not be started: {message or 'its daemon died without a word'}")


def down() -> list[str]:
    """Stop what `up` started and remove its records; returns the names stopped. Corrupt and dead records go too."""
    stopped = []
    with _exclusive():
        for kind in KINDS:
            try:
                record = _load(kind)
                daemons = [record.pid] if record else []
            except CorruptionError:
                daemons = _daemons(kind)
            for pid in daemons:
                _end(pid)
            if daemons:
                stopped.append(kind)
            path(kind).unlink(missing_ok=True)
    return stopped


def _daemons(kind: str) -> list[int]:
    """Pids of our own daemons of this kind and this state directory, for when the record no longer tells."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.cmdline()[-3:] == ["-m", "principal_kit.services.state", kind]
            if ours and process.environ().get("PRINCIPAL_KIT_STATE") == str(directory()):
                found.append(process.pid)
    return found


def _end(pid: int) -> None:
    """Stop a daemon, and with it its server: SIGTERM, then SIGKILL, upon which its guardian ends the server."""
    with contextlib.suppress(psutil.NoSuchProcess):
        daemon = psutil.Process(pid)
        family = [daemon, *daemon.children(recursive=True)]
        daemon.terminate()
        if psutil.wait_procs([daemon], timeout=_STOP_SECONDS)[1]:
            daemon.kill()
        psutil.wait_procs(family, timeout=_STOP_SECONDS)


def serve(kind: str) -> None:
    """Body of the daemon: own one embedded server until SIGTERM."""
    from principal_kit.services import kafka_broker, redis_server

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    file = path(kind)
    try:
        endpoint = {"redis": redis_server, "kafka": kafka_broker}[kind].start()
    except KitError as error:
        print(error, flush=True)
        return
    record = Record(kind, os.getpid(), psutil.Process().create_time(), endpoint.host, endpoint.port, endpoint.version)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
    draft.replace(file)
    print("ready", flush=True)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        while not ended.wait(timeout=1.0) and endpoint._process.running():
            pass
    finally:
        file.unlink(missing_ok=True)
        endpoint.stop()


if __name__ == "__main__":
    serve(sys.argv[1])
