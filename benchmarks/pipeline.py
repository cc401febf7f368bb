"""Chapter 2.1's pipeline on one machine: how many events a second it takes, how fresh rows are, where the CPU goes.

    python benchmarks/pipeline.py [--record]                          # all that follows: half an hour
    python benchmarks/pipeline.py live --rate 20000 [--interval 10]   # the shop is open: producer, Kafka, Flink, tables
    python benchmarks/pipeline.py stages                              # each stage alone, over a log that is there
    python benchmarks/pipeline.py batch                               # the same tables by a Spark job, over that log
    python benchmarks/pipeline.py report [--record]                   # one report of the parts that were run

A part takes two to four minutes and leaves its figures in _build/benchmarks/pipeline; each starts servers of its own.
The load comes from librdkafka, with the settings of the chapter's producer: kafka-python alone takes a core for it.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import psutil
from side_by_side import RESULTS, SCRATCH, facts, write

from principal_kit import services
from principal_kit.core.errors import ServiceError
from principal_kit.course.memory import kind_of
from principal_kit.platform import audit, jobs, sender, tables, topics, truth
from principal_kit.platform.exporter import LogReader
from principal_kit.platform.pipeline import Pipeline
from principal_kit.platform.shop import Shop, Workload, generate

PARTS = SCRATCH / "pipeline"
CORE_HOUR = 0.0816 / 2  # dollars, June 2026: half an m7g.large, as in the chapter
SLOTS, HEAP_MIB = 16, 4096
OPEN_SECONDS, WARM_SECONDS, STEADY_SECONDS = 45.0, 60.0, 60.0
FILLED = 0.97  # of a shop's rate in the minute measured: visits are long, so the shop is still filling a little
FRESH_SECONDS, RATE_WANTED = 20.0, 20_000


class CProducer:
    """librdkafka behind the calls of kafka-python that `sender.send` makes: idempotent, acks=all, bounded."""

    def __init__(self, bootstrap: str) -> None:
        from confluent_kafka import Producer

        self._failed: list[Any] = []
        self._producer = Producer({
            "bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 20,
            "batch.size": 256 * 1024, "compression.type": "lz4", "queue.buffering.max.messages": 100_000,
            "message.timeout.ms": 60_000, "delivery.report.only.error": True, "log_level": 0,
        })  # fmt: skip

    def send(self, topic: str, *, key: bytes, value: bytes, timestamp_ms: int, headers: Any = None) -> CProducer:
        """Queue one record; an error is kept for `get` and `flush`."""
        self._producer.produce(
            topic, value, key, on_delivery=self._report, timestamp=timestamp_ms, headers=headers or None
        )
        return self

    def _report(self, error: Any, _: Any) -> None:
        self._failed.append(error)

    def get(self, timeout: float | None = None) -> None:
        """Raise what any record failed with."""
        if self._failed:
            raise ServiceError(f"Kafka did not take a record: {self._failed[0]}")

    def flush(self, timeout: float) -> None:
        """Wait until all are acknowledged."""
        if self._producer.flush(timeout):
            raise ServiceError(f"Kafka did not acknowledge all within {timeout:g} s")
        self.get()

    def close(self) -> None:
        self.flush(60)


CLIENTS: dict[str, Callable[[str], Any]] = {"librdkafka": CProducer, "kafka-python": sender.producer}


# ── What is measured ─────────────────────────────────────────────────────────────────────────────
def processes() -> Iterator[tuple[str, psutil.Process]]:
    """This program's servers and producer, each with its part's name."""
    for process in psutil.Process().children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        kind, text = kind_of(line), " ".join(line)
        if kind == "Flink":
            entries = {
                "TaskManagerRunner": "TaskManager",
                "ClusterEntrypoint": "JobManager",
                "SqlGateway": "SQL gateway",
            }
            kind = next((name for entry, name in entries.items() if entry in text), kind)
        yield "producer" if __file__ in text else kind, process


def cpu() -> Counter[str]:
    """CPU seconds so far, by part."""
    spent: Counter[str] = Counter()
    for part, process in processes():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        spent[part] += times.user + times.system
    return spent


def memory() -> Counter[str]:
    """MiB now, by part: the proportional set size."""
    held: Counter[str] = Counter()
    for part, process in processes():
        try:
            held[part] += process.memory_full_info().pss / 2**20
        except psutil.Error:
            continue
    return held


_THREADS = (
    ("parsing and checking", r"Source: "),
    ("first copies, rows to files", r"Deduplicate"),
    ("windows and patterns", r"WindowAgg|GlobalWin|OverAgg|LocalWin|StreamRecordTim|Match|Calc"),
    ("writing checkpoints", r"AsyncOperations|iceberg-worker"),
    ("garbage collection", r"GC Thread|VM Thread|G1 "),
    ("compiling (JIT)", r"C1 Comp|C2 Comp"),
)


def threads() -> Counter[str]:
    """CPU seconds so far of the TaskManager's threads, by what they do; the system's ticks are 10 ms. Linux."""
    ticks, spent = os.sysconf("SC_CLK_TCK"), Counter()
    for part, process in processes():
        if part != "TaskManager" or process.name() != "java":
            continue
        for task in Path(f"/proc/{process.pid}/task").glob("*/stat"):
            try:
                text = task.read_text()
            except OSError:  # ended meanwhile
                continue
            name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
            does = next((what for what, pattern in _THREADS if re.match(pattern, name)), "fetching, network, all else")
            spent[does] += (int(fields[11]) + int(fields[12])) / ticks
    return spent


def per_event(before: Counter[str], after: Counter[str], events: int) -> dict[str, float]:
    """Microseconds of CPU for an event, by part; the largest first."""
    spent = {part: 1e6 * (seconds - before[part]) / events for part, seconds in after.items()}
    return dict(sorted(((p, us) for p, us in spent.items() if us >= 0.05), key=lambda item: -item[1]))


def ages(pipeline: Pipeline, name: str, begin: float, end: float) -> np.ndarray:
    """Seconds from event to commit, of the rows of a table that were committed between the two moments."""
    table = pipeline.lake.load_table(f"{pipeline.settings.namespace}.{name}")
    found = []
    for snapshot in table.snapshots():
        if begin * 1000 <= snapshot.timestamp_ms <= end * 1000 and int(snapshot.summary.get("added-records") or 0):
            rows = table.incremental_append_scan(
                from_snapshot_id_exclusive=snapshot.parent_snapshot_id, to_snapshot_id_inclusive=snapshot.snapshot_id,
                selected_fields=("event_time",),
            ).to_arrow()  # fmt: skip
            happened = rows["event_time"].to_numpy().astype("datetime64[ms]").astype("int64")
            found.append((snapshot.timestamp_ms - happened) / 1000)
    return np.concatenate(found) if found else np.array([np.inf])


# ── The set-up ───────────────────────────────────────────────────────────────────────────────────
@contextmanager
def cluster(interval: float) -> Iterator[SimpleNamespace]:
    """Servers of our own, a folder for tables, and `pipeline(name, …)`."""
    with (
        services.kafka(fresh=True) as kafka,
        services.postgres(fresh=True) as postgres,
        services.flink(fresh=True, slots=SLOTS, checkpoint_interval=interval, task_heap_mib=HEAP_MIB) as flink,
        tempfile.TemporaryDirectory(prefix="pipeline-", ignore_cleanup_errors=True) as folder,
    ):

        def pipeline(namespace: str, **options: Any) -> Pipeline:
            place = {"bootstrap": kafka.bootstrap_servers, "dsn": postgres.dsn, "warehouse": f"file://{folder}/lake"}
            return Pipeline(kafka, flink, jobs.Settings(**place, prefix="shop.", namespace=namespace, **options))

        yield SimpleNamespace(kafka=kafka, flink=flink, folder=Path(folder), pipeline=pipeline)


def shop(rate: float, seconds: float, opened_ms: int) -> Shop:
    """A shop that is open for `seconds` from `opened_ms` on, with more visitors the busier it is."""
    drawn = rate / FILLED
    return Shop(events=round(drawn * seconds), rate=drawn, seed=3, users=round(15 * rate), epoch_ms=opened_ms)


def kept(name: str, result: dict) -> None:
    """Keep a part's figures, and print them."""
    PARTS.mkdir(parents=True, exist_ok=True)
    result |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    write(result, PARTS / f"{name}.json")
    click.echo(json.dumps(result, indent=1))


