"""Stand-ins for the official images where none can be pulled: a Debian root of our own under the official names.

They hold the same Kafka jars, redis-server and Spark distribution as the embedded services, behind the part of the
official images' interface that docker/ relies on; each Dockerfile in standins/ lists that part. They exist for this
test only and are never pushed: the tag on this machine is all they have of the official images.

    python tests/docker/standins.py     # build what is not there
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).with_name("standins")
LABEL = "principal-kit.stand-in=true"
DEBIAN = "principal-kit-test/debian:bookworm"
JAVA = "principal-kit-test/java:17"


def run(*command: str, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise RuntimeError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{tail}")
    return done.stdout


def exists(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def official_images() -> dict[str, str]:
    """Which official images the project names: role to tag, read from the files that use them."""
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    spark = (ROOT / "docker/spark.Dockerfile").read_text().split("ARG SPARK=")[1].split()[0]
    minor = sys.version_info[1]
    return {
        "python": f"python:3.{minor}-slim-bookworm",
        "redis": services["redis"]["image"],
        "kafka": services["kafka"]["image"],
        "spark": spark,
    }


def pipeline_images() -> dict[str, str]:
    """Those of the profile `pipeline` that there are stand-ins for."""
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    flink = (ROOT / "deploy/kubernetes/flink.Dockerfile").read_text().split("ARG FLINK=")[1].split()[0]
    return {
        "flink": flink,
        "postgres": services["postgres"]["image"],
        "prometheus": services["prometheus"]["image"],
    }


def _kept_root() -> Path:
    """Where this week's Debian root is kept; another week or other certificates of this machine are another file."""
    from principal_kit.services import jars

    own = hashlib.sha256()
    for path in sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt")):
        own.update(path.read_bytes())
    year, week, _ = datetime.date.today().isocalendar()
    return (
        jars.cache_directory() / "docker" / f"bookworm-{os.uname().machine}-{year}w{week:02}-{own.hexdigest()[:12]}.tar"
    )


def _make_root(kept: Path) -> None:
    """A minimal Debian root with the certificates this machine trusts, as a tar file."""
    with tempfile.TemporaryDirectory(prefix="principal-kit-root-") as folder:
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root))
        own = Path("/usr/local/share/ca-certificates")
        if own.is_dir():
            shutil.copytree(own, root / "usr/local/share/ca-certificates", dirs_exist_ok=True)
            run("chroot", str(root), "update-ca-certificates")
        shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        for old in kept.parent.glob("bookworm-*.tar"):
            old.unlink()
        made = kept.with_suffix(f".{os.getpid()}")
        run("tar", "-C", str(root), "-c", "-f", str(made), ".")
        made.rename(kept)


def debian() -> None:
    """That root, imported as an image."""
    kept = _kept_root()
    if not kept.is_file():
        _make_root(kept)
    run("docker", "import", "--change", f"LABEL {LABEL}", "--change", "ENV LANG=C.UTF-8", str(kept), DEBIAN)


def build(tag: str, folder: Path, dockerfile: Path, **arguments: str) -> None:
    options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    run("docker", "build", "-q", "--label", LABEL, "-t", tag, "-f", str(dockerfile), *options, str(folder),
        env={**os.environ, "DOCKER_BUILDKIT": "0"})  # fmt: skip


def _kafka_context(context: Path) -> None:
    from principal_kit.services import jars

    shutil.copytree(FOLDER / "kafka", context, dirs_exist_ok=True)
    shutil.copytree(jars.verified("kafka"), context / "jars")


def _spark_context(context: Path) -> None:
    import pyspark

    home = Path(pyspark.__file__).parent  # the wheel carries the distribution's bin/ and jars/
    shutil.copytree(FOLDER / "spark", context, dirs_exist_ok=True)
    for part in ("bin", "sbin", "jars"):
        shutil.copytree(home / part, context / "distribution" / part)
    shutil.copytree(home / "python", context / "distribution" / "python", dirs_exist_ok=True)


def _flink_context(context: Path) -> None:
    """The official image has Flink's own jars; what deploy/kubernetes/flink.Dockerfile adds must come from there."""
    from principal_kit.services import jars

    (context / "lib").mkdir(parents=True)
    shutil.copytree(FOLDER / "flink", context, dirs_exist_ok=True)
    for name in ("jobmanager", "taskmanager", "sql-gateway"):
        shutil.copy(context / "bin" / "flink.sh", context / "bin" / f"{name}.sh")
    (context / "opt").mkdir()
    for jar in jars.verified("flink").glob("*.jar"):
        if jar.name.startswith(("flink-sql-gateway-", "flink-sql-client-", "flink-python-")):
            shutil.copy(jar, context / "opt")
        elif jar.name.startswith(("flink-", "log4j-", "slf4j-")) and not jar.name.startswith("flink-connector-kafka"):
            shutil.copy(jar, context / "lib")


def make(images: dict[str, str]) -> None:
    """Build every image of `images` that is not there."""
    if not exists(DEBIAN):
        debian()
    if not exists(JAVA):
        build(JAVA, FOLDER, FOLDER / "java.Dockerfile", ROOT=DEBIAN)
    if "python" in images and not exists(images["python"]):
        build(images["python"], FOLDER, FOLDER / "python.Dockerfile", ROOT=DEBIAN)
    for role in ("redis", "postgres", "prometheus"):
        if role in images and not exists(images[role]):
            build(images[role], FOLDER / role, FOLDER / role / "Dockerfile", ROOT=DEBIAN)
    for role, prepare in (("kafka", _kafka_context), ("spark", _spark_context), ("flink", _flink_context)):
        if role in images and not exists(images[role]):
            with tempfile.TemporaryDirectory(prefix="principal-kit-image-") as folder:
                prepare(Path(folder) / "context")
                build(images[role], Path(folder) / "context", Path(folder) / "context" / "Dockerfile", JAVA=JAVA)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    make(official_images() | pipeline_images())
