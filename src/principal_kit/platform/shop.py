"""A made-up shop's day as event streams, with the truth kept aside.

`generate(Shop(seed=1))` draws what visitors do (sessions, orders, stock moves, two kinds of fraud), then what networks
and people do to the records: delays, repeats, late arrivals, a schema rolled out in mid-stream, and records nobody can
use. Drawing comes first and damage second, so the truth never goes through the code that it will judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.platform.bad_records import BadRecords
from principal_kit.platform.contract import ALLOWED_LATENESS_MS

CLICKS, ORDERS, MOVES = "shop.clicks", "shop.orders", "shop.stock_moves"
TOPICS = (CLICKS, ORDERS, MOVES)
CLICK_TYPES = ("page_viewed", "product_viewed", "cart_added", "checkout_started")
MOVE_TYPES = ("stock_received", "stock_reserved")
DEVICES = ("phone", "desktop", "tablet")

_EPOCH_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z: shop time starts here, whatever the wall clock says
_CLICKS_A_SESSION = 9.0
_SECONDS_BETWEEN_CLICKS = 4.0
_ORDERS_A_SESSION = 0.35


class Record(NamedTuple):
    """What a producer hands to Kafka: `timestamp_ms` is the moment of sending, by the shop's clock."""

    topic: str
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


@dataclass(frozen=True)
class Shop:
    """What to draw. Times are shop time, in which `rate` events happen a second; a replay may run it faster.

    Args:
        events: valid events in all, about (the streams are drawn, not counted out).
        rate: events a second of shop time.
        seed: one seed gives one shop, byte for byte.
        users, products: how many there are; popularity follows Zipf's law.
        duplicates, late: shares of the valid events that are sent twice, and that arrive beyond the allowed lateness.
        bad: bad records of each kind.
        broken: share of the first version-2 orders that a buggy release writes against the contract; a fix is known.
        epoch_ms: when the shop opens, in milliseconds since 1970.
    """

    events: int = 200_000
    rate: float = 200.0
    seed: int = 0
    users: int = 20_000
    products: int = 200
    duplicates: float = 0.01
    late: float = 0.005
    bad: int = 40
    broken: float = 0.3
    epoch_ms: int = _EPOCH_MS

    def __post_init__(self) -> None:
        for name in ("events", "users", "products", "bad"):
            value = getattr(self, name)
            if not is_integer(value) or value < (0 if name == "bad" else 1):
                raise InvalidArgument(f"{name} is {value!r}; expected a whole number of at least 1 (bad: 0)")
        for name in ("duplicates", "late", "broken"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)!r}; expected a share from 0 to 1")
        if not self.rate > 0:
            raise InvalidArgument(f"rate is {self.rate!r}; expected events a second above 0")

    @property
    def seconds(self) -> float:
        """Length of the day in seconds of shop time."""
        return self.events / self.rate


@dataclass
class Workload:
    """A shop's records in the order of sending, and its events as they really happened.

    `clicks`, `orders` and `moves` are data frames with one row an event, sent once or twice, late or not; `broken`
    marks the orders that were sent against the contract. `sent` has one row a record: moment, topic, what it is.
    """

    shop: Shop
    clicks: pd.DataFrame
    orders: pd.DataFrame
    moves: pd.DataFrame
    sent: pd.DataFrame
    bad: BadRecords = field(repr=False)

    def __len__(self) -> int:
        return len(self.sent)

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        """The records `start` to `stop` in the order of sending; O(1) memory beyond the frames."""
        for topic, row, at in self.sent.iloc[start:stop][["topic", "row", "at"]].itertuples(index=False):
            yield self._render(topic, row, at)

    def _render(self, topic: int, row: int, at: int) -> Record:
        if topic == _BAD:
            return self.bad.record(row, at)
        return Record(TOPICS[topic], *_RENDER[topic](self._columns[topic], row), at)

    @property
    def _columns(self) -> list[list[list]]:
        """The frames as plain lists: indexing a list takes 30 ns, a cell of a data frame 10 µs."""
        if "_lists" not in self.__dict__:
            frames = ((self.clicks, _CLICK_COLUMNS), (self.orders, _ORDER_COLUMNS), (self.moves, _MOVE_COLUMNS))
            self.__dict__["_lists"] = [[frame[name].tolist() for name in names] for frame, names in frames]
        return self.__dict__["_lists"]


_BAD = len(TOPICS)
_CLICK_COLUMNS = ("t", "user", "product", "type", "device", "version")
_ORDER_COLUMNS = ("t", "user", "card", "product", "quantity", "amount_cents", "discount_cents", "version", "broken")
_MOVE_COLUMNS = ("t", "product", "quantity", "type")


def _click(columns: list[list], i: int) -> tuple[bytes, bytes]:
    t, user, product, kind, device, version = (column[i] for column in columns)
    key = f"u-{user}"
    body = f'{{"event_id":"c-{i}","type":"{CLICK_TYPES[kind]}","version":{version},"event_time":{t},"user_id":"{key}"'
    if kind:
        body += f',"product_id":"p-{product}"'
    if version > 1:
        body += f',"device":"{DEVICES[device]}"'
    return key.encode(), (body + "}").encode()


