"""Flink: a real session cluster, broken and mended. A start costs ten seconds, so most tests share one cluster."""

from __future__ import annotations

import json
import uuid
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from principal_kit import services
from principal_kit.core.errors import CapacityError, InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import flink_processes
from principal_kit.services.flink_failure import FlinkError
from principal_kit.services.process import free_port
from principal_kit.services.versions import WANTED

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def flink():
    with services.flink(fresh=True, checkpoint_interval=0.5) as endpoint:
        yield endpoint


@pytest.fixture
def clicks(kafka_server):
    """A topic, and `send(numbers)` into it."""
    from kafka.admin import NewTopic

    name = f"clicks-{uuid.uuid4().hex[:8]}"
    admin, producer = kafka_server.admin(), kafka_server.producer()
    admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])

    def send(numbers):
        for n in numbers:
            producer.send(name, json.dumps({"n": n}).encode())
        producer.flush(30)

    send.topic = name
    yield send
    producer.close()
    admin.delete_topics([name])
    admin.close()


def lake(tmp_path):
    return f"""
    CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', 'warehouse' = '{tmp_path.as_uri()}');
    CREATE DATABASE IF NOT EXISTS lake.shop;
    CREATE TABLE IF NOT EXISTS lake.shop.clicks (n BIGINT);
    """


def copying(kafka, topic, tmp_path):
    """A script whose job writes what the topic gets into an Iceberg table, for ever."""
    return f"""
    SET 'pipeline.name' = 'copy {topic}';
    {lake(tmp_path)}
    CREATE TEMPORARY TABLE clicks (n BIGINT) WITH (
      'connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset',
      'properties.bootstrap.servers' = '{kafka.bootstrap_servers}', 'properties.group.id' = '{topic}');
    EXECUTE STATEMENT SET BEGIN
      INSERT INTO lake.shop.clicks SELECT n FROM clicks;
    END;
    """


def written(flink, tmp_path):
    """What the table holds, read by a session of its own."""
    catalog = f"c{uuid.uuid4().hex[:8]}"
    rows = flink.sql(
        f"CREATE CATALOG {catalog} WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', "
        f"'warehouse' = '{tmp_path.as_uri()}', 'cache-enabled' = 'false'); SELECT n FROM {catalog}.shop.clicks",
        execution__runtime_mode="batch",
    )
    return sorted(row["n"] for row in rows)


def test_it_is_the_real_one(flink):
    assert (flink.version, flink.source) == (WANTED["flink"], "embedded")
    overview = flink.rest("GET", "/overview")
    assert (overview["flink-version"], overview["taskmanagers"], overview["slots-total"]) == (WANTED["flink"], 1, 8)
    assert repr(flink) == f"<flink {WANTED['flink']}, embedded>"


@pytest.mark.parametrize("said, ready", [(None, False), ([], False), ([("tm-1", 0)], False), ([("tm-1", 8)], True)])
def test_a_task_manager_is_ready_when_its_slots_are_known(said, ready):
    """Seen on a busy machine: it was listed, and the cluster had no slots."""
    reply = said and {"taskmanagers": [{"id": id, "slotsNumber": slots} for id, slots in said]}
    processes = SimpleNamespace(ports=SimpleNamespace(rest=1), _get=lambda port, path: reply)
    answers = flink_processes.Cluster.task_manager_answers
    assert answers(processes, SimpleNamespace(resource_id="tm-1")) is ready


def test_a_query_returns_rows(flink):
    assert flink.sql("SELECT 'a' AS word, CAST(NULL AS INT) AS nothing, DATE '2026-01-31' AS d") == [
        {"word": "a", "nothing": None, "d": date(2026, 1, 31)}
    ]
    script = """
    CREATE TEMPORARY TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1000',
      'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '1000');
    SELECT MOD(n, 2) AS odd, SUM(n) AS total FROM numbers GROUP BY MOD(n, 2);
    """
    changelog_summed_up = flink.sql(script)
    assert sorted(changelog_summed_up, key=lambda row: row["odd"]) == [
        {"odd": 0, "total": 250_500},
        {"odd": 1, "total": 250_000},
    ]


@pytest.mark.parametrize(
    "sql, line",
    [
        ("SELECT * FROM nowhere", r"^From line 1, column 15 to line 1, column 21: Object 'nowhere' not found$"),
        ("SELEC 1", r"^Non-query expression"),
        ("SELECT CAST('x' AS INT)", r"^For input string: 'x'"),
        (
            "CREATE TEMPORARY TABLE t (a INT) WITH ('connector' = 'kafak'); SELECT * FROM t",
            r"^Could not find any factory for identifier 'kafak'.*Available.* kafka",
        ),
    ],
    ids=["name", "syntax", "value", "connector"],
)
def test_a_fault_in_sql_is_one_line(flink, sql, line):
    with pytest.raises(FlinkError, match=line) as caught:
        flink.sql(sql)
    assert "\n" not in str(caught.value)
    assert "\tat " in caught.value.trace


