"""Misra-Gries and Space-Saving against datasketches' frequent items in the same run.

Usage: python benchmarks/heavy_hitters.py [--keys N] [--repeats N] [--json PATH]

Both sides have 768 counters and start empty. The peer has no batch call: it is driven as fast as Python drives it, by
`map` over a list made beforehand. Ours gets the array, or the same list of strings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import datasketches
import numpy as np
from rich.console import Console
from rich.table import Table

from principal_kit.sketches import MisraGries, SpaceSaving

LG_MAX = 10  # a map of 1,024 places, of which datasketches uses three quarters
COUNTERS = 768
WANTED = {("MisraGries", "array"): 1.5, ("MisraGries", "scalar"): 0.1, ("SpaceSaving", "scalar"): 0.1}


def streams(keys: int) -> dict[str, np.ndarray]:
    """uint64 keys: Zipf of two skews, scattered over 64 bits, and keys that hardly ever repeat."""
    draw = np.random.default_rng(1)
    scatter = np.uint64(0x9E3779B97F4A7C15)
    zipf = {f"Zipf {skew}": draw.zipf(skew, keys).astype(np.uint64) * scatter for skew in (1.1, 1.3)}
    return {**zipf, "uniform": draw.integers(0, 2**64, keys, dtype=np.uint64)}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def drive(update: Callable[[object], None], keys: list) -> None:
    deque(map(update, keys), maxlen=0)


def calls(array: np.ndarray) -> dict[tuple[str, str], Callable[[], object]]:
    numbers, words = array.tolist(), [f"#{key:x}" for key in array.tolist()]
    found = {
        ("datasketches", "int"): lambda: drive(datasketches.frequent_items_sketch(LG_MAX).update, numbers),
        ("datasketches", "str"): lambda: drive(datasketches.frequent_strings_sketch(LG_MAX).update, words),
        ("Counter", "scalar"): lambda: Counter(numbers),
        ("Counter", "str"): lambda: Counter(words),
    }
    for kind in (MisraGries, SpaceSaving):
        found[kind.__name__, "array"] = lambda kind=kind: kind(COUNTERS).add_many(array)
        found[kind.__name__, "str"] = lambda kind=kind: kind(COUNTERS).add_many(words)
        found[kind.__name__, "scalar"] = lambda kind=kind: drive(kind(COUNTERS).add, numbers)
    return found


def measure(keys: int, repeats: int) -> list[dict]:
    rows = []
    for stream, array in streams(keys).items():
        contenders = calls(array)
        taken: dict[tuple[str, str], list[float]] = {name: [] for name in contenders}
        for _ in range(repeats + 1):  # in turn: on a shared machine the speed drifts
            for name, call in contenders.items():
                taken[name].append(seconds(call))
        for (name, path), times in taken.items():
            peer = taken["datasketches", "str" if path == "str" else "int"]
            ratio = statistics.median(p / own for p, own in zip(peer[1:], times[1:]))
            rows.append(
                {"stream": stream, "name": name, "path": path, "keys_per_s": keys / statistics.median(times[1:]),
                 "ratio": ratio, "wanted": WANTED.get((name, path))}
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("_build/benchmarks/heavy_hitters.json"))
    options = parser.parse_args()
    rows = measure(options.keys, options.repeats)
    table = Table(title=f"{options.keys:,} keys into {COUNTERS} counters")
    for heading in ("stream", "summary", "path", "M keys/s", "to datasketches", "wanted"):
        table.add_column(heading, justify="left" if heading in ("stream", "summary", "path") else "right")
    for row in rows:
        wanted = "" if row["wanted"] is None else f"≥ {row['wanted']} {'✓' if row['ratio'] >= row['wanted'] else '✗'}"
        table.add_row(
            row["stream"], row["name"], row["path"], f"{row['keys_per_s'] / 1e6:.2f}", f"{row['ratio']:.2f} ×", wanted
        )
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
