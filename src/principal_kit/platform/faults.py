"""Faults that are no kill: a sink that stands still, and a broker's disk that is full. Both real, both reversible.

The sink is made to wait by what makes it wait in production, a transaction that somebody left open on the catalog. The
disk is a small volume where this user may mount one, else a limit that the kernel puts on the broker's files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from principal_kit.core.errors import InvalidArgument, ServiceError


@contextmanager
def catalog_held(connect: Callable[..., Any]) -> Iterator[None]:
    """A transaction that holds the catalog's table: reads go on, commits to any Iceberg table wait until it ends.

    Args:
        connect: gives a psycopg connection to the catalog's database, as a `PostgresEndpoint` does.
    """
    with connect(autocommit=False) as connection:
        connection.execute("LOCK TABLE iceberg_tables IN EXCLUSIVE MODE")
        try:
            yield
        finally:
            connection.rollback()


def blockers(connect: Callable[..., Any]) -> list[tuple[int, float, str]]:
    """Who holds what others of a PostgreSQL server wait for: process id, seconds since its transaction began, and its
    last statement. The runbook's question, in the runbook's words. O(sessions)."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::float, query FROM pg_stat_activity "
            "WHERE pid = ANY (SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity)"
        ).fetchall()
    return [(pid, seconds, query) for pid, seconds, query in rows]


class Volume:
    """A file system of its own, in memory, of `size` bytes; gone with `close`. Linux, and only who may mount.

    Raises ServiceError when mounting is refused.
    """

    def __init__(self, size: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="volume-"))
        try:
            self._mount(f"size={size}", "tmpfs")
        except ServiceError:
            self.path.rmdir()
            raise

    def _mount(self, options: str, kind: str | None = None) -> None:
        what = ["-t", kind, kind] if kind else []
        command = ["mount", "-o", options, *what, str(self.path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except OSError as error:
            raise ServiceError(f"no volume of its own: {error}") from error
        if done.returncode:
            raise ServiceError(f"no volume of its own: {done.stderr.strip() or 'mount was refused'}")

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        return shutil.disk_usage(self.path).free

    def grow(self, size: int) -> None:
        """Make it `size` bytes, with what is in it. Raises ServiceError."""
        self._mount(f"remount,size={size}")

    def close(self) -> None:
        """Unmount and remove it. Idempotent."""
        if os.path.ismount(self.path):
            subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True, timeout=10, check=False)
        shutil.rmtree(self.path, ignore_errors=True)


def limit_files(pid: int, size: int) -> None:
    """Let no file of the process `pid` grow beyond `size` bytes: a write beyond it fails, as on a full disk (EFBIG).

    The limit goes with the process. Let a broker write first: at its first records it makes the index of a segment,
    10 MiB and mostly a hole. The limit is reached by one file, not by all together, and no volume becomes full, so what
    watches free space sees nothing. Raises ServiceError where the system has no such limit for others (macOS),
    InvalidArgument on a `size` below 1.
    """
    if size < 1:
        raise InvalidArgument(f"size is {size}; expected bytes")
    if sys.platform != "linux":
        raise ServiceError("a limit on another process' files needs Linux")
    process = psutil.Process(pid)
    _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (size, hard))
