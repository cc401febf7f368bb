"""Placement against uhashring: lookups a second among ten nodes, hashing included.

    python benchmarks/placement.py [--keys N] [--rounds N] [--only TEXT] [--record]

The peer has no batch call: it is asked key by key, for 100,000 keys.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import uhashring
from side_by_side import Case, run, stateless

from principal_kit.placement import HashRing, JumpHash, Maglev, Modulo, Rendezvous

NODES = [f"cache-{number}" for number in range(10)]
SCALAR_KEYS = 100_000
WANTED = {("HashRing", "list of strings"): 10, ("HashRing", "uint64 array"): 50, ("HashRing", "single strings"): 2}


def one_by_one(lookup, keys: list[str]) -> list:
    return [lookup(key) for key in keys]


def cases(keys: int) -> list[Case]:
    text = [f"user:{number}" for number in range(keys)]
    numbers = np.random.default_rng(1).integers(0, 2**64, keys, dtype=np.uint64)
    few = text[:SCALAR_KEYS]
    peer = stateless(partial(one_by_one, uhashring.HashRing(NODES, vnodes=128).get_node, few))
    found = []
    for placement in (HashRing(NODES), JumpHash(NODES), Rendezvous(NODES), Maglev(NODES), Modulo(NODES)):
        name = type(placement).__name__
        paths = {
            "list of strings": partial(placement.nodes_for_many, text),
            "uint64 array": partial(placement.nodes_for_many, numbers),
            "single strings": partial(one_by_one, placement.node_for, few),
        }
        for path, call in paths.items():
            bar = WANTED.get((name, path))
            wanted = {} if bar is None else {"uhashring": bar}
            count = len(few) if path == "single strings" else keys
            found.append(Case(path, name, count, stateless(call), {"uhashring": peer}, wanted, peer_count=len(few)))
    return found


if __name__ == "__main__":
    run("placement", "Placement", cases, sizes={"keys": 1_000_000}, packages=["uhashring"])
