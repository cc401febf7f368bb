"""Spark in local mode with the Kafka connector; attaching elsewhere; never a trace on the machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from principal_kit import services
from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import spark_session as module
from principal_kit.services.process import free_port
from principal_kit.services.versions import WANTED

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_it_is_the_real_one(spark_session):
    assert spark_session.version == WANTED["spark"]
    assert spark_session.range(1000).selectExpr("sum(id)").first()[0] == 499_500


def test_python_workers_are_this_python(spark_session):
    version = spark_session.sparkContext.parallelize([0], 1).map(lambda _: sys.version).first()
    assert version == sys.version


def test_it_reads_and_writes_kafka_without_a_download(spark_session, kafka_server):
    from kafka.admin import NewTopic

    topic = f"spark-{uuid.uuid4().hex[:8]}"
    admin = kafka_server.admin()
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    options = {"kafka.bootstrap.servers": kafka_server.bootstrap_servers}
    rows = spark_session.range(50).selectExpr("cast(id as string) as value")
    rows.write.format("kafka").options(**options, topic=topic).save()
    back = spark_session.read.format("kafka").options(**options, subscribe=topic).load()
    assert back.selectExpr("sum(cast(cast(value as string) as int))").first()[0] == 1225


def test_it_listens_on_loopback_only(spark_session, listening):
    addresses = listening(spark_session.sparkContext._gateway.proc.pid)
    assert addresses
    assert {a.ip for a in addresses} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_it_has_no_web_page_and_no_progress_bar(spark_session):
    assert spark_session.sparkContext.uiWebUrl is None
    assert spark_session.conf.get("spark.ui.showConsoleProgress") == "false"


def test_a_second_call_is_the_same_session_with_settings_changed(spark_session):
    before = spark_session.conf.get("spark.sql.shuffle.partitions")
    try:
        assert services.spark(spark__sql__shuffle__partitions="3") is spark_session
        assert spark_session.conf.get("spark.sql.shuffle.partitions") == "3"
    finally:
        spark_session.conf.set("spark.sql.shuffle.partitions", before)


def test_a_setting_for_a_new_driver_only_is_refused(spark_session):
    with pytest.raises(InvalidArgument, match=r"spark\.driver\.memory='2g' cannot be changed while Spark runs"):
        services.spark(spark__driver__memory="2g")


def test_tables_and_files_stay_in_its_own_directory(spark_session):
    name = f"t{uuid.uuid4().hex[:8]}"
    spark_session.range(3).write.saveAsTable(name)
    location = spark_session.sql(f"describe formatted {name}").where("col_name = 'Location'").first()["data_type"]
    assert Path(location.removeprefix("file:")).is_relative_to(module._directory)
    spark_session.sql(f"drop table {name}")
    assert not any(Path(n).exists() for n in ("spark-warehouse", "metastore_db", "derby.log"))


def test_a_stopped_session_is_replaced_in_silence_and_a_normal_end_leaves_nothing(script, gone):
    """What a notebook keeps is its own output: neither stream may carry a word of the JVM's."""
    program = script(
        """
first = services.spark()
first.stop()
second = services.spark()
from principal_kit.services import spark_session
told = {"n": second.range(9).count(), "same": first is second, "dir": str(spark_session._directory)}
"""
    )
    assert (program.told["n"], program.told["same"]) == (9, False)
    assert Path(program.told["dir"]).is_dir()
    program.end()
    assert not Path(program.told["dir"]).exists()
    assert all(gone(p) for p in program.family)
    assert program.popen.stdout.read() == ""
    assert program.popen.stderr.read() == ""


# ── Elsewhere ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def none(monkeypatch):
    """As if no session had been started yet."""
    for name in ("_session", "_directory", "_guard"):
        monkeypatch.setattr(module, name, None)


@pytest.mark.parametrize(
    "text", ["localhost:15002", "http://a:1", "sc://", "sc://h:port", "spark://h", "yarn", "local[x]"]
)
@pytest.mark.parametrize("variable", ["PRINCIPAL_KIT_SPARK", "SPARK_REMOTE"])
def test_a_malformed_address_is_refused(monkeypatch, none, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(InvalidArgument, match=rf"{variable}=.*expected sc://host:port or spark://host:port"):
        services.spark()


@pytest.mark.parametrize(
    "text", ["sc://h", "sc://h:15002", "sc://h:15002/;token=x", "spark://h:7077", "local[2]", "local"]
)
def test_addresses_that_are_well_formed(monkeypatch, text):
    monkeypatch.setenv("SPARK_REMOTE", text)
    assert module.remote_address() == text
    monkeypatch.setenv("PRINCIPAL_KIT_SPARK", "sc://first:1")
    assert module.remote_address() == "sc://first:1"


def test_a_connect_server_that_is_not_there_is_named_at_once(monkeypatch, none):
    monkeypatch.setenv("PRINCIPAL_KIT_SPARK", f"sc://127.0.0.1:{free_port()}")
    with pytest.raises(ServiceError, match="no Spark Connect server accepts connections at sc://"):
        services.spark()


def test_without_java_the_command_that_installs_it_is_named(monkeypatch, none, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingPrerequisite, match="apt-get install openjdk-17"):
        services.spark()


def test_without_jars_nothing_is_started(monkeypatch, none, tmp_path):
    before = set(Path(tempfile.gettempdir()).glob(f"{module._PREFIX}*"))
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match=r"spark-kafka .* jars are not in the cache"):
        services.spark()
    assert set(Path(tempfile.gettempdir()).glob(f"{module._PREFIX}*")) == before


FORKED = """
import os
import signal
from principal_kit import services
spark = services.spark()
child = os.fork()
if child == 0:
    signal.alarm(120)
    os._exit(0 if services.spark().range(3).count() == 3 else 1)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "parent", spark.range(7).count())
"""


def test_a_forked_child_gets_a_spark_of_its_own_and_leaves_the_parents_alone():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=150, check=False)
    assert done.stdout.split() == ["child", "0", "parent", "7"], done.stderr
