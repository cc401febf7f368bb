"""`doctor`: every component a row, every fault a fix, and one broken part hides no other."""

from __future__ import annotations

import pytest

from principal_kit import services
from principal_kit.services import diagnosis, java, process, state
from principal_kit.services.process import free_port

pytestmark = pytest.mark.integration
COMPONENTS = {
    "Python",
    "Memory",
    "Java",
    "Maven",
    "Redis",
    "Kafka",
    "PySpark",
    "Spark-Kafka connector",
    "Flink",
    "Kafka Connect",
    "PyFlink",
    "Chromium",
}


def by_component() -> dict[str, diagnosis.Row]:
    return {row.component: row for row in services.doctor()}


def test_this_machine_is_fit():
    rows = by_component()
    assert rows.keys() == COMPONENTS
    assert [r for r in rows.values() if not r.ok and r.component != "Memory"] == []
    assert rows["Redis"].source == rows["Kafka"].source == "embedded"


def test_an_empty_path_gives_a_fix_for_each(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    rows = by_component()
    for component, fix in (("Java", "openjdk-17"), ("Maven", "install maven"), ("Redis", "install redis-server")):
        assert rows[component].found == "missing"
        assert fix in rows[component].fix
    assert rows["Python"].ok
    assert rows["Chromium"].ok, "only the tests need it"


def test_an_empty_cache_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    rows = by_component()
    for component in ("Kafka", "Spark-Kafka connector"):
        assert "principal_kit.services.jars fetch" in rows[component].fix
    assert (rows["Flink"].found, rows["Flink"].ok) == ("not fetched", True)
    assert (rows["Kafka Connect"].found, rows["Kafka Connect"].ok) == ("not fetched", True)
    assert (rows["PyFlink"].found, rows["PyFlink"].ok) == ("not made", True)


def test_a_flink_of_yours_needs_its_gateway(monkeypatch, redis_server):
    monkeypatch.setenv("PRINCIPAL_KIT_FLINK", redis_server.address)
    assert "set PRINCIPAL_KIT_FLINK_SQL" in by_component()["Flink"].fix
    monkeypatch.setenv("PRINCIPAL_KIT_FLINK_SQL", "127.0.0.1:1")
    assert by_component()["Flink"].fix == (
        "nothing answers at 127.0.0.1:1: start it, or `unset PRINCIPAL_KIT_FLINK_SQL`"
    )


def test_variables_are_judged(monkeypatch, redis_server):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", redis_server.address)
    monkeypatch.setenv("PRINCIPAL_KIT_KAFKA", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("PRINCIPAL_KIT_SPARK", "http://nowhere")
    rows = by_component()
    assert (rows["Redis"].source, rows["Redis"].ok) == ("external", True)
    assert (rows["Kafka"].source, "nothing answers at" in rows["Kafka"].fix) == ("external", True)
    assert "expected sc://host:port" in rows["PySpark"].fix


def test_a_malformed_variable_and_a_damaged_record_are_rows_not_crashes(monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", "nonsense")
    state.directory().mkdir(parents=True)
    state.path("kafka").write_text("{")
    rows = by_component()
    assert "expected host:port" in rows["Redis"].fix
    assert "principal-kit down" in rows["Kafka"].fix


def test_what_up_started_is_running():
    services.up(["redis"])
    try:
        assert by_component()["Redis"].source == "running"
    finally:
        services.down()


def test_a_program_that_hangs_does_not_hang_the_doctor(monkeypatch, tmp_path):
    for name in ("java", "mvn", "redis-server"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\nexec sleep 600\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(process, "ANSWER_SECONDS", 0.2)
    rows = by_component()
    assert [rows[c].ok for c in ("Java", "Maven", "Redis")] == [False, False, False]


def test_java_home_comes_first(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "java"
    program.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.find() == (str(program), 21)


def test_silent_names_each_server_that_a_variable_names_and_nothing_else(monkeypatch, redis_server):
    assert diagnosis.silent() == []
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS", f"box@{redis_server.address}")
    monkeypatch.setenv("PRINCIPAL_KIT_REDIS_NODES", f"{redis_server.address},127.0.0.1:1")
    monkeypatch.setenv("PRINCIPAL_KIT_KAFKA", "127.0.0.1:2,127.0.0.1:3")
    monkeypatch.setenv("PRINCIPAL_KIT_SPARK", "sc://127.0.0.1:4")
    assert diagnosis.silent() == [
        "nothing answers at 127.0.0.1:1: start it, or `unset PRINCIPAL_KIT_REDIS_NODES`",
        "nothing answers at 127.0.0.1:2, 127.0.0.1:3: start it, or `unset PRINCIPAL_KIT_KAFKA`",
        "nothing answers at 127.0.0.1:4: start it, or `unset PRINCIPAL_KIT_SPARK`",
    ]
