"""The command line: what each command prints, one clean line for an error, the exit status."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from principal_kit import services
from principal_kit.core.errors import ServiceError
from principal_kit.course import chapters, refresh, toc
from principal_kit.course import run as run_module
from principal_kit.course.cli import main
from principal_kit.course.memory import PeakMemory


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_list_names_every_chapter_with_its_state():
    done = call("list")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    for chapter in chapters.CHAPTERS:
        line = next(line for line in lines if line.startswith(chapter.number))
        assert chapter.title in line
        assert line.rstrip().endswith(chapter.state)
    assert f"{chapters.get('1.1').memory_mib} MiB" in done.stdout


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("run", "9.9"), "error chapter '9.9' is unknown; known: 1.1, 1.2"),
        (("run", "2.2"), "error chapter 2.2 is planned, not written yet; ready: 1.1"),
        (("run", "1.1", "-p", "NOPE=1"), "error chapter 1.1 has no parameter NOPE; it has: SCALE (default 'small')"),
        (("run", "1.1", "-p", "SCALE"), "error parameter 'SCALE': expected NAME=VALUE"),
        (("refresh", "[red]"), "error chapter '[red]' is unknown"),
        (("render", "6.1"), "planned"),
        (("up", "mysql"), "error 'mysql' is not a service"),
    ],
)
def test_a_kit_error_is_one_line_and_status_2(arguments, says):
    done = call(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert len(done.stdout.splitlines()) <= 1, "at most the chapter's title came before"


@pytest.mark.parametrize("arguments", [("run",), ("run", "1.1", "--all"), ("nonsense",)])
def test_wrong_usage_shows_the_usage(arguments):
    done = call(*arguments)
    assert done.exit_code == 2
    assert "Usage" in done.stderr


def finished(number, parameters, *, cell_seconds, on_step):
    on_step(run_module.Step(1, 2, "Why · [bold]x"))
    on_step(run_module.Step(1, 2, "Why · [bold]x", 0.25))
    return run_module.Run(
        chapters.get(number), Path.cwd() / "_build/runs/x.ipynb", 3.2, PeakMemory(list), 2, parameters
    )


def test_run_shows_each_cell_then_time_memory_and_the_copy(monkeypatch):
    monkeypatch.setattr(run_module, "run", finished)
    done = call("run", "1.1", "-p", "SCALE=medium")
    assert done.exit_code == 0
    assert "0.2 s  cell 1/2  Why · [bold]x" in done.stdout
    assert "2 cells in 3 s, peak memory 0 MiB" in done.stdout
    assert "executed copy: _build/runs/x.ipynb" in done.stdout


def test_a_failing_cell_shows_source_error_and_copy_and_exits_1(monkeypatch):
    def fails(number, *_, **__):
        raise run_module.ChapterFailed(
            number,
            4,
            "x = [1]\nx[2]",
            "IndexError: list index [out] of range",
            "Traceback…\nIndexError",
            Path("/c.failed"),
        )

    monkeypatch.setattr(run_module, "run", fails)
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", "127.0.0.1:1")
    done = call("run", "--all")
    assert done.exit_code == 1
    for piece in (
        "x[2]",
        "failed chapter 1.1 failed in code cell 4: IndexError: list index [out] of range",
        "nothing answers at 127.0.0.1:1: start it, or `unset PRINCIPAL_KIT_REDIS`",
        "/c.failed",
    ):
        assert piece in done.stderr


def test_an_interrupt_exits_130_without_a_traceback(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run", interrupted)
    done = call("run", "1.1")
    assert done.exit_code == 130
    assert "Traceback" not in done.stderr


def test_notebooks_check_prints_each_problem_and_exits_1(monkeypatch):
    monkeypatch.setattr(refresh, "problems", lambda number: ["cell 3 [x] was never executed"])
    done = call("notebooks", "check", "1.1")
    assert done.exit_code == 1
    assert "1.1 cell 3 [x] was never executed" in done.stderr
    monkeypatch.setattr(refresh, "problems", lambda number: [])
    done = call("notebooks", "check")
    assert done.exit_code == 0
    assert "1.1 fit to commit" in done.stdout


def test_refresh_check_runs_nothing(monkeypatch):
    monkeypatch.setattr(refresh, "problems", lambda number: [])
    monkeypatch.setattr(refresh, "refresh", lambda *_, **__: pytest.fail("executed"))
    assert call("refresh", "1.1", "--check").exit_code == 0


def test_toc_check_notices_a_stale_file(monkeypatch):
    assert call("toc", "--check").exit_code == 0
    monkeypatch.setattr(toc, "render", lambda: "other")
    done = call("toc", "--check")
    assert done.exit_code == 2
    assert "stale" in done.stderr


def row(**fields):
    return SimpleNamespace(
        **{"component": "Java", "found": "17", "wanted": "17", "source": "here", "fix": "", "ok": True} | fields
    )


def test_doctor_prints_a_row_each_and_fails_when_something_is_missing(monkeypatch):
    monkeypatch.setattr(services, "doctor", lambda: [row()])
    assert call("doctor").exit_code == 0
    monkeypatch.setattr(
        services, "doctor", lambda: [row(), row(component="Redis", found="", fix="apt-get [x]", ok=False)]
    )
    done = call("doctor")
    assert done.exit_code == 1
    assert "apt-get [x]" in done.stdout


def test_up_and_down_say_what_they_did(monkeypatch):
    endpoint = SimpleNamespace(name="redis", version="7.0", source="running", address="127.0.0.1:1")
    monkeypatch.setattr(services, "up", lambda names: [endpoint])
    monkeypatch.setattr(services, "down", lambda: ["redis"])
    assert "redis 7.0, running" in call("up").stdout
    assert "stopped redis" in call("down").stdout

    def broken(names):
        raise ServiceError("did not start:\n[log] last line")

    monkeypatch.setattr(services, "up", broken)
    done = call("up", "redis")
    assert done.exit_code == 2
    assert "[log] last line" in done.stderr


def test_exercises_and_machine_and_version():
    assert "1.1.a" in call("exercises").stdout
    assert "GiB" in call("machine").stdout
    assert "principal-kit" in call("--version").stdout
