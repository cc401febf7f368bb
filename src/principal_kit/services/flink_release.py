"""Flink's own distribution, out of the source package `apache-flink-libraries` on PyPI: jars, nothing of its Python.

Maven Central has every module but no `flink-dist`; this package has it, as published by the Flink project. It must not
be installed beside PySpark (its `pyflink` wants other versions), so it is downloaded, checked and unpacked.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from principal_kit.core.errors import ServiceError
from principal_kit.services.versions import WANTED

PACKAGE = "apache-flink-libraries"
SHA256 = "b48d3944755b9303f99d205ea1a9bcb798fc563a872c782393fb466f16d4f91c"  # of the 310 MB .tar.gz
_FOLDERS = ("deps/lib", "deps/opt")  # the cluster's class path; the SQL client and PyFlink's side of the JVM
_DOWNLOAD_SECONDS = 900


def download(folder: Path) -> Path:
    """Let pip bring the source package, checked against its hash, into `folder`. Raises ServiceError when it cannot."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE}=={WANTED['flink']} --hash=sha256:{SHA256}\n", encoding="ascii")
    # --no-build-isolation: pip asks the package for its metadata, for which setuptools is here already.
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "download", *options, "--require-hashes", "-r", wanted, "-d", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"pip did not finish {PACKAGE} in {_DOWNLOAD_SECONDS} s; run the command again") from error
    found = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not found:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-4:])
        raise ServiceError(f"pip could not fetch {PACKAGE} {WANTED['flink']}. Its last lines:\n{tail}")
    return found[0]


def copy_jars(target: Path) -> None:
    """Download the distribution and put its jars into `target`. Raises ServiceError when pip fails."""
    with tempfile.TemporaryDirectory(prefix=".flink-", dir=target.parent) as folder:
        with tarfile.open(download(Path(folder))) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                inside = str(PurePosixPath(*path.parts[1:-1]))
                if member.isfile() and inside in _FOLDERS and path.suffix == ".jar":
                    with archive.extractfile(member) as source, open(target / path.name, "wb") as copy:
                        shutil.copyfileobj(source, copy)