PLAN = (
    *(("live", "--rate", str(rate)) for rate in (10_000, 20_000, 30_000, 40_000)),
    *(
        ("live", "--rate", "10000", "--steady", "40", "--interval", str(s), "--name", f"interval-{s}")
        for s in (1, 2, 5, 10)
    ),
    ("stages",),
    ("batch",),
)


@click.group(help=__doc__.splitlines()[0], invoke_without_command=True)
@click.option("--record", is_flag=True, help="Of the whole plan: write benchmarks/results, for the book's page.")
@click.pass_context
def main(context: click.Context, record: bool) -> None:
    """Without a part: all of them one after another, half an hour, and the report."""
    if context.invoked_subcommand is None:
        for part in PLAN:
            subprocess.run([sys.executable, __file__, *part], check=True, stdout=subprocess.DEVNULL)
        context.invoke(report, record=record)


# ── The shop is open ─────────────────────────────────────────────────────────────────────────────
@main.command()
@click.option("--rate", default=20_000, show_default=True, help="Events a second.")
@click.option("--interval", default=10.0, show_default=True, help="Seconds between checkpoints.")
@click.option("--warm", default=WARM_SECONDS, show_default=True, help="Seconds before the measurement.")
@click.option("--steady", default=STEADY_SECONDS, show_default=True, help="Seconds of the measurement.")
@click.option("--client", default="librdkafka", type=click.Choice(sorted(CLIENTS)))
@click.option("--name", default=None, help="What to keep the figures as.")
def live(rate: int, interval: float, warm: float, steady: float, client: str, name: str | None) -> None:
    """Events sent in the moment in which they happen, for a while; then the audit of every table.

    The shop has been open for a little when the producer starts: what it has missed comes at once, and warms all up.
    """
    with cluster(interval) as here:
        pipeline = here.pipeline("live")
        pipeline.start()
        begins = time.time() + 5 + rate / 2_000  # the producer draws its shop first
        about = {
            "rate": rate,
            "seconds": OPEN_SECONDS + warm + steady,
            "opened_ms": round(1000 * (begins - OPEN_SECONDS)),
        }
        command = [sys.executable, __file__, "produce", here.kafka.bootstrap_servers, json.dumps(about), client]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as producer:
            try:
                producer.stdout.readline()  # it has drawn its shop
                time.sleep(begins + warm - time.time())
                if producer.poll() is not None:
                    raise click.ClickException("the producer failed")
                result = _watch(pipeline, steady)
                producer.stdin.write("on\n")  # the rest of the day as fast as it goes, for the audit
                producer.stdin.flush()
                work = generate(shop(**about))
                if producer.wait(timeout=120):
                    raise click.ClickException("the producer failed")
            finally:
                producer.kill()
        pipeline.settle(int(work.sent["at"].max()) + sender.CLOSING_MS, seconds=120)
        findings = audit.audit(pipeline.read, work)
        old = ages(pipeline, "clicks", result.pop("begin"), result.pop("end"))
        files = [task.file for task in pipeline.lake.load_table("live.clicks").scan().plan_files()]
        pipeline.stop()  # else it goes on committing into a folder that is being removed
    result |= {
        "wanted": rate, "interval": interval, "client": client,
        "age": {f"p{q}": float(np.quantile(old, q / 100)) for q in (50, 95, 99)},
        "bytes": {"Kafka": result.pop("log_bytes"),
                  "tables": sum(f.file_size_in_bytes for f in files) / sum(f.record_count for f in files)},
        "rows": sum(f.rows for f in findings), "wrong": sum(f.missing + f.extra for f in findings),
    }  # fmt: skip
    kept(name or f"live-{rate}-{interval:g}", result)


