"""How long the embedded services take to answer and to go, and what they weigh: `python benchmarks/services.py`.

Every repeat is a cold one: a new interpreter's first call, with import, jar checksums and a query answered, until
nothing of it is left. Bars: Redis 1 s, Kafka 12 s, Spark 15 s to the first answer; each gone within 5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ANSWERS = {
    "redis": "services.redis().ping()",
    "kafka": "admin = services.kafka().admin(); admin.list_topics(); admin.close()",
    "spark": "services.spark().range(100).count()",
}
BARS = {"redis": 1.0, "kafka": 12.0, "spark": 15.0}
GONE_BAR = 5.0
# "started" is the call itself, "answered" the first real request; memory is what the service adds, guardian included.
PROGRAM = """
import json, time
begin = time.perf_counter()
from principal_kit import services
services.{kind}()
started = time.perf_counter() - begin
{answer}
answered = time.perf_counter() - begin
import psutil
family = psutil.Process().children(recursive=True)
sizes = [p.memory_info() for p in family]
cpu = sum(sum(p.cpu_times()[:2]) for p in family)
begin = time.perf_counter()
services.stop_all()
gone = time.perf_counter() - begin
# A zombie is no process: Spark's launch script leaves one to whoever is process 1.
left = [p.pid for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
print(json.dumps(dict(started=started, answered=answered, gone=gone, cpu=cpu, left=left,
                      rss_mib=sum(s.rss for s in sizes) / 2**20)))
"""


def once(kind: str) -> dict:
    program = PROGRAM.format(kind=kind, answer=ANSWERS[kind])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PRINCIPAL_KIT_") or k.endswith("CACHE")}
    with tempfile.TemporaryDirectory() as nowhere:  # embedded, whatever `up` has started
        environment["PRINCIPAL_KIT_STATE"] = nowhere
        done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("_build/benchmarks/services.json"))
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    table = Table(
        title=f"Embedded services, median of {arguments.repeats} cold starts ({os.cpu_count()} cores, load {load:.1f})"
    )
    for column in (
        "service",
        "call returns s",
        "first answer s",
        "bar s",
        "CPU s",
        "gone s",
        "bar s",
        "RSS MiB",
        "left over",
    ):
        table.add_column(column, justify="left" if column == "service" else "right")
    results = {}
    for kind in ANSWERS:
        runs = [once(kind) for _ in range(arguments.repeats)]
        row = {
            key: statistics.median(r[key] for r in runs) for key in ("started", "answered", "gone", "cpu", "rss_mib")
        }
        row |= {"left": sum(len(r["left"]) for r in runs), "bar": BARS[kind], "gone_bar": GONE_BAR}
        results[kind] = row
        table.add_row(
            kind, f"{row['started']:.2f}", f"{row['answered']:.2f}", f"{BARS[kind]:g}", f"{row['cpu']:.1f}",
            f"{row['gone']:.2f}", f"{GONE_BAR:g}", f"{row['rss_mib']:.0f}", str(row["left"]),
        )  # fmt: skip
    Console().print(table)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"cores": os.cpu_count(), "load": load, "services": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
