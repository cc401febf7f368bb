"""Kafka Connect: a real worker with Debezium, that comes back from a kill with its connectors and their offsets."""

from __future__ import annotations

import re
import stat
from types import SimpleNamespace

import psutil
import pytest
from psycopg.sql import SQL

from principal_kit import services
from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.services import connect_worker as module
from principal_kit.services.process import free_port

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def servers():
    with services.kafka(fresh=True) as kafka, services.postgres(fresh=True) as postgres:
        with postgres.connect() as connection:
            connection.execute("CREATE TABLE goods (id int PRIMARY KEY, name text)")
            connection.execute("INSERT INTO goods SELECT n, 'name ' || n FROM generate_series(1, 50) n")
        with services.connect(fresh=True, kafka=kafka) as connect:
            yield SimpleNamespace(kafka=kafka, postgres=postgres, connect=connect)


def config(servers, **changes):
    postgres = servers.postgres
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput",
        "database.hostname": postgres.host, "database.port": str(postgres.port), "database.user": postgres.user,
        "database.password": servers.connect.secret("test", postgres.password), "database.dbname": postgres.database,
        "topic.prefix": "test", "table.include.list": "public.goods", "publication.autocreate.mode": "filtered",
        "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1",
    } | changes  # fmt: skip


def test_it_is_connect_with_debezium_on_loopback(servers):
    connect = servers.connect
    about = connect.request("GET", "/")
    assert (about["version"], connect.version) == (services.WANTED["kafka"],) * 2
    plugins = {plugin["class"]: plugin["version"] for plugin in connect.request("GET", "/connector-plugins")}
    assert plugins["io.debezium.connector.postgresql.PostgresConnector"] == services.WANTED["debezium"]
    listens = [c.laddr.ip for c in psutil.Process(connect.pid).net_connections(kind="inet") if c.status == "LISTEN"]
    assert {ip.removeprefix("::ffff:") for ip in listens} == {"127.0.0.1"}


def test_a_killed_worker_comes_back_with_its_connector_and_loses_nothing(servers):
    """Goes on behind what it had sent: with exactly-once, nothing is sent a second time either."""
    connect, first = servers.connect, servers.connect.pid
    assert connect.config("goods") is None
    connect.put("goods", config(servers))
    connect.wait("goods")
    consumer = servers.kafka.consumer(
        "test.public.goods", auto_offset_reset="earliest", isolation_level="read_committed", consumer_timeout_ms=60_000
    )
    keys = [next(consumer).key for _ in range(50)]
    connect.kill()
    assert not connect.alive
    with servers.postgres.connect() as connection:
        connection.execute("UPDATE goods SET name = 'while it was away' WHERE id = 7")
    connect.start()
    assert connect.pid != first
    assert connect.connectors() == ["goods"]
    connect.wait("goods")
    record = next(consumer)
    assert record.key == keys[6]
    assert b"while it was away" in record.value
    assert len(set(keys)) == 50
    assert connect.offsets("goods")[0]["offset"]["lsn"] > 0
    consumer.close()


def test_a_worker_killed_within_a_transaction_comes_back(servers):
    """It reads its offsets to the end before it answers, and an open transaction is in the way until it times out."""
    connect = servers.connect
    connect.put("halfway", config(servers, **{"slot.name": "halfway", "topic.prefix": "halfway"}))
    connect.wait("halfway")
    consumer = servers.kafka.consumer("halfway.public.goods", auto_offset_reset="earliest", consumer_timeout_ms=60_000)
    next(consumer)  # a task makes its producer when it has something to send
    consumer.close()
    admin = servers.kafka.admin()
    known = [listed.transactional_id for of_one in admin.list_transactions().values() for listed in of_one]
    [task] = [name for name in known if "halfway" in name]
    timeout = admin.describe_transactions([task])[task].transaction_timeout_ms
    admin.close()
    assert timeout < 1000 * module.START_SECONDS / 2
    connect.kill()
    left_open = servers.kafka.producer(transactional_id=task, transaction_timeout_ms=timeout)
    left_open.init_transactions()
    left_open.begin_transaction()
    left_open.send("connect-offsets", key=b'["halfway",{"server":"nobody"}]', value=b"{}").get(30)
    connect.start()
    connect.wait("halfway")
    connect.delete("halfway")
    left_open.close(timeout=0)


