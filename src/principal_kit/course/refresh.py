"""From a chapter's text form to its committed notebook: convert, execute on the services, take the machine out, write.

Authors edit `notebooks/text/<slug>.md`; the notebook is made from it and never edited. `problems` is what CI asks:
do the two agree, was every cell executed, does anything in it name a machine, is the skeleton whole?
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

from principal_kit.core.errors import KitError, MissingPrerequisite
from principal_kit.course import chapters, project
from principal_kit.course.run import ANSI, Step, titles

BEATS = ("Why", "Concept", "Build", "Prove", "Measure", "Break", "Scale", "Operate", "Defend")
CELL_LINES_MAX = 40
CELL_SECONDS_MAX = 300
COMPARED_MIN = 10  # code cells of a chapter whose output nbval compares
_NOISE = {
    "absolute path": r"(?<![\w.:/])/(?:root|home|tmp|work|Users|var|mnt|opt)/[\w.-]+",
    "loopback port": r"(?:127\.0\.0\.1|localhost):\d{4,5}",
    "process id": r"\bpid[= ]\d+",
}
_META = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class RefreshFailed(KitError):
    """A cell raised while the notebook was being made; nothing was written."""


def text_path(chapter: chapters.Chapter) -> Path:
    """The text form authors edit."""
    return project.root() / "notebooks" / "text" / f"{chapter.slug}.md"


def notebook_path(chapter: chapters.Chapter) -> Path:
    """The notebook made from it."""
    return project.root() / "notebooks" / f"{chapter.slug}.ipynb"


def read_text(chapter: chapters.Chapter) -> Any:
    """The text form as an unexecuted notebook with stable cell ids. Raises MissingPrerequisite when there is none."""
    import jupytext

    path = text_path(chapter)
    if not path.is_file():
        raise MissingPrerequisite(
            f"notebooks/text/{path.name} is not there: it is where chapter {chapter.number} is written"
        )
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
    notebook.metadata.update(deepcopy(_META))
    notebook.metadata.pop("jupytext", None)
    return notebook


def clean(notebook: Any) -> Any:
    """Take out what depends on machine or moment: timings, paths, kernel details. Joins split streams. Returns it."""
    root, home = str(project.root()), str(Path.home())
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = _joined(cell.outputs)
        for output in cell.outputs:
            output.get("metadata", {}).pop("needs_background", None)
            if "text" in output:
                output.text = _without_paths(output.text, root, home)
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/") and isinstance(value, str):
                    output.data[kind] = _without_paths(value, root, home)
            if output.output_type == "error":  # colours and frames of this machine's files; nbval does not compare them
                output.traceback = [f"{output.ename}: {output.evalue}"]
    for key in set(notebook.metadata) - set(_META):
        del notebook.metadata[key]
    notebook.metadata.update(deepcopy(_META))
    return notebook


def _without_paths(text: str, root: str, home: str) -> str:
    """Paths in the checkout become relative, those in the home folder start with ~."""
    return text.replace(root + "/", "").replace(home + "/", "~/")


def _joined(outputs: list[Any]) -> list[Any]:
    """Neighbouring pieces of the same stream as one, so that how a kernel flushes does not show."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def refresh(number: str, *, on_step: Callable[[Step], None] = lambda step: None) -> Path:
    """Make the notebook anew; `on_step` is called as each code cell starts.

    Raises RefreshFailed, with the cell and its error, and writes nothing then.
    """
    import nbformat

    chapter = chapters.get_ready(number)
    notebook, target = read_text(chapter), notebook_path(chapter)
    execute(notebook, target.parent, on_step=on_step)
    draft = target.with_suffix(".new")
    draft.write_text(nbformat.writes(clean(notebook)) + "\n", encoding="utf-8")
    draft.replace(target)
    return target


