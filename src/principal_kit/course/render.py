"""One self-contained page of an executed chapter, beside the site, for reading a run without building the site again.

nbconvert's page loads MathJax, RequireJS and mermaid from other hosts; here the formulas are set by the site's own copy
of MathJax where the site was built, and nothing else is loaded. `make run-all` renders the whole site instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from principal_kit.core.errors import InvalidArgument, MissingPrerequisite
from principal_kit.course import chapters, site
from principal_kit.course.project import root

_REMOTE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//", re.I)


def render(number: str, *, run: Path | None = None, folder: Path | None = None) -> Path:
    """The page of a chapter's last run (or of the notebook `run`) in `folder`; `_build/html/runs` by default.

    Raises InvalidArgument for an unknown chapter or one that was not run, MissingPrerequisite without nbconvert.
    """
    chapter = chapters.get_ready(number)
    run = run or root() / "_build" / "runs" / f"{chapter.slug}.ipynb"
    if not run.is_file():
        raise InvalidArgument(f"chapter {number} was not run here yet: principal-kit run {number}")
    folder = folder or root() / "_build" / "html" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    page = page_of(run, f"{chapter.number} {chapter.title}", _mathjax(folder))
    target = folder / f"{chapter.slug}.html"
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_text(page, encoding="utf-8")
    partial.replace(target)
    return target


def page_of(notebook: Path, title: str, mathjax: str = "") -> str:
    """HTML of an executed notebook, which loads nothing but the script `mathjax` (a relative address), if given."""
    try:
        import nbformat
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise MissingPrerequisite(f"{error.name} is not installed: pip install 'principal-kit[notebook]'") from error
    content = nbformat.read(notebook, as_version=4)
    content.metadata["title"] = title
    exporter = HTMLExporter(template_name="lab", sanitize_html=False)
    exporter.require_js_url = exporter.jquery_url = ""
    exporter.mathjax_url = exporter.mermaid_js_url = exporter.mermaid_layout_elk_js_url = ""
    page, _ = exporter.from_notebook_node(content)
    page = _without_loaders(page)
    if mathjax:
        setup = 'window.MathJax={tex:{inlineMath:[["$","$"],["\\\\(","\\\\)"]]}}'
        page = page.replace("</head>", f'<script>{setup}</script><script defer src="{mathjax}"></script></head>', 1)
    found = _REMOTE.search(page)
    if found:
        raise InvalidArgument(f"{notebook.name} loads from another host: {page[found.start() : found.end() + 60]!r}")
    return page


def _without_loaders(page: str) -> str:
    """Take out the scripts whose address we emptied, and the module that would import mermaid."""
    page = re.sub(r"<script[^>]*\bsrc=[\"'][\"'][^>]*>\s*</script>", "", page)
    return re.sub(
        r"<script[^>]*>(?:(?!</script>).)*(?:mermaid|x-mathjax-config|init_mathjax)(?:(?!</script>).)*</script>",
        "",
        page,
        flags=re.S,
    )


def _mathjax(folder: Path) -> str:
    script = folder.parent / "_static" / site.MATHJAX.name
    return f"../_static/{script.name}" if script.is_file() else ""
