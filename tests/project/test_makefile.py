"""The commands a newcomer types: each has a line of help, and what it runs exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PROMISED = {
    "book", "test", "test-fast", "run-all", "lab", "up", "down", "refresh", "site", "lint", "lock", "bench", "doctor",
    "docker-up", "docker-down", "docker-logs", "docker-doctor", "docker-test", "binder-test", "clean",
}  # fmt: skip


def targets() -> list[str]:
    return re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.M)


def test_every_promised_target_exists_and_every_target_is_phony_with_help():
    assert set(targets()) >= PROMISED
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M).group(1).split())
    assert phony == set(targets())
    for target in targets():
        assert re.search(rf"^{target}:.*## \S", MAKEFILE, re.M), f"{target} has no help"


def test_make_alone_prints_a_line_per_target():
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^  make ([a-z-]+) ", shown, re.M) == targets()


def test_scripts_named_by_the_makefile_can_be_run():
    named = set(re.findall(r"scripts/\w+\.sh", MAKEFILE))
    assert len(named) > 5
    assert [s for s in sorted(named) if not os.access(ROOT / s, os.X_OK)] == []


def test_ci_script_runs_both_kinds_of_tests_and_needs_no_make_to_start():
    script = (ROOT / ".ci/run").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert re.findall(r"^make .*", script, re.M) == [
        f"make {target} </dev/null || status=$?" for target in ("test", "docker-test")
    ]
    assert script.rstrip().splitlines()[-1] == 'exit "$status"'
    assert "apt-get install" in script


def test_pre_commit_hooks_are_local_and_its_file_is_valid():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"], "a hook from elsewhere needs the network"
    tool = Path(sys.executable).with_name("pre-commit")
    subprocess.run([tool, "validate-config"], cwd=ROOT, check=True)
    for hook in config["repos"][0]["hooks"]:
        if hook["language"] == "system":
            program = hook["entry"].split()[0]
            assert program.startswith(".venv/bin/")
            assert (Path(sys.executable).parent / Path(program).name).exists(), program