def test_a_password_is_in_no_answer_and_in_a_file_of_ours_alone(servers):
    connect, password = servers.connect, servers.postgres.password
    connect.put("secretive", config(servers, **{"slot.name": "secretive", "topic.prefix": "secretive"}))
    assert password not in str(connect.config("secretive"))
    assert password not in connect._process.log_tail(10_000)
    assert stat.S_IMODE(connect._secrets.stat().st_mode) == 0o600
    assert password not in connect._secrets.read_text(), "escaped, as Java's properties are"
    connect.wait("secretive")
    connect.delete("secretive")
    connect.delete("secretive")
    assert "secretive" not in connect.connectors()


ODD = "p\\u=ä:#s s\n€"


def test_a_password_of_any_characters_reaches_the_database(servers):
    """Validation logs in: with any other password it is refused."""
    connect, odd = servers.connect, {"slot.name": "odd", "topic.prefix": "odd", "database.user": "odd"}
    with servers.postgres.connect() as owner:
        owner.execute(SQL("CREATE ROLE odd SUPERUSER REPLICATION LOGIN PASSWORD {}").format(ODD))
    connect.put("odd", config(servers, **odd, **{"database.password": connect.secret("odd", ODD)}))
    connect.delete("odd")
    with pytest.raises(module.ConnectError, match="password authentication failed"):
        connect.put("odd", config(servers, **odd, **{"database.password": connect.secret("odd", ODD[:-1])}))


@pytest.fixture
def worker(tmp_path):
    endpoint = module.ConnectEndpoint("connect", "h", 1, "", "embedded")
    endpoint._secrets = tmp_path / "secrets"
    return endpoint


