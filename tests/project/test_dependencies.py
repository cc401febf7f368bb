"""Every file that names a dependency says the same: pyproject, lock, conda environment, README, Docker, CI."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYTHONS = ["3.11", "3.12", "3.13"]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def direct_requirements() -> list[Requirement]:
    declared = [*project()["dependencies"], *chain.from_iterable(project()["optional-dependencies"].values())]
    return [r for r in map(Requirement, declared) if canonicalize_name(r.name) != "principal-kit"]


def locked() -> dict[str, list[Version]]:
    """Name to the versions pinned for it; more than one where a marker splits systems or Pythons."""
    pins: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([a-z0-9][\w.-]*)==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.M):
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_lock_pins_every_direct_dependency_within_its_bounds(requirement):
    versions = locked().get(canonicalize_name(requirement.name), [])
    assert versions, f"{requirement.name} is not in requirements.lock: run make lock"
    assert all(requirement.specifier.contains(v, prereleases=True) for v in versions)


def test_lock_pins_each_package_with_hashes_and_names_no_address():
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert len(blocks) > 100
    without = [b.splitlines()[0] for b in blocks if "--hash=sha256:" not in b]
    assert without == []
    assert "://" not in text
    assert "--index" not in text


def test_conda_environment_installs_the_same_lock_file():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"][0] == "conda-forge"
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    pip = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip == [["-r requirements.lock"]], "a second list of Python packages would drift from the lock file"
    wanted = dict(re.match(r"([\w-]+)=?(.*)", d).groups() for d in plain)
    assert {"python", "pip", "openjdk", "maven", "redis-server"} <= wanted.keys()
    assert wanted["python"] in PYTHONS
    assert int(wanted["openjdk"]) >= 17


def test_binder_installs_the_kit_and_its_jars_after_the_lock():
    post_build = (ROOT / "postBuild").read_text()
    assert (ROOT / "postBuild").stat().st_mode & 0o100, "Binder runs it as a program"
    assert "--no-deps" in post_build
    assert "principal_kit.services.jars fetch" in post_build


def test_supported_pythons_are_the_same_everywhere():
    bounds = SpecifierSet(project()["requires-python"])
    assert [p for p in (f"3.{minor}" for minor in range(9, 16)) if bounds.contains(p)] == PYTHONS
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert ci["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    base = re.search(r"^ARG BASE=python:([\d.]+)-", (ROOT / "docker/Dockerfile").read_text(), re.M).group(1)
    assert base in PYTHONS
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text()


def test_spark_is_one_version_in_pyproject_and_in_the_kit():
    from principal_kit.services import versions

    assert [str(v) for v in locked()["pyspark"]] == [versions.WANTED["spark"]]


def readme_table() -> dict[str, str]:
    rows = re.findall(r"^\| `([\w.-]+)` \| (.+?) \|$", (ROOT / "README.md").read_text(), re.M)
    return {canonicalize_name(name): purpose for name, purpose in rows}


def test_readme_says_what_each_direct_dependency_is_for_and_names_no_other():
    names = {canonicalize_name(r.name) for r in direct_requirements()}
    table = readme_table()
    assert sorted(names - table.keys()) == [], "missing from the README's table"
    assert sorted(table.keys() - names) == [], "in the README's table, not in pyproject.toml"
    assert all(len(purpose) > 10 for purpose in table.values())


def test_licences_are_whole_and_named():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text()
    prose = (ROOT / "LICENSE-PROSE").read_text()
    assert prose.startswith("Creative Commons Attribution 4.0 International")
    assert "Section 8" in prose
    notice = (ROOT / "NOTICE").read_text()
    assert "LICENSE-PROSE" in notice
    assert project()["license"] == "Apache-2.0"
