"""Windows and merged digests against peers: events a second, and the merging of 1,000 servers' reports.

    python benchmarks/windows.py [--events N] [--rounds N] [--only TEXT] [--record]

pandas' groupby answers for a closed table what a window operator answers while events arrive: it knows no watermark and
no late event, and is the floor to compare with. datasketches and fastdigest merge digests from their own bytes.
"""

from __future__ import annotations

import datasketches
import fastdigest
import numpy as np
import pandas as pd
from side_by_side import Case, run, stateless

from principal_kit.course.workloads import servers
from principal_kit.sketches import TDigest
from principal_kit.streaming import END, SessionWindows, Tally, TumblingWindows


def windows(events: int) -> list[Case]:
    """One-minute windows over an hour and 100 keys: count, sum, least and greatest, in batches and one by one."""
    rng = np.random.default_rng(1)
    keys, times = rng.integers(0, 100, events), np.sort(rng.integers(0, 3_600_000, events))
    values = rng.lognormal(3, 1, events)
    few = max(1, events // 10)
    rows = list(zip(keys[:few].tolist(), times[:few].tolist(), values[:few].tolist()))

    def batches(aggregate):
        operator, results = TumblingWindows(60_000, aggregate=aggregate), 0
        for at in range(0, events, 100_000):  # as a consumer polls: a batch, then the watermark
            part = slice(at, at + 100_000)
            operator.add_many(keys[part], times[part], values[part])
            results += len(operator.advance(int(times[part][-1])))
        return results + len(operator.advance(END))

    def one_by_one(operator):
        for key, moment, value in rows:
            operator.add(key, moment, value)
        return len(operator.advance(END))

    def grouped(count):
        minutes = {"key": keys[:count], "minute": times[:count] // 60_000, "value": values[:count]}
        return len(pd.DataFrame(minutes).groupby(["key", "minute"]).value.agg(["count", "sum", "min", "max"]))

    if batches(Tally) != grouped(events):
        raise RuntimeError("windows and groupby disagree on the number of groups")
    return [
        Case(
            "one-minute windows, batches", "windows", events, stateless(lambda: batches(Tally)),
            {
                "pandas groupby": stateless(lambda: grouped(events)),
                "ours, t-digests": stateless(lambda: batches(TDigest)),
            },
            {"pandas groupby": 0.3}, "events",
        ),
        Case(
            "one-minute windows, one by one", "windows", few,
            stateless(lambda: one_by_one(TumblingWindows(60_000, aggregate=Tally))),
            {
                "pandas groupby": stateless(lambda: grouped(few)),
                "ours, sessions": stateless(lambda: one_by_one(SessionWindows(500, aggregate=Tally))),
            },
            unit="events",
        ),
    ]  # fmt: skip


def merges() -> list[Case]:
    """From the bytes of 1,000 servers' digests to the P95 of all; each peer reads its own bytes."""
    ours, theirs, rust = [], [], []
    for values in servers.latencies(servers.fleet(1000, seed=7), seed=7):
        digest, peer, dict_of = TDigest(100), datasketches.tdigest_double(100), fastdigest.TDigest(100)
        digest.add_many(values)
        peer.update(values)
        dict_of.batch_update(values)
        ours.append(digest.to_bytes())
        theirs.append(peer.serialize())
        rust.append(dict_of.to_dict())

    def at_once():
        return TDigest(100).merge_many(map(TDigest.from_bytes, ours)).quantile(0.95)

    def in_a_loop():
        total = TDigest(100)
        for frame in ours:
            total.merge(TDigest.from_bytes(frame))
        return total.quantile(0.95)

    def datasketches_loop():
        total = datasketches.tdigest_double(100)
        for frame in theirs:
            total.merge(datasketches.tdigest_double.deserialize(frame))
        return total.get_quantile(0.95)

    def fastdigest_at_once():
        return fastdigest.merge_all([fastdigest.TDigest.from_dict(state) for state in rust]).quantile(0.95)

    peers = {
        "datasketches": stateless(datasketches_loop),
        "fastdigest": stateless(fastdigest_at_once),
        "ours, in a loop": stateless(in_a_loop),
    }
    name = "1,000 servers' digests, bytes to P95"
    return [Case(name, "merging", 1000, stateless(at_once), peers, unit="digests")]


def cases(events: int) -> list[Case]:
    return [*windows(events), *merges()]


if __name__ == "__main__":
    packages = ["datasketches", "fastdigest", "pandas"]
    run("windows", "Windows and merged digests", cases, sizes={"events": 1_000_000}, packages=packages)