def _order(columns: list[list], i: int) -> tuple[bytes, bytes]:
    t, user, card, product, quantity, amount, discount, version, broken = (column[i] for column in columns)
    money = f'"amount":"{amount / 100:.2f}"' if broken else f'"amount_cents":{amount}'
    body = (
        f'{{"event_id":"o-{i}","type":"order_placed","version":{version},"event_time":{t},"user_id":"u-{user}",'
        f'"card_id":"k-{card}","product_id":"p-{product}","quantity":{quantity},{money}'
    )
    if version > 1:
        body += f',"discount_cents":{discount}'
    return f"u-{user}".encode(), (body + "}").encode()


def _move(columns: list[list], i: int) -> tuple[bytes, bytes]:
    t, product, quantity, kind = (column[i] for column in columns)
    body = (
        f'{{"event_id":"m-{i}","type":"{MOVE_TYPES[kind]}","version":1,"event_time":{t},'
        f'"product_id":"p-{product}","quantity":{quantity}}}'
    )
    return f"p-{product}".encode(), body.encode()


_RENDER = (_click, _order, _move)


# ── Drawing ──────────────────────────────────────────────────────────────────────────────────────
def _zipf(rng: np.random.Generator, count: int, size: int, exponent: float) -> np.ndarray:
    """`size` draws from 0 to count - 1, the first the most popular."""
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    return np.searchsorted(np.cumsum(weights / weights.sum())[:-1], rng.random(size)).astype(np.int64)


