"""deploy/kubernetes without a cluster: schemas, names and ports that exist, limits, and what must never be in a file.

`schemas/kubernetes-1.34.json` holds Kubernetes' own definitions of the kinds used here (Apache-2.0), strict and without
their descriptions, out of kubernetes-validate 1.37.0.
"""

import importlib.util
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.platform import exporter, jobs, topics
from principal_kit.services import connect_worker, deployed, versions
from principal_kit.services.flink_processes import JVM

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("kustomize", HERE / "kustomize.py")
kustomize = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kustomize)

SCHEMA = json.loads((HERE / "schemas/kubernetes-1.34.json").read_text())
FLAVOURS = {"base": kustomize.build(FOLDER / "base"), "production": kustomize.build(FOLDER / "overlays/production")}
OBJECTS = FLAVOURS["production"]
EVERY = [(flavour, o) for flavour, objects in FLAVOURS.items() for o in objects]
EACH = pytest.mark.parametrize(
    "target", [o for _, o in EVERY], ids=[f"{f}-{o['kind']}-{o['metadata']['name']}" for f, o in EVERY]
)
WORKLOADS = [o for _, o in EVERY if kustomize.template(o)]
EACH_WORKLOAD = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda o: f"{o['kind']}-{o['metadata']['name']}")
TEXT = "\n".join(path.read_text() for path in sorted(FOLDER.rglob("*.yaml")))


def named(kind: str, name: str, objects=OBJECTS) -> dict:
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def of(kind: str, objects=OBJECTS) -> list[dict]:
    return [o for o in objects if o["kind"] == kind]


def pod(workload: dict) -> dict:
    return workload["spec"]["template"]["spec"]


def fits(selector: dict, labels: dict) -> bool:
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(
        e["operator"] == "In" and labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )


# ── Form ─────────────────────────────────────────────────────────────────────────────────────────
def validator(target: dict) -> jsonschema.Draft202012Validator:
    schema = SCHEMA["kinds"][f"{target['apiVersion']} {target['kind']}"]
    return jsonschema.Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]})


@EACH
def test_an_object_follows_kubernetes_schema(target):
    validator(target).validate(target)


@pytest.mark.parametrize("path, value", [
    (("spec", "replica"), 3), (("spec", "replicas"), "three"),
    (("spec", "template", "spec", "containers"), [{"image": "x"}]),
    (("spec", "template", "spec", "securityContext", "runAsNonroot"), True),
])  # fmt: skip
def test_the_schema_check_sees_a_mistake(path, value):
    broken = json.loads(json.dumps(named("StatefulSet", "kafka")))
    at = broken
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert not validator(broken).is_valid(broken)


@pytest.mark.parametrize("flavour, folder", [("base", "base"), ("production", "overlays/production")])
def test_the_tests_read_kustomizations_as_kustomize_does(flavour, folder):
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed; https://kubernetes.io/docs/tasks/tools")
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    order = lambda o: (o["kind"], o["metadata"]["name"])  # noqa: E731
    assert sorted(yaml.safe_load_all(done.stdout), key=order) == sorted(FLAVOURS[flavour], key=order)


def test_every_file_is_part_of_a_kustomization():
    listed = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        listed |= {(path.parent / entry).resolve() for entry in yaml.safe_load(path.read_text())["resources"]}
    for path in FOLDER.rglob("*.yaml"):
        assert path.resolve() in listed or path.name == "kustomization.yaml", path


def test_no_two_objects_have_one_name_and_all_are_in_the_namespace():
    names = [(o["kind"], o["metadata"]["name"]) for o in OBJECTS]
    assert len(names) == len(set(names))
    assert {o["metadata"].get("namespace") for o in OBJECTS if o["kind"] != "Namespace"} == {"pipeline"}


# ── Hardness ─────────────────────────────────────────────────────────────────────────────────────
@EACH_WORKLOAD
def test_pods_are_not_root_and_cannot_become_it(workload):
    context = pod(workload)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] >= 1000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in kustomize.containers(workload):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(workload).keys()


@EACH_WORKLOAD
def test_only_flink_may_talk_to_the_api_server(workload):
    if "serviceAccountName" in pod(workload):
        assert pod(workload)["serviceAccountName"] == "flink"
        assert workload["metadata"]["labels"]["app"] == "flink"
    else:
        assert pod(workload)["automountServiceAccountToken"] is False


