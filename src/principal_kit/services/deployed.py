"""What `deploy/kubernetes` and compose's profile `pipeline` run: topics and tables, jobs, the exporter; by environment.

For example `python -m principal_kit.services.deployed script fraud`, with PIPELINE_KAFKA and its like set. A command
starts no server and never prints the catalog's password.
"""

from __future__ import annotations

import os
import signal
from typing import Any
from urllib.parse import urlsplit

import click

from principal_kit.core.errors import InvalidArgument, KitError, ServiceError
from principal_kit.platform import jobs, tables, topics
from principal_kit.platform.exporter import LOOPBACK, Collector, Exporter, slot_states
from principal_kit.platform.pipeline import Pipeline
from principal_kit.services.flink_jobs import JobControl
from principal_kit.services.kafka_broker import KafkaEndpoint


def variable(name: str) -> str:
    """A variable of the environment. Raises InvalidArgument when it is not set."""
    value = os.environ.get(name, "")
    if not value:
        raise InvalidArgument(f"{name} is not set: what runs this must name it")
    return value


def settings() -> jobs.Settings:
    """Where the pipeline is, from the environment. Raises InvalidArgument."""
    return jobs.Settings(
        bootstrap=variable("PIPELINE_KAFKA"),
        dsn=variable("PIPELINE_CATALOG"),
        warehouse=variable("PIPELINE_WAREHOUSE"),
    )


class Application(JobControl):
    """The JobManager at `address`, of which only the job called `name` is meant (default: whichever it has)."""

    def __init__(self, address: str, name: str = "") -> None:
        self.address, self.name = address, name

    def jobs(self) -> dict[str, str]:
        """Job id to state; none when the JobManager does not answer: without it the job does not run."""
        try:
            return super().jobs()
        except ServiceError:
            return {}

    @property
    def id(self) -> str:
        """The id of its job that began last, or an empty text; every start without high availability has another."""
        try:
            known = self.rest("GET", "/jobs/overview")["jobs"]
        except ServiceError:
            return ""
        mine = [job for job in known if self.name in ("", job["name"])]
        return max(mine, key=lambda job: job["start-time"])["jid"] if mine else ""


def applications(text: str) -> dict[str, Application]:
    """`name=host:port,…` as clusters by job name. Raises InvalidArgument on another form or an unknown job.

    >>> sorted(applications("fraud=fraud-jobmanager:8081"))
    ['fraud']
    """
    found = {}
    for part in text.split(","):
        name, _, address = part.strip().partition("=")
        if name not in jobs.NAMES or not address.rpartition(":")[2].isdecimal():
            raise InvalidArgument(f"PIPELINE_JOBS has {part!r}; expected {'|'.join(jobs.NAMES)}=host:port")
        found[name] = Application(address, name)
    return found


def kafka() -> KafkaEndpoint:
    """The brokers that PIPELINE_KAFKA names; nothing is asked of them yet."""
    host, _, port = variable("PIPELINE_KAFKA").split(",")[0].rpartition(":")
    return KafkaEndpoint("kafka", host, int(port), "", "external")


def source() -> str | None:
    """The address of the database that is copied, PIPELINE_SOURCE, or None.

    Raises ClickException on one that is none, and does not repeat it: psycopg's errors about a malformed address have
    parts of it in them, and they go to the log with each sample.
    """
    address = os.environ.get("PIPELINE_SOURCE")
    if not address:
        return None
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    refusal = click.ClickException(
        "PIPELINE_SOURCE is no address of a database; expected postgresql://user:password@host:port/database, with "
        "%-escapes for what is special in the password"
    )
    if not address.startswith(("postgresql://", "postgres://")):
        raise refusal
    try:
        ports = str(conninfo_to_dict(address).get("port") or "")
    except psycopg.ProgrammingError:
        raise refusal from None
    if not all(port.isdecimal() for port in ports.split(",") if port):  # part of a password with a slash in it
        raise refusal
    return address


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Parts of the deployed pipeline."""


@main.command("script")
@click.argument("name", type=click.Choice(jobs.NAMES))
def script(name: str) -> None:
    """Print a job's SQL, complete. Flink logs what it runs, so a password in PIPELINE_CATALOG is refused here."""
    chosen = settings()
    if urlsplit(chosen.dsn).password:
        raise click.ClickException(
            "PIPELINE_CATALOG has a password in it; leave it out and let PGPASSFILE name its file"
        )
    click.echo(jobs.script(name, chosen))


