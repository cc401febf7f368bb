"""Ours and its peers side by side in one run: what every benchmark of this folder is made of.

A round runs every contender of every case once, in turn, each on a fresh set-up: a slow moment of a shared machine hits
both sides of a ratio. What is judged is the median over rounds of peer's seconds / our seconds, with its spread.
See `run` for the command line; `Case` is a race, `Bound` a measured figure with a limit (an error, a size).
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from principal_kit.course import machine
from principal_kit.course.benchmarks import amount, rate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = ROOT / "_build" / "benchmarks"

Setup = Callable[[], Callable[[], object]]
"""Prepares one round and returns the call to be timed. Only the call counts."""


def stateless(call: Callable[[], object]) -> Setup:
    """The set-up of a call that needs none."""
    return lambda: call


@dataclass(frozen=True)
class Case:
    """One race. `wanted` is, by peer, how many times as fast as it ours has to be; a peer without one is shown only."""

    name: str
    group: str
    count: int  # items that one call works through
    ours: Setup
    peers: Mapping[str, Setup]
    wanted: Mapping[str, float] = field(default_factory=dict)
    unit: str = "keys"
    peer_count: int | None = None  # items in a call of a peer, where that is too slow for `count`; its time is scaled

    def __post_init__(self) -> None:
        if unknown := self.wanted.keys() - self.peers.keys():
            raise ValueError(f"{self.group}, {self.name}: a bar for {sorted(unknown)}, who are not among the peers")


@dataclass(frozen=True)
class Bound:
    """One figure measured once, that must stay at or below `limit` (None: shown only); `peers` name the same figure.

    `measure` returns ours first, then each peer's by name.
    """

    name: str
    group: str
    unit: str
    limit: float | None
    measure: Callable[[], tuple[float, Mapping[str, float]]]


def _seconds(setup: Setup) -> float:
    call = setup()
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    finally:
        gc.enable()


def race(cases: Sequence[Case], rounds: int, seconds: Callable[[Setup], float] = _seconds) -> list[dict]:
    """Run all cases `rounds` times after one round to warm up. A row per case, a part of it per peer.

    `seconds` times one contender; tests pass their own.
    """
    taken: list[dict[str, list[float]]] = [{} for _ in cases]
    for number in range(rounds + 1):
        for case, times in zip(cases, taken):
            contenders = [("", case.ours), *case.peers.items()]
            for name, setup in contenders if number % 2 else reversed(contenders):  # nobody always goes first
                spent = seconds(setup)
                if number:
                    times.setdefault(name, []).append(spent)
    return [_row(case, times) for case, times in zip(cases, taken)]


def _row(case: Case, times: dict[str, list[float]]) -> dict:
    ours = times[""]
    peers = []
    for name in case.peers:
        scaled = [seconds * case.count / (case.peer_count or case.count) for seconds in times[name]]
        ratios = sorted(theirs / own for theirs, own in zip(scaled, ours))
        ratio, wanted = statistics.median(ratios), case.wanted.get(name)
        peers.append(
            {
                "name": name,
                "seconds": statistics.median(scaled),
                "ratio": ratio,
                "low": ratios[0],
                "high": ratios[-1],
                "wanted": wanted,
                "met": None if wanted is None else ratio >= wanted,
            }
        )
    return {
        "group": case.group,
        "name": case.name,
        "unit": case.unit,
        "count": case.count,
        "seconds": statistics.median(ours),
        "peers": peers,
    }


def check(bounds: Sequence[Bound]) -> list[dict]:
    """Measure each figure and hold it to its limit."""
    rows = []
    for bound in bounds:
        ours, peers = bound.measure()
        rows.append(
            {
                "group": bound.group,
                "name": bound.name,
                "unit": bound.unit,
                "value": ours,
                "limit": bound.limit,
                # compared as it is written: 200 ppm out of a division may be 200.00000001
                "met": None if bound.limit is None else four_digits(ours) <= bound.limit,
                "peers": dict(peers),
            }
        )
    return rows


def facts(packages: Sequence[str] = ()) -> dict[str, str]:
    """The machine and the versions that took part. Names neither host, user nor path."""
    found = dict(machine().facts)
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a program, not a package: its version is the topic's to add
            continue
    return found


def four_digits(value: float) -> float:
    """The figure with four digits that matter: more would be noise.

    >>> four_digits(0.123456), four_digits(200.00000001)
    (0.1235, 200.0)
    """
    return float(f"{value:.4g}")


def verdict(met: bool | None) -> str:
    """A sign for a bar: met, missed, or none set."""
    return "" if met is None else "✓" if met else "✗"


def tables(report: dict) -> list[Table]:
    """The report as tables for a terminal, one for each group."""
    found = []
    for group in dict.fromkeys(row["group"] for row in report["races"]):
        table = Table(title=f"{group}: median of {report['rounds']} rounds")
        for at, heading in enumerate(("case", "ours", "peer", "its", "ratio", "spread", "wanted")):
            table.add_column(heading, justify="left" if at in (0, 2) else "right", no_wrap=at > 0)
        for row in report["races"]:
            first = (row["name"], rate(row, row["seconds"]))
            for at, peer in enumerate(row["peers"] if row["group"] == group else ()):
                wanted = "" if peer["wanted"] is None else f"≥ {peer['wanted']:g} {verdict(peer['met'])}"
                table.add_row(
                    *(first if at == 0 else ("", "")), peer["name"], rate(row, peer["seconds"]),
                    f"{peer['ratio']:.2f} ×", f"{peer['low']:.2f} – {peer['high']:.2f}", wanted,
                )  # fmt: skip
        found.append(table)
    for group in dict.fromkeys(row["group"] for row in report["bounds"]):
        table = Table("figure", "unit", "ours", "limit", "peers", title=group)
        for row in report["bounds"]:
            if row["group"] == group:
                limit = "" if row["limit"] is None else f"≤ {row['limit']:g} {verdict(row['met'])}"
                peers = ", ".join(f"{name} {amount(value)}" for name, value in row["peers"].items())
                table.add_row(row["name"], row["unit"], amount(row["value"]), limit, peers)
        found.append(table)
    return found


def run(
    topic: str,
    title: str,
    build: Callable[..., Sequence[Case | Bound]],
    *,
    sizes: Mapping[str, int] | None = None,
    packages: Sequence[str] = (),
    rounds: int = 5,
    argv: Sequence[str] | None = None,
) -> dict:
    """The command line of a topic: measure, print, and write `_build/benchmarks/<topic>.json`.

    `--record` writes benchmarks/results/<topic>.json instead, which the Benchmarks page is made from; `--only TEXT`
    keeps the cases whose group or name contains it; `--rounds`; and an option for each of `sizes`, which are passed on
    to `build`. `packages` are the peers whose versions are recorded. Returns what was written.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose group or name contains TEXT")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results, for the book's page")
    for name, default in (sizes or {}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    if options.record and options.only:
        parser.error("--record wants the whole run: rows of two runs do not belong into one table")
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    chosen = {name: getattr(options, name) for name in sizes or {}}
    cases = [c for c in build(**chosen) if options.only.lower() in f"{c.group}, {c.name}".lower()]
    if not cases:
        parser.error(f"--only {options.only}: no such case")
    report = {
        "topic": topic,
        "title": title,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rounds": options.rounds,
        "sizes": chosen,
        "load": round(os.getloadavg()[0], 1),  # before we add our own
        "machine": facts(packages),
        "races": race([c for c in cases if isinstance(c, Case)], options.rounds),
        "bounds": check([c for c in cases if isinstance(c, Bound)]),
    }
    console = Console()
    console.width = max(console.width, 120)  # a name must not vanish in a narrow terminal or a pipe
    for table in tables(report):
        console.print(table)
    print(machine())
    write(report, (RESULTS if options.record else SCRATCH) / f"{topic}.json")
    return report


def write(report: dict, path: Path) -> None:
    """The report as JSON, figures with four digits that matter."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return four_digits(value)
        if isinstance(value, dict):
            return {key: short(inner) for key, inner in value.items()}
        return [short(inner) for inner in value] if isinstance(value, list) else value

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(short(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}")
