"""The built pages: links, anchors, alternatives to pictures, buttons, and nothing from another host."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from principal_kit.course import chapters, project

ROOT = project.root()
pytestmark = pytest.mark.slow

# What a browser fetches by itself when it shows a page.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
LINKED_AND_FETCHED = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}


def test_the_site_builds_without_a_warning(build):
    assert build.status == 0, build.complaints


def test_every_page_of_the_contents_was_built(pages):
    assert "index.html" in pages
    for chapter in chapters.ready():
        assert f"notebooks/{chapter.slug}.html" in pages
    for number in chapters.PARTS:
        assert f"book/parts/part-{number}.html" in pages


def internal_links(pages):
    for name, page in pages.items():
        for tag, attributes in page.elements:
            for attribute in ("href", "src"):
                target = attributes.get(attribute, "")
                if target and not urlsplit(target).scheme and not target.startswith("//") and tag != "base":
                    yield name, page, target


def test_internal_links_lead_to_files_and_anchors_that_exist(pages, site):
    broken, checked = [], 0
    for name, page, target in internal_links(pages):
        parts = urlsplit(target)
        checked += 1
        file = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if not file.is_file() or not file.is_relative_to(site):
            broken.append(f"{name}: {target}")
        elif parts.fragment and file.suffix == ".html":
            goal = pages[str(file.relative_to(site))]
            if unquote(parts.fragment) not in goal.ids:
                broken.append(f"{name}: {target} (no such anchor)")
    assert broken == []
    assert checked > 500, "the checker saw hardly any link; is it reading the right folder?"


def test_no_anchor_is_given_twice_on_a_page(pages):
    twice = {}
    for name, page in pages.items():
        ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
        if repeated := {i for i in ids if ids.count(i) > 1}:
            twice[name] = repeated
    assert twice == {}


def test_nothing_is_fetched_from_another_host(pages):
    fetched = []
    for name, page in pages.items():
        for tag, attributes in page.elements:
            address = attributes.get(FETCHED.get(tag, ""), "")
            if tag == "link" and LINKED_AND_FETCHED & set(attributes.get("rel", "").split()):
                address = attributes.get("href", "")
            if urlsplit(address).netloc:
                fetched.append(f"{name}: {address}")
    assert fetched == []


def test_style_sheets_fetch_nothing_from_another_host(site):
    sheets = [*site.rglob("*.css")]
    assert sheets
    calls = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']+""")
    assert {str(s.relative_to(site)): m.group() for s in sheets if (m := calls.search(s.read_text()))} == {}


def test_images_have_a_text_alternative(pages):
    silent = [f"{n}: {a.get('src')}" for n, p in pages.items() for a in p.having("img") if not a.get("alt", "").strip()]
    assert silent == []


def test_figures_of_chapters_describe_what_they_show(pages):
    """A path or a bare 'figure' is an attribute, not a description."""
    poor = []
    for chapter in chapters.ready():
        for attributes in pages[f"notebooks/{chapter.slug}.html"].having("img"):
            alt = attributes.get("alt", "")
            if "_images" in attributes.get("src", "") and (len(alt) < 20 or alt.endswith(".png")):
                poor.append(f"{chapter.number}: {attributes['src']}: {alt!r}")
    assert poor == []


def test_exercises_are_headed_by_the_key_that_check_takes(pages):
    for chapter in chapters.ready():
        text = pages[f"notebooks/{chapter.slug}.html"].path.read_text(encoding="utf-8")
        headed = re.findall(r'admonition-title">(?:<[^>]+>)*Exercise (\S+)', text)
        assert headed == list(chapter.exercises)


def test_the_map_shows_every_chapter_with_its_state(site):
    text = (site / "book" / "index.html").read_text()
    shown = re.findall(r'<li class="kit-(ready|planned)">(.*?)</li>', text, flags=re.S)
    found = [(re.sub(r"\s+", " ", re.sub("<[^>]+>", "", body)).strip(), state) for state, body in shown]
    assert len(found) == len(chapters.CHAPTERS) == 16
    for chapter, (words, state) in zip(chapters.CHAPTERS, found):
        badge = "open" if chapter.state == "ready" else "planned"
        assert words.startswith(f"{chapter.number} {chapter.title} {badge} ")
        assert state == chapter.state
        assert all(topic in words.replace("\u2019", "'") for topic in chapter.topics)


@pytest.mark.parametrize("chapter", chapters.ready(), ids=lambda c: c.number)
class TestChapterPage:
    def hrefs(self, pages, chapter) -> list[str]:
        return [a.get("href", "") for a in pages[f"notebooks/{chapter.slug}.html"].having("a")]

    def test_binder_opens_a_notebook_that_exists(self, pages, chapter):
        (binder,) = [h for h in self.hrefs(pages, chapter) if "mybinder.org" in h]
        assert binder.startswith("https://mybinder.org/v2/gh/principals-kit/principals-kit/main?urlpath=lab/tree/")
        assert (ROOT / binder.split("lab/tree/")[1]).is_file()

    def test_jupyterlab_opens_a_notebook_that_exists(self, pages, chapter):
        (lab,) = [h for h in self.hrefs(pages, chapter) if h.startswith("http://127.0.0.1:8888/lab/tree/")]
        # `make lab` serves the notebooks' folder.
        assert (ROOT / "notebooks" / lab.split("lab/tree/")[1]).is_file()

    def test_edit_button_opens_the_text_form(self, pages, chapter):
        edits = [h for h in self.hrefs(pages, chapter) if "/edit/" in h]
        assert edits == [f"{project.REPO_URL}/edit/{project.BRANCH}/notebooks/text/{chapter.slug}.md"]
        assert (ROOT / "notebooks" / "text" / f"{chapter.slug}.md").is_file()

    def test_issue_button_leads_to_the_tracker(self, pages, chapter):
        assert any(h.startswith(f"{project.REPO_URL}/issues/new") for h in self.hrefs(pages, chapter))

    def test_the_notebook_can_be_downloaded_as_committed(self, pages, site, chapter):
        (download,) = [h for h in self.hrefs(pages, chapter) if h.endswith(".ipynb") and not urlsplit(h).scheme]
        page = pages[f"notebooks/{chapter.slug}.html"].path
        committed = ROOT / "notebooks" / f"{chapter.slug}.ipynb"
        assert Path(page.parent / download).resolve().read_bytes() == committed.read_bytes()

    def test_the_topics_have_their_anchors(self, pages, chapter):
        assert set(chapter.anchors) <= set(pages[f"notebooks/{chapter.slug}.html"].ids)


def test_edit_links_of_pages_lead_to_their_sources(pages):
    prefix = f"{project.REPO_URL}/edit/{project.BRANCH}/"
    edits = {a["href"] for p in pages.values() for a in p.having("a") if a.get("href", "").startswith(prefix)}
    assert len(edits) > 15
    assert [h for h in edits if not (ROOT / h.removeprefix(prefix)).is_file()] == []


def test_every_page_leads_on(pages):
    """Previous and next: one chain through the book, so a reader never has to go back to the contents."""
    content = {n for n in pages if n.startswith(("book/", "notebooks/"))}
    name, seen = "book/index.html", []
    while name is not None and name not in seen:
        seen.append(name)
        following = [a for a in pages[name].having("a") if "right-next" in a.get("class", "").split()]
        page = pages[name].path
        name = None
        if following:
            root = next(p for p in page.parents if (p / "searchindex.js").exists())
            name = str((page.parent / following[0]["href"]).resolve().relative_to(root))
    assert set(seen) == content
