"""From text to notebook: nothing of the machine stays, and each thing that makes a chapter unfit is named."""

import copy
import os

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

from principal_kit.course import chapters, project, refresh
from principal_kit.course.chapters import Chapter

CHAPTER = Chapter(
    "9.9", "A test", "9-9-a-test", ("One", "Two"), state="ready", anchors=("topic-one", "topic-two"), exercises=()
)
HEAD = "# A test\n\nWhat you will be able to do\n\n**Prerequisites.** None.\n\n**Time.** None."


def topic(anchor, beats=refresh.BEATS):
    return f"({anchor})=\n## Topic\n\n" + "\n\n".join(f"### {beat}" for beat in beats)


def text_of(cells):
    """The MyST form of (kind, tags, source) triples."""
    parts = ["---\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n"]
    for kind, tags, source in cells:
        option = f":tags: [{', '.join(tags)}]\n\n" if tags else ""
        parts.append(source + "\n" if kind == "markdown" else f"```{{code-cell}} ipython3\n{option}{source}\n```\n")
    return "\n".join(parts)


CELLS = [
    ("markdown", [], HEAD),
    ("code", ["parameters"], "SEED = 7"),
    ("markdown", [], topic("topic-one")),
    *[("code", [], f"print({n})") for n in range(refresh.COMPARED_MIN)],
    ("markdown", [], topic("topic-two") + "\n\n(exercises-9-9)=\n## Exercises\n\n## References"),
]


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A checkout with one chapter; returns its text path."""
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    (tmp_path / "src" / "principal_kit").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chapters, "CHAPTERS", (*chapters.CHAPTERS, CHAPTER))
    text = tmp_path / "notebooks" / "text" / "9-9-a-test.md"
    text.write_text(text_of(CELLS))
    return text


def committed(book, change=lambda notebook: None):
    """Write the notebook that the text stands for, as if executed, after `change`; then say what is wrong with it."""
    notebook = refresh.read_text(CHAPTER)
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            if cell.source.startswith("print"):
                cell.outputs = [new_output("stream", name="stdout", text=f"{count}\n")]
    change(notebook)
    refresh.notebook_path(CHAPTER).write_text(writes(notebook))
    return refresh.problems("9.9")


def first_print(notebook):
    return next(cell for cell in notebook.cells if cell.source.startswith("print"))


def test_a_whole_chapter_has_no_problem(book):
    assert committed(book) == []


def out(**fields):
    return lambda cell: cell.outputs.append(new_output(**fields))


def stream(text, name="stdout"):
    return out(output_type="stream", name=name, text=text)


IMAGE = out(output_type="display_data", data={"image/png": "", "text/plain": "<Figure>"})
CELL_FAULTS = {
    "was never executed": lambda cell: cell.update(execution_count=None),
    "over 40 lines": lambda cell: cell.update(source="\n".join(["print(1)"] * 41)),
    "skipped by nbval": lambda cell: cell.metadata.update(tags=["nbval-skip"]),
    "stores an error: ZeroDivisionError": out(output_type="error", ename="ZeroDivisionError", evalue="", traceback=[]),
    "writes to stderr": stream("a warning", "stderr"),
    "without alt text": IMAGE,
    "absolute path: /home/reader": stream("wrote /home/reader/x.png"),
    "loopback port: 127.0.0.1:40123": stream("at 127.0.0.1:40123"),
    "process id": stream("pid=4711"),
    "differs from the text form": lambda cell: cell.update(source="print(99)"),
    "only 9 cells": lambda cell: cell.update(outputs=[]),
}


@pytest.mark.parametrize("says", CELL_FAULTS)
def test_a_fault_in_a_cell_is_named(book, says):
    found = committed(book, lambda notebook: CELL_FAULTS[says](first_print(notebook)))
    assert any(says in problem for problem in found), found


def test_a_raised_exception_that_was_announced_is_no_fault(book):
    def announce(notebook):
        cell = first_print(notebook)
        cell.metadata["tags"] = ["raises-exception"]
        cell.outputs = [new_output("error", ename="ValueError", evalue="", traceback=[])]

    assert not any("stores an error" in problem for problem in committed(book, announce))


def test_a_figure_with_alt_text_is_no_fault(book):
    def draw(notebook):
        cell = first_print(notebook)
        IMAGE(cell)
        cell.metadata["mystnb"] = {"image": {"alt": "A line that rises."}}

    assert not any("alt text" in problem for problem in committed(book, draw))


def test_a_cell_missing_from_the_notebook_is_noticed(book):
    assert any("the text form has" in p for p in committed(book, lambda notebook: notebook.cells.pop()))


@pytest.mark.parametrize("beat", refresh.BEATS)
def test_a_missing_beat_is_named_with_its_topic(book, beat):
    beats = [b for b in refresh.BEATS if b != beat]
    cells = [(k, t, topic("topic-two", beats) if "topic-two" in s else s) for k, t, s in CELLS]
    book.write_text(text_of(cells))
    assert f"topic topic-two lacks the beat {beat!r}" in committed(book)


@pytest.mark.parametrize(
    "piece", ["What you will be able to do", "**Prerequisites.**", "**Time.**", "## Exercises", "## References"]
)
def test_a_missing_piece_of_the_frame_is_named(book, piece):
    book.write_text(text_of([(k, t, s.replace(piece, "")) for k, t, s in CELLS]))
    assert any(piece in problem for problem in committed(book))


def test_a_chapter_without_parameters_or_topic_is_named(book):
    book.write_text(text_of([(k, [], s.replace("topic-one", "topic-0")) for k, t, s in CELLS]))
    found = committed(book)
    assert "no cell is tagged `parameters`" in found
    assert "topic anchor (topic-one)= is missing" in found


def test_an_exercise_must_be_registered_and_asked_for(book, monkeypatch):
    monkeypatch.setattr(chapters, "CHAPTERS", (Chapter(**{**vars(CHAPTER), "exercises": ("9.9.a",)}),))
    found = committed(book)
    assert "exercise 9.9.a is not registered" in found
    assert "no cell asks for exercise 9.9.a" in found


def test_a_missing_notebook_says_how_to_make_it(book):
    assert refresh.problems("9.9") == ["notebooks/9-9-a-test.ipynb is missing: `principal-kit refresh 9.9`"]


def test_cleaning_takes_out_the_machine_and_is_idempotent(book, tmp_path):
    home = os.path.expanduser("~")
    cell = new_code_cell("x", execution_count=1, metadata={"execution": {"iopub.status.busy": "now"}, "tags": ["a"]})
    cell.outputs = [
        new_output("stream", name="stdout", text=f"{tmp_path}/notebooks/a"),
        new_output("stream", name="stdout", text=" b"),
        new_output("execute_result", data={"text/plain": f"'{home}/x'"}, execution_count=1),
        new_output("error", ename="E", evalue="v", traceback=["\x1b[31m/some/frame"]),
    ]
    notebook = new_notebook(
        cells=[new_markdown_cell("x"), cell],
        metadata={"language_info": {"name": "python", "version": "3.11.7"}, "x": 1},
    )
    cleaned = refresh.clean(notebook)
    stream_, result, error = cell.outputs
    assert stream_.text == "notebooks/a b"
    assert result.data["text/plain"] == "'~/x'"
    assert error.traceback == ["E: v"]
    assert cell.metadata == {"tags": ["a"]}
    assert set(cleaned.metadata) == {"kernelspec", "language_info"}
    assert cleaned.metadata["language_info"] == {"name": "python"}
    assert refresh.clean(copy.deepcopy(cleaned)) == cleaned


def test_cell_ids_depend_on_the_position_alone(book):
    assert [c.id for c in refresh.read_text(CHAPTER).cells] == [c.id for c in refresh.read_text(CHAPTER).cells]


@pytest.mark.slow
def test_refreshing_twice_gives_the_same_bytes_and_a_failure_changes_nothing(book):
    steps = []
    path = refresh.refresh("9.9", on_step=steps.append)
    first = path.read_bytes()
    assert refresh.problems("9.9") == []
    assert len(steps) == steps[0].total == refresh.COMPARED_MIN + 1
    assert refresh.refresh("9.9").read_bytes() == first
    book.write_text(book.read_text().replace("print(3)", "print(unknown_name)"))
    with pytest.raises(refresh.RefreshFailed, match="unknown_name"):
        refresh.refresh("9.9")
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == [path.name]
    assert any("differs" in p for p in refresh.problems("9.9"))


def test_the_checkout_under_test_is_this_one():
    assert (project.root() / "notebooks").is_dir()
