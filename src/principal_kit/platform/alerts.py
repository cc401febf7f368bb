"""Which alerts a run's samples would have raised: the samples as Prometheus' series, the rules by Prometheus' own tool.

Alerts wait for minutes on purpose, and no reader waits for them. So a run is *dilated*: one of its seconds is taken for
`dilation` seconds, at the same rates and shares. What is an amount of time or of records grows by that factor; what is
a share, a size or a state stays. Then `promtool test rules` evaluates the rules as they are.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.platform.metrics import Sample, families

Series = dict[str, list[float | None]]
"""A series' name with its labels, as PromQL writes them, to its value at each scrape; None where it has none."""
NOT_JUDGED = {
    "FreshnessBurnsFast": "a histogram's buckets are seconds that cannot be dilated",
    "FreshnessBurnsSlowly": "a histogram's buckets are seconds that cannot be dilated",
    "WatermarkStalls": "the allowed lateness is a policy of ten seconds, and would be taken for ten minutes",
    "Backpressure": "Flink's shares are averages over the last minute, and would be taken for those of an hour",
}
"""Alerts about times that a dilated run does not have, and why."""
_EVENTS = ("pipeline_job_restarts", "pipeline_duplicates_dropped")
"""Counters of things that happened once, however long the run was."""
_AMOUNTS = ("pipeline_consumer_lag_records", "pipeline_table_rows")
_SECONDS_A_TEST = 60


@dataclass(frozen=True)
class Firing:
    """An alert that fired: its severity and labels, and for how much of the run, in the run's own seconds."""

    alert: str
    severity: str
    labels: Mapping[str, str]
    first: float
    last: float


def _factor(name: str, kind: str, dilation: float) -> float:
    grows = kind in ("counter", "histogram") or name in _AMOUNTS or name.endswith("_duration_seconds")
    return dilation if grows and name not in _EVENTS else 1.0


def series(
    samples: Sequence[Sample], *, until: float | None = None, step: float = 0.5, dilation: float = 60.0
) -> Series:
    """What Prometheus would hold after scraping an exporter that took `samples`, every `step` seconds of the run.

    Args:
        until: the run's last moment (seconds since 1970); default: the last sample's.

    A scrape gives the last sample before it, as the exporter does, however old that is. Moments count from the first
    sample, as promtool's clock does from zero. O(samples · series). Raises InvalidArgument without samples, or on a
    step of 0.
    """
    if not samples or not step > 0:
        raise InvalidArgument(f"{len(samples)} samples every {step} s; expected some, and a step above 0")
    begin = samples[0].at
    scrapes = math.floor(((until or samples[-1].at) - begin) / step) + 1
    out: Series = {'up{job="pipeline"}': [1.0] * scrapes}
    last = 0
    for i in range(scrapes):
        while last + 1 < len(samples) and samples[last + 1].at <= begin + i * step:
            last += 1
        for name, value in _values(samples[last], begin, dilation):
            out.setdefault(name, [None] * scrapes)[i] = value
    return out


def _values(sample: Sample, begin: float, dilation: float) -> Iterable[tuple[str, float]]:
    for family in families(sample):
        factor = _factor(family.name, family.type, dilation)
        for s in family.samples:
            if s.name.endswith("_created"):
                continue
            labels = ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(s.labels.items()))
            moment = family.name.endswith("_timestamp_seconds")
            yield f"{s.name}{{{labels}}}", (s.value - begin) * dilation if moment else s.value * factor


def firing(
    samples: Sequence[Sample],
    rules: Path,
    promtool: str,
    *,
    until: float | None = None,
    step: float = 0.5,
    dilation: float = 60.0,
) -> list[Firing]:
    """The alerts of the file `rules` that fire during the run, in the order in which they begin; but `NOT_JUDGED`.

    Args:
        promtool: the program; `scripts/promtool.sh --where` fetches it.
        until, step, dilation: see `series`.

    Raises ServiceError when promtool refuses.
    """
    held = series(samples, until=until, step=step, dilation=dilation)
    scrapes = len(next(iter(held.values())))
    interval = f"{round(step * dilation)}s"
    question = 'ALERTS{alertstate="firing"}'
    moments = [f"{round(i * step * dilation)}s" for i in range(scrapes)]
    test = {
        "rule_files": [str(rules.resolve())],
        "evaluation_interval": interval,
        "tests": [{
            "interval": interval,
            "input_series": [{"series": name, "values": _notation(row)} for name, row in held.items()],
            # promtool only says what it did not expect: so expect silence, at every moment.
            "promql_expr_test": [{"expr": question, "eval_time": at, "exp_samples": []} for at in moments],
        }],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yml"
        path.write_text(json.dumps(test), encoding="utf-8")
        command = [promtool, "test", "rules", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_A_TEST, check=False)
    said = done.stdout + done.stderr
    if done.returncode and "got:" not in said:
        raise ServiceError(f"promtool could not evaluate {rules.name}: {said.strip()[-600:]}")
    return [fired for fired in _read(said, dilation) if fired.alert not in NOT_JUDGED]


def _notation(values: Sequence[float | None]) -> str:
    """A row as promtool writes it. `_` is a scrape that failed, behind which Prometheus takes the last value for five
    minutes more. A scrape that lacks a series which was there is `stale`: the series ends, as in a real scrape.

    >>> _notation([None, 1.0, None, None, 2.0])
    '_ 1.0 stale _ 2.0'
    """
    there = [value is not None and not math.isnan(value) for value in values]
    gaps = ("stale" if before else "_" for before in (False, *there))
    return " ".join(repr(float(value)) if now else gap for value, now, gap in zip(values, there, gaps))


def _read(said: str, dilation: float) -> list[Firing]:
    """promtool's complaints, one for each moment at which something fired."""
    spans: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for at, got in re.findall(r"time: (\S+?),\s*exp:.*?got:(.*?)(?=\n\s*expr:|\Z)", said, re.S):
        for labels in re.findall(r"\{([^}]*)\}", got):
            pairs = {k: json.loads(f'"{v}"') for k, v in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)}
            spans.setdefault(tuple(sorted(pairs.items())), []).append(_seconds(at) / dilation)
    found = []
    for key, moments in spans.items():
        labels = dict(key)
        hidden = {"__name__", "alertname", "alertstate", "severity"}
        rest = {k: v for k, v in labels.items() if k not in hidden}
        found.append(Firing(labels["alertname"], labels.get("severity", ""), rest, min(moments), max(moments)))
    return sorted(found, key=lambda f: (f.first, f.alert, sorted(f.labels.items())))


def _seconds(text: str) -> float:
    """Prometheus' way to write a duration.

    >>> _seconds("1h2m30s")
    3750.0
    """
    units = {"y": 31_536_000.0, "w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[ywdhms])", text))
