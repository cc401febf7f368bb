"""docker/compose.yaml, checked without a daemon: schema, versions, wiring, and what must never be true of it.

`schemas/compose-spec.json` is the Compose Specification's own schema (Apache-2.0), as shipped in compose-go v2.16.2.
"""

import base64
import json
import os
import re
import subprocess
from pathlib import Path, PurePath
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from principal_kit.platform import jobs
from principal_kit.services import deployed, jars, trino_server, versions
from principal_kit.services.endpoint import parse_servers
from principal_kit.services.flink_processes import JVM

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker/compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
SPARK_DOCKERFILE = (ROOT / "docker/spark.Dockerfile").read_text()
FLINK_DOCKERFILE = (ROOT / "deploy/kubernetes/flink.Dockerfile").read_text()
SCRIPT = (ROOT / "scripts/docker.sh").read_text()
WORKERS = ("spark-worker-1", "spark-worker-2")
SPARK = ("spark-master", *WORKERS, "spark-connect")
BROKERS = ("broker-1", "broker-2", "broker-3")
NODES = tuple(f"redis-{i}" for i in range(6))
FLINK = ("flink-jobmanager", "flink-taskmanager", "flink-sql-gateway")
WATCHERS = ("exporter", "prometheus", "grafana", "jaeger")
PIPELINE = ("postgres", *FLINK, "connect", "trino", *WATCHERS)
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


def test_the_core_set_is_there_cluster_and_pipeline_are_profiles():
    core = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert core == {"kafka", "redis", *SPARK, "book"}
    cluster = {name for name, service in SERVICES.items() if service.get("profiles") == ["cluster"]}
    assert cluster == {*BROKERS, *NODES}
    pipeline = {name for name, service in SERVICES.items() if service.get("profiles") == ["pipeline"]}
    assert pipeline == set(PIPELINE)
    assert core | cluster | pipeline == SERVICES.keys()


def test_images_have_the_versions_of_the_embedded_services():
    wanted = versions.WANTED
    for name in ("kafka", *BROKERS):
        assert SERVICES[name]["image"] == f"apache/kafka:{wanted['kafka']}"
    for name in ("redis", *NODES):
        image = SERVICES[name]["image"]
        assert re.fullmatch(r"redis:\d+\.\d+\.\d+", image), "pinned to the patch release"
        assert image.removeprefix("redis:").startswith(str(wanted["redis"]).split("x")[0])
    assert SERVICES["postgres"]["image"].startswith(f"postgres:{wanted['postgres']}.")
    assert SERVICES["trino"]["image"] == f"trinodb/trino:{wanted['trino']}"
    flink = re.search(r"^ARG FLINK=(\S+)$", FLINK_DOCKERFILE, re.M).group(1)
    assert flink == f"flink:{wanted['flink']}-java{wanted['java']}"
    debezium = re.search(r"<debezium\.version>(.+)</debezium\.version>", (ROOT / "pom.xml").read_text())
    assert debezium is None or SERVICES["connect"]["image"] == f"quay.io/debezium/connect:{debezium.group(1)}"
    for name in ("connect", "prometheus", "grafana", "jaeger"):
        assert re.search(r":v?\d+\.\d+\.\d+(\.Final)?$", SERVICES[name]["image"]), "pinned to the patch release"
    official = re.search(r"^ARG SPARK=(\S+)$", SPARK_DOCKERFILE, re.M).group(1)
    assert official.startswith(f"apache/spark:{wanted['spark']}-scala2.13-java17-")


def test_spark_s_image_is_built_on_the_book_s():
    book = re.search(r"^ARG BOOK=(\S+)$", SPARK_DOCKERFILE, re.M).group(1)
    assert SERVICES["book"]["image"] == book
    assert {SERVICES[name]["image"] for name in SPARK} == {book.replace("-book:", "-spark:")}
    assert "COPY --from=spark /opt/spark /opt/spark" in SPARK_DOCKERFILE
    assert re.findall(r"^USER (\S+)", SPARK_DOCKERFILE, re.M)[-1] == SERVICES["spark-master"]["user"] == "reader"


def test_spark_has_the_kafka_connector_on_both_sides():
    command = SERVICES["spark-connect"]["command"]
    assert command[command.index("--driver-class-path") + 1] == "/opt/connectors/*"
    assert "spark.executor.extraClassPath=/opt/connectors/*" in command
    assert "/opt/connectors" in SPARK_DOCKERFILE


