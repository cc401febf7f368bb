"""The site is built once for all tests in this folder, from nothing, with warnings as errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from principal_kit.course import project

ROOT = project.root()
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What the checks need of one page: its elements with their attributes, and every place that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.path = path
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        self.ids += [found[name] for name in ("id", "name") if tag != "meta" and name in found]

    def having(self, tag: str) -> Iterator[dict[str, str]]:
        return (attributes for name, attributes in self.elements if name == tag)


@dataclass(frozen=True)
class Build:
    """What the build left, and what it complained about."""

    pages: Path
    status: int
    complaints: str


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The site from nothing, with warnings as errors."""
    out = tmp_path_factory.mktemp("site")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", str(ROOT), "--path-output", str(out)]
    done = subprocess.run(
        [*command, "-n", "-W", "--keep-going", "--all"], capture_output=True, text=True, cwd=ROOT, timeout=150
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).splitlines()
    said = "\n".join(line for line in lines if re.search(r"WARNING|ERROR|[Ee]rror:", line))
    return Build(out / "_build" / "html", done.returncode, said)


@pytest.fixture(scope="session")
def site(build: Build) -> Path:
    """Folder of the built pages; usable for other checks even when the build complained."""
    if not (build.pages / "searchindex.js").is_file():
        pytest.fail(f"no site was built:\n{build.complaints}", pytrace=False)
    return build.pages


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[str, Page]:
    """Every page by its path below the site, in a stable order."""
    return {
        str(path.relative_to(site)): Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    }
