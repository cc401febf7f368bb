"""The pipeline's tables held against the truth: row for row, both ways.

"It ran" proves nothing, and neither does a total: a lost row and a doubled one cancel out in a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from principal_kit.platform import truth
from principal_kit.platform.shop import CLICKS, MOVES, ORDERS, Workload


@dataclass(frozen=True)
class Finding:
    """One table: rows it has, rows there should be, and how many are `missing`, `extra` (a copy is an extra one)."""

    table: str
    rows: int
    expected: int
    missing: int
    extra: int

    @property
    def exact(self) -> bool:
        """Whether the table holds the truth and nothing else."""
        return self.missing == self.extra == 0


def _ms(column: pd.Series) -> pd.Series:
    return column.astype("datetime64[ms, UTC]" if column.dt.tz else "datetime64[ms]").astype("int64")


def _in_ms(frame: pd.DataFrame) -> pd.DataFrame:
    moments = [name for name in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[name])]
    return frame.assign(**{name: _ms(frame[name]) for name in moments})


def compare(table: str, got: pd.DataFrame, expected: pd.DataFrame) -> Finding:
    """Two frames as bags of rows: order does not matter, copies do. Columns are taken by position. O(rows).

    A moment may be a timestamp in one and milliseconds since 1970 in the other.
    """
    got, expected = _in_ms(got), _in_ms(expected.set_axis(got.columns, axis=1))
    columns = list(got.columns)
    count = pd.concat([
        got.groupby(columns, dropna=False).size().rename("got"),
        expected.groupby(columns, dropna=False).size().rename("expected"),
    ], axis=1).fillna(0)  # fmt: skip
    surplus = count["got"] - count["expected"]
    return Finding(table, len(got), len(expected), int(-surplus[surplus < 0].sum()), int(surplus[surplus > 0].sum()))


def revenue(orders: pd.DataFrame) -> pd.DataFrame:
    """minute (ms), orders, cents (less discount) of rows with `event_time`, `amount_cents`, `discount_cents`."""
    minute = _ms(orders["event_time"]) // 60_000 * 60_000
    cents = orders["amount_cents"] - orders["discount_cents"]
    frame = pd.DataFrame({"minute": minute, "cents": cents}).groupby("minute", as_index=False)
    return frame.agg(orders=("cents", "size"), cents=("cents", "sum"))


def _events(ids: pd.Series, topic: str, letter: str, work: Workload, repaired: bool) -> Finding:
    frame = {CLICKS: work.clicks, ORDERS: work.orders, MOVES: work.moves}[topic]
    rows = frame.index if repaired or topic != ORDERS else frame.index[~frame["broken"]]
    expected = pd.DataFrame({"event_id": f"{letter}-" + rows.astype(str)})
    return compare(topic.removeprefix("shop."), ids.to_frame(), expected)


def audit(read: Callable[[str], pd.DataFrame], work: Workload, *, repaired: bool = False) -> list[Finding]:
    """All tables against `work`. `read` gives a table by name; `repaired`: the broken orders were mended and replayed.

    Windows do not reopen for what was replayed, so fraud alerts are compared as they were before.
    """
    orders = read("orders")
    findings = [
        _events(read("clicks")["event_id"], CLICKS, "c", work, repaired),
        _events(orders["event_id"], ORDERS, "o", work, repaired),
        _events(read("stock_moves")["event_id"], MOVES, "m", work, repaired),
        compare("revenue a minute", revenue(orders), truth.revenue(work, repaired=repaired)),
    ]
    for name, answer in (
        ("sessions", truth.sessions),
        ("stock_levels", truth.stock_levels),
        ("low_stock_alerts", truth.low_stock_alerts),
        ("fraud_alerts", truth.fraud_alerts),
    ):
        findings.append(compare(name, read(name), answer(work)))
    return findings


def table(findings: list[Finding]) -> pd.DataFrame:
    """The findings as a data frame, for people."""
    rows = [(f.table, f.rows, f.expected, f.missing, f.extra, "yes" if f.exact else "NO") for f in findings]
    return pd.DataFrame(rows, columns=["table", "rows", "truth", "missing", "extra", "exact"])
