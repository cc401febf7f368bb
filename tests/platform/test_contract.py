"""The contract: one rule for every record, and what a next version may change."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.platform.contract import CONTRACTS, MAX_BYTES, REASONS, Field, breaks, reason
from principal_kit.platform.shop import Shop, generate

GOOD = {
    "event_id": "m-1",
    "type": "stock_received",
    "version": 1,
    "event_time": 1000,
    "product_id": "p-1",
    "quantity": 3,
}


def judge(key=b"p-1", at=1000, **changes):
    event = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return reason("shop.stock_moves", key, json.dumps(event).encode(), at)


@pytest.mark.parametrize("changes, why", [
    ({}, None), ({"note": "more than asked"}, None), ({"quantity": "3"}, None), ({"event_time": "1000"}, None),
    ({"key": None}, "null key"), ({"note": "x" * MAX_BYTES}, "oversized"),
    ({"type": "page_viewed"}, "unknown type"), ({"type": ...}, "unknown type"), ({"type": None}, "unknown type"),
    ({"version": 2}, "wrong schema"), ({"version": ...}, "wrong schema"), ({"quantity": 0}, "wrong schema"),
    ({"quantity": 1.0}, "wrong schema"), ({"quantity": True}, "wrong schema"), ({"quantity": "3 "}, "wrong schema"),
    ({"quantity": 10**18}, "wrong schema"), ({"event_id": ""}, "wrong schema"), ({"event_id": None}, "wrong schema"),
    ({"product_id": ["p-1"]}, "wrong schema"), ({"event_time": -1}, "wrong schema"),
    ({"event_time": 10**14}, "wrong schema"), ({"event_time": 10**14 - 1}, "future-dated"),
    ({"event_time": 301_000}, None), ({"event_time": 301_001}, "future-dated"),
])  # fmt: skip
def test_the_first_reason_that_holds(changes, why):
    assert judge(**changes) == why


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"7", b'"text"', b"null", b"\xff\xfe", b'{"a":NaN}', b"{} {}"]
)
def test_what_is_not_one_json_object_is_malformed(value):
    assert reason("shop.clicks", b"k", value, 0) == "malformed"


def test_a_size_is_bytes_and_the_limit_itself_passes():
    room = MAX_BYTES - len(json.dumps(GOOD | {"note": ""}))
    assert judge(note="x" * room) is None
    assert judge(note="x" * (room + 1)) == "oversized"


def test_a_topic_without_a_contract_is_an_error_of_the_caller():
    with pytest.raises(InvalidArgument, match=r"shop\.clicks"):
        reason("shop.refunds", b"k", b"{}", 0)


@given(st.binary(max_size=200), st.sampled_from(sorted(CONTRACTS)))
def test_no_bytes_break_the_judge(value, topic):
    assert reason(topic, b"k", value, 0) in REASONS


def test_the_published_schema_takes_what_the_contract_takes():
    published = {}
    for record in generate(Shop(events=1_500, bad=0, broken=0)).records():
        event = json.loads(record.value)
        kind = (record.topic, event["version"], event["type"])
        if kind not in published:
            schema = CONTRACTS[record.topic].json_schema(event["version"], event["type"])
            jsonschema.Draft202012Validator.check_schema(schema)
            published[kind] = jsonschema.Draft202012Validator(schema)
        assert published[kind].is_valid(event)
        missing = {name: value for name, value in event.items() if name != "event_id"}
        with pytest.raises(jsonschema.ValidationError, match="event_id"):
            published[kind].validate(missing)
    assert len(published) > 8


def test_a_schema_that_is_not_there():
    with pytest.raises(InvalidArgument, match="version 3"):
        CONTRACTS["shop.orders"].json_schema(3, "order_placed")


# ── Compatibility ────────────────────────────────────────────────────────────────────────────────
OLD = (Field("id"), Field("amount", "integer", minimum=0))


@pytest.mark.parametrize("new, backward, forward", [
    (OLD, [], []),
    ((*OLD, Field("note", required=False)), [], []),
    ((*OLD, Field("note")), ["note is required and old records do not have it"], []),
    ((*OLD, Field("note", default="-")), [], []),
    (OLD[:1], [], ["amount is required and new records do not have it"]),
    ((OLD[0], Field("amount")), ["amount is integer in old"], ["amount is text in new"]),
    ((OLD[0], Field("amount", "integer", minimum=5)), ["old records go lower"], []),
    ((OLD[0], Field("amount", "integer", required=False, minimum=0)), [], ["new records may leave it out"]),
])  # fmt: skip
def test_what_a_change_breaks(new, backward, forward):
    for mode, expected in (("backward", backward), ("forward", forward)):
        found = breaks(OLD, new, mode)
        assert len(found) == len(expected), found
        assert all(part in line for part, line in zip(expected, found))
    assert breaks(OLD, new, "full") == breaks(OLD, new) + breaks(OLD, new, "forward")


def test_version_two_of_the_shop_breaks_nobody():
    for contract in CONTRACTS.values():
        if 2 in contract.versions:
            for kind, fields in contract.versions[1].items():
                assert breaks(fields, contract.versions[2][kind], "full") == []


def test_an_unknown_kind_of_compatibility():
    with pytest.raises(InvalidArgument, match="sideways"):
        breaks(OLD, OLD, "sideways")
