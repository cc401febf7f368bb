"""An order's rules hold for every run of commands; the store loses nothing and shows nothing twice to its readers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.clock import wait_until
from principal_kit.core.errors import InvalidArgument
from principal_kit.platform import event_sourcing
from principal_kit.platform.event_sourcing import (
    RULES,
    Command,
    Conflict,
    Event,
    Order,
    Position,
    Rejected,
    Store,
    decide,
    evolve,
    replay,
    waits,
)

commands = st.lists(st.builds(Command, st.sampled_from(sorted(RULES)), st.sampled_from([0, 1, 300, 900])), max_size=40)
# Chance alone rarely gets an order far: most runs begin with one that goes well for a while.
GOOD = [Command("place", 900), Command("pay", 900), Command("pack"), Command("ship"), Command("deliver")]
runs = st.builds(lambda n, more: GOOD[:n] + more, st.integers(0, len(GOOD)), commands)
FOUR = [Event("placed", 900), Event("paid", 900), Event("packed"), Event("shipped")]


def events_of(run):
    order, events = Order(), []
    for command in run:
        try:
            new = decide(order, command)
        except Rejected:
            continue
        order, events = replay(new, order), events + new
    return events


@given(runs)
def test_no_run_of_commands_breaks_the_rules(run):
    events = events_of(run)
    kinds, order = [event.kind for event in events], Order()
    for n, event in enumerate(events, start=1):
        order = evolve(order, event)
        assert order.version == n
        assert 0 <= order.refunded <= order.paid <= order.total
    for first, then in pairwise(("placed", "paid", "packed", "shipped", "delivered")):
        assert then not in kinds or kinds.index(first) < kinds.index(then)
    assert all(kinds.count(kind) <= 1 for kind in kinds if kind != "refunded")
    if "cancelled" in kinds:
        assert "shipped" not in kinds
        assert order.refunded == order.paid, "a cancelled order keeps nobody's money"


@given(runs, st.integers(0, 40))
def test_a_snapshot_and_the_events_since_are_the_whole_history(run, cut):
    events = events_of(run)
    assert replay(events[cut:], replay(events[:cut])) == replay(events)


@given(runs)
def test_deciding_changes_nothing_and_answers_the_same_again(run):
    order = replay(events_of(run))
    before = asdict(order)
    for command in run:
        answers = []
        for _ in range(2):
            try:
                answers.append(decide(order, command))
            except Rejected as error:
                answers.append(str(error))
        assert answers[0] == answers[1]
    assert asdict(order) == before


@pytest.mark.parametrize("command", [Command("teleport"), Command("pay", -1), Command("pay", 1.5)])
def test_what_is_no_command_is_refused(command):
    with pytest.raises(InvalidArgument, match="is no command"):
        decide(Order(), command)


# ── On PostgreSQL ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def postgres():
    from principal_kit import services

    with services.postgres(fresh=True) as endpoint:
        yield endpoint


@pytest.fixture
def connect(postgres):
    """Connections to tables of the test's own; every one sees the same."""
    made = [postgres.connect()]
    made[0].execute("DROP TABLE IF EXISTS events, snapshots, projections, revenue")

    def connect():
        made.append(postgres.connect())
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


@pytest.fixture
def store(connect):
    made = Store(connect(), every=3)
    made.create()
    return made


def snapshot_of(store, stream):
    row = store.connection.execute("SELECT schema, version FROM snapshots WHERE stream = %s", (stream,)).fetchone()
    return row


integration = pytest.mark.integration


@integration
def test_what_was_appended_is_loaded_and_snapshots_change_nothing(store):
    for command in [*GOOD, Command("refund", 300), Command("refund", 1)]:
        order = store.handle("o", command)
        assert store.load("o") == order == replay(store.events("o"))
    assert order == Order("delivered", 7, 900, 900, 301)
    assert snapshot_of(store, "o") == (1, 6)
    with pytest.raises(Rejected, match=r"refund of 900 cents, when 599 of those paid are left"):
        store.handle("o", Command("refund", 900))
    assert len(store.events("o")) == 7


@integration
def test_lives_are_drawn_from_the_seed_and_end_everywhere(store):
    lives = {}
    for name in ("a", "b"):
        rng = np.random.default_rng(7)
        lives[name] = [event_sourcing.live(store, f"{name}-{n}", 900, rng) for n in range(40)]
    assert lives["a"] == lives["b"]
    assert {o.status for o in lives["a"]} == {"placed", "paid", "packed", "shipped", "delivered", "cancelled"}
    assert any(o.status == "delivered" and o.refunded for o in lives["a"])
    assert store.streams() == sorted(f"{name}-{n}" for name in "ab" for n in range(40))
    assert store.load("a-7") == lives["a"][7]


