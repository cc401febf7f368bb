"""The registry is whole, and what is made from it is current."""

import re

import pytest
import yaml

from principal_kit.core.errors import InvalidArgument, MissingPrerequisite
from principal_kit.course import chapters, project, toc
from principal_kit.course.check import exercises

ROOT = project.root()


def test_sixteen_chapters_in_six_parts_each_once():
    numbers = [c.number for c in chapters.CHAPTERS]
    assert len(numbers) == len(set(numbers)) == len({c.slug for c in chapters.CHAPTERS}) == 16
    assert numbers == sorted(numbers)
    assert {c.part for c in chapters.CHAPTERS} == set(chapters.PARTS) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("chapter", chapters.CHAPTERS, ids=lambda c: c.number)
def test_a_slug_opens_with_its_number_and_a_title_says_something(chapter):
    assert re.fullmatch(rf"{chapter.number.replace('.', '-')}(-[a-z0-9]+)+", chapter.slug)
    assert chapter.title
    assert len(chapter.topics) > 1


@pytest.mark.parametrize("chapter", chapters.ready(), ids=lambda c: c.number)
def test_a_ready_chapter_states_its_figures_and_exists(chapter):
    assert chapter.minutes_to_read > 0
    # A session of Binder has 2 GiB, and a minute and a half is what one waits for; Flink's cluster is beyond both.
    seconds, mebibytes = (240, 4096) if "flink" in chapter.services else (90, 2048)
    assert 0 < chapter.seconds_to_run <= seconds
    assert 0 < chapter.memory_mib <= mebibytes
    assert len(chapter.anchors) == len(chapter.topics)
    assert set(chapter.services) <= {"connect", "flink", "kafka", "postgres", "redis", "spark"}
    assert (ROOT / "notebooks" / f"{chapter.slug}.ipynb").is_file()
    assert (ROOT / "notebooks" / "text" / f"{chapter.slug}.md").is_file()
    assert tuple(sorted(exercises(chapter.number))) == chapter.exercises


def test_no_notebook_lies_about_that_the_registry_does_not_know():
    known = {c.slug for c in chapters.CHAPTERS}
    assert {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")} <= known
    assert {p.stem for p in (ROOT / "notebooks" / "text").glob("*.md")} <= known


def test_a_chapter_is_found_by_number_or_slug():
    assert chapters.get("1.1") is chapters.get("1-1-distributed-algorithms")


@pytest.mark.parametrize("number", ["1.9", "", "1.1 ", "x"])
def test_an_unknown_chapter_lists_the_known_ones(number):
    with pytest.raises(InvalidArgument, match=r"known: 1\.1, 1\.2"):
        chapters.get(number)


def test_the_committed_table_of_contents_is_the_registrys():
    assert (ROOT / "_toc.yml").read_text(encoding="utf-8") == toc.render(), "stale: principal-kit toc"


def files(entry):
    if isinstance(entry, dict):
        yield from (value for key, value in entry.items() if key in ("file", "root"))
        entry = list(entry.values())
    if isinstance(entry, list):
        for value in entry:
            yield from files(value)


def test_every_page_of_the_contents_exists_and_every_ready_chapter_is_in_it():
    listed = list(files(yaml.safe_load(toc.render())))
    assert len(listed) == len(set(listed))
    missing = [p for p in listed if not any((ROOT / f"{p}{end}").is_file() for end in (".md", ".ipynb"))]
    assert missing == []
    assert {f"notebooks/{c.slug}" for c in chapters.ready()} == {p for p in listed if p.startswith("notebooks/")}


def test_every_page_of_the_book_is_in_the_contents():
    listed = set(files(yaml.safe_load(toc.render())))
    pages = {p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "book").rglob("*.md")}
    assert pages - listed == set()


def test_outside_of_a_checkout_the_error_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(project, "PACKAGE", tmp_path)
    with pytest.raises(MissingPrerequisite, match="git clone"):
        project.root()


def test_the_site_and_the_kit_name_the_same_repository():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["repository"] == {"url": project.REPO_URL, "branch": project.BRANCH}
