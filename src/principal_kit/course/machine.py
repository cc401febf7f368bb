"""Name the machine and the versions under a measurement, so that a reader can judge the figures.

Nothing here identifies a person or a host: processor, cores, memory, operating system, versions.
"""

from __future__ import annotations

import functools
import html
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from principal_kit.core.errors import KitError

_PACKAGES = {"numpy": "numpy", "redis": "redis-py", "kafka-python": "kafka-python", "pyspark": "Spark (pyspark)"}


@dataclass(frozen=True)
class Machine:
    """Facts in reading order: label → value."""

    facts: dict[str, str]

    def __str__(self) -> str:
        hardware = ", ".join(self.facts[k] for k in ("processor", "cores", "memory", "system"))
        versions = ", ".join(f"{k} {v}" for k, v in self.facts.items() if k not in _HARDWARE)
        return f"{hardware}\n{versions}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        hardware, versions = (html.escape(line) for line in str(self).split("\n"))
        return f'<p class="kit-machine" style="font-size:.85em;margin:.3em 0">Measured on: {hardware}<br>{versions}</p>'


_HARDWARE = ("processor", "cores", "memory", "system")


def machine(*endpoints: Any) -> Machine:
    """Describe this machine; `endpoints` of `services` add the versions of the servers that were measured.

    Costs one call of `redis-server --version` and one check of the cached jars the first time. Raises nothing: what
    cannot be found is left out.
    """
    import psutil

    import principal_kit

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts = {
        "processor": _processor(),
        "cores": f"{cores} core{'s' * (cores != 1)}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "principal-kit": principal_kit.__version__,
    }
    for package, label in _PACKAGES.items():
        try:
            facts[label] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    facts.update(_servers(endpoints))
    return Machine(facts)


def _servers(endpoints: tuple[Any, ...]) -> dict[str, str]:
    found = {}
    for endpoint in endpoints:
        name = type(endpoint).__name__.removesuffix("Endpoint").removesuffix("Session").lower()
        found[f"{name} server"] = f"{endpoint.version}" + (f" ({e})" if (e := getattr(endpoint, "source", "")) else "")
    # Not when a variable points elsewhere: then only the endpoint knows what answered.
    for name, installed in (("redis", _installed_redis), ("kafka", _cached_kafka)):
        label = f"{name} server"
        if label not in found and not os.environ.get(f"PRINCIPAL_KIT_{name.upper()}") and (version := installed()):
            found[label] = version
    return found


@functools.cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
        if match:
            return re.sub(r"\((R|TM)\)|\s+CPU\b|\s+@.*", "", match.group(1)).strip()
    if platform.system() == "Darwin":
        return _first_line("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


@functools.cache
def _installed_redis() -> str:
    match = re.search(r"v=([\d.]+)", _first_line("redis-server", "--version"))
    return match.group(1) if match else ""


@functools.cache
def _cached_kafka() -> str:
    """The version whose jars an embedded broker would start from, if they are in the cache and whole."""
    from principal_kit.services import jars

    try:
        jars.verified("kafka")
    except KitError:
        return ""
    return jars.SETS["kafka"]


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.strip().split("\n")[0]
