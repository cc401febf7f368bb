"""Kafka, embedded and attached. Each start costs seconds, so most tests share one broker."""

from __future__ import annotations

import shutil
import socket
import sys
import uuid

import psutil
import pytest
from kafka.admin import NewTopic

from principal_kit import services
from principal_kit.core.errors import CorruptionError, InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.services import jars
from principal_kit.services import kafka_broker as module
from principal_kit.services import process as ports
from principal_kit.services.process import free_port
from principal_kit.services.versions import WANTED

pytestmark = pytest.mark.integration


@pytest.fixture
def topic(kafka_server):
    from kafka.admin import NewTopic

    name = f"services-{uuid.uuid4().hex[:8]}"
    admin = kafka_server.admin()
    admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    yield name
    admin.delete_topics([name])
    admin.close()


def test_it_is_the_real_one(kafka_server, topic):
    producer = kafka_server.producer(acks="all")
    for i in range(100):
        producer.send(topic, key=str(i % 7).encode(), value=str(i).encode())
    producer.flush(30)
    producer.close()
    consumer = kafka_server.consumer(topic, auto_offset_reset="earliest", consumer_timeout_ms=20_000, group_id=topic)
    values = []
    for record in consumer:
        values.append(int(record.value))
        if len(values) == 100:
            break
    consumer.close()
    assert sorted(values) == list(range(100))


def test_transactions_commit_and_abort(kafka_server, topic):
    """They need the transaction log's topic with replication factor 1, which is a setting of ours."""
    producer = kafka_server.producer(transactional_id=topic)
    producer.init_transactions()
    for value, end in ((b"aborted", producer.abort_transaction), (b"kept", producer.commit_transaction)):
        producer.begin_transaction()
        producer.send(topic, value, partition=0).get(30)
        end()
    producer.close()
    consumer = kafka_server.consumer(
        topic, auto_offset_reset="earliest", consumer_timeout_ms=20_000, isolation_level="read_committed"
    )
    first = next(consumer)
    consumer.close()
    assert first.value == b"kept"


def test_a_topic_nobody_created_is_not_made_by_a_typo(kafka_server):
    admin = kafka_server.admin()
    name = f"typo-{uuid.uuid4().hex[:8]}"
    consumer = kafka_server.consumer()
    consumer.partitions_for_topic(name)
    consumer.close()
    assert name not in admin.list_topics()
    admin.close()


def test_it_listens_on_loopback_only(kafka_server, listening):
    addresses = listening(kafka_server.pid)
    assert len(addresses) == 2, "broker and controller"
    assert kafka_server.port in [a.port for a in addresses]
    assert {a.ip for a in addresses} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_it_says_what_it_is(kafka_server):
    assert kafka_server.version == WANTED["kafka"]
    assert kafka_server.source == "embedded"
    assert kafka_server.bootstrap_servers == f"127.0.0.1:{kafka_server.port}"
    assert str(kafka_server.port) not in repr(kafka_server)


def test_its_heap_is_bounded(kafka_server):
    command = psutil.Process(kafka_server.pid).cmdline()
    assert f"-Xmx{module.HEAP_MIB}m" in command
    assert psutil.Process(kafka_server.pid).memory_info().rss < 450 << 20


def test_its_files_are_in_its_own_directory(kafka_server):
    directory = kafka_server._process.directory.parent
    assert (directory / "data" / "meta.properties").is_file()
    assert (directory / "data" / "__cluster_metadata-0").is_dir()


