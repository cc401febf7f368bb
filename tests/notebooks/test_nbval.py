"""nbval compares: a changed output fails, and what is left out of the comparison is left out on purpose only."""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from principal_kit.course import project

pytestmark = pytest.mark.slow
NOTEBOOKS = project.root() / "notebooks"


def text(value):
    return [new_output("stream", name="stdout", text=value)]


def result(**data):
    return [new_output("execute_result", data=data, execution_count=1)]


class Shown:
    """Code of an object with an HTML form whose ids differ each time."""

    code = (
        "import uuid\nclass S:\n    def __repr__(self): return 'plain'\n"
        "    def _repr_html_(self): return str(uuid.uuid4())\nS()"
    )


CASES = {  # name: (source, tags, stored outputs, must pass)
    "the same text": ("print(6 * 7)", [], text("42\n"), True),
    "a changed text": ("print(6 * 7)", [], text("43\n"), False),
    "a changed result": ("6 * 7", [], result(**{"text/plain": "43"}), False),
    "an output that is gone": ("x = 6 * 7", [], result(**{"text/plain": "42"}), False),
    "an output that is new": ("6 * 7", [], [], False),
    "a measurement": ("print(6 * 7)", ["nbval-ignore-output"], text("1.3 s\n"), True),
    "markup that differs": (Shown.code, [], result(**{"text/plain": "plain", "text/html": "x"}), True),
    "markup's plain form differs": (Shown.code, [], result(**{"text/plain": "other", "text/html": "x"}), False),
    "a warning": ("import sys; print('w', file=sys.stderr); print(1)", [], text("1\n"), True),
    "an address": ("print('127.0.0.1:5555')", [], text("127.0.0.1:4444\n"), True),
    "an address of another host": ("print('10.0.0.1:5555')", [], text("10.0.0.1:4444\n"), False),
    "an error": ("1 / 0", [], [], False),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """One nbval run over one notebook with a cell a case, with the book's own configuration."""
    folder = tmp_path_factory.mktemp("nbval")
    for name in ("conftest.py", "sanitize.cfg"):
        shutil.copy(NOTEBOOKS / name, folder)
    cells = [
        new_code_cell(source, metadata={"tags": tags}, outputs=outputs, execution_count=1)
        for source, tags, outputs, _ in CASES.values()
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / "cases.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-sanitize-with=sanitize.cfg",
        "-rA",
        "-q",
        "--color=no",
    ]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir=.", "cases.ipynb"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
    )
    judged = re.findall(r"^(PASSED|FAILED) .*?::Cell (\d+)", done.stdout, re.M)
    found = {int(number): verdict for verdict, number in judged}
    assert sorted(found) == list(range(len(CASES))), done.stdout
    return {name: found[number] for number, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_nbval_judges(verdicts, name):
    assert verdicts[name] == ("PASSED" if CASES[name][3] else "FAILED")