def _watch(pipeline: Pipeline, seconds: float) -> dict:
    """Measure for a while. Lag is counted just after the jobs' offsets moved: what they leave behind, not the saw."""
    reader, lags = LogReader(pipeline), []

    def log() -> tuple[int, int, int]:
        now = reader.read()
        events = sum(now.ends[topic] for topic in pipeline.partitions)
        return events, sum(now.committed.values()), sum(now.sizes.values())

    median = lambda values: float(np.median(values or [0]))  # noqa: E731
    begin, first = time.time(), log()
    spent, threads_before = cpu(), threads()
    committed = first[1]
    while time.time() - begin < seconds:
        time.sleep(0.5)
        now = log()
        if now[1] != committed:
            committed = now[1]
            lags.append(now[0] - now[1])
    after, threads_after, end, last = cpu(), threads(), time.time(), log()
    reader.close()
    events = last[0] - first[0]
    half = len(lags) // 2
    return {
        "begin": begin, "end": end, "events": events, "rate": events / (end - begin),
        "cpu_us": per_event(spent, after, events), "threads_us": per_event(threads_before, threads_after, events),
        "memory_mib": dict(memory()), "log_bytes": (last[2] - first[2]) / events,
        "lag": {"first half": median(lags[:half]), "second half": median(lags[half:])},
        "checkpoint_ms": max(pipeline.flink.checkpoints(id)[-1].duration_ms for id in pipeline.ids.values()),
        "state_bytes": sum(pipeline.flink.checkpoints(id)[-1].size_bytes for id in pipeline.ids.values()),
    }  # fmt: skip


