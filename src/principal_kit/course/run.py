"""Run a chapter live: papermill executes the committed notebook on real services; the copy goes to `_build/runs/`.

The tree is never written to. A run that fails leaves what it got to beside the good copy, as `.ipynb.failed`, and
raises ChapterFailed with the cell's source and error. Interrupted, it takes down the kernel, and with it the services.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from principal_kit.core.errors import InvalidArgument, KitError, MissingPrerequisite
from principal_kit.course import chapters
from principal_kit.course.chapters import Chapter
from principal_kit.course.memory import PeakMemory, children_and_services
from principal_kit.course.project import root

CELL_SECONDS = 600
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ChapterFailed(KitError):
    """A cell raised, timed out, or its kernel died.

    Attributes:
        chapter, cell: number of the chapter; the code cell's position, counted from 1.
        source: the cell's code. `error`: name and message. `traceback`: the notebook's own, without colours.
        copy: the notebook up to that point.
    """

    def __init__(self, chapter: str, cell: int, source: str, error: str, traceback: str, copy: Path) -> None:
        super().__init__(f"chapter {chapter} failed in code cell {cell}: {error}")
        self.chapter, self.cell, self.source = chapter, cell, source
        self.error, self.traceback, self.copy = error, traceback, copy


@dataclass(frozen=True)
class Step:
    """One code cell that starts (`seconds` None) or has ended. `title`: its section and its first line."""

    number: int
    total: int
    title: str
    seconds: float | None = None


@dataclass(frozen=True)
class Run:
    """A chapter that ran through: the executed copy, wall time in seconds, peak memory of everything together."""

    chapter: Chapter
    copy: Path
    seconds: float
    memory: PeakMemory
    cells: int
    parameters: dict[str, Any]


def split_parameter(text: str) -> tuple[str, str]:
    """NAME=VALUE as a pair. Raises InvalidArgument if it does not read so.

    >>> split_parameter("SCALE=medium")
    ('SCALE', 'medium')
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidArgument(f"parameter {text!r}: expected NAME=VALUE, for example SCALE=medium")
    return name, value


def known_parameters(notebook: Any) -> dict[str, Any]:
    """Names and default values in the cell tagged `parameters`; empty if there is none. O(cells)."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            tree = ast.parse(cell.source)
            return {
                target.id: ast.literal_eval(node.value)
                for node in tree.body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
    return {}


def parse_parameters(given: Mapping[str, Any], known: Mapping[str, Any], *, chapter: str) -> dict[str, Any]:
    """Texts from the command line as values of the defaults' types; other values pass through.

    Raises InvalidArgument on an unknown name (listing the known ones) and on a text that is no value of that type.

    >>> parse_parameters({"SEED": "8", "SCALE": "medium"}, {"SEED": 7, "SCALE": "small"}, chapter="1.1")
    {'SEED': 8, 'SCALE': 'medium'}
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        names = ", ".join(f"{name} (default {value!r})" for name, value in known.items()) or "none"
        raise InvalidArgument(f"chapter {chapter} has no parameter {', '.join(unknown)}; it has: {names}")
    return {name: _typed(name, value, known[name]) for name, value in given.items()}