def test_the_environment_names_an_external_one(kafka_server, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_KAFKA", kafka_server.address)
    external = services.kafka()
    assert (external.source, external.address, external.pid) == ("external", kafka_server.address, None)
    assert WANTED["kafka"].startswith(external.version)
    external.stop()
    assert kafka_server.alive


def test_an_address_of_something_else_is_named(redis_server, monkeypatch):
    monkeypatch.setenv("PRINCIPAL_KIT_KAFKA", redis_server.address)
    with pytest.raises(ServiceError, match=f"{redis_server.address} does not answer as Kafka"):
        services.kafka()


def test_an_old_release_is_refused(kafka_server, monkeypatch):
    monkeypatch.setattr(module, "release", lambda *_: "3.x")
    with pytest.raises(InvalidArgument, match=r"kafka version '3\.x' is unknown.*known: 4\.x"):
        module.attach("127.0.0.1", kafka_server.port, "external")


@pytest.mark.slow
def test_a_port_lost_to_a_quicker_program_is_replaced(kafka_server, monkeypatch):
    choices = iter([kafka_server.port, free_port(), free_port(), free_port()])
    monkeypatch.setattr(ports, "free_port", lambda: next(choices))
    with services.kafka(fresh=True) as second:
        assert second.port != kafka_server.port
        admin = second.admin()
        assert admin.list_topics() == []
        admin.close()
        directory, process = second._process.directory, psutil.Process(second.pid)
    assert not process.is_running()
    assert not directory.exists()


@pytest.mark.slow
def test_a_killed_broker_comes_back_with_what_it_acknowledged():
    with services.kafka(fresh=True) as server:
        admin, producer = server.admin(), server.producer(acks="all")
        admin.create_topics([NewTopic("kept", 1, 1)])
        sent = [producer.send("kept", b"%d" % i).get(30).offset for i in range(20)]
        producer.close()
        admin.close()
        folder, first = server._process.directory.parent, server.pid
        server.kill()
        assert not server.alive
        server.start()
        assert server.pid != first
        consumer = server.consumer("kept", auto_offset_reset="earliest", consumer_timeout_ms=20_000)
        assert [next(consumer).offset for _ in sent] == sent
        consumer.close()
    assert not folder.exists()


@pytest.mark.slow
def test_a_broker_that_cannot_start_shows_the_end_of_its_log(monkeypatch):
    configuration = module._configuration
    monkeypatch.setattr(module, "_configuration", lambda *a: configuration(*a) | {"process.roles": "brocker"})
    with pytest.raises(ServiceError, match=r"(?s)kafka ended before it answered\. Last lines.*brocker"):
        services.kafka(fresh=True)


@pytest.fixture
def without_java(monkeypatch, tmp_path):
    """`start` up to its command; `tried` has the cluster id that each attempt waits for. The first port is lost."""
    tried = []

    def run(command, folder, port, cluster, grace):
        directory = tmp_path / f"attempt-{len(tried)}"
        directory.mkdir()
        command(directory)
        tried.append(cluster)
        if len(tried) == 1:
            raise ServiceError("kafka ended before it answered: Address already in use")

    monkeypatch.setattr(module.java, "require", lambda: "java")
    monkeypatch.setattr(module.jars, "verified", lambda name: tmp_path)
    monkeypatch.setattr(module.class_archive, "flags", lambda name: [])
    monkeypatch.setattr(module, "_run", run)
    return tried


def test_after_a_lost_port_the_broker_waited_for_is_of_the_cluster_in_the_folder(without_java, tmp_path):
    data = tmp_path / "data"
    module.start(data=data)
    assert len(without_java) == 2
    assert f"cluster.id={without_java[-1]}\n" in (data / "meta.properties").read_text()


def test_a_folder_that_has_been_a_brokers_is_refused_at_once(without_java, tmp_path):
    data = tmp_path / "data"
    module.start(data=data)
    with pytest.raises(InvalidArgument, match=r"data holds the log of another broker \(meta\.properties\)"):
        module.start(data=data)
    assert len(without_java) == 2, "nothing was started"


def test_an_occupied_port_is_named(kafka_server):
    with pytest.raises(ServiceError, match=f"port {kafka_server.port} is occupied"):
        services.kafka(port=kafka_server.port)


def test_an_unknown_version_lists_the_known():
    with pytest.raises(InvalidArgument, match=r"kafka version '9\.9' cannot be started embedded; known: 4\.3\.1"):
        services.kafka(version="9.9")


def test_without_java_the_command_that_installs_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingPrerequisite, match="apt-get install openjdk-17"):
        services.kafka(fresh=True)


def test_an_old_java_is_named(monkeypatch, tmp_path):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingPrerequisite, match=r"Java 17 or newer is needed, .*/java is 11"):
        services.kafka(fresh=True)


def test_without_jars_the_command_that_fetches_them_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match=r"python -m principal_kit\.services\.jars fetch"):
        services.kafka(fresh=True)


def test_a_damaged_jar_is_never_started(monkeypatch, tmp_path):
    real = jars.directory("kafka")
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    copy = jars.directory("kafka")
    copy.mkdir(parents=True)
    for jar in real.glob("*.jar"):
        (copy / jar.name).symlink_to(jar)
    assert jars.verified("kafka") == copy
    victim = copy / f"kafka-clients-{WANTED['kafka']}.jar"
    victim.unlink()
    shutil.copy(real / victim.name, victim)
    with open(victim, "r+b") as file:  # same size, same name, one bit
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(CorruptionError, match=rf"{victim.name} fails its checksum.*jars fetch kafka` mends it"):
        services.kafka(fresh=True)


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kafka", None)
    with pytest.raises(MissingPrerequisite, match=r"pip install 'principal-kit\[kafka\]'"):
        services.kafka(fresh=True)


def test_an_address_where_nothing_listens_is_named(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        monkeypatch.setenv("PRINCIPAL_KIT_KAFKA", f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ServiceError, match="nothing accepts connections there"):
            services.kafka()
