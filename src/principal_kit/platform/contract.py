"""The contract of the shop's events: what a record must be, and what a next version of it may change.

One rule decides for every record, from the record alone, whether it is used or goes to the dead letters, and why. The
Flink jobs (`jobs/*.sql`) state the same rule in SQL; `tests/platform` holds the two against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from principal_kit.core.errors import InvalidArgument

MAX_BYTES = 16_384
"""A larger value is refused: what a shop writes is a few hundred bytes, and one giant stalls everyone behind it."""
ALLOWED_LATENESS_MS = 10_000
"""An event sent more than this after it happened is late: kept and counted, not used in results already given out."""
ALLOWED_LEAD_MS = 300_000
"""An event from further in the future than this comes from a broken clock."""

REASONS = ("null key", "oversized", "malformed", "unknown type", "wrong schema", "future-dated")

TIME_MAX_MS = 99_999_999_999_999
"""Milliseconds, up to the year 5138. Later moments overflow Flink's timestamps and come out as some long past one."""
MAX_DEPTH = 100
"""Objects and arrays nested deeper are malformed: how deep a parser can go is not for a sender to find out."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Field:
    """One field of a record: `kind` text, not empty, or integer in bounds; `default` for what old versions left out."""

    name: str
    kind: Literal["text", "integer"] = "text"
    required: bool = True
    minimum: int | None = None
    maximum: int = 10**18 - 1
    default: str | int | None = None


@dataclass(frozen=True)
class Contract:
    """What one topic carries: for each version the fields of each event type."""

    topic: str
    versions: Mapping[int, Mapping[str, tuple[Field, ...]]]

    @property
    def types(self) -> frozenset[str]:
        """Every event type of any version."""
        return frozenset(kind for kinds in self.versions.values() for kind in kinds)

    def json_schema(self, version: int, kind: str) -> dict[str, Any]:
        """The JSON Schema (2020-12) of one event type, for people and tools that do not read Python.

        Raises InvalidArgument on a version or a type this contract does not have.
        """
        fields = self.versions.get(version, {}).get(kind)
        if fields is None:
            raise InvalidArgument(f"{self.topic} has no {kind!r} in version {version}")
        properties: dict[str, Any] = {"type": {"const": kind}, "version": {"const": version}}
        for field in fields:
            rule: dict[str, Any] = (
                {"type": "integer"} if field.kind == "integer" else {"type": "string", "minLength": 1}
            )
            if field.kind == "integer":
                rule["maximum"] = field.maximum
            if field.minimum is not None:
                rule["minimum"] = field.minimum
            if field.default is not None:
                rule["default"] = field.default
            properties[field.name] = rule
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"{self.topic} {kind} v{version}",
            "type": "object",
            "properties": properties,
            "required": ["type", "version", *(f.name for f in fields if f.required)],
        }


_ENVELOPE = (Field("event_id"), Field("event_time", "integer", minimum=0, maximum=TIME_MAX_MS))
_PAGE = (*_ENVELOPE, Field("user_id"))
_PRODUCT = (*_PAGE, Field("product_id"))
_DEVICE = Field("device", required=False, default="unknown")
_ORDER = (
    *_PRODUCT,
    Field("card_id"),
    Field("quantity", "integer", minimum=1),
    Field("amount_cents", "integer", minimum=0),
)
_DISCOUNT = Field("discount_cents", "integer", required=False, minimum=0, default=0)
_MOVE = (*_ENVELOPE, Field("product_id"), Field("quantity", "integer", minimum=1))

_SEEN = ("product_viewed", "cart_added", "checkout_started")
CONTRACTS = {
    "shop.clicks": Contract("shop.clicks", {
        1: {"page_viewed": _PAGE, **dict.fromkeys(_SEEN, _PRODUCT)},
        2: {"page_viewed": (*_PAGE, _DEVICE), **dict.fromkeys(_SEEN, (*_PRODUCT, _DEVICE))},
    }),
    "shop.orders": Contract("shop.orders", {1: {"order_placed": _ORDER}, 2: {"order_placed": (*_ORDER, _DISCOUNT)}}),
    "shop.stock_moves": Contract("shop.stock_moves", {1: dict.fromkeys(("stock_received", "stock_reserved"), _MOVE)}),
}  # fmt: skip


def _text(value: Any) -> str | None:
    """A JSON scalar as text, a number as it is written; None for null, arrays and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is Python's, not JSON's")


