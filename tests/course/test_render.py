"""The page of a run is whole without a network."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument
from principal_kit.course import render, show, site


@pytest.fixture
def executed(tmp_path):
    source = show(ManualClock)
    shown = new_output(
        "execute_result", data={"text/html": source._repr_html_(), "text/plain": repr(source)}, execution_count=1
    )
    cell = new_code_cell("show(ManualClock)", execution_count=1, outputs=[shown])
    path = tmp_path / "run.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Why\n\n$x^2$"), cell]), path)
    return path


def loaded(page):
    return re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"'](.*?)[\"']", page)


def test_a_page_loads_nothing_but_the_sites_own_mathjax(executed, tmp_path):
    site_ = tmp_path / "html"
    (site_ / "_static").mkdir(parents=True)
    (site_ / "_static" / site.MATHJAX.name).write_text("")
    page = render.render("1.1", run=executed, folder=site_ / "runs")
    text = page.read_text()
    assert page.name == "1-1-distributed-algorithms.html"
    assert loaded(text) == [f"../_static/{site.MATHJAX.name}"]
    assert "<title>1.1 Distributed algorithms</title>" in text
    assert 'class="kit-src"' in text
    assert "require" not in "".join(re.findall(r"<script.*?</script>", text, re.S))
    assert [p.name for p in (site_ / "runs").iterdir()] == [page.name]


def test_without_the_site_it_loads_nothing(executed, tmp_path):
    assert loaded(render.render("1.1", run=executed, folder=tmp_path / "a" / "runs").read_text()) == []


def test_an_output_that_loads_from_elsewhere_is_refused(tmp_path):
    output = new_output("display_data", data={"text/html": '<img src="https://example.org/x.png">'})
    path = tmp_path / "run.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("x", outputs=[output])]), path)
    with pytest.raises(InvalidArgument, match="another host"):
        render.page_of(path, "x")


def test_a_chapter_that_was_not_run_says_how_to_run_it(tmp_path):
    with pytest.raises(InvalidArgument, match=r"principal-kit run 1\.1"):
        render.render("1.1", run=tmp_path / "no.ipynb")
