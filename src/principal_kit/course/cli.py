"""`principal-kit`: list, run and refresh chapters; start, stop and diagnose services. A KitError is one clean line."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console
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
            problems.print(f"[bold red]error[/] {_plain(error)}", soft_wrap=True)
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            problems.print("interrupted; the kernel and its services are stopped")
            raise SystemExit(130) from error


def _plain(error: KitError) -> str:
    """The message with rich's markup switched off."""
    return str(error).replace("[", r"\[")


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
def run(number: str | None, every: bool, pairs: tuple[str, ...]) -> None:
    """Execute chapter NUMBER live; the executed copy goes to _build/runs/."""
    from principal_kit.course import chapters
    from principal_kit.course.run import ChapterFailed, parse_parameter
    from principal_kit.course.run import run as run_chapter

    if every == bool(number):
        raise click.UsageError("name one chapter, or say --all")
    parameters = dict(parse_parameter(pair) for pair in pairs)
    failed = []
    for chapter in chapters.ready() if every else [chapters.get_ready(number)]:
        console.print(f"[bold]{chapter.number} {chapter.title}[/]")
        try:
            done = run_chapter(chapter.number, parameters, report=_show_step)
        except ChapterFailed as error:
            problems.print(f"[bold red]failed[/] {_plain(error)}", soft_wrap=True)
            failed.append(chapter.number)
            continue
        console.print(
            f"  {done.cells} cells in {done.seconds:.0f} s, peak memory {done.memory_mib} MiB, "
            f"executed copy: _build/runs/{done.path.name}"
        )
    if failed:
        raise SystemExit(1)


def _show_step(step: Any) -> None:
    """One line per cell, so that a log of it reads as well as a terminal."""
    console.print(f"  [dim]{step.seconds:6.1f} s[/]  cell {step.index:>2} of {step.total}  {step.title}", markup=True)


@main.command()
@click.argument("number")
def refresh(number: str) -> None:
    """Make the notebook of chapter NUMBER from its text form: execute it and clean it."""
    from principal_kit.course import refresh as module

    path = module.refresh(number)
    console.print(f"notebooks/{path.name} written")
    _report(number, module.problems(number))


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
    results = [_report(number, module.problems(number), fatal=False) for number in chosen]
    if not all(results):
        raise SystemExit(1)


def _report(number: str, found: list[str], *, fatal: bool = True) -> bool:
    """Print what keeps a notebook from being committed; exit 1 if `fatal` and there is something."""
    for problem in found:
        problems.print(f"[bold red]{number}[/] {problem}".replace("cell [", r"cell \["), soft_wrap=True)
    if not found:
        console.print(f"{number} fit to commit")
    if found and fatal:
        raise SystemExit(1)
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
            row.fix.replace("[", r"\["),
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

    table = Table("Exercise", "Title", box=None, pad_edge=False)
    for key, exercise in sorted(known().items()):
        table.add_row(key, exercise.title)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