def test_a_result_without_end_is_bounded(flink):
    flink.sql("CREATE TEMPORARY TABLE endless (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '5000')")
    with pytest.raises(CapacityError, match="more than rows_max=100 rows"):
        flink.sql("SELECT * FROM endless", rows_max=100)
    with pytest.raises(ServiceError, match="a stream without end needs a LIMIT"):
        flink.sql("SELECT * FROM endless WHERE n = 0 AND n = 1 OR n IS NULL", seconds=0.5)
    assert len(flink.sql("SELECT * FROM endless LIMIT 3")) == 3


def test_a_script_without_a_job_is_refused(flink):
    with pytest.raises(ServiceError, match="started no job"):
        flink.submit("SET 'pipeline.name' = 'nothing'")


def test_a_job_that_fails_says_why(flink):
    [job] = flink.submit(
        "CREATE TEMPORARY TABLE nowhere (a INT) WITH ('connector' = 'blackhole');"
        "INSERT INTO nowhere SELECT CAST(v AS INT) FROM (VALUES ('x')) AS t(v)",
        restart_strategy__type="none",
    )
    with pytest.raises(FlinkError, match="is FAILED: For input string: 'x'"):
        flink.wait_finished(job)
    assert flink.jobs()[job] == "FAILED"


def test_exactly_once_while_the_task_manager_is_killed(flink, kafka_server, clicks, tmp_path, eventually):
    clicks(range(1000))
    [job] = flink.submit(copying(kafka_server, clicks.topic, tmp_path))
    assert flink.wait_running(job).name == f"copy {clicks.topic}"
    first = flink.checkpoint(job)
    eventually(lambda: written(flink, tmp_path) == list(range(1000)))
    clicks(range(1000, 2000))
    before = flink.task_manager.pid
    flink.task_manager.kill()
    flink.task_manager.start()
    clicks(range(2000, 3000))
    assert flink.task_manager.pid != before
    eventually(lambda: len(written(flink, tmp_path)) >= 3000, seconds=60)
    assert written(flink, tmp_path) == list(range(3000))
    assert flink.wait_checkpoint(job, after=first.id).id > first.id
    assert flink.restores(job) >= 1
    assert "no longer reachable" in flink.job(job).failures[0]
    eventually(lambda: flink.job_metrics(job, "numRestarts").get("numRestarts", 0) >= 1)
    source = next(name for name in flink.job(job).vertices if "clicks" in name)
    operator = "Source__" + source.removeprefix("Source: ").split(" ")[0] + ".numRecordsOut"  # one of those chained
    eventually(lambda: flink.metrics(job, operator)[source].get(operator, 0) >= 1000)
    assert "backPressuredTimeMsPerSecond" in flink.metrics(job)[source]
    flink.cancel(job)
    assert flink.jobs()[job] == "CANCELED"


def test_a_job_goes_on_from_its_checkpoint_when_the_job_manager_was_killed(
    flink, kafka_server, clicks, tmp_path, eventually
):
    script = copying(kafka_server, clicks.topic, tmp_path)
    clicks(range(1000))
    [job] = flink.submit(script)
    flink.wait_running(job)
    taken = flink.checkpoint(job)  # of what has been read so far, which may be nothing
    eventually(lambda: written(flink, tmp_path) == list(range(1000)))
    clicks(range(1000, 2000))
    flink.job_manager.kill()
    clicks(range(2000, 3000))
    flink.job_manager.start()
    assert flink.jobs() == {}, "a session cluster without an external store forgets its jobs"
    path = flink.latest_checkpoint(job)
    assert int(path.rpartition("chk-")[2]) >= taken.id
    [again] = flink.submit(script, resume_from=path)
    flink.wait_running(again, seconds=90)
    assert flink.rest("GET", f"/jobs/{again}/checkpoints")["latest"]["restored"]["external_path"] == path.replace(
        "file:///", "file:/"
    )
    savepoint = flink.stop_job(again)
    rows = written(flink, tmp_path)
    assert rows[:1000] == list(range(1000))
    assert len(rows) == len(set(rows))
    [third] = flink.submit(script, resume_from=savepoint)
    clicks(range(3000, 3500))
    flink.wait_running(third)
    _settled(flink, third, tmp_path, 3500)
    flink.cancel(third)