@main.command("prepare")
@click.option("--replication", type=click.IntRange(1), default=3, show_default=True, help="Copies of each record.")
def prepare(replication: int) -> None:
    """Create topics and tables that are missing; drift is an error and nothing is changed."""
    chosen = settings()
    try:
        admin = kafka().admin()
        try:
            made = topics.apply(admin, topics.design(chosen.prefix), replication=replication)
        finally:
            admin.close()
        new = tables.create(tables.catalog(chosen.dsn, chosen.warehouse), chosen.namespace)
    except KitError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"topics made: {', '.join(topic.name for topic in made.create) or 'none'}")
    click.echo(f"tables made: {', '.join(new) or 'none'}")


def _resumed(texts: tuple[str, ...]) -> dict[str, str]:
    """`name=path` as job to checkpoint. Raises InvalidArgument on another form."""
    found = dict(text.partition("=")[::2] for text in texts)
    if not all(found.values()) or not found.keys() <= set(jobs.NAMES):
        raise InvalidArgument(f"--resume has {' '.join(texts)}; expected {'|'.join(jobs.NAMES)}=path")
    return found


def _refuse_second_start(pipeline: Pipeline, names: set[str]) -> None:
    """A job that has written and is started without its state writes everything again. Raises ServiceError."""
    for name in sorted(names):
        written = [
            s.job for s in tables.snapshots(pipeline.lake, pipeline.settings.namespace, jobs.READS[name]) if s.job
        ]
        if written:
            raise ServiceError(
                f"{name} does not run and has written before, as job {written[-1]}: name its newest checkpoint, "
                f"--resume {name}=.../{written[-1]}/chk-N (docker/flink/config.yaml says where they are)"
            )


@main.command("start")
@click.option("--resume", multiple=True, metavar="JOB=PATH", help="A checkpoint or savepoint that a job goes on from.")
def start(resume: tuple[str, ...]) -> None:
    """Make topics and tables; submit the jobs that do not run to the session cluster PIPELINE_FLINK."""
    from principal_kit.services.flink_cluster import FlinkEndpoint

    address, gateway = variable("PIPELINE_FLINK"), variable("PIPELINE_FLINK_SQL")
    host, _, port = address.rpartition(":")
    flink = FlinkEndpoint((host, int(port)), gateway, "", "external")
    try:
        paths = _resumed(resume)
        pipeline = Pipeline(kafka(), flink, settings())
        ids = {name: Application(address, name).id for name in jobs.NAMES}
        pipeline.ids = {name: id for name, id in ids.items() if id and not flink.job(id).ended}
        new = set(jobs.NAMES) - pipeline.ids.keys()
        tables.create(pipeline.lake, pipeline.settings.namespace)
        _refuse_second_start(pipeline, new - paths.keys())
        pipeline.start(states=paths)
    except KitError as error:
        raise click.ClickException(str(error)) from error
    for name, id in sorted(pipeline.ids.items()):
        click.echo(f"{name}: job {id} {'started' if name in new else 'runs already'}")


@main.command("exporter")
@click.option("--host", default=LOOPBACK, show_default=True)
@click.option("--port", type=int, default=9464, show_default=True)
def exporter(host: str, port: int) -> None:
    """Serve the pipeline's metrics until SIGTERM.

    PIPELINE_SOURCE, if it is set, is the address of a database that is copied: then its replication slots are watched.
    """
    watched, clusters = source(), applications(variable("PIPELINE_JOBS"))

    def where() -> dict[str, tuple[Any, str]]:
        return {name: (cluster, cluster.id) for name, cluster in clusters.items()}

    slots = (lambda: slot_states(watched)) if watched else None
    collector = Collector(Pipeline(kafka(), None, settings()), where=where, slots=slots)
    waited = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)  # before any thread starts, so that all of them leave it to us
    with Exporter(collector, host=host) as served:
        click.echo(f"http://{host}:{served.start(port)}/metrics")
        for part, why in collector.failures.items():
            click.echo(f"{part} does not answer yet: {why}", err=True)
        signal.sigwait(waited)


if __name__ == "__main__":
    main()
