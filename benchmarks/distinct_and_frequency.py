"""HyperLogLog, Count-Min and PCSA against datasketches: speed, and error over thousands of trials against theory.

    python benchmarks/distinct_and_frequency.py [--keys N] [--trials N] [--rounds N] [--only TEXT] [--record]

HyperLogLog has 4,096 registers on both sides, Count-Min 5 rows of 4,096 counters. The peers have no batch call: they
are driven as fast as Python drives them, by `map` over a list made beforehand. Every run ends with an answer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial

import datasketches
import numpy as np
from side_by_side import Bound, Case, run, stateless

from principal_kit.sketches import CountMinSketch, FlajoletMartin, HyperLogLog

PRECISION = 12
ROWS, WIDTH = 5, 1 << 12
ASKED = "principal"
WANTED = {
    ("HyperLogLog", "uint64 array"): 5.0,
    ("Count-Min", "uint64 array"): 4.0,
    ("HyperLogLog", "list of strings"): 1.0,
    ("Count-Min", "list of strings"): 1.0,
    ("HyperLogLog", "single keys"): 0.1,
    ("Count-Min", "single keys"): 0.1,
}
HLL_SIZES = (256, 500, 520, 2_048, 4_096, 10_240, 12_288, 40_960)  # 512 registers in use end the sparse form


def count_min(**more: bool) -> CountMinSketch:
    return CountMinSketch(math.e / WIDTH, 0.01, **more)


PEERS = {
    "HyperLogLog": (lambda: datasketches.hll_sketch(PRECISION), lambda peer: peer.get_estimate()),
    "Count-Min": (lambda: datasketches.count_min_sketch(ROWS, WIDTH), lambda peer: peer.get_estimate(ASKED)),
}
OURS = {
    "HyperLogLog": (lambda: HyperLogLog(PRECISION), lambda own: own.estimate()),
    "Count-Min": (count_min, lambda own: own.estimate(ASKED)),
}


def filled(make: Callable, ask: Callable, method: str, keys) -> None:
    """From nothing to an answer; a list goes in key by key unless the method takes many."""
    sketch = make()
    call = getattr(sketch, method)
    if method == "add_many":
        call(keys)
    else:
        deque(map(call, keys), maxlen=0)
    ask(sketch)


def streams(keys: int) -> dict[str, np.ndarray]:
    """Keys below 2^63, which both sides take: nearly all different, and Zipf scattered over the range."""
    draw = np.random.default_rng(1)
    zipf = draw.zipf(1.1, keys).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(1)
    return {"different": draw.integers(0, 2**63, keys, dtype=np.uint64), "Zipf 1.1": zipf}


def races(keys: int) -> list[Case]:
    found = []
    for stream, array in streams(keys).items():
        numbers, words = array.tolist(), [f"user-{key:x}" for key in array.tolist()]
        for group, (make, ask) in OURS.items():
            paths = {
                "uint64 array": (array, numbers, "add_many"),
                "list of strings": (words, words, "add_many"),
                "single keys": (numbers, numbers, "add"),
            }
            for path, (own_keys, peer_keys, method) in paths.items():
                peer = partial(filled, *PEERS[group], "update", peer_keys)
                wanted = {"datasketches": WANTED[group, path]} if stream == "different" else {}
                ours = stateless(partial(filled, make, ask, method, own_keys))
                found.append(Case(f"{path}, {stream}", group, keys, ours, {"datasketches": stateless(peer)}, wanted))
    array = streams(keys)["different"]
    careful = array[: keys // 10]
    peer = partial(filled, *PEERS["Count-Min"], "update", careful.tolist())
    ours = partial(filled, partial(count_min, conservative=True), OURS["Count-Min"][1], "add_many", careful)
    found.append(
        Case("conservative", "Count-Min", careful.size, stateless(ours), {"datasketches": stateless(peer)}, {})
    )
    return found


def off_theory(kind: Callable, keys: int, trials: int, theory: float) -> tuple[float, dict[str, float]]:
    """How far the standard error over `trials` seeds is from theory, in per cent, on the keys 0, 1, 2 …"""
    stream, found = np.arange(keys), np.empty(trials)
    for seed in range(trials):
        sketch = kind(seed=seed)
        sketch.add_many(stream)
        found[seed] = sketch.estimate()
    return 100 * abs(found.std() / keys / theory - 1), {}


def least_error(keys: int, precision: int) -> float:
    """What the registers allow an unbiased estimator, as `tests/sketches/test_hyperloglog.py` derives it."""
    size, ranks = 1 << precision, 2.0 ** -np.arange(1, 65 - precision)
    mean = keys / size
    odds = np.r_[np.exp(-mean), np.exp(-mean * ranks) * -np.expm1(-mean * ranks)]
    slope = np.r_[-np.exp(-mean), -ranks * np.exp(-mean * ranks) + 2 * ranks * np.exp(-2 * mean * ranks)]
    known = odds > 0
    information = size * mean**2 * (slope[known] ** 2 / odds[known]).sum()
    return math.sqrt(1 / information - 1 / keys)


def violations(trials: int) -> tuple[float, dict[str, float]]:
    """Share of keys, in per cent, whose estimate is too high by more than epsilon total; delta is 5 %."""
    broken, asked = [], np.arange(10**15, 10**15 + 1_000)
    for seed in range(trials):
        sketch = CountMinSketch(0.01, 0.05, seed=seed)
        sketch.add_many(np.arange(10_000))
        broken.append((sketch.estimate_many(asked) > 100).mean())
    return 100 * float(np.mean(broken)), {}


def bounds(trials: int) -> list[Bound]:
    hll = partial(HyperLogLog, PRECISION)
    found = [
        Bound(
            f"HyperLogLog, {keys:,} keys", "Standard error, distance from theory", "%", 5.0,
            partial(off_theory, hll, keys, trials, least_error(keys, PRECISION)),
        )
        for keys in HLL_SIZES
    ]  # fmt: skip
    pcsa = partial(off_theory, partial(FlajoletMartin, 256), 25_600, trials, 0.777 / 16)
    found.append(Bound("PCSA, 25,600 keys in 256 bitmaps", "Standard error, distance from theory", "%", 5.0, pcsa))
    found.append(Bound("Count-Min", "Keys beyond epsilon", "%", 5.0, partial(violations, trials // 10)))
    return found


def cases(keys: int, trials: int) -> list[Case | Bound]:
    return [*races(keys), *bounds(trials)]


if __name__ == "__main__":
    sizes = {"keys": 1_000_000, "trials": 3_000}
    run("distinct_and_frequency", "Distinct counts and frequencies", cases, sizes=sizes, packages=["datasketches"])