def _clicks(shop: Shop, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clicks in the order of time, and the checkouts among them (time, user, product)."""
    a_session = _CLICKS_A_SESSION + 2 * _ORDERS_A_SESSION  # an order and its reservation
    sessions = max(1, round(shop.events / a_session))
    starts = rng.random(sessions) * shop.seconds * 1000
    users = _zipf(rng, shop.users, sessions, 0.3)
    lengths = rng.geometric(1 / (_CLICKS_A_SESSION - 1), sessions) + 1
    of = np.repeat(np.arange(sessions), lengths)
    first = np.zeros(len(of), dtype=bool)
    first[np.cumsum(lengths)[:-1]] = True
    first[0] = True
    gaps = np.where(first, 0.0, rng.exponential(_SECONDS_BETWEEN_CLICKS * 1000, len(of)))
    elapsed = np.cumsum(gaps)
    elapsed -= np.repeat(elapsed[first], lengths)
    # A session ends in a checkout or not; before it come a cart and, all along, pages and products.
    last = np.zeros(len(of), dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    buys = last & np.repeat(rng.random(sessions) < _ORDERS_A_SESSION, lengths)
    kind = rng.choice(3, len(of), p=[0.45, 0.45, 0.10])
    kind[buys] = 3
    frame = pd.DataFrame({
        "t": shop.epoch_ms + (starts[of] + elapsed).astype(np.int64),
        "user": users[of],
        "product": _zipf(rng, shop.products, len(of), 0.8),
        "type": kind,
        "device": rng.choice(len(DEVICES), sessions, p=[0.6, 0.3, 0.1])[of],
    })  # fmt: skip
    frame = frame.sort_values("t", kind="stable", ignore_index=True)
    return frame, frame.loc[frame["type"] == 3, ["t", "user", "product"]]


def _orders(shop: Shop, rng: np.random.Generator, checkouts: pd.DataFrame) -> pd.DataFrame:
    """One order a checkout, within three seconds; and two kinds of card fraud, planted."""
    n = len(checkouts)
    price = (500 + 20_000 * rng.beta(1.2, 6, shop.products)).astype(np.int64)
    quantity = rng.choice([1, 2, 3], n, p=[0.8, 0.15, 0.05])
    product = checkouts["product"].to_numpy()
    usual = pd.DataFrame({
        "t": checkouts["t"].to_numpy() + rng.integers(200, 3000, n),
        "user": checkouts["user"].to_numpy(),
        "card": checkouts["user"].to_numpy() * 2 + (rng.random(n) < 0.1),
        "product": product,
        "quantity": quantity,
        "amount_cents": price[product] * quantity,
    })  # fmt: skip
    planted = max(3, round(n / 400))
    begins = shop.epoch_ms + (rng.random(planted) * shop.seconds * 1000).astype(np.int64)
    # Stolen cards have numbers of their own, beyond every customer's.
    thieves = 2 * shop.users + np.arange(planted)
    bursts = [  # velocity: five orders within forty seconds
        pd.DataFrame({
            "t": begins + k * rng.integers(3_000, 10_000, planted), "user": thieves // 2, "card": thieves,
            "product": rng.integers(0, shop.products, planted), "quantity": 1,
            "amount_cents": rng.integers(2_000, 9_000, planted),
        })
        for k in range(5)
    ]  # fmt: skip
    testers = thieves + planted
    begins = shop.epoch_ms + (rng.random(planted) * shop.seconds * 1000).astype(np.int64)
    tests = [  # card testing: a charge of less than 2.00, then one of more than 500.00 within minutes
        pd.DataFrame({
            "t": begins + wait, "user": testers // 2, "card": testers,
            "product": rng.integers(0, shop.products, planted), "quantity": 1, "amount_cents": amount,
        })
        for wait, amount in ((0, rng.integers(50, 200, planted)),
                             (rng.integers(20_000, 400_000, planted), rng.integers(50_001, 90_000, planted)))
    ]  # fmt: skip
    frame = pd.concat([usual, *bursts, *tests], ignore_index=True)
    frame = frame.sort_values(["t", "card"], kind="stable", ignore_index=True)
    # Two orders of a card in one millisecond have no order in time; the later one moves by a millisecond.
    while (same := frame.duplicated(["card", "t"])).any():
        frame.loc[same, "t"] += 1
        frame = frame.sort_values(["t", "card"], kind="stable", ignore_index=True)
    frame["discount_cents"] = np.where(rng.random(len(frame)) < 0.2, frame["amount_cents"] // 10, 0)
    return frame


def _moves(shop: Shop, rng: np.random.Generator, orders: pd.DataFrame) -> pd.DataFrame:
    """Every order reserves its goods; every product starts with some and is restocked once, some a little late."""
    demand = np.bincount(orders["product"], orders["quantity"], shop.products)
    start = np.maximum(30, (demand * rng.uniform(0.4, 1.1, shop.products)).astype(np.int64))
    restock = np.maximum(30, demand.astype(np.int64))
    at = shop.epoch_ms + (rng.uniform(0.4, 0.7, shop.products) * shop.seconds * 1000).astype(np.int64)
    product = np.arange(shop.products)
    frames = [
        pd.DataFrame({"t": shop.epoch_ms, "product": product, "quantity": start, "type": 0}),
        pd.DataFrame({"t": at, "product": product, "quantity": restock, "type": 0}),
        pd.DataFrame({
            "t": orders["t"] + rng.integers(10, 400, len(orders)), "product": orders["product"],
            "quantity": orders["quantity"], "type": 1,
        }),
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True).sort_values("t", kind="stable", ignore_index=True)


# ── Sending ──────────────────────────────────────────────────────────────────────────────────────
def _versions(shop: Shop, rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """1 before the rollout, 2 after it; over the tenth of the day in the middle, more and more of them 2."""
    done = ((t - shop.epoch_ms) / 1000 - 0.45 * shop.seconds) / (0.1 * shop.seconds)
    return 1 + (rng.random(len(t)) < done).astype(np.int64)


def _arrivals(shop: Shop, rng: np.random.Generator, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When each event is sent, and which of them are late beyond what is allowed."""
    late = rng.random(len(t)) < shop.late
    delay = np.minimum(rng.exponential(500, len(t)), 0.8 * ALLOWED_LATENESS_MS)
    return t + np.where(late, rng.uniform(3, 30, len(t)) * ALLOWED_LATENESS_MS, delay).astype(np.int64), late


def generate(shop: Shop | None = None) -> Workload:
    """The whole workload of `shop`. O(events log events) time, about 400 bytes an event."""
    shop = shop or Shop()
    draw, damage = np.random.default_rng(shop.seed).spawn(2)
    clicks, checkouts = _clicks(shop, draw)
    orders = _orders(shop, draw, checkouts)
    moves = _moves(shop, draw, orders)
    clicks["version"] = _versions(shop, damage, clicks["t"].to_numpy())
    orders["version"] = _versions(shop, damage, orders["t"].to_numpy())
    moves["version"] = 1
    orders.loc[orders["version"] == 1, "discount_cents"] = 0  # the first contract knows no discounts
    young = (orders["t"] - shop.epoch_ms) / 1000 < 0.6 * shop.seconds
    orders["broken"] = (orders["version"] == 2) & young & (damage.random(len(orders)) < shop.broken)
    sent = []
    for topic, frame in enumerate((clicks, orders, moves)):
        at, frame["late"] = _arrivals(shop, damage, frame["t"].to_numpy())
        again = np.flatnonzero(damage.random(len(frame)) < shop.duplicates)
        rows = np.concatenate([np.arange(len(frame)), again])
        ats = np.concatenate([at, at[again] + damage.integers(50, 20_000, len(again))])
        sent.append(pd.DataFrame({"at": ats, "topic": topic, "row": rows, "again": np.arange(len(rows)) >= len(frame)}))
    bad = BadRecords.draw(shop.bad, damage, TOPICS, shop.epoch_ms, shop.seconds)
    sent.append(pd.DataFrame({"at": bad.at, "topic": _BAD, "row": np.arange(len(bad.at)), "again": False}))
    order = pd.concat(sent, ignore_index=True).sort_values("at", kind="stable", ignore_index=True)
    return Workload(shop, clicks, orders, moves, order, bad)