def _settled(flink, job, tmp_path, count):
    """Wait for `count` rows: a checkpoint a round."""
    for _ in range(40):
        flink.wait_checkpoint(job)
        if len(written(flink, tmp_path)) >= count:
            break
    assert written(flink, tmp_path) == list(range(count))


def test_the_gateway_is_killed_and_its_session_is_gone(flink):
    flink.sql("CREATE TEMPORARY TABLE kept (n BIGINT) WITH ('connector' = 'blackhole')")
    flink.gateway.kill()
    with pytest.raises(ServiceError, match="does not answer as Flink"):
        flink.sql("SELECT 1 AS x")
    flink.gateway.start()
    with pytest.raises(ServiceError, match="has forgotten this session"):
        flink.sql("SELECT 1 AS x")
    assert flink.sql("SELECT 1 AS x") == [{"x": 1}]


def test_it_listens_on_loopback_only(flink, listening):
    for process in (flink.job_manager, flink.gateway, *flink.task_managers):
        addresses = {a.ip for a in listening(process.pid)}
        assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}, process.name


def test_each_heap_is_bounded(flink):
    for process in (flink.job_manager, flink.gateway, *flink.task_managers):
        assert [w for w in psutil.Process(process.pid).cmdline() if w.startswith("-Xmx")]


def test_the_environment_names_an_external_one(flink, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_FLINK", flink.address)
    monkeypatch.setenv("PRINCIPAL_KIT_FLINK_SQL", flink.gateway_address)
    external = services.flink()
    assert (external.source, external.version, external.pid) == ("external", WANTED["flink"], None)
    assert external.sql("SELECT 2 AS x") == [{"x": 2}]
    with pytest.raises(ServiceError, match="did not start it"):
        external.task_manager.kill()
    external.stop()
    assert flink.alive
    monkeypatch.delenv("PRINCIPAL_KIT_FLINK_SQL")
    with pytest.raises(InvalidArgument, match="PRINCIPAL_KIT_FLINK_SQL is not: name the SQL gateway's host:port"):
        services.flink()


def test_an_address_of_something_else_is_named(kafka_server, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_FLINK", kafka_server.address)
    monkeypatch.setenv("PRINCIPAL_KIT_FLINK_SQL", kafka_server.address)
    with pytest.raises(ServiceError, match=f"{kafka_server.address} does not answer as Flink"):
        services.flink()


def test_an_occupied_port_is_named(flink):
    with pytest.raises(ServiceError, match=f"port {flink.port} is occupied"):
        services.flink(port=flink.port)


def test_unknown_options_and_versions_are_refused():
    with pytest.raises(InvalidArgument, match="unexpected keyword argument 'slot'"):
        services.flink(slot=1)
    with pytest.raises(InvalidArgument, match="expected hashmap or rocksdb"):
        services.flink(state_backend="heap")
    with pytest.raises(InvalidArgument, match=r"flink version '9\.9' cannot be started embedded; known: 2\.1\.3"):
        services.flink(version="9.9")


def test_without_jars_the_command_that_fetches_them_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match=r"python -m principal_kit\.services\.jars fetch"):
        services.flink(fresh=True)


@pytest.mark.slow
def test_a_lost_port_is_replaced_and_nothing_is_left(flink, monkeypatch, gone):
    ports, chosen = flink_processes.Ports.free, iter([flink.port, free_port()])
    monkeypatch.setattr(flink_processes.Ports, "free", lambda rest=None: ports(next(chosen)))
    with services.flink(fresh=True, state_backend="rocksdb", settings={"taskmanager.numberOfTaskSlots": 2}) as second:
        assert second.port != flink.port
        assert second.rest("GET", "/overview")["slots-total"] == 2
        folder = second._folder
        family = [psutil.Process(p.pid) for p in (second.job_manager, second.gateway, second.task_manager)]
    assert all(map(gone, family))
    assert not folder.exists()


@pytest.mark.slow
def test_a_process_that_cannot_start_shows_the_end_of_its_log_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ServiceError, match=r"(?s)ended before it answered\. Last lines.*wrong"):
        services.flink(fresh=True, settings={"taskmanager.memory.managed.size": "wrong"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_interpreter_leaves_no_process_and_no_file(script, eventually, gone):
    program = script(
        "f = services.flink(fresh=True)\ntold = [str(f._folder), f.pid, f.gateway.pid, f.task_manager.pid]"
    )
    folder, *pids = program.told
    family = [psutil.Process(pid) for pid in pids]
    program.popen.kill()
    eventually(lambda: all(map(gone, family)))
    eventually(lambda: not Path(folder).exists())
