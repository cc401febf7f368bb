"""Where the project lives: its public address, and its folders in a checkout.

One place for both, so that links in the site, in `show()` and in the tests cannot disagree.
"""

from __future__ import annotations

from pathlib import Path

from principal_kit.core.errors import MissingPrerequisite

REPO_URL = "https://github.com/principals-kit/principals-kit"
BRANCH = "main"
PACKAGE = Path(__file__).resolve().parents[1]


def source_url(relative: str, first: int | None = None, last: int | None = None) -> str:
    """Address of a file of the package on the public host, optionally of a range of lines. O(1).

    >>> source_url("core/clock.py", 3, 9).removeprefix(REPO_URL)
    '/blob/main/src/principal_kit/core/clock.py#L3-L9'
    """
    lines = f"#L{first}-L{last}" if first and last else ""
    return f"{REPO_URL}/blob/{BRANCH}/src/principal_kit/{relative}{lines}"


def root() -> Path:
    """The checkout's top folder: the first one, from here or the package upwards, that holds the book's notebooks.

    Raises MissingPrerequisite outside of a checkout: an installed wheel carries the kit, not the book.
    """
    for start in (Path.cwd(), PACKAGE):
        for folder in (start, *start.parents):
            if (folder / "notebooks").is_dir() and (folder / "src" / "principal_kit").is_dir():
                return folder
    raise MissingPrerequisite(f"the book's notebooks are not here; run this inside a checkout: git clone {REPO_URL}")
