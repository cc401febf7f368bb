"""Where Prometheus' own checker is: on the PATH, or in the kit's cache, where `scripts/promtool.sh` puts it."""

from __future__ import annotations

import shutil

from principal_kit.core.errors import MissingPrerequisite
from principal_kit.services.jars import cache_directory


def promtool() -> str:
    """The program. Raises MissingPrerequisite, naming what brings it."""
    found = shutil.which("promtool") or shutil.which("promtool", path=str(cache_directory() / "tools"))
    if found is None:
        raise MissingPrerequisite(
            "promtool is missing: `scripts/promtool.sh --where` (Debian, Ubuntu), `brew install prometheus` (macOS)"
        )
    return found
