"""External sort against GNU sort, polars, DuckDB and a copy of the file; and the runs that fit the I/O model.

    python benchmarks/external_sort.py [--records N] [--limit MIB] [--rounds N] [--only TEXT] [--record]
    python benchmarks/external_sort.py model     # writes data/runs/external-sort-4gb.json; takes 16 GB of disk

Records are printable lines of 100 bytes, so that every contender sorts the same file, each in a process of its own. The
bar: at most 0.8 of GNU sort's time (a ratio of 1.25 or more), and anonymous memory of at most the limit + 64 MiB.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from side_by_side import SCRATCH, Bound, Case, run

from principal_kit.core.errors import MissingPrerequisite
from principal_kit.course.record import record
from principal_kit.course.workloads import records
from principal_kit.streaming import SortObserver, external_sort

OURS = """
import sys
from principal_kit.streaming import external_sort
external_sort(*sys.argv[1:3], slice(0, 10), {limit} << 20)
"""
POLARS = """
import sys, polars as pl
text = pl.scan_csv(sys.argv[1], has_header=False, separator="\\x01", quote_char=None, schema={{"line": pl.String}})
text.sort("line").sink_csv(sys.argv[2], include_header=False, quote_style="never")
"""
DUCKDB = """
import sys, duckdb
source, target, spill = sys.argv[1:]
raw = "header=false, delim='\x01', quote='', escape=''"
with duckdb.connect(config={{"threads": 2, "memory_limit": "{limit}MiB", "temp_directory": spill}}) as db:
    db.execute("set enable_progress_bar = false")
    db.execute("set preserve_insertion_order = false")
    lines = f"select * from read_csv('{{source}}', columns={{{{'line': 'VARCHAR'}}}}, {{raw}})"
    db.execute(f"copy ({{lines}} order by line) to '{{target}}' ({{raw.replace('=', ' ')}})")
"""


def command(name: str, source: Path, target: Path, limit: int) -> list[str]:
    gnu = shutil.which("sort") or "sort"
    script = {"ours": OURS, "polars": POLARS, "DuckDB": DUCKDB}.get(name, "").format(limit=limit)
    files = [str(source), str(target)]
    return {
        "GNU sort": [gnu, "-S", f"{limit}M", "--parallel=2", "-T", str(target.parent), "-o", files[1], files[0]],
        "copy": ["cp", *files],
    }.get(name, [sys.executable, "-c", script, *files, str(target.parent / "spill")])


def contender(name: str, source: Path, limit: int) -> Callable[[], Callable[[], object]]:
    def setup() -> Callable[[], object]:
        target = source.with_name("out")
        target.unlink(missing_ok=True)
        os.sync()  # what an earlier contender left to be written is not this one's to wait for
        line = command(name, source, target, limit)
        return lambda: subprocess.run(line, env=os.environ | {"LC_ALL": "C"}, check=True)

    return setup


def peak_mib(name: str, source: Path, limit: int) -> float:
    """Peak anonymous memory of a contender's process, sampled every five milliseconds."""
    line = command(name, source, source.with_name("out"), limit)
    source.with_name("out").unlink(missing_ok=True)
    peak = 0
    with subprocess.Popen(line, env=os.environ | {"LC_ALL": "C"}) as process:
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"{name} failed")
    return peak / 2**20


def anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # gone
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon")), 0)