def test_flink_s_account_may_change_configmaps_here_and_nothing_else():
    (rule,) = named("Role", "flink")["rules"]
    assert (rule["apiGroups"], rule["resources"]) == ([""], ["configmaps"])
    assert "*" not in rule["verbs"]
    assert of("ClusterRole") == of("ClusterRoleBinding") == []
    (subject,) = named("RoleBinding", "flink")["subjects"]
    assert named("ServiceAccount", subject["name"])["metadata"]["namespace"] == subject["namespace"]


@EACH_WORKLOAD
def test_containers_are_bounded_and_their_images_pinned(workload):
    for container in kustomize.containers(workload):
        assert re.search(r":\d+\.\d+\.\d+(\.Final)?$", container["image"]), container["image"]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert "cpu" not in container["resources"]["limits"], "a throttled broker is a slow one for everybody"


@EACH_WORKLOAD
def test_what_serves_has_probes_on_ports_that_it_has(workload):
    if workload["metadata"]["name"] == "prepare":
        return
    for container in pod(workload)["containers"]:
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            check = container[probe]
            assert (check.get("tcpSocket") or check["httpGet"])["port"] in ports


@EACH_WORKLOAD
def test_what_writes_writes_to_a_volume_that_is_there(workload):
    there = {v["name"] for v in pod(workload)["volumes"]}
    there |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    for container in kustomize.containers(workload):
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= there
        assert "tmp" in mounted
    for volume in pod(workload)["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]


def test_no_secret_is_in_a_file():
    assert of("Secret") == []
    assert not re.search(r"postgresql://\w+:", TEXT)
    assert not re.search(r"(?i)(password|token|secret)\w*\s*[:=]\s*['\"]?\w{6,}['\"]?\s*$", TEXT, re.M)
    variables = [e for w in WORKLOADS for c in kustomize.containers(w) for e in c.get("env", [])]
    references = [e["valueFrom"]["secretKeyRef"] for e in variables if "secretKeyRef" in e.get("valueFrom", {})]
    keys = {json.dumps(reference, sort_keys=True) for reference in references}
    assert keys == {json.dumps({"key": "password", "name": "pipeline-catalog"})}


def test_flink_finds_the_password_in_a_file_in_memory_and_not_in_its_script():
    for job, part in itertools.product(jobs.NAMES, ("jobmanager", "taskmanager")):
        workload = named("Job" if part == "jobmanager" else "Deployment", f"{job}-{part}")
        volumes = {v["name"]: v for v in pod(workload)["volumes"]}
        assert volumes["secret"]["emptyDir"]["medium"] == "Memory"
        (container,) = pod(workload)["containers"]
        variables = {e["name"]: e.get("value") for e in container["env"]}
        folder = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}["secret"]
        assert variables["PGPASSFILE"] == f"{folder}/pgpass"
        assert "PGPASSWORD" not in variables
        with_it = [c["name"] for c in kustomize.containers(workload) if "PGPASSWORD" in str(c["env"])]
        assert with_it == ["password"], "not the one that renders the script"


