"""The format 'json-fields' of the Flink jobs, shipped as its Java source and compiled once on the machine that runs it.

Readers have a Java runtime and no compiler, so the compiler is a jar as well: Eclipse's, fetched and checked like the
others. The compiled jar is a cache, named by everything that it depends on: the source, Flink, the compiler.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

from principal_kit.core.errors import ServiceError
from principal_kit.services import jars, java
from principal_kit.services.versions import WANTED

NAME = "json-fields"
SOURCE = Path(__file__).with_name("JsonFieldsFormatFactory.java")
_CLASS = "principalkit.JsonFieldsFormatFactory"
_SERVICE = "META-INF/services/org.apache.flink.table.factories.Factory"  # where Flink looks for formats
_THEN = 315_619_200  # 1980-01-02: the class archives of Flink hold for jars of the same name, size and time
_COMPILE_SECONDS = 120


def digest() -> str:
    """What the compiled jar depends on, in 16 hex digits."""
    parts = [SOURCE.read_bytes(), *(f"{name} {WANTED[name]}".encode() for name in ("flink", "ecj", "java"))]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


def path() -> Path:
    """Where the compiled jar is, or will be."""
    return jars.cache_directory() / "jars" / f"{NAME}-{digest()}.jar"


def jar() -> Path:
    """The compiled jar; the first call takes some seconds.

    Atomic: two calls at once compile twice, and the last rename wins. Raises MissingPrerequisite (no Java, no jars of
    Flink or of the compiler), ServiceError (the source does not compile).
    """
    final = path()
    if final.is_file():
        return final
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=jars.directory("flink").parent) as folder:
        classes = Path(folder) / "classes"
        _compile(classes)
        packed = Path(folder) / final.name
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(classes.rglob("*.class")):
                archive.writestr(zipfile.ZipInfo(str(file.relative_to(classes))), file.read_bytes())
            archive.writestr(zipfile.ZipInfo(_SERVICE), f"{_CLASS}\n")
        os.utime(packed, (_THEN, _THEN))
        os.replace(packed, final)
    return final


def _compile(target: Path) -> None:
    binary = java.require()
    [compiler] = jars.verified("ecj").glob("*.jar")
    libraries = os.pathsep.join(map(str, sorted(jars.verified("flink").glob("*.jar"))))
    command = [binary, "-jar", compiler, f"-{WANTED['java']}", "-proc:none", "-nowarn", "-cp", libraries, "-d", target]
    try:
        done = subprocess.run([*command, SOURCE], capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{SOURCE.name} was not compiled within {_COMPILE_SECONDS} s") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise ServiceError(f"{SOURCE.name} does not compile against Flink {WANTED['flink']}:\n{tail}")