@main.command(hidden=True)
@click.argument("bootstrap")
@click.argument("about")
@click.argument("client")
def produce(bootstrap: str, about: str, client: str) -> None:
    """The producer, a process of its own: live until the watching is over, then the rest of the day."""
    given = json.loads(about)
    work = generate(shop(**given))
    next(work.records())
    out, closes = CLIENTS[client](bootstrap), given["opened_ms"] + given["seconds"] * 1000
    with tempfile.TemporaryDirectory() as folder:
        progress = sender.Progress(Path(folder) / "progress")
        click.echo("ready")
        stop = int(np.searchsorted(work.sent["at"], closes))
        sender.send(work, out, progress=progress, live=True, window=5_000, stop=stop)
        sys.stdin.readline()
        sender.send(work, out, progress=progress)
    out.close()


# ── Each stage alone ─────────────────────────────────────────────────────────────────────────────
_COLUMNS = "event_id, user_id, product_id, type, device, happened_at, sent_at"
_NOWHERE = """CREATE TEMPORARY TABLE nowhere (event_id STRING, user_id STRING, product_id STRING, type STRING,
  device STRING, happened_at TIMESTAMP_LTZ(3), sent_at TIMESTAMP_LTZ(3)) WITH ('connector' = 'blackhole');
INSERT INTO nowhere SELECT {columns} FROM {source}"""
STAGES = {  # each with all that is before it
    "read and parse": _NOWHERE.format(columns=_COLUMNS, source="clicks_raw"),
    "+ the contract": _NOWHERE.format(columns=_COLUMNS, source="clicks_checked WHERE reason IS NULL"),
    "+ first copy of each id": _NOWHERE.format(columns=_COLUMNS, source="clicks_once"),
    "+ rows into a table": "",  # the job's own INSERT
    "+ visits and dead letters: the job": None,
}


@main.command()
@click.option("--events", default=1_000_000, show_default=True)
def stages(events: int) -> None:
    """Producers into an idle broker, then parts of the job of clicks over the log that is there."""
    work, found = generate(Shop(events=events, rate=2_000, seed=3, users=30_000)), []
    next(work.records())
    with cluster(10.0) as here:
        pipeline = here.pipeline("warm", bounded=True)
        pipeline.start("sessions")  # makes the topics as well; over an empty log it ends at once
        admin = here.kafka.admin()
        topics.apply(admin, topics.design("other."))
        admin.close()
        for client, prefix in (("kafka-python", "other."), ("librdkafka", "shop.")):
            found.append(_send(work, here.kafka.bootstrap_servers, client, prefix))
        clicks = int((work.sent["topic"] == 0).sum())
        for name in ["warm-up", *STAGES]:
            namespace = re.sub(r"\W+", "_", name).strip("_")
            found.append(_stage(here, namespace, STAGES.get(name), clicks) | {"stage": name})
    kept("stages", {"events": events, "stages": [stage for stage in found if stage["stage"] != "warm-up"]})


