"""A crawler's URL deduplicator over a billion URLs: wall time, peak memory, false positives, in one process.

    python benchmarks/url_dedup.py [--urls N] [--fpr P] [--record]

Seven URLs in ten are new pages. The truth is known by construction (see `course.workloads.urls`), so every answer of
the filter is checked. `--record` keeps the figures in data/runs/url-dedup-1b.json, which chapter 1.1 reads.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from principal_kit.course.record import record
from principal_kit.course.workloads.urls import crawl, urls
from principal_kit.sketches import BlockedBloomFilter
from principal_kit.sketches.first_seen import FirstSeen

REPEATS = 0.3
STRANGERS = 4_000_000
REPORT = 50_000_000


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=float, default=10_000_000)
    parser.add_argument("--fpr", type=float, default=0.01)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    count = int(options.urls)
    # capacity: the new pages, with four standard deviations to spare
    capacity = int(count * (1 - REPEATS) + 4 * (count * REPEATS * (1 - REPEATS)) ** 0.5)
    seen = FirstSeen(BlockedBloomFilter(capacity, options.fpr))
    start, done, pages, lost, fetched, following, steps = time.perf_counter(), 0, 0, 0, 0, REPORT, []
    for batch, new in crawl(count, repeats=REPEATS, seed=7):
        fresh = seen.fresh(batch)
        done, pages = done + batch.size, pages + int(new.sum())
        lost, fetched = lost + int((new & ~fresh).sum()), fetched + int((fresh & ~new).sum())
        if done >= following or done == count:
            following += REPORT
            steps.append(
                {"urls": done, "seconds": round(time.perf_counter() - start, 1), "peak_mib": round(peak_mib())}
            )
            print(f"{done:>13,} URLs  {steps[-1]['seconds']:8.1f} s  peak {steps[-1]['peak_mib']:,} MiB", flush=True)
    seconds, peak = time.perf_counter() - start, peak_mib()
    strangers = urls(np.arange(pages, pages + STRANGERS))
    figures = {
        "urls": count,
        "pages": pages,
        "seconds": round(seconds, 1),
        "urls_per_second": round(count / seconds),
        "peak_mib": round(peak),
        "filter_mib": round(seen.filter.nbytes / 2**20),
        "design_fpr": options.fpr,
        "fpr_at_capacity": round(seen.filter.measured_fpr(strangers), 6),
        "pages_lost": round(lost / pages, 6),
        "repeats_fetched": fetched,
        "steps": steps,
    }
    for name, value in figures.items():
        if name != "steps":
            print(f"{name:16} {value:,}")
    if options.record:
        record("url-dedup-1b", figures, how=f"python benchmarks/url_dedup.py --urls {options.urls:g} --record")


if __name__ == "__main__":
    main()