def kept(worker):
    """The file as Java reads it: each line a name, and its value in escapes of UTF-16."""
    pairs = [line.split("=", 1) for line in worker._secrets.read_text(encoding="ascii").splitlines()]
    units = {name: bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be") for name, text in pairs}
    assert all(re.fullmatch(r"(\\u[0-9a-f]{4})*", text) for _, text in pairs)
    return units


def test_secrets_keep_each_other_and_every_character(worker):
    given = {"a": "first", "b": ODD, "c": "", "d": "\N{PILE OF POO}"}
    for name, value in given.items():
        assert worker.secret(name, value) == f"${{file:{worker._secrets}:{name}}}"
    worker.secret("a", "again")
    assert kept(worker) == given | {"a": "again"}
    assert stat.S_IMODE(worker._secrets.stat().st_mode) == 0o600
    assert list(worker._secrets.parent.iterdir()) == [worker._secrets]


def test_a_secret_that_cannot_be_written_takes_no_other_with_it(worker, monkeypatch):
    worker.secret("a", "first")
    with pytest.raises(UnicodeEncodeError):
        worker.secret("b", "\ud800")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        worker.secret("b", "second")
    assert kept(worker) == {"a": "first"}


def test_what_the_worker_finds_wrong_is_said_in_its_words(servers):
    with pytest.raises(module.ConnectError, match=r"no\.such\.Connector") as error:
        servers.connect.put("wrong", {"connector.class": "no.such.Connector"})
    assert error.value.status in (400, 500)
    with pytest.raises(module.ConnectError, match=r"(?s)database\.hostname.*[Cc]onnection"):
        servers.connect.put("wrong", config(servers, **{"database.port": str(free_port()), "slot.name": "wrong"}))
    with pytest.raises(ServiceError, match="connector wrong is unknown after 0 s"):
        servers.connect.wait("wrong", seconds=0)


def test_a_connector_is_halted_forgets_and_goes_on(servers):
    connect = servers.connect
    connect.put("pausing", config(servers, **{"slot.name": "pausing", "topic.prefix": "pausing"}))
    connect.wait("pausing")
    with pytest.raises(module.ConnectError):
        connect.forget("pausing")
    connect.halt("pausing")
    assert connect.states("pausing") == ["STOPPED"]
    connect.forget("pausing")
    assert connect.offsets("pausing") == []
    connect.resume("pausing")
    assert connect.states("pausing") == ["RUNNING", "RUNNING"]
    connect.delete("pausing")


def test_a_task_that_fails_says_why(servers):
    connect = servers.connect
    cast = {"transforms": "cast", "transforms.cast.spec": "op:int8",
            "transforms.cast.type": "org.apache.kafka.connect.transforms.Cast$Value"}  # fmt: skip
    connect.put("failing", config(servers, **cast, **{"slot.name": "failing", "topic.prefix": "failing"}))
    connect.wait("failing", "FAILED")
    assert "NumberFormatException" in connect.trace("failing")
    with pytest.raises(ServiceError, match=r"connector failing failed: .*NumberFormatException"):
        connect.wait("failing")
    connect.delete("failing")


def test_a_task_that_its_database_refuses_runs_all_the_same(servers, eventually):
    """Debezium tries again for ever, and its state says RUNNING: what tells is the slot that nobody reads."""
    connect = servers.connect
    with servers.postgres.connect() as owner:
        owner.execute("CREATE ROLE reader SUPERUSER REPLICATION LOGIN PASSWORD 'x'")
    names = {"slot.name": "refused", "topic.prefix": "refused"}
    connect.put("refused", config(servers, **names, **{"database.user": "reader", "database.password": "x"}))
    connect.wait("refused")
    with servers.postgres.connect() as owner:
        owner.execute("ALTER ROLE reader NOLOGIN")
        connect.restart("refused")
        eventually(lambda: "not permitted to log in" in connect._process.log_tail(200))
        assert connect.states("refused")[1:] == ["RUNNING"]
        slot = owner.execute("SELECT active FROM pg_replication_slots WHERE slot_name = 'refused'").fetchone()
        assert slot == (False,)
    connect.delete("refused")


def test_an_occupied_port_is_named(servers):
    with pytest.raises(ServiceError, match=f"port {servers.connect.port} is occupied"):
        services.connect(port=servers.connect.port)


def test_the_environment_names_one_that_is_not_ours_to_kill(servers, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_CONNECT", servers.connect.address)
    named = services.connect()
    assert (named.source, named.address, named.version) == ("external", servers.connect.address, "4.3.1")
    assert named.secret("x", "in the clear") == "in the clear", "it cannot read a file of ours"
    with pytest.raises(ServiceError, match="will not kill"):
        named.kill()
    named.stop()
    assert servers.connect.alive


@pytest.mark.parametrize("text, error", [("connect", InvalidArgument), ("127.0.0.1:1", ServiceError)])
def test_a_malformed_or_mute_address_is_refused(monkeypatch, text, error):
    monkeypatch.setenv("PRINCIPAL_KIT_CONNECT", text)
    with pytest.raises(error, match="PRINCIPAL_KIT_CONNECT"):
        services.connect()


def test_something_else_that_answers_is_not_taken_for_connect(servers, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_CONNECT", servers.postgres.address)
    with pytest.raises(ServiceError, match="does not answer as Kafka Connect"):
        services.connect()


def test_a_worker_that_cannot_start_shows_its_log(servers, monkeypatch):
    monkeypatch.setattr(module, "START_SECONDS", 20.0)
    with pytest.raises(ServiceError, match=r"(?s)connect ended before it answered.*Heartbeat must be set lower"):
        services.connect(kafka=servers.kafka, settings={"session.timeout.ms": "1"})