@integration
def test_a_snapshot_is_really_used_and_one_of_another_schema_is_not(store):
    store.append("o", 0, FOUR)
    store.snapshot("o", Order("packed", 3, 1, 1, 0))  # wrong on purpose
    assert store.load("o").total == 1
    newer = Store(store.connection, every=3, schema=2)
    assert newer.load("o") == replay(FOUR)
    newer.handle("o", Command("deliver"))
    newer.handle("o", Command("refund", 1))
    assert snapshot_of(store, "o") == (2, 6)
    store.snapshot("o", Order("packed", 7))
    assert snapshot_of(store, "o") == (2, 6), "software that was rolled back does not undo the new snapshots"
    assert store.load("o") == newer.load("o")


@integration
def test_of_two_who_loaded_the_same_version_the_second_is_refused(store, connect):
    other = Store(connect())
    store.append("o", 0, FOUR[:1])
    version = store.load("o").version, other.load("o").version
    store.append("o", version[0], [FOUR[1]])
    with pytest.raises(Conflict, match="more than 1 events"):
        other.append("o", version[1], [Event("cancelled")])
    assert other.append("o", 2, FOUR[2:]) == 4


@integration
def test_of_two_who_append_at_once_the_second_waits_at_the_key_and_is_refused(store, connect):
    store.append("o", 0, FOUR[:1])
    first, second = Store(connect()), Store(connect())
    assert not waits(store.connection, second)
    with ThreadPoolExecutor(1) as pool, first.connection.transaction():
        first.append("o", 1, [FOUR[1]])
        refused = pool.submit(second.append, "o", 1, [Event("cancelled")])
        wait_until(lambda: waits(store.connection, second), "the second waits", seconds=10)
    with pytest.raises(Conflict, match="more than 1 events"):
        refused.result()
    assert store.events("o") == FOUR[:2]


@integration
def test_an_append_is_whole_or_not_at_all(store):
    store.append("o", 0, FOUR[:1])
    with pytest.raises(InvalidArgument, match="has no event 3"):
        store.append("o", 3, [Event("packed")])
    store.append("o", 1, [FOUR[1]])
    with pytest.raises(Conflict):
        store.append("o", 0, FOUR)
    assert store.events("o") == FOUR[:2]
    assert store.append("o", 2, []) == 2
    with pytest.raises(Conflict, match="more than 1 events"):
        store.append("o", 1, [])  # what was decided on an old state is void, even the decision to do nothing


