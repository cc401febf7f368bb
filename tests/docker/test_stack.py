"""The containers, really run: what they are, chapter 1.1 on them, and what the loss of each leaves intact.

The order matters: what the core set shows, then the profile `cluster` and the losses, and last that nothing stays.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
import redis
from conftest import PROJECT, ROOT, assert_bounded, docker, eventually, left_over
from redis.backoff import NoBackoff
from redis.retry import Retry

from principal_kit import services
from principal_kit.core.errors import ServiceError
from principal_kit.course import chapters, refresh
from principal_kit.placement import HashRing
from principal_kit.placement.cache import DistributedCache, MemoryStore
from principal_kit.services import versions
from principal_kit.services.endpoint import parse_servers

CORE = {"kafka", "redis", "spark-master", "spark-worker-1", "spark-worker-2", "spark-connect", "book"}
RUN = """
from pathlib import Path
from principal_kit.course.run import run
say = lambda step: step.seconds is None and print("cell", step.title, flush=True)
done = run("1.1", folder=Path({folder!r}), on_step=say)
print("seconds", round(done.seconds), flush=True)
"""


@pytest.fixture
def attached(stack, monkeypatch):
    """This interpreter on the containers, as a notebook's kernel would be."""

    def attach(profile=""):
        for name, value in stack.exports(profile).items():
            monkeypatch.setenv(name, value)

    attach()
    return attach


@pytest.fixture(autouse=True)
def whole(stack):
    """After each test whatever it stopped runs again, so that one failure is not many."""
    yield
    stopped = docker(
        "ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}", "--filter", "status=exited"
    ).stdout.split()
    for container in stopped:
        docker("start", container)
    for container in stopped:
        eventually(
            lambda c=container: "healthy" == docker("inspect", "-f", "{{.State.Health.Status}}", c).stdout.strip()
        )


# ── What the containers are ──────────────────────────────────────────────────────────────────────


def test_every_container_is_healthy_bounded_and_on_loopback(stack):
    names = docker("ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Names}}").stdout
    assert set(names.split()) == {stack.container(service) for service in CORE}
    assert_bounded(stack, CORE, writable=("kafka", "book"))  # those two write beside their volumes


def test_the_servers_are_of_the_versions_that_are_embedded(attached):
    assert services.redis().version.startswith(versions.WANTED["redis"].split("x")[0])
    assert versions.WANTED["kafka"].startswith(services.kafka().version)  # the protocol tells the line, not the patch
    assert services.kafka().source == services.redis().source == "external"


def test_doctor_finds_everything_in_order(stack):
    report = stack.script("doctor")
    assert report.count("(healthy)") == len(CORE)
    assert re.search(r"Redis.*external", report)
    assert re.search(r"PySpark.*external", report)


def test_jupyterlab_wants_its_token(stack):
    text = stack.script("exports")
    assert "TOKEN" not in text
    values = dict(line.split("=", 1) for line in Path(stack.environment["DOCKER_ENV_FILE"]).read_text().split())
    url = f"http://127.0.0.1:{values['JUPYTER_PORT']}/api/contents"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url, timeout=20)
    with urllib.request.urlopen(f"{url}?token={values['JUPYTER_TOKEN']}", timeout=20) as reply:
        names = {entry["name"] for entry in json.load(reply)["content"]}
    assert f"{chapters.get('1.1').slug}.ipynb" in names


