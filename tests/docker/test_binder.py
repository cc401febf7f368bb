"""Binder's steps with this repository, in a container of the 2 GiB that mybinder.org gives: build, postBuild, chapter.

Binder needs a Git host and conda-forge; here the steps of repo2docker's build are followed on a Debian root instead.
The pip part and postBuild are the real ones; of the conda part, names and pins are checked.
"""

from __future__ import annotations

import re
import time

import pytest
import standins
import yaml
from conftest import ROOT, docker

from principal_kit.course import chapters
from principal_kit.services import versions

IMAGE = "principal-kit-test/binder:latest"
NAME = "principal-kit-test-binder"
MEMORY = "2g"


@pytest.fixture(scope="module")
def built(images, say):
    began = time.monotonic()
    base = standins.official_images()["python"]
    docker(
        "build",
        "-q",
        "-f",
        "tests/docker/binder.Dockerfile",
        "--build-arg",
        f"BASE={base}",
        "-t",
        IMAGE,
        ".",
        seconds=1800,
    )
    size = int(docker("image", "inspect", "-f", "{{.Size}}", IMAGE).stdout)
    say(f"Binder's image: built in {time.monotonic() - began:.0f} s, {size / 1e9:.2f} GB")
    yield IMAGE
    docker("rm", "--force", NAME, check=False)
    docker("image", "rm", "--force", IMAGE, check=False)


def test_the_conda_part_names_what_the_book_needs_at_versions_the_kit_takes():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    pins = dict((re.fullmatch(r"([a-z0-9-]+)(?:=([\d.]+))?", line) or pytest.fail(line)).groups() for line in plain)
    assert pins.keys() == {"python", "pip", "openjdk", "maven", "redis-server", "postgresql", "make"}
    assert pins["openjdk"] == str(versions.WANTED["java"])
    assert re.fullmatch(r"3\.1[123]", pins["python"])
    assert pins["redis-server"] == str(versions.WANTED["redis"]).split(".")[0]
    assert f"{pins['postgresql']}." in versions.SUPPORTED["postgres"]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert pip == ["-r requirements.lock"]


def test_chapter_1_1_runs_inside_binder_s_memory(built, say):
    """As the user jovyan, from the home folder, with swap off: above the limit the kernel would be killed."""
    began = time.monotonic()
    done = docker(
        "run", "--name", NAME, "--memory", MEMORY, "--memory-swap", MEMORY, "--cpus", "2", built,
        "principal-kit", "run", "1.1", check=False, seconds=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    state = docker("inspect", "-f", "{{.State.OOMKilled}}", NAME).stdout.strip()
    assert state == "false"
    assert chapters.get("1.1").title in done.stdout
    summary = re.search(r"\d+ cells in \d+ s, peak memory .*", done.stdout).group()
    say(f"chapter 1.1 in {MEMORY}: {summary} (container {time.monotonic() - began:.0f} s)")


def test_the_kernel_binder_starts_finds_the_kit(built):
    done = docker("run", "--rm", "--memory", MEMORY, built, "jupyter", "kernelspec", "list")
    assert "python3" in done.stdout
    done = docker("run", "--rm", "--memory", MEMORY, built, "principal-kit", "doctor", check=False)
    assert done.returncode == 0, done.stdout