def execute(notebook: Any, folder: Path, *, on_step: Callable[[Step], None] = lambda step: None) -> None:
    """Run all cells in place with a kernel whose working directory is `folder`. Raises RefreshFailed."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    names = titles(notebook)
    order = {index: number for number, index in enumerate(names, 1)}

    def begun(cell: Any, cell_index: int) -> None:
        if cell_index in order:
            on_step(Step(order[cell_index], len(order), names[cell_index]))

    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS_MAX,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        on_cell_start=begun,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise RefreshFailed(f"nothing was written: {ANSI.sub('', str(error))}") from error


def _tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _shape(notebook: Any) -> list[tuple[Any, ...]]:
    """What text form and notebook must have in common."""
    return [(c.cell_type, c.source.strip(), sorted(_tags(c)), c.metadata.get("mystnb")) for c in notebook.cells]


def problems(number: str) -> list[str]:
    """Everything that keeps a chapter's notebook from being committed; empty when it is fit."""
    import nbformat

    chapter = chapters.get_ready(number)
    path = notebook_path(chapter)
    if not path.is_file():
        return [f"notebooks/{path.name} is missing: `principal-kit refresh {number}`"]
    notebook, text = nbformat.read(path, as_version=4), read_text(chapter)
    found = []
    for position, (ours, theirs) in enumerate(zip(_shape(notebook), _shape(text), strict=False)):
        if ours != theirs:
            found.append(f"cell {position} differs from the text form: `principal-kit refresh {number}`")
            break
    else:
        if len(notebook.cells) != len(text.cells):
            found.append(
                f"the text form has {len(text.cells)} cells, the notebook {len(notebook.cells)}: "
                f"`principal-kit refresh {number}`"
            )
    found += _cell_problems(notebook) + _skeleton_problems(chapter, notebook)
    return found


def _cell_problems(notebook: Any) -> list[str]:
    """Executed, compared, short, described, and silent about the machine."""
    found, compared = [], 0
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        tags, where = _tags(cell), f"cell {position} ({cell.source.splitlines()[0][:50] if cell.source else 'empty'})"
        if cell.execution_count is None:
            found.append(f"{where} was never executed")
        if len(cell.source.splitlines()) > CELL_LINES_MAX:
            found.append(f"{where} has over {CELL_LINES_MAX} lines")
        if "nbval-skip" in tags:
            found.append(f"{where} is skipped by nbval")
        compared += bool(cell.outputs) and "nbval-ignore-output" not in tags
        for output in cell.outputs:
            found += _output_problems(where, cell, output, tags)
    if compared < COMPARED_MIN:
        found.append(f"only {compared} cells have outputs that nbval compares, expected at least {COMPARED_MIN}")
    return found


def _output_problems(where: str, cell: Any, output: Any, tags: list[str]) -> list[str]:
    found = []
    if output.output_type == "error" and "raises-exception" not in tags:
        found.append(f"{where} stores an error: {output.ename}")
    if output.output_type == "stream" and output.name == "stderr":
        found.append(f"{where} writes to stderr: {output.text.strip()[:60]!r}")
    data = output.get("data", {})
    if any(kind.startswith("image/") for kind in data) and not cell.metadata.get("mystnb", {}).get("image", {}).get(
        "alt"
    ):
        found.append(f"{where} draws a figure without alt text (cell metadata mystnb: image: alt)")
    text = "\n".join([output.get("text", ""), *(str(v) for kind, v in data.items() if kind.startswith("text/"))])
    found += [
        f"{where} prints a {what}: {m.group()}" for what, pattern in _NOISE.items() if (m := re.search(pattern, text))
    ]
    return found


def _skeleton_problems(chapter: chapters.Chapter, notebook: Any) -> list[str]:
    """Every topic has its beats; the chapter opens and closes as all of them do; its exercises exist and are asked."""
    from principal_kit.course.check import exercises

    prose = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    found = [
        f"the chapter's head lacks {what!r}"
        for what in ("What you will be able to do", "**Prerequisites.**", "**Time.**")
        if what not in prose
    ]
    if not any("parameters" in _tags(c) for c in notebook.cells):
        found.append("no cell is tagged `parameters`")
    found += [
        f"the chapter lacks a section {what!r}" for what in ("## Exercises", "## References") if what not in prose
    ]
    anchors = [*chapter.anchors, "exercises-" + chapter.number.replace(".", "-")]
    for anchor, following in pairwise(anchors):
        if f"({anchor})=" not in prose:
            found.append(f"topic anchor ({anchor})= is missing")
            continue
        topic = prose.split(f"({anchor})=", 1)[1].split(f"({following})=", 1)[0]
        found += [
            f"topic {anchor} lacks the beat {beat!r}" for beat in BEATS if not re.search(rf"^### {beat}\b", topic, re.M)
        ]
    registered = exercises(chapter.number)
    found += [
        f"exercise {key} is registered, but not declared in chapters.py"
        for key in registered.keys() - chapter.exercises
    ]
    for key in chapter.exercises:
        if key not in registered:
            found.append(f"exercise {key} is not registered")
        if f'check("{key}"' not in code:
            found.append(f"no cell asks for exercise {key}")
    return found