def _send(work: Workload, bootstrap: str, client: str, prefix: str) -> dict:
    before, own, begun = cpu(), sum(psutil.Process().cpu_times()[:2]), time.perf_counter()
    out = CLIENTS[client](bootstrap)
    sender.send(work, out, prefix=prefix)
    out.close()
    seconds = time.perf_counter() - begun
    spent = per_event(before, cpu(), len(work))
    spent["producer"] = 1e6 * (sum(psutil.Process().cpu_times()[:2]) - own) / len(work)
    return {"stage": f"{client} to Kafka", "rate": len(work) / seconds,
            "cpu_us": {part: spent.get(part, 0.0) for part in ("producer", "Kafka", "TaskManager")}}  # fmt: skip


def _stage(here: SimpleNamespace, namespace: str, insert: str | None, records: int) -> dict:
    pipeline = here.pipeline(namespace, bounded=True)
    script = jobs.script("sessions", pipeline.settings)
    if insert is not None:
        insert = insert or re.search(r"INSERT INTO \S+\.clicks\s.*?;", script, re.S)[0]
        head = script[: script.index("EXECUTE STATEMENT SET")]
        script = head + insert
    tables.create(pipeline.lake, namespace)
    before = cpu()
    [id] = here.flink.submit(script)
    here.flink.wait_finished(id, seconds=240)
    spent = per_event(before, cpu(), records)
    about = here.flink.rest("GET", f"/jobs/{id}")
    seconds = (about["end-time"] - about["timestamps"]["RUNNING"]) / 1000
    parts = ("TaskManager", "Kafka")
    return {"rate": records / seconds, "cpu_us": {part: spent.get(part, 0.0) for part in parts}}


# ── The same by a batch job ──────────────────────────────────────────────────────────────────────
@main.command()
@click.option("--events", default=1_000_000, show_default=True)
def batch(events: int) -> None:
    """Clicks and visits by one Spark job over the log, against the bounded Flink job over the same log."""
    work = generate(Shop(events=events, rate=2_000, seed=3, users=30_000))
    with cluster(10.0) as here:
        pipeline = here.pipeline("warm", bounded=True)
        pipeline.start("sessions")
        out = CProducer(here.kafka.bootstrap_servers)
        sender.send(work, out)
        out.close()
        clicks, found = int((work.sent["topic"] == 0).sum()), {}
        for _ in range(2):  # the second is warm, as a job that runs all day is
            found["Flink"] = _stage(here, f"again{_}", None, clicks) | {"memory_mib": memory()["TaskManager"]}
        spark = services.spark(**{"spark.sql.shuffle.partitions": "4", "spark.sql.session.timeZone": "UTC"})
        for turn in range(2):
            before, begun = cpu(), time.perf_counter()
            visits = _spark(spark, here.kafka.bootstrap_servers, here.folder / f"spark{turn}")
            seconds, spent = time.perf_counter() - begun, per_event(before, cpu(), clicks)
        found["Spark"] = {"rate": clicks / seconds, "memory_mib": memory()["Spark"],
                          "cpu_us": {part: spent.get(part, 0.0) for part in ("Spark", "Kafka")}}  # fmt: skip
        rows = truth.sessions(work)
        if visits != (len(rows), int(rows["clicks"].sum())):
            raise click.ClickException(f"Spark's visits are {visits}, the truth is {len(rows), rows['clicks'].sum()}")
    kept("batch", {"events": events, "batch": found})


