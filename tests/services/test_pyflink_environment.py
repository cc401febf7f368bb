"""PyFlink beside the kit: an environment of its own, made whole or not at all, and a job of it on the real cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from principal_kit import services
from principal_kit.core.errors import MissingPrerequisite, ServiceError
from principal_kit.services import pyflink_environment as module
from principal_kit.services import versions
from principal_kit.services.flink_failure import FlinkError

JOBS = Path(__file__).with_name("pyflink_jobs")


def test_the_lock_pins_this_flink_with_hashes_and_no_second_copy_of_its_jars():
    text = module.LOCK.read_text()
    assert f"\napache-flink=={versions.WANTED['flink']} " in text
    assert "apache-flink-libraries==" not in text
    assert "://" not in text
    pins = [line for line in text.splitlines() if "==" in line and line[0].isalnum()]
    assert len(pins) > 40
    assert all(line.endswith("\\") for line in pins), "each is followed by its hashes"


def test_without_the_environment_the_command_that_makes_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    with pytest.raises(
        MissingPrerequisite, match=r"no environment yet: `python -m principal_kit\.services\.pyflink_env"
    ):
        module.interpreter()


def test_a_python_that_pyflink_is_not_published_for_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "PYTHONS", ((3, 9),))
    with pytest.raises(MissingPrerequisite, match=r"PyFlink 2\.1\.3 needs Python 3\.11 or 3\.12, this is 3\."):
        module.make()


def test_an_installation_that_fails_leaves_nothing_and_shows_why(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    run = subprocess.run

    def offline(command, **options):
        if "pip" in command:
            return subprocess.CompletedProcess(command, 2, "", "error: dns error: name resolution\n")
        return run(command, **options)

    monkeypatch.setattr(module.subprocess, "run", offline)
    with pytest.raises(ServiceError, match=r"(?s)is there a network\?.*dns error"):
        services.flink_python()
    assert list(module.directory().parent.iterdir()) == []
    assert capsys.readouterr().err.endswith("failed\n")


def test_what_a_script_says_is_the_reason():
    out = "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'nowhere'\n"
    err = "org.apache.flink.client.program.ProgramAbortException: x\nCaused by: java.lang.RuntimeException: exit 1\n"
    assert module._reason(out, err) == "ModuleNotFoundError: No module named 'nowhere'"
    assert module._reason("", err) == "exit 1"
    assert module._reason("", "") == "it started no job"


@pytest.fixture(scope="module")
def flink():
    try:
        module.interpreter()
    except MissingPrerequisite as error:
        pytest.skip(str(error))
    with services.flink(fresh=True, settings={"restart-strategy.type": "none"}) as endpoint:
        yield endpoint


def written(folder: Path) -> list[str]:
    return sorted(line for part in folder.rglob("part-*") for line in part.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_keyed_function_with_a_timer_runs_on_the_cluster(flink, tmp_path, mode):
    [job] = flink.run_python(JOBS / "count_by_key.py", tmp_path.as_uri(), python__execution_mode=mode)
    assert flink.wait_finished(job).name == "count by key"
    assert written(tmp_path) == ["0 33", "1 33", "2 33"]


@pytest.mark.slow
@pytest.mark.integration
def test_a_script_that_fails_says_why(flink, tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("import nowhere\n")
    with pytest.raises(FlinkError, match=r"broken\.py: ModuleNotFoundError: No module named 'nowhere'$"):
        flink.run_python(script)
