"""Running a chapter: parameters are checked first, a failing cell is named, an interrupt leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.chapters import Chapter
from principal_kit.course.run import (
    ChapterFailed,
    known_parameters,
    parse_parameters,
    run,
    run_notebook,
    split_parameter,
    titles,
)

CHAPTER = Chapter("9.9", "A test", "9-9-a-test", ())
KNOWN = {"SCALE": "small", "SEED": 7, "RATE": 0.5, "FAST": False, "NODES": [1, 2]}


def notebook(*code, parameters="SEED = 7\nSCALE = 'small'"):
    cells = [new_markdown_cell("# A test"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [c if isinstance(c, dict) else new_code_cell(c) for c in code]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


@pytest.fixture
def write(tmp_path):
    def to_file(*code, **more):
        path = tmp_path / "9-9-a-test.ipynb"
        nbformat.write(notebook(*code, **more), path)
        return path

    return to_file


def outputs(path):
    return [output.get("text", "") for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]


# ── Parameters ───────────────────────────────────────────────────────────────────────────────────
def test_texts_become_values_of_the_defaults_types():
    given = {"SCALE": "42", "SEED": "8", "RATE": "2", "FAST": "true", "NODES": "[3]"}
    assert parse_parameters(given, KNOWN, chapter="9.9") == {
        "SCALE": "42", "SEED": 8, "RATE": 2.0, "FAST": True, "NODES": [3],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name, text", [("SEED", "x"), ("SEED", "1.5"), ("RATE", "fast"), ("FAST", "2"), ("NODES", "[")]
)
def test_a_text_that_is_no_such_value_is_refused(name, text):
    with pytest.raises(InvalidArgument, match=f"parameter {name}=.*expected a"):
        parse_parameters({name: text}, KNOWN, chapter="9.9")


def test_an_unknown_parameter_lists_the_known_ones():
    with pytest.raises(InvalidArgument, match=r"no parameter SEEDS; it has: SCALE \(default 'small'\), SEED"):
        parse_parameters({"SEEDS": "1"}, KNOWN, chapter="9.9")


@pytest.mark.parametrize("text", ["SCALE", "=3", "", "a b=3"])
def test_a_parameter_that_is_no_assignment_is_refused(text):
    with pytest.raises(InvalidArgument, match="NAME=VALUE"):
        split_parameter(text)


def test_a_value_may_hold_an_equals_sign():
    assert split_parameter("A=b=c") == ("A", "b=c")


def test_known_parameters_come_from_the_tagged_cell_only():
    assert known_parameters(notebook("OTHER = 3")) == {"SEED": 7, "SCALE": "small"}
    assert known_parameters(new_notebook(cells=[new_code_cell("SEED = 7")])) == {}


def test_nothing_is_started_or_written_for_an_unknown_parameter(write, tmp_path):
    steps = []
    with pytest.raises(InvalidArgument):
        run_notebook(CHAPTER, write("print(1)"), {"NOPE": "1"}, tmp_path / "runs", on_step=steps.append)
    assert steps == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number, says", [("9.9", r"is unknown; known: 1\.1"), ("6.3", "planned"), ("", "unknown")])
def test_a_chapter_that_cannot_run_lists_those_that_can(number, says):
    with pytest.raises(InvalidArgument, match=says):
        run(number)


def test_titles_name_the_section_and_the_first_line_that_is_not_an_import():
    made = notebook("import os\n\n# Kill a node\nos.kill(1)", new_markdown_cell("text\n## Break\nmore"), "x = 1", "")
    assert list(titles(made).values()) == [
        "A test · SEED = 7",
        "A test · Kill a node",
        "Break · x = 1",
        "Break · (empty)",
    ]


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.slow
def test_a_run_writes_a_copy_with_the_given_parameters_and_leaves_the_source_alone(write, tmp_path):
    source = write(
        "print(SEED + 1, SCALE)",
        new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
        "ballast = bytearray(100 * 2**20)\nballast[::4096] = b'x' * len(ballast[::4096])\nimport time; time.sleep(1.5)",
    )
    before, steps = source.read_bytes(), []
    done = run_notebook(CHAPTER, source, {"SEED": "9"}, tmp_path / "runs", on_step=steps.append)
    assert source.read_bytes() == before
    assert "10 small\n" in outputs(done.copy)
    assert done.parameters == {"SEED": 9}
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["9-9-a-test.ipynb"]
    started, ended = ([s.number for s in steps if (s.seconds is None) is begins] for begins in (True, False))
    assert started == ended == list(range(1, done.cells + 1))
    assert done.memory.peak["Python"] > 130 * 2**20, "the kernel's ballast was not seen"


@pytest.mark.slow
def test_a_failing_cell_is_named_with_its_source_and_error_and_the_copy_kept(write, tmp_path):
    folder = tmp_path / "runs"
    source = write("print('before')", "x = {}\nx['missing']", "print('never')")
    with pytest.raises(ChapterFailed) as caught:
        run_notebook(CHAPTER, source, {}, folder)
    error = caught.value
    assert (error.cell, error.error) == (3, "KeyError: 'missing'")
    assert error.source == "x = {}\nx['missing']"
    assert "x['missing']" in error.traceback
    assert "\x1b" not in error.traceback
    assert [p.name for p in folder.iterdir()] == ["9-9-a-test.ipynb.failed"]
    assert "before\n" in outputs(error.copy)
    assert "never\n" not in outputs(error.copy)


@pytest.mark.slow
def test_a_run_that_passes_clears_the_failed_copy_and_a_failure_keeps_the_good_one(write, tmp_path):
    folder = tmp_path / "runs"
    source = write("assert SEED == 7")
    with pytest.raises(ChapterFailed):
        run_notebook(CHAPTER, source, {"SEED": 1}, folder)
    good = run_notebook(CHAPTER, source, {}, folder).copy.read_bytes()
    assert [p.name for p in folder.iterdir()] == ["9-9-a-test.ipynb"]
    with pytest.raises(ChapterFailed):
        run_notebook(CHAPTER, source, {"SEED": 1}, folder)
    assert (folder / "9-9-a-test.ipynb").read_bytes() == good


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_stopped(write, tmp_path):
    with pytest.raises(ChapterFailed, match="timed out") as caught:
        run_notebook(CHAPTER, write("while True: pass"), {}, tmp_path, cell_seconds=2)
    assert caught.value.source == "while True: pass"


@pytest.mark.slow
def test_a_kernel_that_dies_is_a_failure(write, tmp_path):
    with pytest.raises(ChapterFailed, match="died"):
        run_notebook(CHAPTER, write("import os; os._exit(3)"), {}, tmp_path)


RUNNER = """
import sys
from pathlib import Path
from principal_kit.course.chapters import Chapter
from principal_kit.course.run import run_notebook
try:
    run_notebook(Chapter("9.9", "A test", "9-9-a-test", ()), Path(sys.argv[1]), {}, Path(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("not within the deadline")


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_takes_the_kernel_and_its_servers_along(write, tmp_path, sent):
    pids = tmp_path / "pids"
    source = write(
        "import os, time, pathlib\nfrom principal_kit import services\n"
        "redis = services.redis(fresh=True)\n"
        f"pathlib.Path({str(pids)!r} + '.new').write_text(f'{{os.getpid()}} {{redis.pid}}')\n"
        f"os.replace({str(pids)!r} + '.new', {str(pids)!r})\n"
        "time.sleep(600)"
    )
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(source), str(tmp_path / "runs")])
    try:
        wait_for(pids.exists)
        kernel, redis = map(int, pids.read_text().split())
        assert not gone(redis)
        os.kill(runner.pid, sent)
        assert runner.wait(timeout=30) == 130
        wait_for(lambda: gone(kernel) and gone(redis), seconds=15)
    finally:
        runner.kill()
        runner.wait()
    assert not list(Path(tmp_path / "runs").glob("*"))
