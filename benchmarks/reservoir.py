"""Reservoir sampling against random.sample and numpy's choice on data that is there, and var_opt on a stream.

    python benchmarks/reservoir.py [--elements N] [--rounds N] [--only TEXT] [--record]

`random.sample` and `Generator.choice` need all elements in memory and their number; the reservoir does not. That they
are shown beside it answers "what do I pay for not knowing n". `heapq.nsmallest` by a random key and Algorithm R are the
usual ways to write a reservoir in Python. datasketches' var_opt is the peer for streams; it takes one element a call.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from functools import partial

import datasketches
import numpy as np
from side_by_side import Bound, Case, run, stateless

from principal_kit.sketches import Reservoir, WeightedReservoir

SIZES = (100, 10_000)


def algorithm_r(elements: list, k: int) -> list:
    """The textbook: element i takes a place with probability k / i. A random number for each element."""
    draw, kept = random.Random(1).random, []
    for i, x in enumerate(elements):
        if i < k:
            kept.append(x)
        elif (place := int(draw() * (i + 1))) < k:
            kept[place] = x
    return kept


def by_key(elements: list, k: int) -> list:
    draw = random.Random(1).random
    return heapq.nsmallest(k, elements, key=lambda _: draw())


def one_by_one(make: Callable[[], object], method: str, elements: list) -> object:
    sketch = make()
    deque(map(getattr(sketch, method), elements), maxlen=0)
    return sketch


def pairs(make: Callable[[], object], method: str, elements: list, weights: list) -> object:
    sketch = make()
    deque(map(getattr(sketch, method), elements, weights), maxlen=0)
    return sketch


def batch(make: Callable[[], object], parts: list) -> object:
    sketch = make()
    for part in parts:
        sketch.add_many(*part)
    return sketch


def materialised(array: np.ndarray, k: int) -> np.ndarray:
    return np.random.default_rng(1).choice(array, k, replace=False)


def without_replacement(array: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    return np.random.default_rng(1).choice(array, k, replace=False, p=weights / weights.sum())


def uniform(array: np.ndarray, k: int) -> list[Case]:
    listed, count = array.tolist(), len(array)
    make, peer = partial(Reservoir, k, seed=1), partial(datasketches.var_opt_sketch, k)
    known = {
        "numpy choice, n known": stateless(partial(materialised, array, k)),
        "random.sample, n known": stateless(partial(random.Random(1).sample, listed, k)),
    }
    scalar = {
        "Algorithm R": stateless(partial(algorithm_r, listed, k)),
        "heapq.nsmallest": stateless(partial(by_key, listed, k)),
        "datasketches var_opt": stateless(partial(one_by_one, peer, "update", listed)),
    }
    thousands = [(part,) for part in np.array_split(array, max(1, count // 1000))]
    group = f"uniform, k = {k:,}"
    return [
        Case("int64 array", group, count, stateless(partial(batch, make, [(array,)])), {**known, **scalar},
             {"Algorithm R": 5}, "elements"),
        Case("list", group, count, stateless(partial(batch, make, [(listed,)])), scalar,
             {"Algorithm R": 5}, "elements"),
        Case("1,000 at a time", group, count, stateless(partial(batch, make, thousands)), scalar, unit="elements"),
        Case("one by one", group, count, stateless(partial(one_by_one, make, "add", listed)), scalar,
             {"datasketches var_opt": 0.1}, "elements"),
    ]  # fmt: skip


def weighted(array: np.ndarray, k: int) -> list[Case]:
    listed, count = array.tolist(), len(array)
    weights = np.random.default_rng(2).pareto(1.5, count) + 0.1
    heavy = weights.tolist()
    make, peer = partial(WeightedReservoir, k, seed=1), partial(datasketches.var_opt_sketch, k)
    stream = {"datasketches var_opt": stateless(partial(pairs, peer, "update", listed, heavy))}
    known = {"numpy choice, n known": stateless(partial(without_replacement, array, weights, k))}
    group = f"weighted, k = {k:,}"
    return [
        Case("arrays", group, count, stateless(partial(batch, make, [(array, weights)])), {**known, **stream},
             {"datasketches var_opt": 1.0}, "elements"),
        Case("one by one", group, count, stateless(partial(pairs, make, "add", listed, heavy)), stream,
             {"datasketches var_opt": 0.1}, "elements"),
    ]  # fmt: skip


def merging(k: int, parts: int) -> Bound:
    """How far the share of the first of two merged streams (1 : 3) is from a quarter, in standard errors."""

    def measure() -> tuple[float, dict[str, float]]:
        shares = []
        for rng in np.random.default_rng(3).spawn(parts):
            pair = [Reservoir(k, child) for child in rng.spawn(2)]
            for i, one in enumerate(pair):
                one.add_many(np.full((2 * i + 1) * 10_000, i))
            shares.append(np.mean([x == 0 for x in pair[0].merge(pair[1]).sample]))
        error = np.sqrt(0.25 * 0.75 / k * (40_000 - k) / 39_999 / parts)
        return abs(np.mean(shares) - 0.25) / error, {"equal halves": 0.25 / error}

    return Bound("merge of 1 : 3, share of the first", "uniform", "standard errors", 5.0, measure)


def build(elements: int) -> list[Case | Bound]:
    array = np.random.default_rng(1).integers(0, 2**62, elements)
    found: list[Case | Bound] = []
    for k in SIZES:
        found += uniform(array, k) + weighted(array, k)
    found.append(merging(200, 200))
    return found


if __name__ == "__main__":
    run("reservoir", "Reservoir sampling", build, sizes={"elements": 1_000_000}, packages=("datasketches", "numpy"))
