"""PostgreSQL as a local process: logical replication on, its data in a folder that outlives a kill.

Settings are those of a small server that must not lie: fsync stays on, so a SIGKILL loses nothing that was committed.
The password is random and only in the endpoint's `dsn`.
"""

from __future__ import annotations

import copy
import os
import pwd
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from principal_kit.core.clock import monotonic
from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services.endpoint import Endpoint, accepts
from principal_kit.services.process import LOOPBACK, ServerProcess, on_a_port, says, shared_folder
from principal_kit.services.versions import check_version

USER, DATABASE = "kit", "shop"
START_SECONDS = 30.0
_OFF_THE_PATH = (
    ("/usr/lib/postgresql", "*"), ("/opt/homebrew/opt", "postgresql@*"), ("/usr/local/opt", "postgresql@*"),
)  # fmt: skip
_OLD_ONES = re.compile(r"pre-existing shared memory block|lock file .* already exists")
_SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": 8,
    "max_replication_slots": 8,
    "max_wal_size": "128MB",
    "shared_buffers": "32MB",
    "max_connections": 60,
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A slot that nobody reads keeps the log for ever and fills the disk; past this it is dropped, with a message.
    "max_slot_wal_keep_size": "1GB",
}


class PostgresEndpoint(Endpoint):
    """A PostgreSQL server; `dsn` is its address with the password in it (never print it), `connect()` a psycopg one."""

    def __init__(self, *arguments: Any, user: str, password: str, database: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.user, self.password, self.database = user, password, database

    @property
    def dsn(self) -> str:
        """postgresql://user:password@host:port/database."""
        return f"postgresql://{quote(self.user)}:{quote(self.password)}@{self.address}/{self.database}"

    def connect(self, **options: Any) -> Any:
        """A `psycopg.Connection` in autocommit mode; options go to `psycopg.connect`."""
        return _driver().connect(self.dsn, **{"autocommit": True, "connect_timeout": 10, **options})

    def with_database(self, name: str) -> PostgresEndpoint:
        """The same server's database `name`, made if it is missing. It is this endpoint that kills and starts it."""
        with self.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(f'CREATE DATABASE "{name}"')
        other = copy.copy(self)
        other.database, other._process, other._container = name, None, None
        return other


def _driver() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise MissingPrerequisite("the PostgreSQL client is missing: pip install 'principal-kit[pipeline]'") from error
    return psycopg


def binary(name: str = "postgres") -> str:
    """Path of one of PostgreSQL's programs, which Debian and Homebrew keep off the PATH.

    Raises MissingPrerequisite without it.
    """
    if program := shutil.which(name):
        return program
    for folder, releases in _OFF_THE_PATH:
        if found := sorted(Path(folder).glob(f"{releases}/bin/{name}"), key=_release):
            return str(found[-1])
    raise MissingPrerequisite(
        "PostgreSQL is missing: `sudo apt-get install postgresql` (Debian, Ubuntu), "
        "`brew install postgresql@17` (macOS)"
    )


def _release(program: Path) -> int:
    return int(re.sub(r"\D", "", program.parts[-3]) or 0)


def version() -> str | None:
    """The installed release, such as 15.18; None if there is none."""
    try:
        match = re.search(r"(\d+\.\d+)", says(binary(), "--version"))
    except MissingPrerequisite:
        return None
    return match[1] if match else None


def _as_another(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root, as containers and notebooks in them often do: then it runs as `nobody`."""
    if os.geteuid() != 0:
        return command
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--", *command]


def _hand_over(path: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _make_cluster(folder: Path, password: str) -> Path:
    """initdb with a password from the start; nobody can connect without it."""
    data, secret = folder / "data", folder / "password"
    folder.chmod(0o711)  # the server's user must get through to its own part
    data.mkdir(mode=0o700)
    _hand_over(data)
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="ascii")
    _hand_over(secret)
    command = [
        binary("initdb"), "-D", str(data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}",
        "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
    ]  # fmt: skip
    try:
        done = subprocess.run(_as_another(command), capture_output=True, text=True, cwd="/", check=False)
    finally:
        secret.unlink()
    if done.returncode:
        raise ServiceError(f"initdb failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return data


def _command(data: Path, port: int, changes: Mapping[str, object], directory: Path) -> list[str]:
    settings = [f"--{name}={value}" for name, value in (_SETTINGS | dict(changes)).items()]
    return _as_another([binary(), "-D", str(data), "-p", str(port), *settings])


def _answers(port: int, password: str, database: str) -> bool:
    driver = _driver()
    try:
        driver.connect(
            host=LOOPBACK, port=port, user=USER, password=password, dbname=database, connect_timeout=3
        ).close()
    except driver.OperationalError:
        return False
    return True


def start(port: int | None = None, *, settings: Mapping[str, object] | None = None) -> PostgresEndpoint:
    """Start a new embedded server with an empty database `shop`; about two seconds. `settings` go over ours.

    Raises MissingPrerequisite without PostgreSQL or psycopg, ServiceError when the port is occupied or it does not come
    up.
    """
    _driver()
    about = check_version("postgres", version() or "")

    def on(chosen: int) -> PostgresEndpoint:
        password, folder = secrets.token_urlsafe(18), shared_folder("postgres")
        try:
            data = _make_cluster(folder, password)
            again = partial(_run, data, folder, chosen, password, settings or {})
            process = again("postgres")
        except ServiceError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        endpoint = PostgresEndpoint(
            "postgres", LOOPBACK, chosen, about, "embedded", process,
            again=again, user=USER, password=password, database="postgres",
        )  # fmt: skip
        with endpoint.connect() as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        endpoint.database = DATABASE
        return endpoint

    return on_a_port(on, port)


def _run(
    data: Path, folder: Path, port: int, password: str, settings: Mapping[str, object], database: str = DATABASE
) -> ServerProcess:
    # SIGTERM waits for clients to leave; the guardian's SIGKILL after `grace` is what it recovers from anyway.
    deadline = monotonic() + START_SECONDS
    while True:
        process = ServerProcess("postgres", partial(_command, data, port, settings), grace=3.0, inside=folder)
        try:
            process.wait_ready(partial(_answers, port, password, database), START_SECONDS)
        except ServiceError as error:
            # The backends of a killed server notice within moments that it is gone; until then none may take its place.
            if not _OLD_ONES.search(str(error)) or monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return process


def external() -> PostgresEndpoint | None:
    """The server PRINCIPAL_KIT_POSTGRES=postgresql://user:password@host:port/database names, or None.

    Raises InvalidArgument when the variable is malformed (it is not repeated: there is a password in it), ServiceError
    when nothing answers there.
    """
    text = os.environ.get("PRINCIPAL_KIT_POSTGRES", "")
    if not text:
        return None
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 5432
    except ValueError:
        host = None
    if not host or url.scheme != "postgresql" or not url.username or not url.path.strip("/"):
        raise InvalidArgument("PRINCIPAL_KIT_POSTGRES: expected postgresql://user:password@host:port/database")
    if not accepts(host, port, 3.0):
        raise ServiceError(f"PRINCIPAL_KIT_POSTGRES: nothing accepts connections at {host}:{port}")
    endpoint = PostgresEndpoint(
        "postgres", host, port, "", "external",
        user=url.username, password=url.password or "", database=url.path.strip("/"),
    )  # fmt: skip
    with endpoint.connect() as connection:
        told = connection.execute("SHOW server_version").fetchone()[0]
    endpoint.version = check_version("postgres", told.split()[0])
    return endpoint


def attach(*_: Any) -> PostgresEndpoint:
    """There is no `principal-kit up postgres`: its password would have to be written down."""
    raise ServiceError("PostgreSQL is embedded or named by PRINCIPAL_KIT_POSTGRES")
