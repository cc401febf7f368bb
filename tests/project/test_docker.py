"""docker/compose.yaml, checked without a daemon: schema, versions, wiring, and what must never be true of it.

`schemas/compose-spec.json` is the Compose Specification's own schema (Apache-2.0), as shipped in compose-go v2.16.2.
"""

import base64
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from principal_kit.services import versions

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker/compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
ENV_EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "docker/.env.example").read_text(), re.M))
EACH = pytest.mark.parametrize("name", SERVICES)


def megabytes(size: str) -> int:
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]


def test_the_file_follows_the_compose_specification():
    schema = json.loads((Path(__file__).parent / "schemas/compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_the_schema_check_sees_a_misspelt_key():
    schema = json.loads((Path(__file__).parent / "schemas/compose-spec.json").read_text())
    broken = {"services": {"kafka": {"image": "apache/kafka", "health_check": {}}}}
    assert not jsonschema.Draft202012Validator(schema).is_valid(broken)


def test_the_core_set_is_there():
    assert {"kafka", "redis", "spark-master", "spark-worker", "spark-connect", "book"} == SERVICES.keys()


def test_images_have_the_versions_of_the_embedded_services():
    wanted = versions.WANTED
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{wanted['kafka']}"
    for name in ("spark-master", "spark-worker", "spark-connect"):
        assert SERVICES[name]["image"].startswith(f"apache/spark:{wanted['spark']}-scala2.13-java17-")
    redis = SERVICES["redis"]["image"]
    assert re.fullmatch(r"redis:\d+\.\d+\.\d+", redis), "pinned to the patch release"
    assert redis.removeprefix("redis:").startswith(str(wanted["redis"]).split("x")[0])


def test_the_kafka_connector_of_spark_connect_is_spark_s_version():
    packages = SERVICES["spark-connect"]["command"]
    coordinates = packages[packages.index("--packages") + 1]
    assert coordinates == f"org.apache.spark:spark-sql-kafka-0-10_2.13:{versions.WANTED['spark']}"


@EACH
def test_ports_are_published_on_loopback_only(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


def test_the_port_defaults_in_the_file_are_those_of_the_example():
    defaults = dict(re.findall(r"\$\{(\w+_PORT):-(\d+)\}", TEXT))
    assert defaults == {name: value for name, value in ENV_EXAMPLE.items() if name.endswith("_PORT")}


@EACH
def test_every_service_is_bounded_hardened_and_not_root(name):
    service = SERVICES[name]
    assert 0 < megabytes(service["mem_limit"]) <= 2048
    assert service["user"] not in ("root", "0", "0:0")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged", False)
    for key in ("network_mode", "pid", "ipc", "devices", "cap_add"):
        assert key not in service


@EACH
def test_every_service_has_a_health_check_and_starts_after_what_it_needs_is_healthy(name):
    check = SERVICES[name]["healthcheck"]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= check.keys()
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[needed]


def test_start_order_is_master_worker_connect_book():
    assert "spark-master" in SERVICES["spark-worker"]["depends_on"]
    assert "spark-worker" in SERVICES["spark-connect"]["depends_on"]
    assert {"kafka", "redis", "spark-connect"} == SERVICES["book"]["depends_on"].keys()


def test_every_volume_is_named_declared_and_used():
    mounted = [v.split(":") for s in SERVICES.values() for v in s.get("volumes", [])]
    assert {name for name, _ in mounted} == COMPOSE["volumes"].keys()
    assert all(path.startswith("/") for _, path in mounted), "no bind mounts of the host"


def listeners(name: str) -> dict[str, tuple[str, str]]:
    entries = SERVICES["kafka"]["environment"][name].replace("${KAFKA_PORT:-9092}", "9092").split(",")
    return {label: (host, port) for label, host, port in (re.match(r"(\w+)://(.*):(\d+)", e).groups() for e in entries)}


def test_kafka_is_reached_from_the_host_and_from_containers():
    bound, advertised = listeners("KAFKA_LISTENERS"), listeners("KAFKA_ADVERTISED_LISTENERS")
    env = SERVICES["kafka"]["environment"]
    assert advertised["HOST"] == ("127.0.0.1", "9092")
    assert advertised["CONTAINERS"] == (SERVICES["kafka"]["hostname"], "19092")
    assert all(bound[label][1] == port for label, (_, port) in advertised.items())
    assert set(bound) == {p.split(":")[0] for p in env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert env["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"1@kafka:{bound['CONTROLLER'][1]}"
    assert SERVICES["kafka"]["ports"] == ["127.0.0.1:${KAFKA_PORT:-9092}:9092"]


def test_one_broker_needs_every_internal_topic_at_one_replica():
    env = SERVICES["kafka"]["environment"]
    internal = {k: v for k, v in env.items() if k.endswith("REPLICATION_FACTOR") or k.endswith("MIN_ISR")}
    assert len(internal) == 5
    assert set(internal.values()) == {"1"}


def test_kafka_s_cluster_id_is_sixteen_bytes_and_its_data_is_on_the_volume():
    env = SERVICES["kafka"]["environment"]
    assert len(base64.urlsafe_b64decode(env["CLUSTER_ID"] + "==")) == 16
    assert env["KAFKA_LOG_DIRS"] in SERVICES["kafka"]["volumes"][0]


def test_heaps_leave_room_under_the_memory_limit():
    heap = re.search(r"-Xmx(\d+)m", SERVICES["kafka"]["environment"]["KAFKA_HEAP_OPTS"]).group(1)
    assert int(heap) + 128 <= megabytes(SERVICES["kafka"]["mem_limit"])  # the health check's own JVM has 128 MB
    command = SERVICES["redis"]["command"]
    maxmemory = int(command[command.index("--maxmemory") + 1].removesuffix("mb"))
    assert maxmemory < megabytes(SERVICES["redis"]["mem_limit"])
    for name in ("spark-master", "spark-worker"):
        daemon = int(SERVICES[name]["environment"]["SPARK_DAEMON_MEMORY"].removesuffix("m"))
        assert daemon < megabytes(SERVICES[name]["mem_limit"])


def test_the_worker_can_hold_the_executor_that_connect_asks_for():
    worker, connect = SERVICES["spark-worker"]["command"], SERVICES["spark-connect"]["command"]
    executor = next(c for c in connect if c.startswith("spark.executor.memory=")).split("=")[1]
    assert megabytes(executor) <= megabytes(worker[worker.index("--memory") + 1])


def test_the_book_container_is_wired_to_the_others():
    env = SERVICES["book"]["environment"]
    assert env["PRINCIPAL_KIT_KAFKA"] == ":".join(listeners("KAFKA_ADVERTISED_LISTENERS")["CONTAINERS"])
    assert env["PRINCIPAL_KIT_REDIS"] == "redis:6379"
    assert env["PRINCIPAL_KIT_SPARK"] == "${BOOK_SPARK:-}"  # local unless chosen: Connect runs no UDF of ours
    assert "sc://spark-connect:15002" in (ROOT / "docker" / ".env.example").read_text()
    assert "spark.connect.grpc.binding.port=15002" in SERVICES["spark-connect"]["command"]


def test_the_token_is_required_and_never_committed():
    assert SERVICES["book"]["environment"]["JUPYTER_TOKEN"].startswith("${JUPYTER_TOKEN:?")
    assert ENV_EXAMPLE["JUPYTER_TOKEN"] == "change-me"
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "docker/.env" in (ROOT / ".dockerignore").read_text().splitlines()


def test_docker_up_exports_what_the_kit_reads():
    script = (ROOT / "scripts/docker_up.sh").read_text()
    assert "--wait" in script
    exported = dict(re.findall(r"export (PRINCIPAL_KIT_\w+)=(\S+)", script))
    assert exported == {
        "PRINCIPAL_KIT_KAFKA": "127.0.0.1:${KAFKA_PORT:-9092}",
        "PRINCIPAL_KIT_REDIS": "127.0.0.1:${REDIS_PORT:-6379}",
        "PRINCIPAL_KIT_SPARK": "sc://127.0.0.1:${SPARK_CONNECT_PORT:-15002}",
    }


def test_dockerfile_ends_as_an_ordinary_user_and_installs_from_the_lock():
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.M)
    assert users == [SERVICES["book"]["user"]]
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert "rm -rf /var/lib/apt/lists/*" in DOCKERFILE
    assert not re.search(r"^ADD |:latest|curl .*\| *(ba)?sh|--privileged", DOCKERFILE, re.M)
    from_line = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE, re.M).group(1)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", from_line)


def test_dockerfile_copies_only_what_is_in_the_tree():
    for source in re.findall(r"^COPY (?:--\S+ )?(\S+) ", DOCKERFILE, re.M):
        assert (ROOT / source).exists(), source
