"""The site's sources agree with the registry of chapters, with the project's address, and with themselves."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter

import pytest
import yaml

from principal_kit.course import chapters, project, site

ROOT = project.root()
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


def files_in(entry: dict | list) -> list[str]:
    """Every `file:` below an entry of the table of contents, in order."""
    if isinstance(entry, list):
        return [name for item in entry for name in files_in(item)]
    own = [entry["file"]] if "file" in entry else []
    return own + [name for key in ("parts", "chapters", "sections") for name in files_in(entry.get(key, []))]


def test_every_page_named_in_the_contents_exists_once():
    names = [TOC["root"], *files_in(TOC)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [n for n in names if not any((ROOT / f"{n}{end}").is_file() for end in (".md", ".ipynb"))] == []


def test_every_page_of_the_book_is_in_the_contents():
    written = {str(path.relative_to(ROOT).with_suffix("")) for path in (ROOT / "book").rglob("*.md")}
    assert written - {TOC["root"], *files_in(TOC)} == set()


def test_ready_chapters_stand_under_their_part_and_planned_ones_nowhere():
    book = next(part for part in TOC["parts"] if part["caption"] == "The book")
    shown = {entry["file"]: files_in(entry.get("sections", [])) for entry in book["chapters"]}
    expected = {
        f"book/parts/part-{number}": [f"notebooks/{c.slug}" for c in chapters.ready() if c.part == number]
        for number in chapters.PARTS
    }
    assert shown == expected


@pytest.mark.parametrize("number", chapters.PARTS)
def test_part_openers_name_each_of_their_chapters_state(number: int):
    text = (ROOT / f"book/parts/part-{number}.md").read_text()
    assert text.startswith(f"# Part {number}: {chapters.PARTS[number]}\n")
    assert re.search(rf"```{{chapter-map}}\n:part: {number}\n```", text)
    ready = [c for c in chapters.ready() if c.part == number]
    for chapter in ready:
        assert f"**Chapter {chapter.number}**" in text, "the opener says nothing of a chapter that can be read"
    says_all_planned = re.search(r"\b(All (three|four)|Both) chapters are planned", text) is not None
    assert says_all_planned == (not ready)


def test_config_names_the_same_repository_as_the_package():
    assert CONFIG["repository"] == {"url": project.REPO_URL, "branch": project.BRANCH}


def test_nothing_is_executed_at_build_time():
    assert CONFIG["execute"]["execute_notebooks"] == "off"


def test_what_binder_needs_is_in_the_tree():
    assert CONFIG["launch_buttons"]["binderhub_url"]
    assert (ROOT / "environment.yml").is_file()
    assert (ROOT / "postBuild").is_file()


def test_the_front_pages_figure_is_what_the_kit_computes():
    path = ROOT / "book" / "_ext" / "ring_figure.py"
    spec = importlib.util.spec_from_file_location("ring_figure", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ring_figure"] = module
    spec.loader.exec_module(module)
    assert (ROOT / "book/_static/ring.svg").read_text() == module.draw(), f"python {path.relative_to(ROOT)}"


def test_bibliography_entries_can_be_looked_up():
    from pybtex.database import parse_file

    entries = parse_file(str(ROOT / "book" / "references.bib")).entries
    assert [key for key in entries if not re.fullmatch(r"[a-z0-9]+", key)] == []
    lost = [key for key, entry in entries.items() if not {"doi", "url", "pages"} & set(entry.fields)]
    assert lost == []
    assert [key for key, entry in entries.items() if not {"title", "year"} <= set(entry.fields)] == []


def test_third_party_scripts_are_named_with_their_version_and_checksum():
    for asset in site.ASSETS:
        assert asset.name == f"{asset.artifact}-{asset.version}.js"
        assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256)


def test_no_word_of_marketing():
    banned = re.compile(
        r"\b(in today's world|game.changer|cutting.edge|blazing|seamless(ly)?|leverage[sd]?|delve|unlock|supercharge"
        r"|it is important to note|world.class|state.of.the.art|robust and scalable)\b",
        flags=re.IGNORECASE,
    )
    found = {p.name: m.group() for p in (ROOT / "book").rglob("*.md") if (m := banned.search(p.read_text()))}
    assert found == {}
