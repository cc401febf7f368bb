"""CI does nothing that the Makefile does not, from pinned actions, and actionlint finds nothing to say."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def steps(path: Path) -> list[dict]:
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


def test_the_three_workflows_are_there():
    assert [p.name for p in WORKFLOWS] == ["ci.yml", "pages.yml", "weekly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_run_make_and_nothing_else(path):
    known = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M)
    for step in steps(path):
        if "run" in step:
            assert re.fullmatch(r"make ([a-z-]+)", step["run"]), step["run"]
            assert step["run"].split()[1] in known


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_actions_are_pinned_to_a_commit(path):
    used = re.findall(r"uses: (\S+)", path.read_text())
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in used)
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def actionlint(*files: Path) -> subprocess.CompletedProcess:
    command = [str(ROOT / "scripts/actionlint.sh"), *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, env=os.environ)


def test_actionlint_accepts_ours():
    done = actionlint()
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_refuses_a_broken_one(tmp_path):
    broken = tmp_path / "broken.yml"
    broken.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latst\n    steps:\n      - run: echo ${{ steps.nope.outputs.x }}\n"
    )
    done = actionlint(broken)
    assert done.returncode == 1
    assert "ubuntu-latst" in done.stdout
    assert "nope" in done.stdout
