"""The profile `pipeline`, really run: the jobs in containers, their tables against the truth, a JobManager lost.

Before the core set's tests, whose last removes everything; alone: `make docker-test WHAT=pipeline`.
"""

from __future__ import annotations

import time

import pytest
import standins
from conftest import assert_bounded, bring, docker, eventually, show_ailing

from principal_kit.platform import jobs
from principal_kit.services.flink_jobs import ENDED

HAVE = ("postgres", "flink-jobmanager", "flink-taskmanager", "flink-sql-gateway", "exporter", "prometheus")
"""The profile but for what has no stand-in: Connect, Trino, Grafana, Jaeger."""
DAY = """
import sys
from principal_kit.platform import audit, sender
from principal_kit.platform.pipeline import Pipeline
from principal_kit.platform.shop import Shop, generate
from principal_kit.services import deployed
from principal_kit.services.flink_cluster import FlinkEndpoint

work = generate(Shop(events=8_000, users=800, products=40, bad=28))
clusters = deployed.applications(deployed.variable("PIPELINE_JOBS"))
flink = FlinkEndpoint(("flink-jobmanager", 8081), "", "", "external")
pipeline = Pipeline(deployed.kafka(), flink, deployed.settings())
pipeline.ids = {name: cluster.id for name, cluster in clusters.items()}
if "send" in sys.argv:
    out = sender.producer(pipeline.settings.bootstrap)
    sender.send(work, out, prefix=pipeline.settings.prefix)
    out.close()
pipeline.settle(int(work.sent["at"].max()) + sender.CLOSING_MS)
findings = audit.audit(pipeline.read, work)
print("tables", len(findings), "wrong", [finding for finding in findings if not finding.exact])
"""
NEWEST = """
from pathlib import Path
from principal_kit.services import deployed
from principal_kit.platform import jobs, tables
from principal_kit.platform.tables import catalog

found = deployed.settings()
for name in jobs.NAMES:
    job = tables.snapshots(catalog(found.dsn, found.warehouse), found.namespace, jobs.READS[name])[-1].job
    whole = [path.parent for path in Path("/lake/flink/checkpoints", job).glob("chk-*/_metadata")]
    print(f"--resume={name}=file://{max(whole, key=lambda path: int(path.name[4:]))}")
"""


@pytest.fixture(scope="module")
def pipeline(stack, say):
    """The servers of the profile that can be had here, beside the core set; they go again, since memory is finite."""
    bring(standins.pipeline_images(), say)
    began = time.monotonic()
    stack.script("build", "pipeline")
    say(f"image of Flink with its connectors: built in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    try:
        stack.compose("--profile", "pipeline", "up", "--detach", "--no-build", "--wait", "--wait-timeout", "240", *HAVE)
    except AssertionError:
        show_ailing()
        raise
    say(f"PostgreSQL, Flink, exporter and Prometheus healthy in {time.monotonic() - began:.0f} s")
    yield lambda *command, **options: docker("exec", stack.container("book"), "python", *command, **options)
    stack.compose("--profile", "pipeline", "rm", "--stop", "--force", *HAVE)


START = ("-m", "principal_kit.services.deployed", "start")


def running(stack):
    """The names of the jobs that the JobManager has and that have not ended, a twin's twice."""
    known = stack.ask("FLINK_PORT", "jobs/overview")["jobs"]
    return sorted(job["name"] for job in known if job["state"] not in ENDED)


def test_every_server_of_the_profile_is_healthy_bounded_and_on_loopback(pipeline, stack):
    assert_bounded(stack, HAVE)


def test_the_pipeline_s_tables_in_containers_equal_the_truth(pipeline, stack, say):
    began = time.monotonic()
    assert pipeline(*START).stdout.count("started") == 3
    assert pipeline(*START).stdout.count("runs already") == 3
    assert running(stack) == sorted(jobs.NAMES)
    assert "wrong []" in pipeline("-c", DAY, "send").stdout
    say(f"the pipeline's jobs started, a day of 8,000 events exact in its tables: {time.monotonic() - began:.0f} s")


def test_prometheus_has_the_pipeline_s_samples_and_rules(pipeline, stack):
    def ask(path):
        return stack.ask("PROMETHEUS_PORT", f"api/v1/{path}")["data"]

    assert eventually(lambda: len(ask("query?query=pipeline_job_running%3D%3D1")["result"]) == 3)
    assert len(ask("rules")["groups"]) >= 2


def test_jobs_that_the_jobmanager_has_forgotten_go_on_from_their_checkpoints_or_not_at_all(pipeline, stack, say):
    began = time.monotonic()
    docker("kill", stack.container("flink-jobmanager"))
    docker("start", stack.container("flink-jobmanager"))
    eventually(lambda: "healthy" == docker(
        "inspect", "-f", "{{.State.Health.Status}}", stack.container("flink-jobmanager")).stdout.strip())  # fmt: skip
    refused = pipeline(*START, check=False)
    assert refused.returncode == 1
    assert "does not run and has written before" in refused.stderr
    newest = pipeline("-c", NEWEST).stdout.split()
    assert len(newest) == 3
    assert pipeline(*START, *newest).stdout.count("started") == 3
    assert running(stack) == sorted(jobs.NAMES)
    assert "wrong []" in pipeline("-c", DAY).stdout
    say(f"JobManager lost and its jobs resumed, the tables still exact: {time.monotonic() - began:.0f} s")
