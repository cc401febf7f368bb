"""Renders the site again with the chapters that were just run, into _build/live/html, and links it from _build/html.

The tree is copied to _build/live/tree, executed copies replace the committed notebooks there, and jupyter-book builds
that copy. So the committed notebooks, and the site made from them, stay what CI has validated.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "_build" / "runs"
LIVE = ROOT / "_build" / "live"
SITE = ROOT / "_build" / "html"
MARK = "live-run-of-this-machine"


def copy_tree(to: Path) -> None:
    """Copies what a build of the site reads; files that did not change keep their time, so the build is incremental."""
    skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "_build", ".*", "tests", "requirements.lock")

    def copy_if_changed(source: str, target: str) -> None:
        if not os.path.exists(target) or Path(source).read_bytes() != Path(target).read_bytes():
            shutil.copy2(source, target)

    shutil.copytree(ROOT, to, ignore=skip, copy_function=copy_if_changed, dirs_exist_ok=True)


def executed_notebooks() -> dict[str, Path]:
    """The executed copy of each chapter that has one: file name of the notebook to path of the copy."""
    copies = {path.name: RUNS / path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    return {name: run for name, run in copies.items() if run.is_file()}


def build(tree: Path) -> Path:
    """Builds `tree` and returns the folder of its pages."""
    log = ROOT / "_build" / "logs" / "live.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(tree),
        "--path-output",
        str(LIVE / "out"),
    ]
    with log.open("w") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=tree)
    if done.returncode != 0:
        print("".join(log.read_text().splitlines(keepends=True)[-40:]), file=sys.stderr)
        raise SystemExit(f"the live site did not build; the whole log is {log.relative_to(ROOT)}")
    return LIVE / "out" / "_build" / "html"


def unlink() -> None:
    """Takes the links out of the site again: what is published or tested names no run of this machine."""
    for page in SITE.glob("notebooks/*.html"):
        text = page.read_text(encoding="utf-8")
        if MARK in text:
            page.write_text(re.sub(rf'<p class="{MARK}">.*?</p>', "", text, flags=re.S), encoding="utf-8")


def link_from_site(name: str, when: float) -> None:
    """Puts one line under the heading of the committed chapter's page: where this machine's run is."""
    page = SITE / "notebooks" / Path(name).with_suffix(".html").name
    if not page.exists():
        return
    text = page.read_text(encoding="utf-8")
    stamp = html.escape(time.strftime("%d %B %Y, %H:%M", time.localtime(when)))
    note = (
        f'<p class="{MARK}">This chapter was run on this machine on {stamp}: '
        f'<a href="../../live/html/notebooks/{page.name}">read that run</a>.</p>'
    )
    text = re.sub(r"</h1>", lambda match: match.group(0) + note, text, count=1)
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Copies, replaces, builds, links."""
    executed = executed_notebooks()
    if not executed:
        raise SystemExit("no executed chapter under _build/runs/: run one first, with principal-kit run 1.1")
    tree = LIVE / "tree"
    copy_tree(tree)
    for name, run in executed.items():
        shutil.copy2(run, tree / "notebooks" / name)
    pages = build(tree)
    html_link = LIVE / "html"
    if html_link.is_symlink() or html_link.exists():
        html_link.unlink()
    html_link.symlink_to(os.path.relpath(pages, LIVE))
    unlink()
    for name, run in executed.items():
        link_from_site(name, run.stat().st_mtime)
        print(f"      {name}: _build/live/html/notebooks/{Path(name).stem}.html")


if __name__ == "__main__":
    unlink() if sys.argv[1:] == ["--unlink"] else main()
