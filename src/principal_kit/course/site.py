"""Third-party scripts of the site, kept on this machine so that a published page asks no other host for anything.

MathJax and mermaid are megabytes of minified code: they are not in the tree. Maven fetches each once as a WebJar, the
one file that the site needs is taken out, its SHA-256 is checked, and it stays in the per-user cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_dir

from principal_kit.core.errors import CorruptionError, MissingPrerequisite, ServiceError

COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"


@dataclass(frozen=True)
class Asset:
    """One file out of one WebJar: Maven coordinates, path below the jar's web root, and the SHA-256 of that file."""

    artifact: str
    version: str
    path: str
    sha256: str

    @property
    def name(self) -> str:
        """File name under which the site serves it."""
        return f"{self.artifact}-{self.version}.js"

    @property
    def coordinates(self) -> str:
        """What Maven is asked for: group, artifact, version."""
        return f"org.webjars.npm:{self.artifact}:{self.version}"

    @property
    def member(self) -> str:
        """Where the file lies inside of the jar."""
        return f"META-INF/resources/webjars/{self.artifact}/{self.version}/{self.path}"


# tex-svg draws formulas from paths inside the script itself: no font is fetched, so it also works from file://.
MATHJAX = Asset(
    "mathjax", "3.2.2", "es5/tex-svg.js", "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
)
MERMAID = Asset(
    "mermaid",
    "11.14.0",
    "dist/mermaid.min.js",
    sha256="217b66ef4279c33c141b4afe22effad10a91c02558dc70917be2c0981e78ed87",
)
ASSETS = (MATHJAX, MERMAID)


def assets_dir() -> Path:
    """Folder that becomes `_static/vendor` of the site; PRINCIPAL_KIT_CACHE moves it."""
    cache = os.environ.get("PRINCIPAL_KIT_CACHE") or user_cache_dir("principal-kit")
    return Path(cache) / "site" / "vendor"


def fetch_assets() -> Path:
    """Bring all ASSETS into the cache and return their folder. Offline once they are there; O(bytes) to verify.

    Raises MissingPrerequisite without Maven, ServiceError when Maven fails, CorruptionError when a file that was just
    fetched is not the one expected. A damaged file in the cache is fetched again.
    """
    folder = assets_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for asset in ASSETS:
        target = folder / asset.name
        if not (target.is_file() and _sha256(target.read_bytes()) == asset.sha256):
            _install(asset, target)
    return folder


def _install(asset: Asset, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="principal-kit-site-") as scratch:
        content = _from_webjar(asset, Path(scratch))
    found = _sha256(content)
    if found != asset.sha256:
        raise CorruptionError(f"{asset.coordinates}: {asset.path} has SHA-256 {found}, expected {asset.sha256}")
    # Renamed into place, so that a build beside this one never reads half a file.
    handle, partial = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    os.replace(partial, target)


def _from_webjar(asset: Asset, scratch: Path) -> bytes:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingPrerequisite("the site's scripts are fetched with Maven: install it (apt-get install maven)")
    # No credentials and no pom are involved; stripping the version gives a file name that is known beforehand.
    command = [maven, "-B", "-q", COPY_GOAL, f"-Dartifact={asset.coordinates}", f"-DoutputDirectory={scratch}"]
    done = subprocess.run([*command, "-Dmdep.stripVersion=true"], cwd=scratch, capture_output=True, text=True)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ServiceError(f"Maven could not fetch {asset.coordinates}:\n{last}")
    with zipfile.ZipFile(scratch / f"{asset.artifact}.jar") as jar:
        return jar.read(asset.member)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    print(fetch_assets(), file=sys.stdout)