def _typed(name: str, value: Any, default: Any) -> Any:
    if not isinstance(value, str) or isinstance(default, str):
        return value
    try:
        if isinstance(default, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
        if isinstance(default, (int, float)):
            return type(default)(value)
        return ast.literal_eval(value)
    except (KeyError, ValueError, SyntaxError):
        expected = type(default).__name__
        raise InvalidArgument(f"parameter {name}={value!r}: expected a {expected}, like {default!r}") from None


def run(
    number: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
    cell_seconds: int = CELL_SECONDS,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Run:
    """Execute the chapter with that number or slug and return where the executed copy is.

    Args:
        parameters: values for the names in the `parameters` cell; texts are converted to the defaults' types.
        folder: where the copy goes; `_build/runs` of the checkout by default.
        cell_seconds: time limit for each cell.
        on_step: called when a code cell starts and when it has ended.

    Raises InvalidArgument (unknown chapter or parameter) before anything starts, MissingPrerequisite without papermill
    or outside of a checkout, ChapterFailed when a cell fails. KeyboardInterrupt passes through once the kernel is gone.
    """
    chapter = chapters.get_ready(number)
    source = root() / "notebooks" / f"{chapter.slug}.ipynb"
    if not source.is_file():
        raise InvalidArgument(f"notebooks/{source.name} is not there; make it with: principal-kit refresh {number}")
    return run_notebook(chapter, source, parameters or {}, folder or root() / "_build" / "runs", cell_seconds, on_step)


def run_notebook(
    chapter: Chapter,
    source: Path,
    parameters: Mapping[str, Any],
    folder: Path,
    cell_seconds: int = CELL_SECONDS,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Run:
    """As `run`, for a notebook anywhere. The working directory of the kernel is the notebook's folder."""
    try:
        from papermill.execute import prepare_notebook_metadata
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook
    except ImportError as error:
        raise MissingPrerequisite(f"{error.name} is not installed: pip install 'principal-kit[notebook]'") from error
    notebook = load_notebook_node(str(source))
    values = parse_parameters(parameters, known_parameters(notebook), chapter=chapter.number)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None  # a copy that stops half-way shows nothing from elsewhere
    if values:
        notebook = parameterize_notebook(notebook, values, kernel_name="python3", language="python")
    notebook = prepare_notebook_metadata(notebook, source.name, f"{chapter.slug}.ipynb")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{chapter.slug}.ipynb"
    started = time.monotonic()
    engine = _engine(on_step)
    with PeakMemory(children_and_services) as memory, contextlib.chdir(source.parent), _termination_as_interrupt():
        try:
            _execute(engine, notebook, cell_seconds)
        except KeyboardInterrupt:
            _stop_kernels()
            raise
        except Exception as error:  # the kernel did not start, died, or a cell ran out of time
            _fail(chapter, engine.manager.nb if engine.manager else notebook, target, engine.number, error)
    executed = engine.manager.nb
    position = _failed_cell(executed)
    if position is not None:
        _fail(chapter, executed, target, position)
    _write(executed, target)
    target.with_name(f"{target.name}.failed").unlink(missing_ok=True)
    return Run(chapter, target, time.monotonic() - started, memory, len(titles(executed)), values)


def titles(notebook: Any) -> dict[int, str]:
    """For each code cell's index a line that says where we are: the section above, and the cell's first line."""
    section, found = "", {}
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#{1,4}\s+(.+)$", cell.source, re.M)
            section = headings[-1].strip() if headings else section
        elif cell.cell_type == "code":
            lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
            plain = [line for line in lines if not line.startswith(("import ", "from "))] or lines
            first = plain[0].lstrip("# ") if plain else "(empty)"
            found[index] = f"{section} · {first}" if section else first
    return found


def _engine(on_step: Callable[[Step], None]) -> Any:
    """A papermill engine that reports each code cell; papermill itself knows only a progress bar."""
    from papermill.engines import NBClientEngine

    class Reporting(NBClientEngine):
        manager: Any = None
        number = 0

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> None:
            cls.manager = nb_man
            line = titles(nb_man.nb)
            order = {index: number for number, index in enumerate(line, 1)}
            clock = {}
            start, complete = nb_man.cell_start, nb_man.cell_complete

            def cell_start(cell: Any, cell_index: int | None = None, **kw: Any) -> None:
                if cell_index in order:
                    cls.number = order[cell_index]
                    clock[cell_index] = time.monotonic()
                    on_step(Step(order[cell_index], len(order), line[cell_index]))
                start(cell, cell_index, **kw)

            def cell_complete(cell: Any, cell_index: int | None = None, **kw: Any) -> None:
                complete(cell, cell_index, **kw)
                if cell_index in clock:
                    seconds = time.monotonic() - clock[cell_index]
                    on_step(Step(order[cell_index], len(order), line[cell_index], seconds))

            nb_man.cell_start, nb_man.cell_complete = cell_start, cell_complete
            super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    return Reporting


def _execute(engine: Any, notebook: Any, cell_seconds: int) -> None:
    from papermill.engines import papermill_engines

    papermill_engines.register("principal-kit", engine)
    papermill_engines.execute_notebook_with_engine(
        "principal-kit",
        notebook,
        kernel_name="python3",
        output_path=None,
        progress_bar=False,
        log_output=False,
        start_timeout=60,
        execution_timeout=cell_seconds,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no advice about transports between our lines
        shutdown_kernel="immediate",  # what the kernel started is watched by guardians of its own
    )


def _failed_cell(notebook: Any) -> int | None:
    """Position (from 1, among code cells) of the first cell that failed and was not meant to."""
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        if "raises-exception" in cell.metadata.get("tags", []):
            continue
        if cell.metadata.get("papermill", {}).get("exception") or _error_of(cell):
            return number
    return None


def _error_of(cell: Any) -> Any:
    return next((output for output in cell.get("outputs", []) if output.output_type == "error"), None)


def _fail(chapter: Chapter, notebook: Any, target: Path, number: int, error: Exception | None = None) -> None:
    """Keep the copy and raise ChapterFailed."""
    copy = target.with_name(f"{target.name}.failed")
    _write(notebook, copy)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cell = cells[number - 1] if number else None
    output = _error_of(cell) if cell is not None else None
    if output is not None:
        what, trace = f"{output.ename}: {output.evalue}", ANSI.sub("", "\n".join(output.traceback))
    elif error is not None:
        what, trace = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}", ""
    else:
        what, trace = "the kernel stopped", ""
    source = cell.source if cell is not None else ""
    raise ChapterFailed(chapter.number, number, source, what, trace, copy) from error


def _write(notebook: Any, target: Path) -> None:
    """All of the file or none of it."""
    import nbformat

    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(nbformat.writes(notebook), encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM stops a run as Ctrl-C does, so that the kernel is taken down; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop_kernels() -> None:
    """The kernels this process started, if the interrupt hit before papermill could shut one down."""
    import psutil

    kernels = [p for p in psutil.Process().children() if "ipykernel" in " ".join(_command(p))]
    for kernel in kernels:
        with contextlib.suppress(psutil.Error):
            kernel.kill()
    psutil.wait_procs(kernels, timeout=5)


def _command(process: Any) -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:
        return []
