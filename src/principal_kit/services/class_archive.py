"""Class-data archives: what a JVM's first start loads and verifies, kept on disk and mapped by the next start.

Half of the CPU a short-lived broker or driver burns is reading thousands of classes out of jars. The JVM can dump them
once (JEP 350, dynamic archives) and map them afterwards. It checks that jars and Java are the same, we check that the
bytes are, and either goes on without: an archive is a cache, never a prerequisite.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from principal_kit.core.errors import InvalidArgument, KitError, ServiceError
from principal_kit.services import flink_format, jars, java

KINDS = ("kafka", "spark", "flink", "connect")
PARTS = {"flink": ("flink-jobmanager", "flink-gateway", "flink-taskmanager")}  # one training, an archive for each JVM
MAKE_SECONDS = 300.0
_DIGEST = 32  # hex digits of the SHA-256 that are part of the name
_KEEP = 3  # archives a kind: several checkouts may take turns


def _parts(kind: str) -> tuple[str, ...]:
    """Names of the archives that one training makes."""
    return PARTS.get(kind, (kind,))


def _fingerprint(part: str) -> str:
    """Digest of what an archive depends on: the Java runtime and the folders the classes come from."""
    kind = part.split("-")[0]
    if kind not in KINDS:
        raise InvalidArgument(f"{part!r} has no class archive; known: {', '.join(KINDS)}")
    if kind == "spark":
        import pyspark

        folders = [Path(pyspark.__file__).parent / "jars", jars.directory("spark-kafka")]
    else:
        folders = [jars.directory(kind)]
    parts = [java.version_text(java.require()), *(f"{f} {f.stat().st_mtime_ns}" for f in folders)]
    if kind == "flink":
        parts.append(str(flink_format.path()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _folder() -> Path:
    return jars.cache_directory() / "classes"


def find(kind: str) -> Path | None:
    """The whole archive for `kind`, this Java and these jars; a damaged one is removed. Reads every byte of it.

    An archive carries its own SHA-256 in its name: the JVM aborts on one that was cut short, whatever its options.
    Raises InvalidArgument on an unknown kind, MissingPrerequisite without Java.
    """
    for archive in _folder().glob(f"{kind}-{_fingerprint(kind)}-*.jsa"):
        if archive.stem.endswith(f"-{jars.sha256(archive)[:_DIGEST]}"):
            with contextlib.suppress(OSError):
                os.utime(archive)  # used lately: the last to be pruned
            return archive
        archive.unlink(missing_ok=True)
    return None


def flags(kind: str) -> list[str]:
    """JVM options that use the archive if there is a whole one; never an error. The JVM says nothing if it cannot."""
    try:
        archive = find(kind)
    except (KitError, OSError, ImportError):
        return []
    return [f"-XX:SharedArchiveFile={archive}", "-Xlog:disable"] if archive else []


def dump_flags(target: Path) -> list[str]:
    """JVM options that write an archive when the JVM ends."""
    return [f"-XX:ArchiveClassesAtExit={target}", "-Xlog:disable"]


def make(kind: str) -> bool:
    """Start the service once and keep what it loaded; False if the archive is there. Tens of seconds.

    Atomic: written beside, then renamed. Raises ServiceError when no archive came of the start.
    """
    if all(find(part) for part in _parts(kind)):
        return False
    _folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{kind}-", dir=_folder()) as folder:
        target = Path(folder) / f"{kind}.jsa"  # of several, the others are written beside it, under their names
        # A process of its own: this interpreter may have a session already, and must not keep one it did not ask for.
        environment = {k: v for k, v in os.environ.items() if k not in ("PRINCIPAL_KIT_SPARK", "SPARK_REMOTE")}
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__, kind, str(target)],
                capture_output=True, text=True, timeout=MAKE_SECONDS, check=False, env=environment,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ServiceError(f"the class archive of {kind} was not done within {MAKE_SECONDS:g} s") from error
        made = {part: target.with_name(f"{part}.jsa") for part in _parts(kind)}
        if done.returncode or not all(archive.is_file() for archive in made.values()):
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise ServiceError(f"no class archive of {kind} came of its start:\n{tail}")
        for part, archive in made.items():
            os.replace(archive, _folder() / f"{part}-{_fingerprint(part)}-{jars.sha256(archive)[:_DIGEST]}.jsa")
            _prune(part)
    return True


def _prune(kind: str) -> None:
    """Remove all archives of `kind` but those used last."""
    archives = sorted(_folder().glob(f"{kind}-*.jsa"), key=lambda p: p.stat().st_mtime)
    for old in archives[:-_KEEP]:
        with contextlib.suppress(OSError):
            old.unlink()


def main(kind: str, target: Path) -> None:
    """Body of the training process."""
    if kind == "kafka":
        from principal_kit.services import kafka_broker as module
    elif kind == "flink":
        from principal_kit.services import flink_cluster as module
    elif kind == "connect":
        from principal_kit.services import connect_worker as module
    else:
        from principal_kit.services import spark_session as module
    module.train(target)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
