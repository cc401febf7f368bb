"""The t-digest against datasketches, fastdigest and crick in the same run: speed, and rank error over many seeds.

Usage: python benchmarks/t_digest.py [--values N] [--repeats N] [--seeds N] [--json PATH]

All have compression 100. datasketches 5.2.0 answers `get_quantile` with its interpolation weights swapped (mended later
upstream: apache/datasketches-java pull request 755), so `get_rank` at the exact quantile is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import crick
import datasketches
import fastdigest
import numpy as np
from rich.console import Console
from rich.table import Table

from principal_kit.sketches import TDigest

COMPRESSION = 100
QS = np.array([0.5, 0.95, 0.99, 0.999])
LAWS = {
    "lognormal": lambda draw, n: draw.lognormal(3.0, 1.0, n),
    "Pareto 1.5": lambda draw, n: draw.pareto(1.5, n) + 1.0,
}
WANTED = {("array", "datasketches"): 1.5, ("array", "fastdigest"): 1.0, ("single values", "datasketches"): 0.1}
CONTENDERS: dict[str, tuple[Callable, str, str]] = {  # constructor, batch method, scalar method
    "principal-kit": (lambda: TDigest(COMPRESSION), "add_many", "add"),
    "datasketches": (lambda: datasketches.tdigest_double(COMPRESSION), "update", "update"),
    "fastdigest": (lambda: fastdigest.TDigest(COMPRESSION), "batch_update", "update"),
    "crick": (lambda: crick.TDigest(COMPRESSION), "update", "add"),
}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ask(digest, q: float) -> float:
    return digest.get_quantile(q) if hasattr(digest, "get_quantile") else digest.quantile(q)


def timed_calls(values: np.ndarray) -> dict[tuple[str, str], Callable[[], object]]:
    """Each call starts from nothing and ends with an answer, so that nobody leaves work in a buffer."""

    def drive(make, method, pieces):
        digest = make()
        deque(map(getattr(digest, method), pieces), maxlen=0)
        return ask(digest, 0.5)

    thousands, numbers = np.array_split(values, max(1, len(values) // 1000)), values.tolist()
    calls = {}
    for name, (make, batch, scalar) in CONTENDERS.items():
        calls["array", name] = lambda make=make, batch=batch: drive(make, batch, [values])
        calls["1,000 at a time", name] = lambda make=make, batch=batch: drive(make, batch, thousands)
        calls["single values", name] = lambda make=make, scalar=scalar: drive(make, scalar, numbers)
    return calls


def speeds(values: np.ndarray, repeats: int) -> list[dict]:
    calls = timed_calls(values)
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(repeats + 1):  # in turn: on a shared machine the speed drifts; the first round warms up
        for key, call in calls.items():
            taken[key].append(seconds(call))
    rows = []
    for (path, name), times in taken.items():
        ours = taken[path, "principal-kit"]
        ratio = statistics.median(peer / own for peer, own in zip(times[1:], ours[1:]))
        rate = len(values) / statistics.median(times[1:])
        rows.append(
            {"path": path, "name": name, "values_per_s": rate, "ratio": ratio, "wanted": WANTED.get((path, name))}
        )
    return rows


def rank_errors(in_order: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """In parts per million."""
    low, high = (np.searchsorted(in_order, estimates, side) / len(in_order) for side in ("left", "right"))
    return 1e6 * np.maximum(0.0, np.maximum(low - QS, QS - high))


def ways(values: np.ndarray) -> dict[str, np.ndarray]:
    """The quantiles of every way to fill a digest."""
    parts = np.array_split(values, 100)

    def of(pieces, method="add_many") -> TDigest:
        digest = TDigest(COMPRESSION)
        deque(map(getattr(digest, method), pieces), maxlen=0)
        return digest

    digests = {
        "one batch": of([values]),
        "1,000 at a time": of(np.array_split(values, max(1, len(values) // 1000))),
        "single values": of(values.tolist(), "add"),
        "100 merged in a loop": of([of([part]) for part in parts], "merge"),
        "100 merged at once": TDigest(COMPRESSION).merge_many([of([part]) for part in parts]),
    }
    return {f"principal-kit, {way}": digest.quantile(QS) for way, digest in digests.items()}


def errors(count: int, seeds: int) -> list[dict]:
    """The greatest rank error of each quantile over all seeds, in ppm."""
    worst: dict[tuple[str, str], np.ndarray] = {}
    for law, draw in LAWS.items():
        for seed in range(seeds):
            values = draw(np.random.default_rng([seed, 20260101]), count)
            in_order = np.sort(values)
            found = {name: rank_errors(in_order, quantiles) for name, quantiles in ways(values).items()}
            for name in ("datasketches", "fastdigest", "crick"):
                make, batch, _ = CONTENDERS[name]
                peer = make()
                getattr(peer, batch)(values)
                found[f"{name}, one batch"] = rank_errors(in_order, np.array([ask(peer, q) for q in QS]))
                if name == "datasketches":
                    exact = np.quantile(in_order, QS, method="hazen")
                    ranks = np.array([peer.get_rank(x) for x in exact])
                    found["datasketches by get_rank, one batch"] = 1e6 * np.abs(ranks - QS)
            for name, found_errors in found.items():
                worst[law, name] = np.maximum(worst.get((law, name), 0.0), found_errors)
    return [{"law": law, "name": name, "ppm": ppm.round().tolist()} for (law, name), ppm in worst.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", type=Path, default=Path("_build/benchmarks/t_digest.json"))
    options = parser.parse_args()
    speed = speeds(LAWS["lognormal"](np.random.default_rng(1), options.values), options.repeats)
    table = Table("path", "digest", "M values/s", "ours is faster by", "wanted", title=f"{options.values:,} float64")
    for row in speed:
        ok = "" if row["wanted"] is None else f"≥ {row['wanted']} {'✓' if row['ratio'] >= row['wanted'] else '✗'}"
        table.add_row(row["path"], row["name"], f"{row['values_per_s'] / 1e6:.1f}", f"{row['ratio']:.2f} ×", ok)
    Console().print(table)
    error = errors(options.values, options.seeds)
    title = f"greatest rank error in ppm over {options.seeds} seeds"
    table = Table("law", "digest", *(f"P{100 * q:g}" for q in QS), title=title)
    for row in error:
        table.add_row(row["law"], row["name"], *(f"{ppm:,.0f}" for ppm in row["ppm"]))
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"speed": speed, "rank_error": error}, indent=1))


if __name__ == "__main__":
    main()
