"""What a pipeline must end with, worked out from what really happened.

Each answer is a few lines of pandas over a workload's own events: no record is parsed, no clock or network is in it.
A table of the pipeline is right when it equals the frame here, row for row.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from principal_kit.platform.contract import REASONS
from principal_kit.platform.shop import _BAD, CLICK_TYPES, TOPICS, Workload

SESSION_GAP_MS = 30_000
"""A visitor who does nothing for longer than this has left."""
STOCK_WINDOW_MS = 10_000
LOW_STOCK = 20
VELOCITY_ORDERS, VELOCITY_MS = 4, 60_000
TEST_CHARGE_CENTS, LARGE_CHARGE_CENTS, TEST_MS = 200, 50_000, 600_000


def sessions(work: Workload) -> pd.DataFrame:
    """user_id, start, finish (last click and the gap, ms), clicks, carts, checkouts; of the clicks in time."""
    seen = work.clicks.loc[~work.clicks["late"]].sort_values(["user", "t"], kind="stable")
    begins = (seen["user"] != seen["user"].shift()) | (seen["t"] - seen["t"].shift() > SESSION_GAP_MS)
    grouped = seen.assign(
        carts=seen["type"] == CLICK_TYPES.index("cart_added"),
        checkouts=seen["type"] == CLICK_TYPES.index("checkout_started"),
    ).groupby([seen["user"], begins.cumsum()], sort=False)
    out = grouped.agg(
        start=("t", "min"), finish=("t", "max"), clicks=("t", "size"),
        carts=("carts", "sum"), checkouts=("checkouts", "sum"),
    )  # fmt: skip
    out = out.reset_index("user").reset_index(drop=True)
    out["finish"] += SESSION_GAP_MS
    out.insert(0, "user_id", "u-" + out.pop("user").astype(str))
    return out.sort_values(["user_id", "start"], ignore_index=True)


def revenue(work: Workload, *, repaired: bool = False) -> pd.DataFrame:
    """minute (ms), orders, cents (less discount), late ones included; `repaired` counts the broken orders too."""
    orders = work.orders if repaired else work.orders.loc[~work.orders["broken"]]
    out = (
        orders.assign(minute=orders["t"] // 60_000 * 60_000, cents=orders["amount_cents"] - orders["discount_cents"])
        .groupby("minute", as_index=False)
        .agg(orders=("t", "size"), cents=("cents", "sum"))
    )
    return out.sort_values("minute", ignore_index=True)


def stock_levels(work: Workload) -> pd.DataFrame:
    """product_id, window_end (ms), delta, stock: one row for each ten seconds in which a product's stock moved."""
    moves = work.moves.loc[~work.moves["late"]]
    delta = np.where(moves["type"] == 0, moves["quantity"], -moves["quantity"])
    out = (
        moves.assign(window_end=(moves["t"] // STOCK_WINDOW_MS + 1) * STOCK_WINDOW_MS, delta=delta)
        .groupby(["product", "window_end"], as_index=False)
        .agg(delta=("delta", "sum"))
    )
    out["stock"] = out.groupby("product")["delta"].cumsum()
    out.insert(0, "product_id", "p-" + out.pop("product").astype(str))
    return out.sort_values(["product_id", "window_end"], ignore_index=True)


def low_stock_alerts(work: Workload) -> pd.DataFrame:
    """product_id, window_end, stock: each time a product falls below `LOW_STOCK`, having been at or above it."""
    levels = stock_levels(work)
    before = levels.groupby("product_id")["stock"].shift()
    fell = (levels["stock"] < LOW_STOCK) & (before >= LOW_STOCK)
    return levels.loc[fell, ["product_id", "window_end", "stock"]].reset_index(drop=True)


def fraud_alerts(work: Workload) -> pd.DataFrame:
    """card_id, rule, first, last (ms), orders, cents: what the two rules find in the orders that were in time.

    *velocity*: `VELOCITY_ORDERS` orders of a card within less than `VELOCITY_MS`; *card testing*: an order below
    `TEST_CHARGE_CENTS` and, as the card's next, one above `LARGE_CHARGE_CENTS` within less than `TEST_MS`. After a
    match the search goes on behind it.
    """
    orders = work.orders.loc[~work.orders["late"] & ~work.orders["broken"]].sort_values(["card", "t"], kind="stable")
    found = []
    for card, group in orders.groupby("card", sort=False):
        if len(group) < 2:
            continue
        t, cents = group["t"].tolist(), group["amount_cents"].tolist()
        for rule, (first, last) in [
            *(("velocity", span) for span in _velocity(t)),
            *(("card testing", span) for span in _card_testing(t, cents)),
        ]:
            found.append((f"k-{card}", rule, t[first], t[last], last - first + 1, sum(cents[first : last + 1])))
    out = pd.DataFrame(found, columns=["card_id", "rule", "first", "last", "orders", "cents"])
    return out.sort_values(["card_id", "rule", "first"], ignore_index=True)


def _velocity(t: list[int]) -> list[tuple[int, int]]:
    spans, i, width = [], 0, VELOCITY_ORDERS - 1
    while i + width < len(t):
        if t[i + width] - t[i] < VELOCITY_MS:
            spans.append((i, i + width))
            i += width + 1
        else:
            i += 1
    return spans


def _card_testing(t: list[int], cents: list[int]) -> list[tuple[int, int]]:
    spans, i = [], 0
    while i + 1 < len(t):
        if cents[i] < TEST_CHARGE_CENTS and cents[i + 1] > LARGE_CHARGE_CENTS and t[i + 1] - t[i] < TEST_MS:
            spans.append((i, i + 1))
            i += 2
        else:
            i += 1
    return spans


def accepted(work: Workload, *, repaired: bool = False) -> dict[str, int]:
    """Topic to the number of different good events, late ones included."""
    orders = work.orders if repaired else work.orders.loc[~work.orders["broken"]]
    return dict(zip(TOPICS, (len(work.clicks), len(orders), len(work.moves))))


def late(work: Workload) -> dict[str, int]:
    """Topic to the number of different good events that came too late for windows already given out."""
    orders = work.orders.loc[~work.orders["broken"]]
    return dict(zip(TOPICS, (int(frame["late"].sum()) for frame in (work.clicks, orders, work.moves))))


def dead_letters(work: Workload) -> dict[tuple[str, str], int]:
    """(topic, reason) to the number of records refused; a refused record that was sent twice is two."""
    counts: dict[tuple[str, str], int] = {}
    for topic, why in zip(work.bad.topic, work.bad.reason):
        key = (TOPICS[topic], REASONS[why])
        counts[key] = counts.get(key, 0) + 1
    rows = work.sent.loc[work.sent["topic"] == TOPICS.index("shop.orders"), "row"]
    broken = int(work.orders["broken"].to_numpy()[rows].sum())
    if broken:
        key = ("shop.orders", "wrong schema")
        counts[key] = counts.get(key, 0) + broken
    assert (work.sent["topic"] == _BAD).sum() == len(work.bad.at)
    return dict(sorted(counts.items()))