@cache
def folder() -> tempfile.TemporaryDirectory:
    """On the project's disk, deleted at the end."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="sort-", dir=SCRATCH)


def source_file(count: int, payload: str = "lines") -> Path:
    path = Path(folder().name, f"{payload}-{count}")
    if shutil.disk_usage(folder().name).free < 4 * count * records.SIZE:
        raise MissingPrerequisite(f"{4 * count * records.SIZE / 1e9:.0f} GB of free disk are needed")
    records.write(path, count, seed=1, payload=payload)
    return path


def build(records: int, limit: int) -> list[Case | Bound]:
    source = source_file(records)
    out, gnu = source.with_name("out"), source.with_name("gnu")
    subprocess.run(command("ours", source, out, limit), check=True)
    subprocess.run(command("GNU sort", source, gnu, limit), env=os.environ | {"LC_ALL": "C"}, check=True)
    if not filecmp.cmp(out, gnu, shallow=False):
        raise RuntimeError("ours and GNU sort disagree")
    gnu.unlink()
    size = f"{records / 1e7:g} GB, limit {limit} MiB"
    peers = {
        "GNU sort": "GNU sort",
        "polars, no limit": "polars",
        "DuckDB": "DuckDB",
        "file copy": "copy",
    }

    def peaks() -> tuple[float, dict[str, float]]:
        return peak_mib("ours", source, limit), {
            label: peak_mib(name, source, limit) for label, name in peers.items() if name != "copy"
        }

    setups = {label: contender(name, source, limit) for label, name in peers.items()}
    return [
        Case(size, "external sort", records, contender("ours", source, limit), setups, {"GNU sort": 1.25}, "records"),
        Bound(f"peak anonymous memory, {size}", "external sort", "MiB", limit + 64, peaks),
    ]


# ── the runs behind the I/O model ────────────────────────────────────────────────────────────────
MODEL_LIMIT = 128 << 20
MODEL_SIZES_MB = (256, 512, 1000, 4000)


class Phases(SortObserver):
    """When the last run was spilled."""

    def spilled(self, runs: int) -> None:
        self.runs_done = time.perf_counter()


def timed(source: Path, compression: str | None = None) -> dict:
    os.sync()
    phases, peak, done = Phases(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous(os.getpid()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    out = source.with_name("out")
    stats = external_sort(source, out, records.KEY, MODEL_LIMIT, compression, observer=phases)
    end = time.perf_counter()
    done.set()
    watcher.join()
    out.unlink()
    return {
        "runs_seconds": phases.runs_done - start,
        "merge_seconds": end - phases.runs_done,
        "seconds": end - start,
        "peak_mib": peak[0] / 2**20,
        "runs": stats.runs,
        "passes": stats.passes,
        "merge_width": stats.merge_width,
        "bytes_moved": stats.bytes_read + stats.bytes_written,
        "bytes_spilled": stats.bytes_spilled,
    }


def median_of(measure: Callable[[], dict], times: int) -> dict:
    found = [measure() for _ in range(times)]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def disk_mb_per_second() -> dict[str, float]:
    """Of the disk itself, not of the page cache: write and wait for the disk; drop from the cache and read."""
    path, block, count = Path(folder().name, "disk"), os.urandom(1 << 20), 2000
    with open(path, "wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(count):
            file.write(block)
        os.fsync(file.fileno())
        written = time.perf_counter() - start
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with open(path, "rb", buffering=0) as file:
        start = time.perf_counter()
        while file.read(1 << 20):
            pass
        read = time.perf_counter() - start
    path.unlink()
    return {"write": count * 1.048576 / written, "read": count * 1.048576 / read}


def model() -> None:
    load = os.getloadavg()[0]
    sizes = {}
    for megabytes in MODEL_SIZES_MB:
        source = source_file(megabytes * 10_000, "random")
        before = records.summary(source)
        sizes[str(megabytes)] = median_of(partial(timed, source), 3)
        external_sort(source, source.with_name("out"), records.KEY, MODEL_LIMIT)
        after = records.summary(source.with_name("out"))
        if not after.in_order or (after.records, after.checksum) != (before.records, before.checksum):
            raise RuntimeError(f"the sort of {megabytes} MB is wrong")
        source.unlink()
        source.with_name("out").unlink()
        print(megabytes, "MB", sizes[str(megabytes)])
    compressed = {}
    for payload in ("random", "text"):
        source = source_file(10_000_000, payload)
        compressed[payload] = {
            how or "none": median_of(partial(timed, source, how), 3) for how in (None, "lz4", "zstd")
        }
        source.unlink()
        print(payload, compressed[payload])
    values = {
        "limit_mib": MODEL_LIMIT >> 20,
        "by_megabytes": sizes,
        "gigabyte_by_payload_and_compression": compressed,
        "disk_mb_per_second": disk_mb_per_second(),
        "load_before": load,
    }
    print(record("external-sort-4gb", values, how="python benchmarks/external_sort.py model").name)


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["model"]:
            model()
        else:
            sizes = {"records": 20_000_000, "limit": 256}
            run("external_sort", "External sort", build, sizes=sizes, packages=["duckdb", "polars"], rounds=3)
    finally:
        folder().cleanup()
