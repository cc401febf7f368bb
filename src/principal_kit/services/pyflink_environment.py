"""PyFlink in a virtual environment of its own, and its jobs on a session cluster.

PyFlink wants older releases of what PySpark and pandas have, so it never shares their environment. It is made once from
`pyflink.lock`, every file checked against its hash; the jars are those of the cluster, not a second copy.

    python -m principal_kit.services.pyflink_environment     # make it, or say that it is there
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from principal_kit.core.errors import KitError, MissingPrerequisite, ServiceError
from principal_kit.services import flink_format, jars, java, process
from principal_kit.services.flink_failure import FlinkError, root_cause
from principal_kit.services.versions import WANTED

if TYPE_CHECKING:
    from principal_kit.services.flink_cluster import FlinkEndpoint

LOCK = Path(__file__).with_name("pyflink.lock")
MEND = "python -m principal_kit.services.pyflink_environment"
PYTHONS = ((3, 11), (3, 12))  # that PyFlink's compiled packages are published for
_BUILD = ("setuptools", "wheel")  # what the few packages without a wheel are built with
_MAKE_SECONDS = 900
_OF_A_JOB = ("execution.checkpointing.", "state.backend.", "restart-strategy.", "table.")
_SUBMITTED = re.compile(r"Job has been submitted with JobID ([0-9a-f]{32})")


def directory() -> Path:
    """Where the environment is kept: one for each Python, lock file and version."""
    python = f"py{sys.version_info[0]}.{sys.version_info[1]}"
    return jars.cache_directory() / f"pyflink-{WANTED['flink']}" / f"{python}-{_digest()}"


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]


def interpreter() -> Path:
    """The environment's Python. Raises MissingPrerequisite, naming the command that makes it."""
    python = directory() / "bin" / "python"
    if not python.exists():
        raise MissingPrerequisite(f"PyFlink {WANTED['flink']} has no environment yet: `{MEND}` (or `make pyflink`)")
    return python


def site_packages() -> Path:
    """Where the environment's packages are, or will be."""
    return directory() / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def make() -> bool:
    """Make the environment; False if it is there. A quarter of a minute, 144 MB of download, 400 MB on disk.

    Atomic: built beside, then renamed. Raises MissingPrerequisite (Python too new, no uv), ServiceError with the
    installer's last lines when a package cannot be had.
    """
    final = directory()
    if (final / "bin" / "python").exists():
        return False
    if sys.version_info[:2] not in PYTHONS:
        raise MissingPrerequisite(
            f"PyFlink {WANTED['flink']} needs Python 3.11 or 3.12, this is {sys.version.split()[0]}"
        )
    uv = Path(sys.executable).with_name("uv")
    installer = str(uv) if uv.exists() else shutil.which("uv")
    if installer is None:
        raise MissingPrerequisite("uv, which installs PyFlink, is missing: pip install 'principal-kit[test]'")
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".pyflink-", dir=final.parent))
    try:
        process.fetch([sys.executable, "-m", "venv", "--without-pip", str(folder)], "PyFlink", seconds=_MAKE_SECONDS)
        common = [installer, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
        blocks = re.split(r"^(?=[a-z0-9])", LOCK.read_text(encoding="ascii"), flags=re.M)
        for wanted in ([b for b in blocks if b.split("==")[0] in _BUILD], blocks):
            (folder / "lock").write_text("".join(wanted), encoding="ascii")
            options = ["--no-deps", "--no-build-isolation", "--require-hashes", "-r", str(folder / "lock")]
            process.fetch([*common, *options], "PyFlink", seconds=_MAKE_SECONDS)
        os.rename(folder, final)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if not (final / "bin" / "python").exists():  # else another process made it meanwhile
            raise
    return True


def make_aloud() -> bool:
    """`make`, with a line on standard error while it is at work."""
    if directory().exists():
        return False
    click.echo(f"  PyFlink {WANTED['flink']} in an environment of its own (144 MB) … ", nl=False, err=True)
    begun, outcome = time.monotonic(), "failed"
    try:
        made = make()
        outcome = f"made in {time.monotonic() - begun:.0f} s"
    finally:
        click.echo(outcome, err=True)
    return made


def run(flink: FlinkEndpoint, script: Path | str, *args: str, seconds: float = 180.0, **config: str) -> list[str]:
    """Run a PyFlink script as `flink run --detached --python` does; returns the ids of the jobs it started.

    Args:
        flink: the cluster; its TaskManagers must see this machine's files, as embedded ones do.
        script: takes its environment from `StreamExecutionEnvironment.get_execution_environment()`.
        args: the script's `sys.argv[1:]`.
        seconds: for the script to submit its jobs; it waits for none.
        config: Flink options of its jobs, named as in `FlinkEndpoint.sql`; checkpoints, state and restarts are else as
            the cluster has them. A client without these settings would submit a job that takes no checkpoints.

    Raises MissingPrerequisite without the environment, FlinkError with the reason when the script fails.
    """
    from principal_kit.services.flink_processes import JVM
    from principal_kit.services.flink_sql import option

    python, folder = interpreter(), jars.verified("flink")
    class_path = f"{folder}/*{os.pathsep}{flink_format.jar()}"
    options = {entry["key"]: entry["value"] for entry in flink.rest("GET", "/jobmanager/config")}
    options = {name: value for name, value in options.items() if name.startswith(_OF_A_JOB)}
    options |= {"python.client.executable": python, "python.executable": python}
    options |= {option(name): value for name, value in config.items()}
    with tempfile.TemporaryDirectory(prefix="principal-kit-pyflink-") as temporary:
        (Path(temporary) / "config.yaml").write_text("", encoding="ascii")
        command = [
            java.require(), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *JVM,
            f"-Djava.io.tmpdir={temporary}", "-cp", class_path, "org.apache.flink.client.cli.CliFrontend",
            "run", "--detached", "--jobmanager", flink.address,
            *(part for name, value in options.items() for part in ("-D", f"{name}={value}")),
            "--python", str(Path(script).resolve()), *args,
        ]  # fmt: skip
        place = {name: str(folder) for name in ("FLINK_HOME", "FLINK_LIB_DIR", "FLINK_OPT_DIR")}
        environment = {**os.environ, **place, "FLINK_CONF_DIR": temporary}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise ServiceError(f"{script} has not submitted its jobs within {seconds:g} s") from error
    jobs = _SUBMITTED.findall(done.stdout)
    if done.returncode or not jobs:
        raise FlinkError(f"{script}: {_reason(done.stdout, done.stderr)}", done.stdout + done.stderr)
    return jobs


def _reason(out: str, err: str) -> str:
    """Why a script failed: the last line of its own traceback, else the end of Flink's chain of exceptions."""
    errors = re.findall(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Exit)\b.*", out, re.M)
    java_words = [line for line in errors if line.startswith(("org.", "java.", "py4j."))]
    own = [line for line in errors if line not in java_words]
    if own:
        return own[-1]
    return root_cause(err or out) if err or out else "it started no job"


@click.command(help=__doc__.splitlines()[0])
def main() -> None:
    """Command line."""
    try:
        made = make_aloud()
    except KitError as error:
        raise click.ClickException(str(error)) from error
    if not made:
        click.echo(f"  PyFlink {WANTED['flink']} is there")


if __name__ == "__main__":
    main()
