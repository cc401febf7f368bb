"""Rate limiters against `limits`, in one run: calls a second, and ratios within the same round.

    python benchmarks/ratelimit.py [--json] [--rounds 7]

Every round measures all contenders one after the other, so a slow moment of the machine hits both sides of a ratio;
medians of rounds are shown. Two yardsticks: the peer's counterpart of a limiter, and its fastest strategy then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from rich.console import Console
from rich.table import Table

from principal_kit import services
from principal_kit.course import machine
from principal_kit.ratelimit import (
    GCRA,
    KeyedLimiter,
    LeakyBucket,
    LeasedLimiter,
    RedisSlidingWindowLog,
    RedisTokenBucket,
    SlidingWindowCounter,
    SlidingWindowLog,
    TokenBucket,
    VectorGCRA,
)
from principal_kit.ratelimit.redis import connect

RATE = 1000  # per second, so that most calls are refused: an overloaded limiter is the one whose speed matters
CALLS = 20_000
BATCH = 1_000_000
IDS = 100_000
COUNTERPART = {"SlidingWindowLog": "limits moving window", "SlidingWindowCounter": "limits sliding counter"}


def per_second(call: Callable[[], object], calls: int) -> float:
    """Calls a second of `call`: the best of four stretches, since other work only ever slows one down."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(calls // 4):
            call()
        times.append(time.perf_counter() - start)
    return calls // 4 / min(times)


def peers() -> dict[str, Callable[[], object]]:
    """The strategies of `limits` on its memory storage."""
    item = RateLimitItemPerSecond(RATE)
    strategies = {
        "limits moving window": MovingWindowRateLimiter,
        "limits fixed window": FixedWindowRateLimiter,
        "limits sliding counter": SlidingWindowCounterRateLimiter,
    }
    return {name: partial(kind(MemoryStorage()).hit, item, "tenant") for name, kind in strategies.items()}


def ours() -> dict[str, Callable[[], object]]:
    """The limiters of the kit, in memory."""
    keyed = KeyedLimiter(lambda tenant: GCRA(RATE, RATE), capacity=IDS)
    return {
        "TokenBucket": TokenBucket(RATE, RATE).acquire,
        "LeakyBucket": LeakyBucket(RATE, RATE).acquire,
        "GCRA": GCRA(RATE, RATE).acquire,
        "SlidingWindowLog": SlidingWindowLog(RATE, 1).acquire,
        "SlidingWindowCounter": SlidingWindowCounter(RATE, 1).acquire,
        "KeyedLimiter of GCRA": partial(keyed.acquire, "tenant"),
    }


def vectors(seed: int) -> dict[str, Callable[[], float]]:
    """Batches of a million requests over 100,000 ids; each call returns decisions a second."""
    rng = np.random.default_rng(seed)
    batches = {
        "VectorGCRA, even ids": rng.integers(0, IDS, BATCH),
        "VectorGCRA, Zipf 1.2 ids": rng.zipf(1.2, BATCH) % IDS,
    }

    def run(limiter: VectorGCRA, ids: np.ndarray) -> float:
        start = time.perf_counter()
        limiter.acquire_many(ids)
        return ids.size / (time.perf_counter() - start)

    return {name: partial(run, VectorGCRA(IDS, RATE, RATE), ids) for name, ids in batches.items()}


def distributed(client, rounds: int) -> dict[str, float]:
    """Decisions a second of one process through a real Redis, directly and by leases."""
    bucket = RedisTokenBucket(client, "bench-bucket", 10**7, 10**6)
    log = RedisSlidingWindowLog(client, "bench-log", RATE, 1)
    result = {
        "RedisTokenBucket": statistics.median(per_second(bucket.acquire, 2000) for _ in range(rounds)),
        "RedisSlidingWindowLog": statistics.median(per_second(log.acquire, 2000) for _ in range(rounds)),
    }
    for batch in (10, 100, 1000, 10_000):
        leased = LeasedLimiter(RedisTokenBucket(client, f"bench-lease-{batch}", 10**7, 10**6), batch)
        result[f"LeasedLimiter, batch {batch}"] = statistics.median(
            per_second(leased.acquire, 200 * min(batch, 1000)) for _ in range(rounds)
        )
    return result


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Run all rounds and return, by name, decisions a second and the ratio to the peer's fastest strategy."""
    yardstick, calls, batches = peers(), ours(), vectors(seed=7)
    speeds: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    counterpart_ratios: dict[str, list[float]] = {}
    for _ in range(rounds):
        base = {name: per_second(call, CALLS) for name, call in yardstick.items()}
        found = base | {name: per_second(call, CALLS) for name, call in calls.items()}
        found |= {name: batch() for name, batch in batches.items()}
        for name, speed in found.items():
            speeds.setdefault(name, []).append(speed)
            ratios.setdefault(name, []).append(speed / max(base.values()))
            peer = COUNTERPART.get(name, "limits fixed window")  # the O(1) strategy of the peer for all else
            counterpart_ratios.setdefault(name, []).append(speed / base[peer])
    rows = {
        name: {
            "per_second": statistics.median(found),
            "ratio": statistics.median(ratios[name]),
            "counterpart": statistics.median(counterpart_ratios[name]),
        }
        for name, found in speeds.items()
    }
    fastest = max(rows[name]["per_second"] for name in yardstick)
    with services.redis(fresh=True) as endpoint:
        for name, speed in distributed(connect(endpoint.url, timeout=5), rounds).items():
            rows[name] = {
                "per_second": speed,
                "ratio": speed / fastest,
                "counterpart": speed / rows["limits fixed window"]["per_second"],
            }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="also write _build/benchmarks/ratelimit.json")
    options = parser.parse_args()
    rows = measure(options.rounds)
    table = Table(title=f"Decisions a second, median of {options.rounds} rounds")
    for heading, justify in (
        ("limiter", "left"),
        ("million/s", "right"),
        ("x counterpart", "right"),
        ("x fastest", "right"),
    ):
        table.add_column(heading, justify=justify)
    for name, row in rows.items():
        table.add_row(name, f"{row['per_second'] / 1e6:.3f}", f"{row['counterpart']:.1f}", f"{row['ratio']:.1f}")
    Console().print(table)
    print(machine())
    if options.json:
        target = Path("_build/benchmarks/ratelimit.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            json.dumps({"rounds": options.rounds, "machine": str(machine()), "rows": rows}, indent=2) + "\n"
        )
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
