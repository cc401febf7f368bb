"""The t-digest against datasketches, fastdigest and crick: speed, and rank error over many seeds.

    python benchmarks/t_digest.py [--values N] [--seeds N] [--rounds N] [--only TEXT] [--record]

All have compression 100. datasketches 5.2.0 answers `get_quantile` with its interpolation weights swapped (mended later
upstream: apache/datasketches-java pull request 755), so `get_rank` at the exact quantile is shown beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache, partial

import crick
import datasketches
import fastdigest
import numpy as np
from side_by_side import Bound, Case, run, stateless

from principal_kit.sketches import TDigest

COMPRESSION = 100
QS = np.array([0.5, 0.95, 0.99, 0.999])
LIMIT_PPM = 200
LAWS = {
    "lognormal": lambda draw, n: draw.lognormal(3.0, 1.0, n),
    "Pareto 1.5": lambda draw, n: draw.pareto(1.5, n) + 1.0,
}
WANTED = {
    "float64 array": {"datasketches": 1.5, "fastdigest": 1.0},
    "1,000 at a time": {},
    "single values": {"datasketches": 0.1},
}
OURS = "principal-kit"
CONTENDERS: dict[str, tuple[Callable, str, str]] = {  # constructor, batch method, scalar method
    OURS: (lambda: TDigest(COMPRESSION), "add_many", "add"),
    "datasketches": (lambda: datasketches.tdigest_double(COMPRESSION), "update", "update"),
    "fastdigest": (lambda: fastdigest.TDigest(COMPRESSION), "batch_update", "update"),
    "crick": (lambda: crick.TDigest(COMPRESSION), "update", "add"),
}


def ask(digest, q: float) -> float:
    return digest.get_quantile(q) if hasattr(digest, "get_quantile") else digest.quantile(q)


def fill_and_ask(make, method: str, pieces) -> float:
    """Starts from nothing and ends with an answer, so that nobody leaves work in a buffer."""
    digest = make()
    deque(map(getattr(digest, method), pieces), maxlen=0)
    return ask(digest, 0.5)


def speed(values: np.ndarray) -> list[Case]:
    thousands = np.array_split(values, max(1, len(values) // 1000))
    pieces = {"float64 array": [values], "1,000 at a time": thousands, "single values": values.tolist()}
    found = []
    for path, wanted in WANTED.items():
        calls = {
            name: stateless(partial(fill_and_ask, make, one if path == "single values" else many, pieces[path]))
            for name, (make, many, one) in CONTENDERS.items()
        }
        found.append(Case(path, "t-digest", len(values), calls.pop(OURS), calls, wanted, unit="values"))
    return found


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
    return {way: digest.quantile(QS) for way, digest in digests.items()}


@cache
def errors(law: str, count: int, seeds: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The greatest rank error of each quantile over all seeds, in ppm: by way to fill ours, and by peer."""
    ours: dict[str, np.ndarray] = {}
    peers: dict[str, np.ndarray] = {}

    def keep(worst: dict[str, np.ndarray], name: str, found: np.ndarray) -> None:
        worst[name] = np.maximum(worst.get(name, 0.0), found)

    for seed in range(seeds):
        values = LAWS[law](np.random.default_rng([seed, 20260101]), count)
        in_order = np.sort(values)
        for way, quantiles in ways(values).items():
            keep(ours, way, rank_errors(in_order, quantiles))
        for name, (make, many, _) in CONTENDERS.items():
            if name == OURS:
                continue
            digest = make()
            getattr(digest, many)(values)
            keep(peers, name, rank_errors(in_order, np.array([ask(digest, q) for q in QS])))
            if name == "datasketches":
                exact = np.quantile(in_order, QS, method="hazen")
                ranks = np.array([digest.get_rank(x) for x in exact])
                keep(peers, "datasketches by get_rank", 1e6 * np.abs(ranks - QS))
    return ours, peers


def accuracy(count: int, seeds: int) -> list[Bound]:
    """One batch at each quantile, which the limit is for; then the worst of the four by each other way to fill."""

    def one_batch(law: str, at: int):
        ours, peers = errors(law, count, seeds)
        return float(ours["one batch"][at]), {name: float(worst[at]) for name, worst in peers.items()}

    def worst(law: str, way: str):
        return float(errors(law, count, seeds)[0][way].max()), {}

    group, bounds = "t-digest rank error", []
    for law in LAWS:
        for at, q in enumerate(QS):
            bounds.append(Bound(f"{law}, P{100 * q:g}", group, "ppm", LIMIT_PPM, partial(one_batch, law, at)))
    for law in LAWS:
        for way in ("1,000 at a time", "single values", "100 merged in a loop", "100 merged at once"):
            bounds.append(Bound(f"{law}, {way}, worst of four", group, "ppm", None, partial(worst, law, way)))
    return bounds


def cases(values: int, seeds: int) -> list[Case | Bound]:
    sample = LAWS["lognormal"](np.random.default_rng(1), values)
    return [*speed(sample), *accuracy(values, seeds)]


if __name__ == "__main__":
    run(
        "t_digest",
        "t-digest",
        cases,
        sizes={"values": 1_000_000, "seeds": 20},
        packages=["datasketches", "fastdigest", "crick"],
    )
