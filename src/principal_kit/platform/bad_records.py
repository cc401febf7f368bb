"""Records that nobody can use, each with the reason it should be refused for.

They come on top of the shop's events, so whatever lets one through is off the truth by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from principal_kit.platform.contract import MAX_BYTES, REASONS

if TYPE_CHECKING:
    from principal_kit.platform.shop import Record

_DAY_MS = 86_400_000


def _good(topic: str, n: int, t: int) -> tuple[bytes, dict[str, str]]:
    """A record that would pass, as raw JSON pieces: what each kind of damage starts from."""
    body = {"event_id": f'"x-{n}"', "version": "1", "event_time": str(t)}
    if topic == "shop.clicks":
        return b"u-1", body | {"type": '"product_viewed"', "user_id": '"u-1"', "product_id": '"p-1"'}
    if topic == "shop.orders":
        return b"u-1", body | {
            "type": '"order_placed"', "user_id": '"u-1"', "card_id": '"k-1"', "product_id": '"p-1"',
            "quantity": "1", "amount_cents": "1000",
        }  # fmt: skip
    return b"p-1", body | {"type": '"stock_received"', "product_id": '"p-1"', "quantity": "5"}


def _json(body: dict[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in body.items()) + "}").encode()


def _without(name: str) -> Callable[[dict[str, str]], bytes]:
    return lambda body: _json({key: value for key, value in body.items() if key != name})


def _with(**fields: str) -> Callable[[dict[str, str]], bytes]:
    return lambda body: _json(body | fields)


DAMAGE: dict[str, tuple[Callable[[dict[str, str]], bytes | None], ...]] = {
    "null key": (_json,),
    "oversized": (_with(note='"' + "x" * MAX_BYTES + '"'),),
    "malformed": (
        lambda body: _json(body)[:-9],
        lambda body: b"\x00\xff\xfe" + _json(body)[3:9],
        lambda body: b"[1,2,3]",
        lambda body: b'"order_placed"',
        lambda body: b"Service Unavailable",
        lambda body: b"",
        lambda body: None,
    ),
    "unknown type": (_with(type='"order_teleported"'), _without("type"), _with(type="null"), _with(type='{"a":1}')),
    "wrong schema": (
        _without("product_id"), _without("event_time"), _without("event_id"), _with(version="9"), _without("version"),
        _with(event_time='"yesterday"'), _with(event_time="-5"), _with(event_time="1.5"), _with(event_id="null"),
        _with(event_id='""'), _with(product_id='["p-1"]'), _with(event_time="true"), _with(version='"two"'),
    ),
    "future-dated": (),  # set from the moment of sending, in `record`
}  # fmt: skip
ORDER_DAMAGE = (_with(quantity="0"), _with(amount_cents='"lots"'), _with(amount_cents="12.5"), _without("card_id"))


@dataclass(frozen=True)
class BadRecords:
    """When the bad records are sent (`at`, ms), to which topic (index), and why they should be refused (index)."""

    topics: tuple[str, ...]
    at: np.ndarray
    topic: np.ndarray
    reason: np.ndarray

    @classmethod
    def draw(
        cls, each: int, rng: np.random.Generator, topics: Sequence[str], epoch_ms: int, seconds: float
    ) -> BadRecords:
        """`each` records a reason, over the day and over the topics."""
        n = each * len(REASONS)
        at = epoch_ms + (rng.random(n) * seconds * 1000).astype(np.int64)
        return cls(tuple(topics), at, rng.integers(0, len(topics), n), np.repeat(np.arange(len(REASONS)), each))

    def record(self, row: int, at: int) -> Record:
        """The record itself; `row` also picks one of its reason's kinds of damage."""
        from principal_kit.platform.shop import Record

        topic, why = self.topics[self.topic[row]], REASONS[self.reason[row]]
        key, body = _good(topic, row, at)
        if why == "future-dated":
            return Record(topic, key, _json(body | {"event_time": str(at + _DAY_MS)}), at)
        damage = DAMAGE[why]
        if why == "wrong schema" and topic == "shop.orders":
            damage = damage + ORDER_DAMAGE
        return Record(topic, None if why == "null key" else key, damage[row % len(damage)](body), at)