@integration
def test_the_same_refund_by_many_at_once_is_paid_out_once(store, connect):
    """Each decides on what it loaded; without the expected version, several would give the money back."""
    store.append("o", 0, [*FOUR, Event("delivered")])
    outcomes, start = [], threading.Barrier(4)

    def refund(own):
        start.wait()
        try:
            own.handle("o", Command("refund", 900), attempts=10)
            outcomes.append("paid out")
        except Rejected:
            outcomes.append("rejected")

    threads = [threading.Thread(target=refund, args=(Store(connect()),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["paid out", "rejected", "rejected", "rejected"]
    assert store.load("o").refunded == 900


def streams(read):
    return [stored.stream for stored in read]


@integration
def test_a_reader_by_position_misses_a_slow_transaction_and_follow_does_not(store, connect):
    slow, quick = Store(connect()), Store(connect())
    store.append("first", 0, FOUR[:1])
    last = store.follow()[-1].at
    with slow.connection.transaction():
        slow.append("slow", 0, FOUR[:1])  # takes position 2, and is not over
        quick.append("quick", 0, FOUR[:1])  # takes position 3, and is
        seen = store.after_position(last.position)
        assert streams(seen) == ["quick"]
        assert store.follow(last) == [], "held up until everyone before has ended"
    assert streams(store.after_position(seen[-1].at.position)) == [], "and slow is never read"
    assert streams(store.follow(last)) == ["slow", "quick"]


@integration
def test_a_transaction_that_began_first_may_take_the_higher_position(store, connect):
    """Why `follow` orders by transaction and not by position among those that are over."""
    early, late = Store(connect()), Store(connect())
    with early.connection.transaction():
        early.connection.execute("SELECT pg_current_xact_id()")
        with late.connection.transaction():
            late.append("late", 0, FOUR[:1])  # the lower position, the higher transaction
            early.append("early", 0, FOUR[:1])
            assert store.follow() == []
        assert store.follow() == []
    read = store.follow()
    assert streams(read) == ["early", "late"]
    assert read[0].at.position > read[1].at.position
    assert store.follow(read[0].at) == read[1:]


@integration
def test_between_the_two_commits_a_reader_by_transaction_is_right_and_one_by_position_is_not(store, connect):
    early, late = connect(), Store(connect())
    late_open = late.connection.transaction()
    with early.transaction():
        early.execute("SELECT pg_current_xact_id()")
        late_open.__enter__()
        late.append("late", 0, FOUR[:1])
        Store(early).append("early", 0, FOUR[:1])
    (first,) = store.follow()  # early has ended, late has not
    assert first.stream == "early"
    late_open.__exit__(None, None, None)
    assert streams(store.after_position(first.at.position)) == [], "late is behind it by position"
    assert streams(store.follow(first.at)) == ["late"]


@integration
def test_an_append_that_was_rolled_back_leaves_a_gap_that_holds_nobody_up(store, connect):
    other = connect()
    with other.transaction(force_rollback=True):
        Store(other).append("never", 0, FOUR)
    store.append("o", 0, FOUR)
    assert [stored.at.position for stored in store.follow()] == [5, 6, 7, 8]


# ── Projections ──────────────────────────────────────────────────────────────────────────────────
def revenue(connection, stored):
    sign = {"paid": 1, "refunded": -1}.get(stored.event.kind, 0)
    connection.execute("UPDATE revenue SET cents = cents + %s", (sign * stored.event.cents,))


@pytest.fixture
def cents(store):
    store.connection.execute("CREATE TABLE revenue (cents bigint)")
    store.connection.execute("INSERT INTO revenue VALUES (0)")
    return lambda: store.connection.execute("SELECT cents FROM revenue").fetchone()[0]


@integration
def test_a_projection_added_later_is_built_from_history_and_then_kept_up(store, cents):
    for n in range(5):
        store.append(f"o-{n}", 0, FOUR)
    store.handle("o-5", Command("place", 100))
    assert store.project("revenue", revenue, limit=4) == 21
    assert cents() == 5 * 900
    assert store.project("revenue", revenue) == 0
    store.handle("o-5", Command("pay", 100))
    store.handle("o-5", Command("cancel"))
    assert store.project("revenue", revenue, limit=1) == 3
    assert cents() == 5 * 900


@integration
def test_a_projection_that_crashes_has_had_each_event_once_when_it_comes_back(store, cents):
    store.append("o", 0, [*FOUR, Event("delivered"), Event("refunded", 1)])
    seen = []

    def crash(connection, stored):
        revenue(connection, stored)
        seen.append(stored.event.kind)
        if len(seen) == 4:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.project("revenue", crash, limit=3)
    assert cents() == 900, "the first three are in, what came after is undone"
    assert store.project("revenue", crash, limit=3) == 3
    assert cents() == 899
    assert seen == ["placed", "paid", "packed", "shipped", "shipped", "delivered", "refunded"]


@integration
@pytest.mark.parametrize("limit", [0, -1, 1.5])
def test_a_projection_that_could_never_end_is_refused(store, limit):
    with pytest.raises(InvalidArgument, match=f"limit is {limit}"):
        store.project("revenue", revenue, limit=limit)


@integration
def test_events_of_another_cluster_s_transactions_are_not_read(store):
    """The limit that `follow` states: a dump restored into a new cluster brings numbers that mean nothing there."""
    store.append("o", 0, FOUR[:1])
    store.connection.execute("UPDATE events SET writer = (writer::text::bigint + 1000000)::text::xid8")
    assert store.follow() == []


@integration
def test_a_store_that_could_lie_is_refused(connect):
    with pytest.raises(InvalidArgument, match="every is -1"):
        Store(connect(), every=-1)
    connection = connect()
    connection.autocommit = False
    with pytest.raises(InvalidArgument, match="autocommit"):
        Store(connection)


def test_the_example_runs():
    import doctest

    found = doctest.testmod(event_sourcing)
    assert found.attempted > 0
    assert found.failed == 0
    assert Position() < Position(0, 1) < Position(1, 0)