@EACH
def test_ports_are_published_on_loopback_only(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


def test_the_port_defaults_in_the_file_are_those_of_the_example():
    defaults = dict(re.findall(r"\$\{(\w+_PORT):-(\d+)\}", TEXT))
    assert defaults == {name: value for name, value in ENV_EXAMPLE.items() if name.endswith("_PORT")}
    assert len(set(defaults.values())) == len(defaults)


@EACH
def test_every_service_is_bounded_hardened_and_not_root(name):
    service = SERVICES[name]
    assert 0 < megabytes(service["mem_limit"]) <= 2048
    assert 0 < service["cpus"] <= 2
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


def test_start_order_is_master_workers_connect_book():
    for worker in WORKERS:
        assert SERVICES[worker]["depends_on"].keys() == {"spark-master"}
        assert worker in SERVICES["spark-connect"]["depends_on"]
    assert {"kafka", "redis", "spark-connect"} == SERVICES["book"]["depends_on"].keys()


@EACH
def test_the_root_is_read_only_but_where_the_image_writes_beside_its_volumes(name):
    writes = name in ("kafka", "book", "connect", "trino", *BROKERS)
    assert SERVICES[name].get("read_only", False) is not writes


def test_every_volume_is_named_declared_and_used():
    mounted = [v.split(":") for s in SERVICES.values() for v in s.get("volumes", [])]
    assert {name for name, *_ in mounted} == COMPOSE["volumes"].keys()
    assert all(path.startswith("/") for _, path, *_ in mounted), "no bind mounts of the host"


def test_every_configuration_is_a_file_of_the_tree_and_used():
    used = {entry["source"] for service in SERVICES.values() for entry in service.get("configs", [])}
    assert used == COMPOSE["configs"].keys()
    for entry in COMPOSE["configs"].values():
        assert (ROOT / "docker" / entry["file"]).is_file()


def listeners(name: str, service: str = "kafka") -> dict[str, tuple[str, str]]:
    entries = re.sub(r"\$\{\w+:-(\d+)\}", r"\1", SERVICES[service]["environment"][name]).split(",")
    return {label: (host, port) for label, host, port in (re.match(r"(\w+)://(.*):(\d+)", e).groups() for e in entries)}


@pytest.mark.parametrize("name", ["kafka", *BROKERS])
def test_kafka_is_reached_from_the_host_and_from_containers(name):
    bound, advertised = listeners("KAFKA_LISTENERS", name), listeners("KAFKA_ADVERTISED_LISTENERS", name)
    env, (published,) = SERVICES[name]["environment"], SERVICES[name]["ports"]
    address, port, inside = re.fullmatch(r"(127\.0\.0\.1):\$\{\w+:-(\d+)\}:(\d+)", published).groups()
    assert advertised["HOST"] == (address, port)
    assert bound["HOST"][1] == inside
    assert advertised["CONTAINERS"] == (SERVICES[name]["hostname"], bound["CONTAINERS"][1])
    assert set(bound) == {p.split(":")[0] for p in env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    voters = dict(v.split("@") for v in env["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(","))
    assert voters[env["KAFKA_NODE_ID"]] == f"{SERVICES[name]['hostname']}:{bound['CONTROLLER'][1]}"


def test_the_brokers_of_the_cluster_are_one_cluster_that_survives_the_loss_of_any_one():
    environments = [SERVICES[name]["environment"] for name in BROKERS]
    assert sorted(env["KAFKA_NODE_ID"] for env in environments) == ["1", "2", "3"]
    for key in ("CLUSTER_ID", "KAFKA_CONTROLLER_QUORUM_VOTERS"):
        assert len({env[key] for env in environments}) == 1
    assert environments[0]["CLUSTER_ID"] != SERVICES["kafka"]["environment"]["CLUSTER_ID"]
    assert len(environments[0]["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")) == 3
    for env in environments:
        assert env["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
        for key, value in env.items():
            if key.endswith("REPLICATION_FACTOR"):
                assert value == "3"
            if key.endswith(("MIN_ISR", "MIN_INSYNC_REPLICAS")):
                assert value == "2"


def test_one_broker_needs_every_internal_topic_at_one_replica():
    env = SERVICES["kafka"]["environment"]
    internal = {k: v for k, v in env.items() if k.endswith("REPLICATION_FACTOR") or k.endswith("MIN_ISR")}
    assert len(internal) == 5
    assert set(internal.values()) == {"1"}


def test_kafka_s_cluster_id_is_sixteen_bytes_and_its_data_is_on_the_volume():
    for name in ("kafka", *BROKERS):
        env = SERVICES[name]["environment"]
        assert len(base64.urlsafe_b64decode(env["CLUSTER_ID"] + "==")) == 16
        assert env["KAFKA_LOG_DIRS"] in SERVICES[name]["volumes"][0]


def test_heaps_leave_room_under_the_memory_limit():
    for name in ("kafka", *BROKERS):
        heap = re.search(r"-Xmx(\d+)m", SERVICES[name]["environment"]["KAFKA_HEAP_OPTS"]).group(1)
        assert int(heap) + 128 <= megabytes(SERVICES[name]["mem_limit"])  # the health check's own JVM has 128 MB
    for name in ("redis", *NODES):
        command = SERVICES[name]["command"]
        maxmemory = int(command[command.index("--maxmemory") + 1].removesuffix("mb"))
        assert maxmemory < megabytes(SERVICES[name]["mem_limit"])
    for name in ("spark-master", *WORKERS):
        daemon = int(SERVICES[name]["environment"]["SPARK_DAEMON_MEMORY"].removesuffix("m"))
        assert daemon < megabytes(SERVICES[name]["mem_limit"])


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_can_hold_the_executor_that_connect_asks_for(name):
    worker, connect = SERVICES[name]["command"], SERVICES["spark-connect"]["command"]
    executor = next(c for c in connect if c.startswith("spark.executor.memory=")).split("=")[1]
    assert megabytes(executor) <= megabytes(worker[worker.index("--memory") + 1])
    daemon = megabytes(SERVICES[name]["environment"]["SPARK_DAEMON_MEMORY"])
    assert megabytes(executor) + 384 + daemon <= megabytes(
        SERVICES[name]["mem_limit"]
    )  # 384 MiB: Spark's least overhead


def test_the_book_container_is_wired_to_the_others():
    env = SERVICES["book"]["environment"]
    assert env["PRINCIPAL_KIT_KAFKA"] == ":".join(listeners("KAFKA_ADVERTISED_LISTENERS")["CONTAINERS"])
    assert env["PRINCIPAL_KIT_REDIS"] == "redis:6379"
    assert env["PRINCIPAL_KIT_SPARK"] == f"${{BOOK_SPARK-{ENV_EXAMPLE['BOOK_SPARK']}}}"
    assert ENV_EXAMPLE["BOOK_SPARK"] == "sc://spark-connect:15002"
    assert "spark.connect.grpc.binding.port=15002" in SERVICES["spark-connect"]["command"]


def test_the_token_is_required_and_never_committed():
    assert SERVICES["book"]["environment"]["JUPYTER_TOKEN"].startswith("${JUPYTER_TOKEN:?")
    assert ENV_EXAMPLE["JUPYTER_TOKEN"] == "change-me"
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "docker/.env" in (ROOT / ".dockerignore").read_text().splitlines()


# ── The profile `pipeline` ────────────────────────────────────────────────────────────────────────
def properties(path: str) -> dict[str, str]:
    lines = (ROOT / "docker" / path).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_flink_is_the_image_of_kubernetes_with_one_configuration():
    config = yaml.safe_load((ROOT / "docker/flink/config.yaml").read_text())
    for name in FLINK:
        service = SERVICES[name]
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        assert service["hostname"] == name
        command = service["command"][-1]
        password = "umask 077 && printf '*:*:*:*:%s\\n' \"$$CATALOG_PASSWORD\" >/tmp/pgpass && umask 022"
        assert command.startswith(password)
        assert service["environment"]["PGPASSFILE"] == "/tmp/pgpass"
    assert config["jobmanager.rpc.address"] == "flink-jobmanager"
    assert SERVICES["flink-sql-gateway"]["ports"][0].endswith(f":{config['sql-gateway.endpoint.rest.port']}")
    for part in ("jobmanager", "taskmanager"):
        process = megabytes(config[f"{part}.memory.process.size"])
        assert process + 128 <= megabytes(SERVICES[f"flink-{part}"]["mem_limit"])
    assert config["taskmanager.numberOfTaskSlots"] >= 2 * len(jobs.NAMES)
    assert config["env.java.opts.all"].split() == [flag for flag in JVM if flag.startswith("--add-")]
    for key in ("checkpoints", "savepoints"):
        assert f"file:///lake/flink/{key}" in config.values()


def test_flink_s_image_fetches_the_jars_that_the_book_s_image_leaves_out():
    assert "flink" not in jars.PUBLISHED
    assert "jars.fetch(name) for name in (*jars.NEEDS['flink'], 'flink')" in FLINK_DOCKERFILE
    assert "flink_format.jar()" in FLINK_DOCKERFILE
    for pattern in re.search(r"cp (\S+\.jar.*?) /home", FLINK_DOCKERFILE.replace("\\\n", " "), re.S).group(1).split():
        assert any(PurePath(name).match(pattern) for name in jars.manifest("flink")), pattern


def test_no_broker_makes_a_topic_because_somebody_asks_for_it():
    for name in ("kafka", "broker-1", "broker-2", "broker-3"):
        assert SERVICES[name]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false", name


def test_whoever_reads_the_lake_has_it_at_one_place_and_whoever_writes_it_is_one_user():
    mounts = {name: v for name, s in SERVICES.items() for v in s.get("volumes", []) if v.startswith("lake:")}
    assert mounts.keys() == {*FLINK, "trino", "exporter", "book"}
    assert {v.split(":")[1] for v in mounts.values()} == {"/lake"}
    assert {SERVICES[name]["user"] for name in (*FLINK, "trino")} == {"1000:1000"}
    assert "useradd --create-home --uid 1000 --shell /bin/bash reader" in DOCKERFILE
    assert "mkdir /lake && chown reader:reader /lake" in DOCKERFILE
    assert "mkdir /lake && chown 1000:1000 /lake" in FLINK_DOCKERFILE
    assert "getent passwd 1000 || useradd --uid 1000" in FLINK_DOCKERFILE  # without a name Hadoop's login fails


def test_the_kit_s_parts_find_the_servers_of_the_profile(monkeypatch):
    for name in ("book", "exporter"):
        env = SERVICES[name]["environment"]
        for key, value in env.items():
            monkeypatch.setenv(key, value)
        found = deployed.settings()
        assert found.bootstrap == ":".join(listeners("KAFKA_ADVERTISED_LISTENERS")["CONTAINERS"])
        assert urlsplit(found.dsn).hostname in SERVICES
        assert urlsplit(found.dsn).path.strip("/") == SERVICES["postgres"]["environment"]["POSTGRES_DB"]
        assert urlsplit(found.dsn).password is None
        assert set(deployed.applications(env["PIPELINE_JOBS"])) == set(jobs.NAMES)
        for key in ("PIPELINE_FLINK", "PIPELINE_FLINK_SQL"):
            host, _, port = env[key].rpartition(":")
            assert SERVICES[host]["ports"][0].endswith(f":{port}")


def test_trino_reads_the_catalog_that_the_kit_would_configure():
    wanted = trino_server.catalog_properties("postgresql://kit:x@postgres:5432/lake", "file:///lake/tables")
    wanted["iceberg.jdbc-catalog.connection-password"] = "${ENV:CATALOG_PASSWORD}"
    assert properties("trino/lake.properties") == wanted
    config = properties("trino/config.properties")
    assert SERVICES["trino"]["ports"][0].endswith(f":{config['http-server.http.port']}")
    assert urlsplit(config["tracing.exporter.endpoint"]).hostname in SERVICES


def test_prometheus_scrapes_the_exporter_with_the_rules_of_deploy():
    ours = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text())
    theirs = yaml.safe_load((ROOT / "deploy/observability/prometheus.yml").read_text())
    (target,) = ours["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == "exporter:9464"
    ours["scrape_configs"][0]["static_configs"][0]["targets"] = ["127.0.0.1:9464"]
    assert ours == theirs
    assert COMPOSE["configs"]["rules"]["file"] == "../deploy/observability/rules.yml"


def test_grafana_shows_the_dashboards_of_deploy_from_that_prometheus():
    (source,) = yaml.safe_load((ROOT / "docker/grafana/datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    targets = {entry["target"] for entry in SERVICES["grafana"]["configs"]}
    (provider,) = yaml.safe_load((ROOT / "deploy/observability/grafana/provisioning.yml").read_text())["providers"]
    boards = {path.name for path in (ROOT / "deploy/observability/grafana").glob("*.json")}
    assert {f"{provider['options']['path']}/{name}" for name in boards} <= targets


def test_the_pipeline_s_exports_are_what_the_kit_reads(monkeypatch):
    found = exports("pipeline")
    port = lambda name: ENV_EXAMPLE[f"{name}_PORT"]  # noqa: E731
    assert found == exports() | {
        "PRINCIPAL_KIT_FLINK": f"principal-kit-flink-jobmanager-1@127.0.0.1:{port('FLINK')}",
        "PRINCIPAL_KIT_FLINK_SQL": f"127.0.0.1:{port('FLINK_SQL')}",
        "PRINCIPAL_KIT_POSTGRES": f"postgresql://kit:change-me@127.0.0.1:{port('POSTGRES')}/lake",
        "PRINCIPAL_KIT_CONNECT": f"principal-kit-connect-1@127.0.0.1:{port('CONNECT')}",
        "PRINCIPAL_KIT_TRINO": f"principal-kit-trino-1@127.0.0.1:{port('TRINO')}",
    }


def test_no_password_is_in_a_file_but_the_placeholder():
    assert ENV_EXAMPLE["POSTGRES_PASSWORD"] == "change-me"
    found = re.findall(r"^\s*\w*PASSWORD\w*: (.*)$", TEXT, re.M)
    assert set(found) == {"${POSTGRES_PASSWORD:-change-me}"}


def exports(*profile: str) -> dict[str, str]:
    """What the script prints to export; it needs no daemon for that, only a `docker` that knows compose."""
    body = SCRIPT.replace("\nrequire_compose\ncommand=", "\ncommand=")
    environment = {"PATH": os.environ["PATH"], "DOCKER_ENV_FILE": "docker/.env.example"}
    done = subprocess.run(
        ["bash", "-c", body.replace('cd "$(dirname "$0")/.."', f"cd {ROOT}"), "docker.sh", "exports", *profile],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines())


def test_docker_up_waits_and_exports_what_the_kit_reads():
    assert "--wait" in SCRIPT
    assert exports() == {
        "PRINCIPAL_KIT_KAFKA": f"principal-kit-kafka-1@127.0.0.1:{ENV_EXAMPLE['KAFKA_PORT']}",
        "PRINCIPAL_KIT_REDIS": f"principal-kit-redis-1@127.0.0.1:{ENV_EXAMPLE['REDIS_PORT']}",
        "PRINCIPAL_KIT_SPARK": f"sc://127.0.0.1:{ENV_EXAMPLE['SPARK_CONNECT_PORT']}",
    }


def test_the_cluster_s_exports_name_every_broker_and_node_with_its_container():
    found = exports("cluster")
    brokers = parse_servers(found["PRINCIPAL_KIT_KAFKA"], variable="")
    nodes = parse_servers(found["PRINCIPAL_KIT_REDIS_NODES"], variable="")
    assert [container.name for *_, container in brokers] == [f"principal-kit-{name}-1" for name in BROKERS]
    assert [container.name for *_, container in nodes] == [f"principal-kit-{name}-1" for name in NODES]
    for name, (host, port, _) in zip((*BROKERS, *NODES), (*brokers, *nodes)):
        assert SERVICES[name]["ports"][0].startswith(f"{host}:${{{name.upper().replace('-', '_')}_PORT:-{port}}}:")


def test_the_images_have_the_python_of_the_kit_s_own_environment():
    assert COMPOSE["services"]["book"]["build"]["args"]["BASE"].startswith("${PYTHON_BASE:-python:3.")
    assert 'echo "python:3.$minor-slim-bookworm"' in SCRIPT
    assert "export PYTHON_BASE" in SCRIPT


def test_dockerfile_ends_as_an_ordinary_user_and_installs_from_the_lock():
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.M)
    assert users == [SERVICES["book"]["user"]]
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert "rm -rf /var/lib/apt/lists/*" in DOCKERFILE
    assert not re.search(r"^ADD |:latest|curl .*\| *(ba)?sh|--privileged", DOCKERFILE, re.M)
    from_line = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE, re.M).group(1)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", from_line)


def test_dockerfile_copies_only_what_is_in_the_tree():
    for source in re.findall(r"^COPY (?:--chown=\S+ )?(\S+) ", DOCKERFILE, re.M):
        assert (ROOT / source).exists(), source
