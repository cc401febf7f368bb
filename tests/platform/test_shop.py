"""The shop: one seed, one day; damage on top of it, and the truth aside."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.platform import contract, truth
from principal_kit.platform.shop import CLICKS, ORDERS, TOPICS, Shop, generate

SMALL = Shop(events=6_000, users=600, products=40, bad=14)


@pytest.fixture(scope="module")
def work():
    return generate(SMALL)


@pytest.fixture(scope="module")
def records(work):
    return list(work.records())


def test_one_seed_is_one_day_byte_for_byte(records):
    assert list(generate(SMALL).records()) == records
    other = generate(Shop(events=6_000, users=600, products=40, bad=14, seed=1))
    assert list(other.records()) != records


def test_records_come_in_the_order_of_sending_and_can_be_taken_in_parts(work, records):
    sent = [r.timestamp_ms for r in records]
    assert sent == sorted(sent)
    assert [*work.records(0, 700), *work.records(700, 701), *work.records(701)] == records


def test_what_the_contract_refuses_is_what_was_planted(work, records):
    refused = Counter((r.topic, why) for r in records if (why := contract.reason(*r)))
    assert dict(sorted(refused.items())) == truth.dead_letters(work)
    assert {why for _, why in refused} == set(contract.REASONS)


def test_every_good_event_is_sent_and_the_repeats_are_whole_copies(work, records):
    seen = {}
    for record in records:
        if contract.reason(*record) is None:
            event = json.loads(record.value)
            assert seen.setdefault(event["event_id"], (record.topic, record.key, record.value)) == record[:3]
    counts = Counter(topic for topic, _, _ in seen.values())
    assert dict(counts) == truth.accepted(work)
    assert work.sent["again"].sum() == pytest.approx(0.01 * len(records), rel=0.5)


def test_late_is_a_matter_of_the_record_alone(work, records):
    """The first copy of an event was sent within the allowed lateness or well beyond it, never near it."""
    late, seen = Counter(), set()
    for record in records:
        if contract.reason(*record) is None:
            event = json.loads(record.value)
            if event["event_id"] in seen:
                continue
            seen.add(event["event_id"])
            delay = record.timestamp_ms - event["event_time"]
            assert 0 <= delay <= 0.8 * contract.ALLOWED_LATENESS_MS or delay >= 3 * contract.ALLOWED_LATENESS_MS
            late[record.topic] += delay > contract.ALLOWED_LATENESS_MS
    assert {topic: late[topic] for topic in TOPICS} == truth.late(work)


def test_versions_change_in_mid_stream(work):
    for frame in (work.clicks, work.orders):
        middle = (frame["t"] - SMALL.epoch_ms) / 1000 / SMALL.seconds
        assert (frame["version"][middle < 0.45] == 1).all()
        assert (frame["version"][middle > 0.55] == 2).all()
        assert frame["version"][(middle > 0.47) & (middle < 0.53)].nunique() == 2
    assert work.orders["broken"].any()
    assert (work.orders["version"][work.orders["broken"]] == 2).all()


def test_a_card_never_has_two_orders_in_one_millisecond():
    frame = generate(Shop(events=40_000, users=3, products=5)).orders
    assert not frame.duplicated(["card", "t"]).any()


def test_both_kinds_of_fraud_are_there_and_rare(work):
    found = truth.fraud_alerts(work)
    assert set(found["rule"]) == {"velocity", "card testing"}
    assert len(found) < 0.1 * len(work.orders)


def test_no_damage_means_no_dead_letters_and_nothing_late():
    work = generate(Shop(events=3_000, bad=0, late=0, duplicates=0, broken=0))
    assert truth.dead_letters(work) == {}
    assert set(truth.late(work).values()) == {0}
    assert len(work) == sum(truth.accepted(work).values())
    assert all(contract.reason(*record) is None for record in work.records())


@pytest.mark.parametrize(
    "wrong",
    [{"events": 0}, {"events": 1.5}, {"rate": 0}, {"rate": float("nan")}, {"late": 1.5}, {"bad": -1}, {"users": 0}],
)
def test_a_shop_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        Shop(**wrong)


# ── The truth, against a reading of the events one by one ────────────────────────────────────────
def _by_hand(times: list[int], gap: int) -> list[tuple[int, int, int]]:
    out = []
    for t in sorted(times):
        if out and t - out[-1][1] <= gap:
            out[-1] = (out[-1][0], t, out[-1][2] + 1)
        else:
            out.append((t, t, 1))
    return [(a, b + gap, n) for a, b, n in out]


def test_sessions_are_split_by_the_gap(work):
    clicks = work.clicks[~work.clicks["late"]]
    expected = {
        (f"u-{user}", a, b, n)
        for user, group in clicks.groupby("user")
        for a, b, n in _by_hand(group["t"].tolist(), truth.SESSION_GAP_MS)
    }
    got = truth.sessions(work)
    assert set(got[["user_id", "start", "finish", "clicks"]].itertuples(index=False, name=None)) == expected
    assert got["clicks"].sum() == len(clicks)
    assert got["checkouts"].sum() == (clicks["type"] == 3).sum()


def test_stock_ends_at_what_came_less_what_went(work):
    moves = work.moves[~work.moves["late"]]
    signed = np.where(moves["type"] == 0, moves["quantity"], -moves["quantity"])
    last = truth.stock_levels(work).groupby("product_id")["stock"].last()
    total = {f"p-{p}": int(signed[moves["product"] == p].sum()) for p in moves["product"].unique()}
    assert last.to_dict() == total


def test_revenue_counts_late_orders_and_the_repaired_ones_when_asked(work):
    plain, repaired = truth.revenue(work), truth.revenue(work, repaired=True)
    net = work.orders["amount_cents"] - work.orders["discount_cents"]
    assert repaired["cents"].sum() == net.sum()
    assert plain["cents"].sum() == net[~work.orders["broken"]].sum() < repaired["cents"].sum()
    assert repaired["orders"].sum() == len(work.orders) == truth.accepted(work, repaired=True)[ORDERS]
    assert truth.accepted(work)[CLICKS] == len(work.clicks)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300_000), unique=True, max_size=30))
def test_velocity_finds_the_first_four_within_a_minute_and_goes_on_behind_them(times):
    times = sorted(times)
    spans = truth._velocity(times)
    used = -1
    for first, last in spans:
        assert last - first == 3
        assert times[last] - times[first] < truth.VELOCITY_MS
        assert first > used
        used = last
    # Between two matches there is no third.
    for begin, end in zip([0, *(last + 1 for _, last in spans)], [*(first for first, _ in spans), len(times)]):
        gap = range(begin, end - 3)
        assert all(times[i + 3] - times[i] >= truth.VELOCITY_MS for i in gap)
