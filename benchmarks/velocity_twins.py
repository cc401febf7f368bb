"""One rule as SQL and as a Python process function: the TaskManager's CPU for an order. Chapter 2.1's comparison.

    python benchmarks/velocity_twins.py [--events N] [--record]

Three jobs read the same orders, one after the other: `MATCH_RECOGNIZE`, PyFlink in the TaskManager's own process
(thread mode), and PyFlink in a process beside it, its default. A third of the orders warms each up; the others are
measured in three parts. Their alerts must be the truth's. `--record` keeps it all in data/runs/velocity-twins.json.
Takes about three minutes and wants PyFlink's environment (`scripts/pyflink.sh`).
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil

from principal_kit import services
from principal_kit.course.record import record
from principal_kit.platform import audit, jobs, sender, truth
from principal_kit.platform.pipeline import Pipeline
from principal_kit.platform.shop import ORDERS, TOPICS, Shop, Workload, generate

TWINS = ("sql", "python_thread", "python_process")
PARTS, SECONDS_A_PART = 3, 300.0


def cpu(process: psutil.Process) -> float:
    """Seconds of a process and of all below it, as the one that runs PyFlink's default mode."""
    return sum(sum(p.cpu_times()[:2]) for p in (process, *process.children(recursive=True)))


def start(name: str, pipeline: Pipeline, folder: Path) -> str:
    if name == "sql":
        [id] = pipeline.flink.submit(jobs.velocity_in_sql(pipeline.settings))
        return id
    mode = name.removeprefix("python_")
    return jobs.velocity_in_python(pipeline.flink, pipeline.settings, folder, **{"python.execution-mode": mode})


def microseconds(pipeline: Pipeline, orders: Workload, worker: psutil.Process, begin: int, end: int) -> float:
    """CPU for an order, from the first sent to the last in a checkpoint."""
    before = cpu(worker)
    out = sender.producer(pipeline.settings.bootstrap)
    position = sender.Progress(Path(tempfile.mkdtemp()) / "position")
    position.write(begin)
    sender.send(orders, out, progress=position, prefix=pipeline.settings.prefix, stop=end)
    out.close()
    pipeline.wait_read(int(orders.sent["at"].iloc[end - 1]), seconds=SECONDS_A_PART)
    return 1e6 * (cpu(worker) - before) / (end - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=600_000, help="of the shop; one in twenty is an order")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    services.flink_python()
    day = generate(Shop(events=options.events, seed=7))
    orders = replace(day, sent=day.sent[day.sent["topic"] == TOPICS.index(ORDERS)])
    warm, expected = len(orders) // 3, truth.fraud_alerts(orders).query("rule == 'velocity'")
    cuts = [warm + (len(orders) - warm) * part // PARTS for part in range(PARTS + 1)]
    figures: dict[str, object] = {"orders_measured": len(orders) - warm, "alerts": len(expected)}
    with (
        services.kafka(fresh=True) as kafka,
        services.postgres(fresh=True) as postgres,
        services.flink(fresh=True) as flink,
        tempfile.TemporaryDirectory(prefix="twins-", ignore_cleanup_errors=True) as folder,
    ):
        worker = psutil.Process(flink.task_manager.pid)
        place = {"bootstrap": kafka.bootstrap_servers, "dsn": postgres.dsn, "warehouse": f"file://{folder}/lake"}
        for name in TWINS:
            pipeline = Pipeline(kafka, flink, jobs.Settings(**place, prefix=f"{name}.", namespace=f"twin_{name}"))
            pipeline.prepare()
            pipeline.ids["fraud"] = start(name, pipeline, Path(folder))
            flink.wait_running(pipeline.ids["fraud"])
            microseconds(pipeline, orders, worker, 0, warm)
            parts = [microseconds(pipeline, orders, worker, a, b) for a, b in itertools.pairwise(cuts)]
            pipeline.settle(int(orders.sent["at"].max()) + sender.CLOSING_MS)
            assert audit.compare("fraud_alerts", pipeline.read("fraud_alerts"), expected).exact, name
            pipeline.stop()
            figures[f"{name}_us"] = round(statistics.median(parts))
            figures[f"{name}_parts_us"] = [round(part) for part in parts]
            print(
                f"{name:16} {figures[f'{name}_us']:6,} µs an order, in parts {figures[f'{name}_parts_us']}", flush=True
            )
    if options.record:
        print(record("velocity-twins", figures, how="python benchmarks/velocity_twins.py --record"))


if __name__ == "__main__":
    main()
