"""What the book's site needs beyond Jupyter Book.

Scripts served from the site itself, `{mermaid}` and `{chapter-map}`, and header buttons that point at what a reader or
an author actually wants: the running JupyterLab, and the text form of a chapter rather than its notebook.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_exercise.nodes import exercise_title

from principal_kit.course import site

BEATS = ("Why", "Concept", "Build", "Prove", "Measure", "Break", "Scale", "Operate", "Defend")
LAB_URL = "http://127.0.0.1:8888/lab/tree"


# ── Diagrams ─────────────────────────────────────────────────────────────────────────────────────
class mermaid(nodes.General, nodes.Element):
    """A diagram that the browser draws; without scripts its source is shown."""


class Mermaid(SphinxDirective):
    """`{mermaid}`: a diagram, with `accTitle:` and `accDescr:` inside it for those who cannot see it."""

    has_content = True
    option_spec = {"caption": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The diagram, in a figure if it has a caption."""
        source = "\n".join(self.content)
        for needed in ("accTitle", "accDescr"):
            if not re.search(rf"^\s*{needed}\s*[:{{]", source, flags=re.M):
                raise self.error(f"the diagram says nothing to a screen reader: give it a line '{needed}: …'")
        diagram = mermaid(source=source)
        if "caption" not in self.options:
            return [diagram]
        figure = nodes.figure("", diagram, classes=["kit-diagram"])
        text, messages = self.state.inline_text(self.options["caption"], self.lineno)
        figure += nodes.caption(self.options["caption"], "", *text)
        return [figure, *messages]


def visit_mermaid(translator: Any, node: mermaid) -> None:
    """The source as text: kit.js replaces it by the drawing."""
    translator.body.append(f'<pre class="mermaid" tabindex="0">{translator.encode(node["source"])}</pre>\n')
    raise nodes.SkipNode


# ── The map of the chapters ──────────────────────────────────────────────────────────────────────
class ChapterMap(SphinxDirective):
    """`{chapter-map}`: parts and chapters as the registry declares them; `:part:` narrows it to one part."""

    option_spec = {"part": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        """One box a part, one line a chapter."""
        from principal_kit.course import chapters

        self.env.note_dependency(chapters.__file__)
        only = self.options.get("part")
        board = nodes.container(classes=["kit-map"])
        for number, title in chapters.PARTS.items():
            if only in (None, number):
                board += self._part(number, title, [c for c in chapters.CHAPTERS if c.part == number], heading=not only)
        return [board]

    def _part(self, number: int, title: str, members: list[Any], *, heading: bool) -> nodes.Node:
        box = nodes.container(classes=["kit-part"])
        if heading:
            label = nodes.paragraph(classes=["kit-part-title"])
            label += self._link(f"/book/parts/part-{number}", f"Part {number} · {title}")
            box += label
        rows = nodes.bullet_list(classes=["kit-chapters"])
        for chapter in members:
            rows += self._chapter(chapter)
        box += rows
        return box

    def _chapter(self, chapter: Any) -> nodes.Node:
        ready = chapter.state == "ready"
        item = nodes.list_item(classes=["kit-ready" if ready else "kit-planned"])
        line = nodes.paragraph(classes=["kit-chapter"])
        name = f"{chapter.number} {chapter.title}"
        line += self._link(f"/notebooks/{chapter.slug}", name) if ready else nodes.inline("", name)
        line += nodes.Text(" ")
        line += nodes.inline("", "open" if ready else "planned", classes=["kit-badge"])
        item += line
        item += nodes.paragraph("", self._details(chapter), classes=["kit-topics"])
        return item

    def _details(self, chapter: Any) -> str:
        topics = "; ".join(chapter.topics)
        if chapter.state != "ready":
            return f"{topics}."
        return f"{topics}. {chapter.minutes_to_read} minutes to read, {chapter.seconds_to_run} seconds to run."

    def _link(self, document: str, text: str) -> nodes.Node:
        target = addnodes.pending_xref(
            "", refdomain="std", reftype="doc", reftarget=document, refexplicit=True, refwarn=True
        )
        target["refdoc"] = self.env.docname
        target += nodes.inline("", text)
        return target


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────
def mark_beats(app: Sphinx, doctree: nodes.document) -> None:
    """Give a section whose title opens with a beat's name the classes `kit-beat` and `kit-<beat>`."""
    for section in doctree.findall(nodes.section):
        title = section.next_node(nodes.title)
        if title is None or not title.children or not isinstance(title.children[0], nodes.Text):
            continue
        found = re.match(rf"({'|'.join(BEATS)})(?=$|[\s:,·.])[:·.]?\s*(.*)$", title.children[0].astext(), flags=re.S)
        if not found:
            continue
        section["classes"] += ["kit-beat", f"kit-{found[1].lower()}"]


def number_exercises(app: Sphinx, doctree: nodes.document) -> None:
    """The exercise ex-1-1-a is headed "Exercise 1.1.a", which is how the text and `check` call it.

    And sphinx-exercise gives the body of every exercise the same id, which may occur only once on a page.
    """
    for title in doctree.findall(exercise_title):
        found = re.fullmatch(r"ex-(\d+)-(\d+)-([a-z])", title.parent.get("label", ""))
        if found and title.children and isinstance(title.children[0], nodes.Text):
            title.children[0] = nodes.Text(f"{title.children[0]} {'.'.join(found.groups())}")
    bodies = [section for section in doctree.findall(nodes.section) if section["ids"] == ["exercise-content"]]
    for number, body in enumerate(bodies, start=1):
        body["ids"] = [f"exercise-content-{number}"]


def serve_scripts(app: Sphinx) -> None:
    """MathJax and mermaid from the cache into `_static`; fetched the first time."""
    app.config.html_static_path.append(str(site.fetch_assets()))
    app.config.mathjax_path = site.MATHJAX.name


def add_mermaid(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Three megabytes of diagram code only for the pages that draw one."""
    if doctree is not None and doctree.next_node(mermaid):
        app.add_js_file(site.MERMAID.name, priority=490)


def point_buttons(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Launch menu: add the JupyterLab of `make lab`. Edit button: the text form, which is what authors change."""
    if not page.startswith("notebooks/"):
        return
    for group in _groups(context.get("header_buttons", [])):
        if group.get("label") == "launch-buttons":
            group["buttons"].append(
                {
                    "type": "link",
                    "text": "JupyterLab on this machine",
                    "tooltip": "Open in the JupyterLab that make lab started",
                    "icon": "fas fa-laptop-code",
                    "url": f"{LAB_URL}/{Path(page).name}.ipynb",
                }
            )
        for button in group.get("buttons", []):
            if button.get("label") == "edit-button" or "/edit/" in str(button.get("url", "")):
                text_form = f"notebooks/text/{Path(page).name}.md"
                button["url"] = re.sub(r"notebooks/[^/]*\.ipynb$", text_form, button["url"])


def _groups(buttons: list[dict]) -> list[dict]:
    return [button for button in buttons if button.get("type") == "group"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    # Jupyter Book always sets this one; the extension that declares it is not loaded here.
    app.add_config_value("comments_config", {}, "html", dict)
    app.add_node(mermaid, html=(visit_mermaid, None))
    app.add_directive("mermaid", Mermaid)
    app.add_directive("chapter-map", ChapterMap)
    app.connect("builder-inited", serve_scripts)
    app.connect("doctree-read", mark_beats)
    app.connect("doctree-read", number_exercises)
    app.connect("html-page-context", add_mermaid)
    # After the theme has put its own buttons there.
    app.connect("html-page-context", point_buttons, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
