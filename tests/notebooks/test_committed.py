"""Every committed chapter is fit: executed, compared, in step with its text, silent about machines, skeleton whole."""

import re

import nbformat
import pytest

from principal_kit.course import chapters, project, refresh

READY = pytest.mark.parametrize("chapter", chapters.ready(), ids=lambda c: c.number)


@READY
def test_a_committed_chapter_has_no_problem(chapter):
    assert refresh.problems(chapter.number) == []


@READY
def test_topics_are_of_a_readable_size(chapter):
    notebook = nbformat.read(refresh.notebook_path(chapter), 4)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    words = len(re.findall(r"\w+", prose))
    assert 1_000 * len(chapter.topics) <= words <= 5_500 * len(chapter.topics)


@READY
def test_no_algorithm_is_pasted(chapter):
    """A class of the kit is imported and shown, never defined again in a notebook."""
    notebook = nbformat.read(refresh.notebook_path(chapter), 4)
    defined = {m for c in notebook.cells if c.cell_type == "code" for m in re.findall(r"^class (\w+)", c.source, re.M)}
    kit = set()
    for path in (project.PACKAGE).rglob("*.py"):
        kit |= set(re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.M))
    assert defined & kit == set()


@READY
def test_markers_are_tags_not_comments(chapter):
    text = refresh.text_path(chapter).read_text(encoding="utf-8")
    assert "NBVAL_" not in text