_READ = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str).decode


def _deep(value: Any) -> bool:
    """Whether objects and arrays are nested deeper than `MAX_DEPTH`. O(values), and no recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        nested = (part.values() if isinstance(part, dict) else part for part in level)
        level = [inner for parts in nested for inner in parts if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def read(value: bytes | None) -> dict[str, Any] | None:
    """The JSON object that a record's bytes are, numbers as text, as they are written; None if they are none. O(bytes).

    Bytes that are no UTF-8 count as U+FFFD; of a field that is there twice, the last counts.

    >>> read(b'{"event_id": "c-1", "event_time": 1.50}')
    {'event_id': 'c-1', 'event_time': '1.50'}
    """
    try:
        event = _READ((value or b"").decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and not _deep(event) else None


def _fits(field: Field, event: Mapping[str, Any]) -> bool:
    value = event.get(field.name)
    if value is None:
        return not field.required
    text = _text(value)
    if field.kind == "text":
        return bool(text)
    if text is None or not _INTEGER.fullmatch(text):
        return False
    return (field.minimum is None or int(text) >= field.minimum) and int(text) <= field.maximum


def reason(topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> str | None:
    """Why a record goes to the dead letters (one of `REASONS`, the first that holds), or None if it is good.

    Integers may come as decimal text, as JSON libraries of languages without 64-bit integers write them. O(len(value)).
    Raises InvalidArgument on a topic without a contract.

    >>> reason("shop.stock_moves", b"p-1", b"{", 0)
    'malformed'
    """
    contract = CONTRACTS.get(topic)
    if contract is None:
        raise InvalidArgument(f"topic {topic!r} has no contract; known: {', '.join(CONTRACTS)}")
    if key is None:
        return "null key"
    if value is not None and len(value) > MAX_BYTES:
        return "oversized"
    event = read(value)
    if event is None:
        return "malformed"
    kind = _text(event.get("type"))
    if kind not in contract.types:
        return "unknown type"
    versions = {str(number): kinds for number, kinds in contract.versions.items()}
    fields = versions.get(_text(event.get("version")) or "", {}).get(kind)
    if fields is None or not all(_fits(field, event) for field in fields):
        return "wrong schema"
    if int(event["event_time"]) > timestamp_ms + ALLOWED_LEAD_MS:
        return "future-dated"
    return None


Compatibility = Literal["backward", "forward", "full"]


def breaks(old: tuple[Field, ...], new: tuple[Field, ...], compatibility: Compatibility = "backward") -> list[str]:
    """What a change of an event's fields breaks, in words; an empty list if nothing.

    *Backward*: readers of the new version still read old records, so readers may be deployed first. *Forward*: readers
    of the old version read new records, so writers may. *Full*: both. The rules are Avro's and Confluent's for JSON.
    """
    if compatibility == "full":
        return breaks(old, new, "backward") + breaks(old, new, "forward")
    if compatibility not in ("backward", "forward"):
        raise InvalidArgument(f"compatibility is {compatibility!r}; expected backward, forward or full")
    reader, writer, who = (new, old, "old") if compatibility == "backward" else (old, new, "new")
    written = {field.name: field for field in writer}
    wrong = []
    for field in reader:
        there = written.get(field.name)
        if there is None:
            if field.required and field.default is None:
                wrong.append(f"{field.name} is required and {who} records do not have it")
        elif there.kind != field.kind:
            wrong.append(f"{field.name} is {there.kind} in {who} records, {field.kind} to their readers")
        elif field.required and not there.required and field.default is None:
            wrong.append(f"{field.name} is required and {who} records may leave it out")
        elif field.minimum is not None and (there.minimum is None or there.minimum < field.minimum):
            wrong.append(f"{field.name} is at least {field.minimum} to readers, and {who} records go lower")
    return wrong
