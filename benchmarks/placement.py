"""Placement against uhashring in the same run.

Usage: python benchmarks/placement.py [--keys N] [--repeats N] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import uhashring
from rich.console import Console
from rich.table import Table

from principal_kit.placement import HashRing, JumpHash, Maglev, Modulo, Rendezvous

NODES = [f"cache-{number}" for number in range(10)]
SCALAR_KEYS = 100_000
TARGETS = {("HashRing", "batch, text"): 10, ("HashRing", "batch, uint64"): 50, ("HashRing", "scalar, text"): 2}


def rate(call: Callable[[], object], keys: int, repeats: int) -> float:
    """Keys per second, the median of `repeats` runs after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return keys / statistics.median(times)


def measure(keys: int, repeats: int) -> list[dict]:
    text = [f"user:{number}" for number in range(keys)]
    numbers = np.random.default_rng(1).integers(0, 2**64, keys, dtype=np.uint64)
    few = text[:SCALAR_KEYS]
    peer = uhashring.HashRing(NODES, vnodes=128)
    rows = []

    def record(name: str, path: str, call: Callable[[], object], count: int) -> None:
        # the peer is measured again beside every row: on a shared machine the clock speed drifts
        base = rate(lambda: [peer.get_node(key) for key in few], len(few), repeats)
        own = rate(call, count, repeats)
        wanted = TARGETS.get((name, path))
        rows.append(
            {"placement": name, "path": path, "keys_per_s": own, "peer_keys_per_s": base,
             "ratio": own / base, "wanted": wanted}
        )  # fmt: skip

    for placement in (HashRing(NODES), JumpHash(NODES), Rendezvous(NODES), Maglev(NODES), Modulo(NODES)):
        name = type(placement).__name__
        record(name, "scalar, text", lambda p=placement: [p.node_for(key) for key in few], len(few))
        record(name, "batch, text", lambda p=placement: p.nodes_for_many(text), keys)
        record(name, "batch, uint64", lambda p=placement: p.nodes_for_many(numbers), keys)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("_build/benchmarks/placement.json"))
    options = parser.parse_args()
    rows = measure(options.keys, options.repeats)
    table = Table(title=f"Lookups a second, {len(NODES)} nodes, {options.keys:,} keys, hashing included")
    for heading in ("placement", "path", "M keys/s", "uhashring M/s", "ratio", "wanted"):
        table.add_column(heading, justify="left" if heading in ("placement", "path") else "right")
    for row in rows:
        wanted = "" if row["wanted"] is None else f"≥ {row['wanted']} {'✓' if row['ratio'] >= row['wanted'] else '✗'}"
        table.add_row(
            row["placement"], row["path"], f"{row['keys_per_s'] / 1e6:.2f}", f"{row['peer_keys_per_s'] / 1e6:.2f}",
            f"{row['ratio']:.1f} ×", wanted,
        )  # fmt: skip
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
