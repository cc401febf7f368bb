"""`_toc.yml` from the registry and the list of pages that are not chapters, so that it cannot drift."""

from __future__ import annotations

from typing import Any

from principal_kit.course import chapters

ROOT = "book/index"
BEFORE = ("book/preface", "book/how-to-use", "book/troubleshooting")
RUNBOOKS = (
    "book/runbooks/index",
    ("book/runbooks/cache-node-lost", "book/runbooks/hot-key", "book/runbooks/limiter-store-down"),
)
OPERATIONS = ("book/operations/real-time-pipeline",)
AFTER = ("book/benchmarks", "book/glossary", "book/references", "book/about")
HEADER = "# Written by `principal-kit toc` from course/chapters.py and course/toc.py; a test compares them.\n"


def contents() -> dict[str, Any]:
    """The table of contents as Jupyter Book wants it."""
    parts = []
    for number in chapters.PARTS:
        entry: dict[str, Any] = {"file": f"book/parts/part-{number}"}
        sections = [{"file": f"notebooks/{c.slug}"} for c in chapters.ready() if c.part == number]
        parts.append(entry | ({"sections": sections} if sections else {}))
    index, pages = RUNBOOKS
    runbooks = {"file": index, "sections": [{"file": page} for page in pages]}
    return {
        "format": "jb-book",
        "root": ROOT,
        "parts": [
            {"caption": "Before you start", "chapters": [{"file": page} for page in BEFORE]},
            {"caption": "The book", "chapters": parts},
            {"caption": "In operation", "chapters": [runbooks, *({"file": page} for page in OPERATIONS)]},
            {"caption": "Reference", "chapters": [{"file": page} for page in AFTER]},
        ],
    }


def render() -> str:
    """The text of `_toc.yml`."""
    import yaml

    return HEADER + yaml.safe_dump(contents(), sort_keys=False, width=120)
