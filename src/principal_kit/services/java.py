"""The Java runtime on this machine: where it is and which version."""

from __future__ import annotations

import os
import re
import shutil
from functools import lru_cache
from pathlib import Path

from principal_kit.core.errors import MissingPrerequisite
from principal_kit.services.process import says
from principal_kit.services.versions import WANTED

INSTALL = "`sudo apt-get install openjdk-17-jre-headless` (Debian, Ubuntu), `brew install openjdk@17` (macOS)"


@lru_cache(maxsize=8)
def version_text(binary: str) -> str:
    """What `java -version` says; asked once an interpreter, since each answer costs a JVM's start."""
    return says(binary, "-version")


def find() -> tuple[str | None, int | None]:
    """Path of `java` (JAVA_HOME first, then PATH) and its major version; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    binary = next((c for c in [*candidates, shutil.which("java")] if c and os.access(c, os.X_OK)), None)
    if not binary:
        return None, None
    match = re.search(r'version "(\d+)', version_text(binary))
    return binary, int(match.group(1)) if match else None


def require() -> str:
    """Path of a `java` new enough. Raises MissingPrerequisite naming the command that installs one."""
    binary, major = find()
    if binary is None:
        raise MissingPrerequisite(f"a Java runtime is missing: {INSTALL}")
    if major is None or major < int(WANTED["java"]):
        raise MissingPrerequisite(
            f"Java {WANTED['java']} or newer is needed, {binary} is {major or 'not a working Java'}: {INSTALL}"
        )
    return binary