@pytest.mark.parametrize("password", ["simple", "with:colon", "back\\slash", "quote'\"$HOME `x` %s"])
def test_any_password_is_written_as_the_driver_reads_it(password, tmp_path):
    (maker,) = [c for c in pod(named("Deployment", "fraud-taskmanager"))["initContainers"] if c["name"] == "password"]
    script = maker["command"][-1].replace("/secret/", f"{tmp_path}/")
    subprocess.run([*maker["command"][:-1], script], env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin"}, check=True)
    file = tmp_path / "pgpass"
    assert file.stat().st_mode & 0o077 == 0
    fields = re.split(r"(?<!\\):", file.read_text().removesuffix("\n").replace("\\\\", "\0"), maxsplit=4)
    assert fields[:4] == ["*"] * 4
    assert fields[4].replace("\\:", ":").replace("\0", "\\") == password


# ── Wiring ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("service", of("Service"), ids=lambda o: o["metadata"]["name"])
def test_a_service_finds_pods_that_have_its_ports(service):
    hit = [w for w in of("Deployment") + of("StatefulSet") + of("Job")
           if service["spec"]["selector"].items() <= w["spec"]["template"]["metadata"]["labels"].items()]  # fmt: skip
    assert len(hit) == 1, "exactly one workload stands behind a name"
    ports = {p["name"] for c in pod(hit[0])["containers"] for p in c["ports"]}
    assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports


@EACH_WORKLOAD
def test_selectors_match_their_own_pods_and_no_other_workload_s(workload):
    if workload["kind"] == "Job":
        return
    objects = OBJECTS
    hit = [w["metadata"]["name"] for w in objects if kustomize.template(w)
           and fits(workload["spec"]["selector"], w["spec"]["template"]["metadata"]["labels"])]  # fmt: skip
    assert hit == [workload["metadata"]["name"]]


def addresses() -> set[tuple[str, int]]:
    found = set()
    for workload in WORKLOADS:
        for container in kustomize.containers(workload):
            for entry in container.get("env", []):
                found |= set(re.findall(r"(?:^|[=,])([a-z][\w.-]*):(\d+)", entry.get("value", "")))
    found |= set(re.findall(r"@([\w.-]+):(\d+)", named("ConfigMap", "kafka")["data"]["server.properties"]))
    return {(host, int(port)) for host, port in found}


def test_every_address_in_a_configuration_is_a_service_and_a_port_of_it():
    services = {s["metadata"]["name"]: {p["port"] for p in s["spec"]["ports"]} for s in of("Service")}
    assert len(addresses()) >= 7
    for host, port in addresses():
        node, _, name = host.rpartition(".")
        assert port in services[name], (host, port)
        if node:
            assert named("StatefulSet", node.rpartition("-")[0])["spec"]["serviceName"] == name
            assert int(node.rpartition("-")[2]) < 3


def test_configmaps_accounts_and_claims_that_are_named_exist():
    for workload in WORKLOADS:
        for volume in pod(workload)["volumes"]:
            if "configMap" in volume:
                named("ConfigMap", volume["configMap"]["name"])
            if "persistentVolumeClaim" in volume:
                named("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])


def test_the_network_lets_in_what_the_wiring_needs():
    """(who calls, whom, at which port); everything else is refused by the first policy."""
    policies = {p["metadata"]["name"]: p["spec"] for p in of("NetworkPolicy")}
    assert policies["nothing-comes-in"] == {"podSelector": {}, "policyTypes": ["Ingress"]}

    def allowed(caller: dict, callee: dict, port: int) -> bool:
        return any(
            any(entry["port"] == port for entry in rule["ports"])
            and any("namespaceSelector" not in who and fits(who["podSelector"], caller) for who in rule["from"])
            for policy in policies.values() if policy["podSelector"] and fits(policy["podSelector"], callee)
            for rule in policy.get("ingress", [])
        )  # fmt: skip

    kafka, flink, prepare, watcher, connect = ({"app": a} for a in ("kafka", "flink", "prepare", "exporter", "connect"))
    for caller, callee, port in [
        (kafka, kafka, 9092), (kafka, kafka, 9093), (flink, kafka, 9092), (prepare, kafka, 9092),
        (watcher, kafka, 9092), (watcher, flink, 8081), (connect, kafka, 9092), (connect, connect, 8083),
        *((flink, flink, port) for port in (6121, 6122, 6123, 6124, 8081)),
    ]:  # fmt: skip
        assert allowed(caller, callee, port), (caller, callee, port)
    for caller, callee, port in [
        (flink, kafka, 9093),
        (watcher, flink, 6123),
        (kafka, flink, 8081),
        (prepare, flink, 8081),
        (flink, connect, 8083),
        (connect, kafka, 9093),
    ]:
        assert not allowed(caller, callee, port), (caller, callee, port)


# ── Kafka Connect ────────────────────────────────────────────────────────────────────────────────
def test_connect_is_the_embedded_worker_s_release_and_survives_a_node():
    deployment, budget = named("Deployment", "connect"), named("PodDisruptionBudget", "connect")
    (container,) = pod(deployment)["containers"]
    assert container["image"] == f"quay.io/debezium/connect:{versions.WANTED['debezium']}"
    assert deployment["spec"]["replicas"] - budget["spec"]["maxUnavailable"] >= 1
    assert fits(budget["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"])


def test_connect_keeps_nothing_in_a_pod_and_no_password_in_a_topic():
    data = named("ConfigMap", "connect")["data"]
    config = dict(line.split("=", 1) for line in data["connect.properties"].splitlines() if line[:1] not in ("", "#"))
    replicas = named("StatefulSet", "kafka")["spec"]["replicas"]
    for topic in ("config", "offset", "status"):
        assert config[f"{topic}.storage.topic"]
        assert int(config[f"{topic}.storage.replication.factor"]) == replicas
    host, _, port = config["bootstrap.servers"].rpartition(":")
    assert int(port) in {p["port"] for p in named("Service", host)["spec"]["ports"]}
    assert config["exactly.once.source.support"] == "enabled"
    (container,) = pod(named("Deployment", "connect"))["containers"]
    places = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert config["config.providers.dir.param.allowed.paths"] == places["source"]
    assert "rest.advertised.host.name=$POD_IP" in data["start.sh"]
    yaml.safe_load(data["log4j2.yaml"])
    embedded = connect_worker._configuration("kafka:9092", 8083, Path("/tmp"), True)
    for key in ("key.converter", "value.converter", "plugin.discovery", "exactly.once.source.support"):
        assert config[key] == embedded[key]


# ── Kafka ────────────────────────────────────────────────────────────────────────────────────────
def properties() -> dict[str, str]:
    text = named("ConfigMap", "kafka")["data"]["server.properties"]
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_a_disruption_leaves_a_majority_of_controllers_and_every_write():
    replicas = named("StatefulSet", "kafka")["spec"]["replicas"]
    budget = named("PodDisruptionBudget", "kafka")
    away = budget["spec"]["maxUnavailable"]
    assert fits(budget["spec"]["selector"], named("StatefulSet", "kafka")["spec"]["template"]["metadata"]["labels"])
    voters = properties()["controller.quorum.voters"].split(",")
    assert len(voters) == replicas
    assert replicas - away > replicas / 2
    assert replicas - away >= int(properties()["min.insync.replicas"])
    assert int(properties()["default.replication.factor"]) == replicas


def test_the_nodes_start_together_and_on_machines_of_their_own():
    kafka = named("StatefulSet", "kafka")
    assert kafka["spec"]["podManagementPolicy"] == "Parallel"
    assert named("Service", "kafka-nodes")["spec"]["publishNotReadyAddresses"] is True
    (apart,) = pod(kafka)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert fits(apart["labelSelector"], kafka["spec"]["template"]["metadata"]["labels"])


def test_listeners_are_the_container_s_ports_and_the_start_script_is_shell():
    ports = {str(p["containerPort"]) for p in pod(named("StatefulSet", "kafka"))["containers"][0]["ports"]}
    assert set(re.findall(r"://:(\d+)", properties()["listeners"])) == ports
    script = named("ConfigMap", "kafka")["data"]["start.sh"]
    subprocess.run(["bash", "-n", "-c", script], check=True)
    assert "advertised.listeners=CLIENT://$HOSTNAME.kafka-nodes:9092" in script
    assert set(properties()["log.dirs"].split("/")[1:2]) == {"data"}


def test_versions_are_those_that_the_kit_embeds():
    assert f"apache/kafka:{versions.WANTED['kafka']}" in TEXT
    official = re.search(r"^ARG FLINK=(\S+)$", (FOLDER / "flink.Dockerfile").read_text(), re.M)[1]
    assert official == f"flink:{versions.WANTED['flink']}-java17"
    book = re.search(r"^ARG BOOK=(\S+)$", (FOLDER / "flink.Dockerfile").read_text(), re.M)[1]
    assert book in {c["image"] for w in of("Deployment", FLAVOURS["base"]) for c in kustomize.containers(w)}


# ── Flink ────────────────────────────────────────────────────────────────────────────────────────
FLINK = yaml.safe_load(named("ConfigMap", "flink")["data"]["config.yaml"])


def test_every_job_of_the_kit_has_a_cluster_of_its_own_and_the_exporter_knows_it():
    assert {o["metadata"]["name"] for o in of("Deployment")} == {
        "connect",
        "exporter",
        *(f"{job}-taskmanager" for job in jobs.NAMES),
    }
    assert {o["metadata"]["name"] for o in of("Job")} == {"prepare", *(f"{job}-jobmanager" for job in jobs.NAMES)}
    environment = {e["name"]: e.get("value") for e in pod(named("Deployment", "exporter"))["containers"][0]["env"]}
    clusters = deployed.applications(environment["PIPELINE_JOBS"])
    assert {name: c.address for name, c in clusters.items()} == {job: f"{job}-jobmanager:8081" for job in jobs.NAMES}


@pytest.mark.parametrize("job", jobs.NAMES)
def test_a_job_s_pods_name_their_own_cluster(job):
    for part in ("jobmanager", "taskmanager"):
        workload = named("Job" if part == "jobmanager" else "Deployment", f"{job}-{part}")
        assert workload["spec"]["template"]["metadata"]["labels"]["job"] == job
        (container,) = pod(workload)["containers"]
        variables = {e["name"]: e for e in container["env"]}
        assert variables["JOB"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['job']"
        assert {"-Djobmanager.rpc.address=$(JOB)-jobmanager", "-Dkubernetes.cluster-id=$(JOB)"} <= set(
            container["args"]
        )


def test_a_lost_jobmanager_comes_back_with_its_job():
    assert FLINK["high-availability.type"] == "kubernetes"
    lake = {m["name"]: m["mountPath"] for m in pod(named("Job", "fraud-jobmanager"))["containers"][0]["volumeMounts"]}
    for option in (
        "high-availability.storageDir",
        "execution.checkpointing.dir",
        "execution.checkpointing.savepoint-dir",
    ):
        assert FLINK[option].startswith(f"file://{lake['lake']}/")


@pytest.mark.parametrize("job", jobs.NAMES)
def test_a_stopped_job_is_not_started_again_and_a_failed_one_is(job):
    manager = named("Job", f"{job}-jobmanager")
    assert pod(manager)["restartPolicy"] == "OnFailure"
    assert manager["spec"]["backoffLimit"] > 1000
    assert "ttlSecondsAfterFinished" not in manager["spec"], "its end is what says that the job was stopped"


def test_the_script_is_where_the_job_looks_for_it():
    workload = named("Job", "fraud-jobmanager")
    (container,) = pod(workload)["containers"]
    (maker,) = [c for c in pod(workload)["initContainers"] if c["name"] == "script"]
    assert container["args"][container["args"].index("--scriptUri") + 1] == "file:///script/job.sql"
    assert maker["command"][-1].endswith("> /script/job.sql")
    for c in (container, maker):
        assert {m["name"]: m["mountPath"] for m in c["volumeMounts"]}["script"] == "/script"


def test_ports_of_flink_s_configuration_are_the_containers_and_the_services():
    manager = {p["name"]: p["containerPort"] for p in pod(named("Job", "fraud-jobmanager"))["containers"][0]["ports"]}
    worker = {
        p["name"]: p["containerPort"] for p in pod(named("Deployment", "fraud-taskmanager"))["containers"][0]["ports"]
    }
    assert manager == {
        "rpc": FLINK["jobmanager.rpc.port"],
        "blob": FLINK["blob.server.port"],
        "rest": FLINK["rest.port"],
    }
    assert worker == {"rpc": FLINK["taskmanager.rpc.port"], "data": FLINK["taskmanager.data.port"]}


def test_memory_of_a_process_is_its_container_s():
    for part, option in (
        ("jobmanager", "jobmanager.memory.process.size"),
        ("taskmanager", "taskmanager.memory.process.size"),
    ):
        limit = pod(named("Job" if part == "jobmanager" else "Deployment", f"fraud-{part}"))["containers"][0][
            "resources"
        ]["limits"]["memory"]
        size = int(limit[:-2]) * {"Mi": 1, "Gi": 1024}[limit[-2:]]
        assert f"{size}m" == FLINK[option]


@pytest.mark.parametrize("job", jobs.NAMES)
def test_scaling_ends_where_the_partitions_do(job):
    scaler = named("HorizontalPodAutoscaler", f"{job}-taskmanager")
    assert scaler["spec"]["scaleTargetRef"]["name"] == f"{job}-taskmanager"
    assert FLINK["scheduler-mode"] == "reactive", "else nobody uses the slots that the scaler adds"
    slots = FLINK["taskmanager.numberOfTaskSlots"]
    widest = max(topic.partitions for topic in topics.design() if not topic.name.endswith("dead_letters"))
    assert scaler["spec"]["maxReplicas"] * slots <= widest
    assert FLINK["pipeline.max-parallelism"] % widest == 0
    assert FLINK["parallelism.default"] > 1, "a plan of parallelism 1 cannot be widened"
    down, up = (scaler["spec"]["behavior"][way]["stabilizationWindowSeconds"] for way in ("scaleDown", "scaleUp"))
    assert down > 5 * up


def test_flink_s_own_configuration_is_replaced_with_what_java_17_has_to_open():
    assert FLINK["env.java.opts.all"].split() == [flag for flag in JVM if flag.startswith("--add-")]


def test_checkpoints_are_frequent_enough_for_the_objective_and_the_alert():
    assert FLINK["execution.checkpointing.interval"] == "10 s"
    rules = (ROOT / "deploy/observability/rules.yml").read_text()
    assert "pipeline_last_checkpoint_timestamp_seconds > 60" in rules


# ── What the containers run ──────────────────────────────────────────────────────────────────────
@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("PIPELINE_KAFKA", "kafka:9092")
    monkeypatch.setenv("PIPELINE_CATALOG", "postgresql://user@db:5432/lake")
    monkeypatch.setenv("PIPELINE_WAREHOUSE", "file:///lake/tables")


@pytest.mark.parametrize("job", jobs.NAMES)
def test_the_script_is_the_kit_s_with_the_cluster_s_addresses(environment, job):
    done = CliRunner().invoke(deployed.main, ["script", job])
    assert done.exit_code == 0
    assert "'properties.bootstrap.servers' = 'kafka:9092'" in done.output
    assert "'jdbc.user' = 'user'" in done.output
    assert "password" not in done.output
    assert "EXECUTE STATEMENT SET" in done.output


@pytest.mark.parametrize("workload", of("Deployment") + of("Job"), ids=lambda o: o["metadata"]["name"])
def test_commands_of_the_kit_exist_with_these_options(workload, environment):
    for container in kustomize.containers(workload):
        words = " ".join(container["command"])
        if "principal_kit" not in words:
            continue
        assert "python -m principal_kit.services.deployed " in words
        name, *options = words.split("deployed ")[1].split()
        known = {o for p in deployed.main.commands[name].params for o in p.opts}
        assert {o for o in options if o.startswith("--")} <= known
        variables = {e["name"] for e in container["env"]}
        assert {"PIPELINE_KAFKA", "PIPELINE_CATALOG", "PIPELINE_WAREHOUSE"} <= variables


def test_a_script_with_a_password_in_it_is_not_printed(environment, monkeypatch):
    monkeypatch.setenv("PIPELINE_CATALOG", "postgresql://user:hush@db:5432/lake")
    done = CliRunner().invoke(deployed.main, ["script", "fraud"])
    assert done.exit_code == 1
    assert "PGPASSFILE" in done.output
    assert "hush" not in done.output


def test_a_missing_variable_is_named(monkeypatch):
    monkeypatch.delenv("PIPELINE_KAFKA", raising=False)
    with pytest.raises(InvalidArgument, match="PIPELINE_KAFKA is not set"):
        deployed.settings()


@pytest.mark.parametrize("text", ["", "fraud", "fraud=jm", "unknown=jm:8081", "fraud=jm:80x"])
def test_a_malformed_list_of_jobs_is_refused(text):
    with pytest.raises(InvalidArgument, match="PIPELINE_JOBS"):
        deployed.applications(text)


def test_of_a_session_cluster_s_jobs_the_one_of_that_name_that_began_last_is_meant(monkeypatch):
    known = [("a", "fraud", 1), ("b", "fraud", 3), ("c", "sessions", 4)]
    rows = [{"jid": id, "name": name, "start-time": at} for id, name, at in known]
    cluster = deployed.applications("fraud=jm:8081")["fraud"]
    monkeypatch.setattr(cluster, "rest", lambda *_: {"jobs": rows})
    assert cluster.id == "b"
    cluster.name = ""
    assert cluster.id == "c"
    cluster.name = "inventory"
    assert cluster.id == ""


@pytest.mark.parametrize("text", ["fraud", "fraud=", "unknown=/lake/chk-1"])
def test_a_malformed_resume_is_refused(text):
    with pytest.raises(InvalidArgument, match="--resume"):
        deployed._resumed((text,))
    assert deployed._resumed(("fraud=/lake/chk-1",)) == {"fraud": "/lake/chk-1"}


def test_a_jobmanager_that_does_not_answer_is_a_job_that_does_not_run(monkeypatch):
    cluster = deployed.Application("fraud-jobmanager:8081")

    def silent(*_):
        raise ServiceError("no answer")

    monkeypatch.setattr(cluster, "rest", silent)
    assert cluster.id == ""
    assert exporter.job_state(cluster, cluster.id).running is False
