"""Bloom filters against rbloom (Rust): adding and asking, by array, by list, by single key; rates against the design.

    python benchmarks/bloom.py [--keys N] [--rounds N] [--only TEXT] [--record]

rbloom has a batch call for adding and none for asking: it is asked as fast as Python asks, by `in` over a list made
beforehand. Both sides hold a million keys at 1 %. Half of the keys asked for are members. Python keeps a string's hash
inside the string, and rbloom uses it: strings are made anew each round, as a stream's are, so that both sides hash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np
import rbloom
from side_by_side import Bound, Case, Setup, run

from principal_kit.sketches import BlockedBloomFilter, BloomFilter, CuckooFilter, ScalableBloomFilter

FPR = 0.01
SCALAR = 100_000  # keys of the races one key at a time


def setup(make: Callable, method: str, source, into=None) -> Setup:
    """A fresh object each round (or one filled with `into`); the timed call gives it all keys.

    `keys` is an array, a list, or what makes a list anew.
    """

    def prepare() -> Callable[[], object]:
        made, keys = make(), source() if callable(source) else source
        if into is not None:
            getattr(made, "add_many" if hasattr(made, "add_many") else "update")(into)
        call = getattr(made, method)
        if method in ("add_many", "update", "contains_many"):
            return lambda: call(keys)
        if method == "__contains__":  # the fastest way that Python has to ask
            return lambda: [key in made for key in keys]
        return lambda: deque(map(call, keys), maxlen=0)

    return prepare


def races(keys: int) -> list[Case]:
    draw = np.random.default_rng(1)
    array = draw.integers(0, 2**63, keys, dtype=np.uint64)
    asked = array.copy()
    asked[::2] = draw.integers(2**63, 2**64 - 1, asked[::2].size, dtype=np.uint64)
    numbers, questions = array.tolist(), asked.tolist()
    few_numbers = numbers[:SCALAR]

    def words(count: int = keys) -> list[str]:
        return [f"https://shop.example/item/{key:x}" for key in numbers[:count]]

    few_words = partial(words, SCALAR)

    def peer() -> rbloom.Bloom:
        return rbloom.Bloom(keys, FPR)

    found = []
    for name, kind in (("blocked", BlockedBloomFilter), ("plain", BloomFilter)):

        def own(kind=kind):
            return kind(keys, FPR)

        bars = name == "blocked"
        found += [
            Case(f"{name}, uint64 array", "add", keys, setup(own, "add_many", array),
                 {"rbloom update": setup(peer, "update", numbers)}, {"rbloom update": 1.5} if bars else {}),
            Case(f"{name}, list of strings", "add", keys, setup(own, "add_many", words),
                 {"rbloom add": setup(peer, "add", words), "rbloom update": setup(peer, "update", words)},
                 {"rbloom add": 1.0}),
            Case(f"{name}, single integers", "add", SCALAR, setup(own, "add", few_numbers),
                 {"rbloom add": setup(peer, "add", few_numbers)}, {"rbloom add": 0.1}),
            Case(f"{name}, single strings", "add", SCALAR, setup(own, "add", few_words),
                 {"rbloom add": setup(peer, "add", few_words)}, {"rbloom add": 0.1}),
            Case(f"{name}, uint64 array", "ask", keys, setup(own, "contains_many", asked, array),
                 {"rbloom in": setup(peer, "__contains__", questions, numbers)}, {"rbloom in": 4.0} if bars else {}),
            Case(f"{name}, single integers", "ask", SCALAR, setup(own, "__contains__", questions[:SCALAR], array),
                 {"rbloom in": setup(peer, "__contains__", questions[:SCALAR], numbers)}, {}),
        ]  # fmt: skip
    cuckoo = partial(CuckooFilter, SCALAR, FPR)
    found += [
        Case("scalable from 1,024, uint64 array", "add", keys, setup(ScalableBloomFilter, "add_many", array),
             {"rbloom update": setup(peer, "update", numbers)}, {}),
        Case("cuckoo, uint64 array", "add", SCALAR, setup(cuckoo, "add_many", array[:SCALAR]),
             {"rbloom add": setup(peer, "add", few_numbers)}, {}),
        Case("cuckoo, uint64 array", "ask", keys,
             setup(cuckoo, "contains_many", asked, array[:SCALAR]),
             {"rbloom in": setup(peer, "__contains__", questions, numbers[:SCALAR])}, {}),
    ]  # fmt: skip
    return found


def rate(kind: type, keys: int, fpr: float) -> tuple[float, dict[str, float]]:
    """How far the measured rate at capacity is from the design, in per cent; rbloom beside it."""
    draw = np.random.default_rng(2)
    array, strangers = draw.integers(0, 2**62, keys), draw.integers(2**62, 2**63 - 1, min(int(20_000 / fpr), 5_000_000))
    own, peer = kind(keys, fpr), rbloom.Bloom(keys, fpr)
    own.add_many(array)
    peer.update(array.tolist())
    theirs = sum(map(peer.__contains__, strangers[:1_000_000].tolist())) / min(strangers.size, 1_000_000)
    return 100 * abs(own.measured_fpr(strangers) / fpr - 1), {"rbloom": 100 * abs(theirs / fpr - 1)}


def bits_per_key(kind: type, keys: int, fpr: float) -> tuple[float, dict[str, float]]:
    return kind(keys, fpr).nbytes * 8 / keys, {"rbloom": rbloom.Bloom(keys, fpr).size_in_bits / keys}


def bounds(keys: int) -> list[Bound]:
    found = []
    for fpr in (0.1, 0.01, 0.001):
        for name, kind in (("plain", BloomFilter), ("blocked", BlockedBloomFilter)):
            found += [
                Bound(f"{name}, designed for {fpr:.1%}", "False-positive rate at capacity, distance from the design",
                      "%", 10.0, partial(rate, kind, keys, fpr)),
                Bound(f"{name}, designed for {fpr:.1%}", "Size", "bits a key", None,
                      partial(bits_per_key, kind, keys, fpr)),
            ]  # fmt: skip
    return found


def cases(keys: int) -> list[Case | Bound]:
    return [*races(keys), *bounds(keys)]


if __name__ == "__main__":
    run("bloom", "Bloom filters", cases, sizes={"keys": 1_000_000}, packages=["rbloom"])
