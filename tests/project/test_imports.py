"""What import-linter cannot say: the foundation imports the standard library, numpy, pandas and xxhash, and no more."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KIT = ROOT / "src/principal_kit"
FOUNDATION_MAY_USE = {"numpy", "pandas", "xxhash", "principal_kit"}


def imported_modules(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return names


def outside(source: str, allowed: set[str]) -> set[str]:
    top = {name.split(".")[0] for name in imported_modules(source)}
    return top - allowed - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", sorted((KIT / "core").rglob("*.py")), ids=lambda p: p.name)
def test_core_needs_only_numpy_pandas_and_xxhash(path):
    assert outside(path.read_text(), FOUNDATION_MAY_USE) == set()


def test_the_check_itself_sees_a_forbidden_import():
    assert outside("def f():\n    from redis import Redis", FOUNDATION_MAY_USE) == {"redis"}


def test_replication_never_imports_the_simulator():
    for path in (KIT / "replication").rglob("*.py"):
        used = imported_modules(path.read_text())
        assert not any(name.startswith("principal_kit.sim") for name in used), path


def test_import_linter_keeps_every_contract():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
