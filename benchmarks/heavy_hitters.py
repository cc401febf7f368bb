"""Misra-Gries and Space-Saving against datasketches' frequent items and Python's exact Counter.

    python benchmarks/heavy_hitters.py [--keys N] [--rounds N] [--only TEXT] [--record]

All sketches have 768 counters and start empty. The peer has no batch call: it is driven as fast as Python drives it, by
`map` over a list made beforehand. Ours gets the array, or the same list of strings.
"""

from __future__ import annotations

from collections import Counter, deque
from functools import partial

import datasketches
import numpy as np
from side_by_side import Case, Setup, run, stateless

from principal_kit.sketches import MisraGries, SpaceSaving

LG_MAX = 10  # a map of 1,024 places, of which datasketches uses three quarters
COUNTERS = 768
GROUPS = {"Misra-Gries": MisraGries, "Space-Saving": SpaceSaving}
WANTED = {
    ("Misra-Gries", "uint64 array"): 1.5,
    ("Misra-Gries", "single keys"): 0.1,
    ("Space-Saving", "single keys"): 0.1,
}


def streams(keys: int) -> dict[str, np.ndarray]:
    """uint64 keys: Zipf of two skews, scattered over 64 bits, and keys that hardly ever repeat."""
    draw = np.random.default_rng(1)
    scatter = np.uint64(0x9E3779B97F4A7C15)
    zipf = {f"Zipf {skew}": draw.zipf(skew, keys).astype(np.uint64) * scatter for skew in (1.1, 1.3)}
    return {**zipf, "uniform": draw.integers(0, 2**64, keys, dtype=np.uint64)}


def driven(make, method: str, keys: list) -> Setup:
    """One call a key, as fast as Python makes them, into a sketch that `make` returns."""
    return lambda: partial(deque, map(getattr(make(), method), keys), maxlen=0)


def batch(make, keys) -> Setup:
    return lambda: partial(make().add_many, keys)


def cases(keys: int) -> list[Case]:
    found = []
    for stream, array in streams(keys).items():
        numbers, words = array.tolist(), [f"#{key:x}" for key in array.tolist()]
        of_numbers = {"datasketches": driven(partial(datasketches.frequent_items_sketch, LG_MAX), "update", numbers)}
        of_words = {"datasketches": driven(partial(datasketches.frequent_strings_sketch, LG_MAX), "update", words)}
        for group, kind in GROUPS.items():
            make = partial(kind, COUNTERS)
            paths = {
                "uint64 array": (batch(make, array), of_numbers | {"Counter": stateless(partial(Counter, numbers))}),
                "list of strings": (batch(make, words), of_words | {"Counter": stateless(partial(Counter, words))}),
                "single keys": (driven(make, "add", numbers), of_numbers),
            }
            for path, (ours, peers) in paths.items():
                bar = WANTED.get((group, path))
                found.append(
                    Case(f"{path}, {stream}", group, keys, ours, peers, {} if bar is None else {"datasketches": bar})
                )
    return found


if __name__ == "__main__":
    run("heavy_hitters", "Heavy hitters", cases, sizes={"keys": 1_000_000}, packages=["datasketches"])
