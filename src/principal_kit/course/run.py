"""Run a chapter live: papermill executes it, the terminal shows the cell at work, the copy lands in `_build/runs/`.

The committed notebook is only read. A run that fails leaves `<slug>.failed.ipynb`, with the outputs up to that cell.
"""

from __future__ import annotations

import ast
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from principal_kit.core.errors import InvalidArgument, KitError, MissingPrerequisite
from principal_kit.course import chapters, project

CELL_SECONDS_MAX = 3600
_SAMPLE_SECONDS = 0.5


class ChapterFailed(KitError):
    """A cell raised; the message holds its source and the error."""


@dataclass(frozen=True)
class Run:
    """What a finished run took: wall time in seconds, peak memory of kernel, servers and Spark together in MiB."""

    chapter: chapters.Chapter
    path: Path
    seconds: float
    memory_mib: int
    cells: int


@dataclass(frozen=True)
class Step:
    """Progress: cell `index` of `total` (counted from 1) begins; `title` is the last heading above it."""

    index: int
    total: int
    title: str
    seconds: float


def parse_parameter(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE; the value is a Python literal if it reads as one, else text. InvalidArgument without `=`.

    >>> parse_parameter("SEED=3"), parse_parameter("SCALE=medium")
    (('SEED', 3), ('SCALE', 'medium'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidArgument(f"parameter {text!r}: expected NAME=VALUE, for example SCALE=medium")
    with contextlib.suppress(ValueError, SyntaxError):
        return name, ast.literal_eval(value)
    return name, {"true": True, "false": False}.get(value.lower(), value)


def notebook_path(chapter: chapters.Chapter) -> Path:
    """The committed notebook. Raises MissingPrerequisite when the file is not there."""
    path = project.root() / "notebooks" / f"{chapter.slug}.ipynb"
    if not path.is_file():
        raise MissingPrerequisite(
            f"notebooks/{path.name} is not there: `principal-kit refresh {chapter.number}` makes it from its text form"
        )
    return path


def known_parameters(path: Path) -> dict[str, str]:
    """Name to default, from the cell tagged `parameters`."""
    from papermill import inspect_notebook

    return {name: entry["default"] for name, entry in inspect_notebook(str(path)).items()}


class _Peak:
    """Samples the memory of this process's descendants (proportional set size where known) in a thread."""

    def __init__(self) -> None:
        self.bytes, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(_memory(p) for p in psutil.Process().children(recursive=True)))


def _memory(process: psutil.Process) -> int:
    """Bytes a process adds to the machine: its share of shared pages where that is known, else its resident set."""
    with contextlib.suppress(psutil.Error, AttributeError):
        return process.memory_full_info().pss
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


@contextlib.contextmanager
def _progress(report: Callable[[Step], None]) -> Iterator[str]:
    """Register a papermill engine that calls `report` before each code cell; gives its name."""
    from papermill.engines import NBClientEngine, papermill_engines

    begun = time.monotonic()

    class Reporting(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, *args: Any, **kwargs: Any) -> Any:
            code = [i for i, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]
            start = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                if cell_index in code:
                    title = _heading(nb_man.nb.cells, cell_index)
                    report(Step(code.index(cell_index) + 1, len(code), title, time.monotonic() - begun))
                return start(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, *args, **kwargs)

    papermill_engines.register("principal-kit", Reporting)
    yield "principal-kit"


def _heading(cells: list[Any], index: int) -> str:
    """The last heading at or above cell `index`, without its marks."""
    for cell in reversed(cells[: index + 1]):
        if cell.cell_type == "markdown":
            lines = [line for line in cell.source.splitlines() if line.startswith("#")]
            if lines:
                return lines[-1].lstrip("# ").strip()
    return ""


def run(
    number: str, parameters: dict[str, Any] | None = None, *, report: Callable[[Step], None] = lambda _: None
) -> Run:
    """Execute a chapter and keep the executed copy under `_build/runs/`.

    Raises InvalidArgument (unknown or planned chapter; unknown parameter, listing the known ones) and ChapterFailed (a
    cell raised; the copy is kept as `.failed.ipynb`).
    """
    import papermill

    chapter = chapters.get_ready(number)
    source = notebook_path(chapter)
    known = known_parameters(source)
    unknown = sorted(set(parameters or {}) - set(known))
    if unknown:
        listing = ", ".join(f"{name}={default}" for name, default in known.items()) or "none"
        raise InvalidArgument(
            f"chapter {number} has no parameter {', '.join(unknown)}; known, with defaults: {listing}"
        )
    folder = project.root() / "_build" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    final, partial, failed = (
        folder / f"{chapter.slug}{ending}" for ending in (".ipynb", ".partial.ipynb", ".failed.ipynb")
    )
    begun = time.monotonic()
    try:
        with _Peak() as peak, _progress(report) as engine:
            done = papermill.execute_notebook(
                str(source), str(partial), parameters=parameters or {}, engine_name=engine, kernel_name="python3",
                progress_bar=False, cwd=str(source.parent), execution_timeout=CELL_SECONDS_MAX, start_timeout=120,
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        partial.replace(failed)
        where = f"chapter {number} failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
        kept = failed.relative_to(project.root())
        raise ChapterFailed(f"{where}\n\n{error.source}\n\nThe copy up to there: {kept}") from error
    finally:
        partial.unlink(missing_ok=True) if not _is_whole(partial) else None
    partial.replace(final)
    failed.unlink(missing_ok=True)
    return Run(
        chapter, final, time.monotonic() - begun, peak.bytes >> 20, sum(c.cell_type == "code" for c in done.cells)
    )


def _is_whole(path: Path) -> bool:
    """Whether every code cell of an executed copy has a count: an interrupted run's copy has not."""
    import nbformat

    if not path.is_file():
        return False
    cells = nbformat.read(path, as_version=4).cells
    return all(c.execution_count is not None for c in cells if c.cell_type == "code" and c.source.strip())