def test_the_quick_tests_pass_in_the_book_s_container(stack, say):
    """But for minutes of statistics and of graded exercises, which are the same everywhere, and the project's files."""
    began = time.monotonic()
    done = docker(
        "exec", "-w", "/opt/principal-kit", stack.container("book"),
        "env", "-u", "PRINCIPAL_KIT_KAFKA", "-u", "PRINCIPAL_KIT_REDIS", "-u", "PRINCIPAL_KIT_SPARK",
        "python", "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider",
        "-m", "not slow and not integration and not browser",
        "--ignore=tests/project", "--ignore=tests/sketches", "--ignore-glob=tests/course/test_exercises*",
        "--ignore=tests/platform/test_kubernetes.py", check=False, seconds=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    say(f"quick tests in the container: {done.stdout.strip().splitlines()[-1]}; {time.monotonic() - began:.0f} s")


# ── Chapter 1.1 ──────────────────────────────────────────────────────────────────────────────────


def compared(notebook):
    """What nbval compares: text outputs of the cells not tagged to be ignored, after the house's own cleaning."""
    rules = (ROOT / "notebooks/sanitize.cfg").read_text()
    patterns = list(zip(re.findall(r"^regex: (.+)$", rules, re.M), re.findall(r"^replace: (.+)$", rules, re.M)))
    outputs = {}
    for number, cell in enumerate(c for c in refresh.clean(notebook).cells if c.cell_type == "code"):
        if {"nbval-ignore-output", "nbval-skip", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            continue
        parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
        text = "\n".join(part for part in parts if not part.startswith("<Figure"))
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        outputs[number, cell.source.splitlines()[0] if cell.source else ""] = text
    return outputs


def committed():
    return compared(nbformat.read(refresh.notebook_path(chapters.get("1.1")), as_version=4))


def finish(process, printed, seconds=600):
    """Everything the run prints until it ends, line by line into `printed`."""
    reader = threading.Thread(target=lambda: printed.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        return process.wait(timeout=seconds)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)
        reader.join(timeout=30)


def test_chapter_1_1_gives_the_same_compared_outputs_on_containers(stack, say, tmp_path):
    printed = []
    status = finish(stack.python(RUN.format(folder=str(tmp_path)), **stack.exports()), printed)
    assert status == 0, "".join(printed[-30:])
    here = compared(nbformat.read(tmp_path / f"{chapters.get('1.1').slug}.ipynb", as_version=4))
    assert here == committed()
    assert len(here) >= 10
    say(
        f"chapter 1.1 on the containers: {printed[-1].split()[-1]} s, {len(here)} cells with the embedded run's outputs"
    )


# ── Losses ───────────────────────────────────────────────────────────────────────────────────────


def test_a_cluster_of_three_brokers_and_six_redis_nodes_joins(stack, say):
    began = time.monotonic()
    stack.script("up", "cluster")
    say(f"three brokers and six Redis nodes more, healthy in {time.monotonic() - began:.0f} s")


def test_redis_restarted_under_load_keeps_what_it_acknowledged(stack, attached):
    """`docker restart` in the middle of a stream of increments: every acknowledged one is there, and no other."""
    # The client's own retries would send an increment twice whose answer was lost: at least once is not exactly once.
    client = services.redis().client(socket_timeout=2, retry=Retry(NoBackoff(), 0))
    client.delete("acknowledged")
    restarted = threading.Thread(target=docker, args=("restart", "-t", "5", stack.container("redis")))
    acknowledged, unknown, after = 0, 0, 0
    while after < 500:
        if acknowledged == 500 and not restarted.ident:
            restarted.start()
        try:
            client.incr("acknowledged")
            acknowledged += 1
            after += restarted.ident is not None and not restarted.is_alive()
        except redis.RedisError:
            unknown += 1
    restarted.join()
    assert acknowledged <= int(client.get("acknowledged")) <= acknowledged + unknown


def test_a_killed_redis_is_named_and_a_cache_over_nodes_never_serves_a_wrong_value(stack, attached):
    attached("cluster")
    nodes = services.redis_nodes(5)
    for node in nodes:
        node.client().flushall()
    names, store, truth = [node.name for node in nodes], MemoryStore(), {}
    keys = [f"product:{n}" for n in range(2_000)]
    for key in keys:
        truth[key] = b"first"
        store.write(key, truth[key])
    victim = nodes[2]
    killer = threading.Thread(target=victim.kill)
    with DistributedCache(nodes, HashRing(names), store, timeout=1.0) as cache:
        wrong, tick, ticks_after = 0, 0, 0
        while ticks_after < 20:
            if tick == 10:
                killer.start()
            for key in keys[tick % 100 :: 100]:
                truth[key] = b"tick %d" % tick
                cache.put(key, truth[key])
            wrong += sum(got != truth[key] for key, got in zip(keys, cache.get_many(keys)))
            tick, ticks_after = tick + 1, ticks_after + (tick > 10 and not killer.is_alive())
        assert wrong == 0
        assert names[2] not in cache.members
        assert not victim.ping()
        with pytest.raises(ServiceError, match=re.escape(f"{victim.host}:{victim.port} does not answer as Redis")):
            services.redis_nodes(5)
        victim.restart()
        assert cache.probe() == [names[2]]
        assert cache.get_many(keys) == [truth[key] for key in keys]


def test_a_killed_broker_loses_and_doubles_nothing_that_was_acknowledged(stack, attached):
    from kafka.admin import NewTopic

    attached("cluster")
    kafka = services.kafka()
    admin = kafka.admin()
    admin.create_topics([NewTopic("orders", num_partitions=3, replication_factor=3)])
    leaders = {}
    deadline = time.monotonic() + 60
    while len(leaders) < 3 and time.monotonic() < deadline:  # a broker that is asked at once may not know the topic yet
        partitions = admin.describe_topics(["orders"])[0]["partitions"]
        leaders = {p["partition_index"]: p["leader_id"] for p in partitions if p["leader_id"] >= 0}
    producer = kafka.producer(acks="all", enable_idempotence=True, linger_ms=5, delivery_timeout_ms=90_000)
    futures, killer = [], threading.Thread(target=docker, args=("kill", stack.container(f"broker-{leaders[0]}")))
    for number in range(20_000):
        if number == 5_000:
            killer.start()
        futures.append(producer.send("orders", b"%d" % number, partition=number % 3))
    acknowledged = [future.get(timeout=100) for future in futures]
    producer.close()
    killer.join()
    consumer = services.kafka().consumer("orders", auto_offset_reset="earliest", consumer_timeout_ms=15_000)
    values = []
    while len(values) < len(futures):
        values.append(int(next(consumer).value))
    consumer.close()
    admin.close()
    assert sorted(values) == list(range(20_000))
    assert len({(m.partition, m.offset) for m in acknowledged}) == 20_000


COUNT = """
import os
from principal_kit import services
spark = services.spark()

def count(batches):
    import socket, time, redis
    gate = redis.Redis("redis")
    gate.sadd("workers", socket.gethostname())
    while not gate.exists("go"):
        time.sleep(0.05)
    for batch in batches:
        yield batch

total = spark.range(0, 1_000_000, 1, 4).mapInArrow(count, "id long").selectExpr("count(*)", "sum(id)").collect()[0]
print("total", *total, flush=True)
"""


def test_a_killed_spark_worker_costs_time_and_not_rows(stack, attached):
    """Tasks wait on both workers until one worker is gone, so the loss hits a job in progress, by construction."""
    gate = services.redis().client()
    gate.delete("go", "workers")
    printed = []
    process = stack.python(COUNT, **stack.exports())
    reader = threading.Thread(target=lambda: printed.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        eventually(lambda: gate.smembers("workers") == {b"spark-worker-1", b"spark-worker-2"} or process.poll())
        assert process.poll() is None, "".join(printed)
        docker("kill", stack.container("spark-worker-2"))
        gate.set("go", 1)
        assert process.wait(timeout=180) == 0, "".join(printed[-30:])
    finally:
        gate.set("go", 1)
        process.kill()
        reader.join(timeout=30)
    assert f"total 1000000 {sum(range(1_000_000))}" in "".join(printed)


def chapter_with(stack, folder, profile, at, victims):
    """Run chapter 1.1; when the first cell whose title has `at` starts, kill the victims. Returns status and output."""
    process = stack.python(RUN.format(folder=str(folder)), **stack.exports(profile))
    killers = [threading.Thread(target=docker, args=("kill", stack.container(victim))) for victim in victims]
    printed = []

    def read():
        for line in iter(process.stdout.readline, ""):
            printed.append(line)
            if at in line:
                for killer in killers:
                    killer.start()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        status = process.wait(timeout=600)
    finally:
        process.kill()
        reader.join(timeout=60)
    for killer in killers:
        killer.join(timeout=60)  # raises if it was never started
    return status, "".join(printed)


def test_a_chapter_that_loses_a_broker_and_a_spark_worker_ends_with_the_same_outputs(stack, tmp_path, say):
    """On the cluster: its six Redis nodes are containers too, and the chapter kills and freezes them itself."""

    victims = ("broker-3", "spark-worker-2")
    status, printed = chapter_with(stack, tmp_path, "cluster", "fleet = services.redis_nodes(6)", victims)
    assert status == 0, printed[-4000:]
    here = compared(nbformat.read(tmp_path / f"{chapters.get('1.1').slug}.ipynb", as_version=4))
    assert here == committed()
    say(f"chapter 1.1 with a broker and a Spark worker killed: {printed.split()[-1]} s, same outputs")


def test_a_chapter_that_loses_its_redis_stops_and_names_it(stack, tmp_path):
    status, printed = chapter_with(stack, tmp_path, "", "fleet = services.redis_nodes(6)", ("redis",))
    port = parse_servers(stack.exports()["PRINCIPAL_KIT_REDIS"], variable="")[0][1]
    assert status == 1
    assert re.search(rf"ConnectionError.*127\.0\.0\.1:{port}|ServiceError.*127\.0\.0\.1:{port}", printed), printed[
        -3000:
    ]


# ── The end ──────────────────────────────────────────────────────────────────────────────────────


def test_down_leaves_nothing(stack):
    assert left_over()
    stack.script("down")
    assert left_over() == []
