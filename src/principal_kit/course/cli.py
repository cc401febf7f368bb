"""`principal-kit`: list, run and refresh chapters; start, stop and diagnose services. A KitError is one clean line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import principal_kit
from principal_kit.core.errors import KitError

console = Console(highlight=False)
problems = Console(stderr=True, highlight=False)


class KitGroup(click.Group):
    """Turns a KitError into one red line and exit status 2, Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KitError as error:
            problems.print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True)
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            problems.print("interrupted; the kernel and its services are stopped")
            raise SystemExit(130) from error


@click.group(cls=KitGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(principal_kit.__version__, prog_name="principal-kit")
def main() -> None:
    """Run the chapters of The Principal's Kit and the servers they use."""


@main.command("list")
def list_() -> None:
    """Every chapter: title, minutes, state."""
    from principal_kit.course import chapters

    table = Table("Chapter", "Title", "To read", "To run", "Memory", "State", box=None, pad_edge=False)
    for chapter in chapters.CHAPTERS:
        ready = chapter.state == "ready"
        figures = (
            (f"{chapter.minutes_to_read} min", f"{chapter.seconds_to_run} s", f"{chapter.memory_mib} MiB")
            if ready
            else ("", "", "")
        )
        table.add_row(chapter.number, chapter.title, *figures, chapter.state, style=None if ready else "dim")
    console.print(table)


@main.command()
@click.argument("number", required=False)
@click.option("--all", "every", is_flag=True, help="Every chapter that is ready, one after the other.")
@click.option(
    "-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="Set a parameter, for example SCALE=medium."
)
@click.option("--cell-timeout", default=600, show_default=True, metavar="SECONDS", help="Time limit for each cell.")
def run(number: str | None, every: bool, pairs: tuple[str, ...], cell_timeout: int) -> None:
    """Execute chapter NUMBER live; the executed copy goes to _build/runs/."""
    from principal_kit.course import chapters
    from principal_kit.course.run import split_parameter

    if every == bool(number):
        raise click.UsageError("name one chapter, or say --all")
    parameters = dict(split_parameter(pair) for pair in pairs)
    chosen = chapters.ready() if every else [chapters.get_ready(number)]
    passed = [_run_one(chapter, parameters, cell_timeout) for chapter in chosen]
    if not all(passed):
        raise SystemExit(1)


def _run_one(chapter: Any, parameters: dict[str, str], cell_seconds: int) -> bool:
    """Run a chapter with a line for each cell; say what it took, or which cell failed and why."""
    from principal_kit.course.run import ChapterFailed
    from principal_kit.course.run import run as run_chapter

    console.print(f"[bold]{chapter.number} {chapter.title}[/]")
    with console.status("starting the kernel") as status:
        try:
            done = run_chapter(
                chapter.number, parameters, cell_seconds=cell_seconds, on_step=lambda step: _show_step(step, status)
            )
        except ChapterFailed as error:
            status.stop()
            _show_failure(error)
            return False
    console.print(
        f"  {done.cells} cells in {done.seconds:.0f} s, peak memory {done.memory}\n"
        f"  executed copy: {_short(done.copy)}",
        soft_wrap=True,
    )
    return True


def _show_step(step: Any, status: Any) -> None:
    """The cell at work in the status line; each that has ended on a line of its own, so that a log reads as well."""
    title = step.title if len(step.title) <= 80 else step.title[:79] + "…"
    line = f"cell {step.number:>{len(str(step.total))}}/{step.total}  {escape(title)}"
    if step.seconds is None:
        status.update(line)
    else:
        console.print(f"  [dim]{step.seconds:6.1f} s[/]  {line}", soft_wrap=True)


def _show_failure(error: Any) -> None:
    """The cell's source, the last lines of its traceback, the error and where the copy is."""
    from rich.syntax import Syntax

    from principal_kit.services import diagnosis

    if error.source:
        problems.print(Syntax(error.source, "python", background_color="default", line_numbers=True))
    if error.traceback:
        problems.print(escape("\n".join(error.traceback.splitlines()[-12:])), style="dim", soft_wrap=True)
    problems.print(f"[bold red]failed[/] {escape(str(error))}", soft_wrap=True)
    for line in diagnosis.silent():
        problems.print(escape(line), soft_wrap=True)
    problems.print(f"what ran before it: {_short(error.copy)}", soft_wrap=True)


def _short(path: Path) -> str:
    """The path from where the reader stands, if it is below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@main.command()
@click.argument("number")
@click.option("--check", is_flag=True, help="Only say what keeps the committed notebook from being fit; run nothing.")
def refresh(number: str, check: bool) -> None:
    """Make the notebook of chapter NUMBER from its text form: execute it and clean it."""
    from principal_kit.course import refresh as module

    if not check:
        with console.status("starting the kernel") as status:
            path = module.refresh(number, on_step=lambda step: _show_step(step, status))
        console.print(f"notebooks/{path.name} written")
    if not _report(number, module.problems(number)):
        raise SystemExit(1)


@main.command()
@click.argument("number")
def render(number: str) -> None:
    """A self-contained page of chapter NUMBER's last run, in _build/html/runs/."""
    from principal_kit.course import render as module

    console.print(_short(module.render(number)))


@main.group()
def notebooks() -> None:
    """Checks of the committed notebooks."""


@notebooks.command("check")
@click.argument("numbers", nargs=-1)
def check_notebooks(numbers: tuple[str, ...]) -> None:
    """Text form and notebook agree, every cell executed, no trace of a machine, skeleton whole."""
    from principal_kit.course import chapters
    from principal_kit.course import refresh as module

    chosen = numbers or tuple(c.number for c in chapters.ready())
    results = [_report(number, module.problems(number)) for number in chosen]
    if not all(results):
        raise SystemExit(1)


def _report(number: str, found: list[str]) -> bool:
    """Print what keeps a notebook from being committed; whether there is nothing."""
    for problem in found:
        problems.print(f"[bold red]{number}[/] {escape(problem)}", soft_wrap=True)
    if not found:
        console.print(f"{number} fit to commit")
    return not found


@main.command()
@click.option("--check", is_flag=True, help="Only say whether _toc.yml is current.")
def toc(check: bool) -> None:
    """Write _toc.yml from the registry."""
    from principal_kit.course import project
    from principal_kit.course import toc as module

    path, text = project.root() / "_toc.yml", module.render()
    if check:
        if path.read_text(encoding="utf-8") != text:
            raise KitError("_toc.yml is stale: `principal-kit toc` writes it")
        return
    path.write_text(text, encoding="utf-8")


@main.command()
@click.option("--check", is_flag=True, help="Only say whether page and figure are current.")
def benchmarks(check: bool) -> None:
    """Write the Benchmarks page and its figure from benchmarks/results."""
    from principal_kit.course import benchmarks as module

    if check:
        if found := module.problems():
            raise KitError("; ".join(found))
        return
    for path in module.write():
        console.print(f"{_short(path)} written")


@main.command()
@click.argument("names", nargs=-1)
def up(names: tuple[str, ...]) -> None:
    """Start services (default: redis and kafka) that outlive this command."""
    from principal_kit import services

    for endpoint in services.up(list(names) or None):
        console.print(f"{endpoint.name} {endpoint.version}, {endpoint.source}: {endpoint.address}")


@main.command()
def down() -> None:
    """Stop what `up` started."""
    from principal_kit import services

    stopped = services.down()
    console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@main.command()
def doctor() -> None:
    """What is there, in which version, what is missing, and how to get it."""
    from principal_kit import services

    rows = services.doctor()
    table = Table("", "Component", "Found", "Wanted", "Source", "Fix", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            "[green]ok[/]" if row.ok else "[red]no[/]",
            row.component,
            row.found,
            row.wanted,
            row.source,
            escape(row.fix),
        )
    console.print(table)
    if not all(row.ok for row in rows):
        raise SystemExit(1)


@main.command()
def machine() -> None:
    """What this machine is, as measurements name it."""
    from principal_kit.course.machine import machine as describe

    print(describe())


@main.command()
def exercises() -> None:
    """Every exercise and what it asks for."""
    from principal_kit.course.check import exercises as known

    table = Table("Exercise", "Title", "Hand in", box=None, pad_edge=False)
    for key, exercise in sorted(known().items()):
        table.add_row(key, exercise.title, escape(exercise.wants))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