def _spark(session: Any, bootstrap: str, folder: Path) -> tuple[int, int]:
    """The contract, first copies, clicks and visits as Parquet; returns the number of visits and of clicks in them."""
    from pyspark.sql import functions as F

    texts = ("type", "version", "event_id", "user_id", "product_id", "device")
    log = session.read.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", "shop.clicks")
    schema = ", ".join(f"{name} STRING" for name in (*texts, "_corrupt_record")) + ", event_time BIGINT"
    read = log.load().select(
        "key", F.length("value").alias("size"), F.col("timestamp").alias("sent_at"),
        F.from_json(F.col("value").cast("string"), schema, {"mode": "PERMISSIVE"}).alias("e"),
    ).select("key", "size", "sent_at", "e.*")  # fmt: skip
    lead, lateness = (F.expr(f"INTERVAL {ms} MILLISECONDS") for ms in (300_000, 10_000))
    good = (
        read.withColumn("happened_at", F.timestamp_millis("event_time"))
        .where("_corrupt_record IS NULL")  # else what stands before a break would count
        .where("key IS NOT NULL AND size <= 16384 AND version IN ('1', '2') AND event_id <> '' AND user_id <> ''")
        .where(
            "type = 'page_viewed' OR"
            " (type IN ('product_viewed', 'cart_added', 'checkout_started') AND product_id <> '')"
        )
        .where("product_id IS NULL OR left(product_id, 1) NOT IN ('[', '{')")  # to Spark an array is text as well
        .where((F.col("event_time") >= 0) & (F.col("happened_at") <= F.col("sent_at") + lead))
    )
    kept_columns = ("sent_at", "user_id", "product_id", "type", "device", "happened_at")
    once = good.groupBy("event_id").agg(F.min(F.struct(*kept_columns)).alias("first")).select("event_id", "first.*")
    clicks = once.withColumn("late", F.col("happened_at") < F.col("sent_at") - lateness)
    clicks.write.parquet(str(folder / "clicks"))
    seen = session.read.parquet(str(folder / "clicks")).where("NOT late")
    visits = seen.groupBy("user_id", F.session_window("happened_at", "30 seconds").alias("visit")).agg(
        F.count("*").alias("clicks"),
        F.count_if(F.col("type") == "cart_added").alias("carts"),
        F.count_if(F.col("type") == "checkout_started").alias("checkouts"),
    )
    visits.write.parquet(str(folder / "visits"))
    one = session.read.parquet(str(folder / "visits")).agg(F.count("*"), F.sum("clicks")).collect()[0]
    return int(one[0]), int(one[1])


# ── The report ───────────────────────────────────────────────────────────────────────────────────
def dollars(us: float) -> float:
    """Dollars for a million events of `us` microseconds of CPU each."""
    return us / 3600 * CORE_HOUR


def held(run: dict) -> bool:
    """Whether a rate was held: sent as wanted, fresh enough, every row right, and no growing backlog."""
    grows = run["lag"]["second half"] > run["lag"]["first half"] + run["rate"]
    sent = run["rate"] > 0.97 * run["wanted"]
    return sent and not grows and run["age"]["p95"] <= FRESH_SECONDS and not run["wrong"]


def _figure(group: str, name: str, unit: str, value: float, limit: float | None = None, **peers: float) -> dict:
    met = None if limit is None else value <= limit
    return {"group": group, "name": name, "unit": unit, "value": value, "limit": limit, "met": met, "peers": peers}


def at(run: dict) -> str:
    """A run's rate, as it was reached."""
    return f"at {run['rate']:,.0f}/s"


def figures(found: dict[str, dict]) -> list[dict]:
    """The report's rows, from the parts."""
    ladder = sorted((run for name, run in found.items() if name.startswith("live-")), key=lambda run: run["wanted"])
    best = [run for run in ladder if held(run)][-1]
    intervals = [run for name, run in found.items() if name.startswith("interval-")]
    of = {run["wanted"] for run in intervals}
    intervals += [run for run in ladder if run["wanted"] in of]  # one of the ladder has the longest
    intervals.sort(key=lambda run: run["interval"])
    return [
        *_held_rows(best, ladder),
        *_part_rows(best, [run for run in ladder if run is not best]),
        *_stage_rows(found["stages"]["stages"]),
        *_interval_rows(intervals),
        *_bill_rows(best, found["batch"]["batch"]),
    ]


def _held_rows(best: dict, ladder: list[dict]) -> list[dict]:
    group, age = "the highest rate held", best["age"]
    total = lambda run: sum(run["cpu_us"].values())  # noqa: E731
    tried = [(f"{run['wanted']:,} a second, {'' if held(run) else 'not '}held", run) for run in ladder]
    return [
        _figure(group, "seconds for 20,000 events", "s", RATE_WANTED / best["rate"], 1.0),
        _figure(group, "click to visible row, p95", "s", age["p95"], FRESH_SECONDS, p50=age["p50"], p99=age["p99"]),
        _figure(group, "rows missing or extra", "rows", best["wrong"], **{"rows compared": best["rows"]}),
        *(
            _figure("every rate tried", name, "events/s", run["rate"],
                    **{"p50, s": run["age"]["p50"], "p95, s": run["age"]["p95"], "CPU, µs": total(run)})
            for name, run in tried
        ),
    ]  # fmt: skip


def _part_rows(best: dict, others: list[dict]) -> list[dict]:
    groups = {
        "CPU for an event": ("cpu_us", "µs"), "the TaskManager's threads": ("threads_us", "µs"),
        "memory": ("memory_mib", "MiB"), "bytes of an event": ("bytes", "B"),
    }  # fmt: skip
    return [
        _figure(f"{group}, {at(best)}", name, unit, value, **{at(run): run[key].get(name, 0.0) for run in others})
        for group, (key, unit) in groups.items()
        for name, value in best[key].items()
    ]


def _stage_rows(stages: list[dict]) -> list[dict]:
    return [
        _figure("each stage alone, with all before it", stage["stage"], "events/s", stage["rate"],
                **{f"CPU of {part}, µs": us for part, us in stage["cpu_us"].items()})
        for stage in stages
    ]  # fmt: skip


def _interval_rows(runs: list[dict]) -> list[dict]:
    return [
        _figure(f"a checkpoint every so often, {run['wanted']:,}/s", f"{run['interval']:g} s", "s to p95",
                run["age"]["p95"],
                **{"p50, s": run["age"]["p50"], "CPU, µs": sum(run["cpu_us"].values()),
                   "writing checkpoints, µs": run["threads_us"].get("writing checkpoints", 0.0)})
        for run in runs
    ]  # fmt: skip


def _bill_rows(best: dict, batch: dict[str, dict]) -> list[dict]:
    spent = {"the stream, with its producer": best["cpu_us"], "its TaskManager": {"": best["cpu_us"]["TaskManager"]}}
    spent |= {f"{name}, bounded, over the log of clicks": job["cpu_us"] for name, job in batch.items()}
    totals = {name: sum(parts.values()) for name, parts in spent.items()}
    return [
        _figure("a million events", name, "dollars of CPU", dollars(us), **{"CPU, s": us})
        for name, us in totals.items()
    ]


@main.command()
@click.option("--record", is_flag=True, help="Write benchmarks/results, for the book's page.")
def report(record: bool) -> None:
    """Put the parts together."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(PARTS.glob("*.json"))}
    result = {
        "topic": "pipeline", "title": "Real-time pipeline", "date": max(part["date"] for part in found.values()),
        "rounds": 1, "sizes": {"seconds a rate": round(STEADY_SECONDS)}, "load": round(os.getloadavg()[0], 1),
        "machine": facts(["confluent-kafka", "pyiceberg", "pyspark"]) | {"Flink": services.WANTED["flink"]},
        "races": [], "bounds": figures(found),
    }  # fmt: skip
    write(result, (RESULTS if record else SCRATCH) / "pipeline.json")
    for row in result["bounds"]:
        click.echo(f"{row['group']:45} {row['name']:45} {row['value']:12.4g} {row['unit']:10} {row['peers']}")


if __name__ == "__main__":
    main()
