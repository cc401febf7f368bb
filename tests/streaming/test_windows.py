"""Windows against brute force: any order of arrival, the same panes; every event counted or late, never both."""

import doctest
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument
from principal_kit.streaming import BEGINNING, END, HoppingWindows, SessionWindows, Tally, TumblingWindows, windows

settings.register_profile("kit", deadline=None)
settings.load_profile("kit")

# Powers of two tell apart which events a window holds: the total is the set.
events = st.lists(st.tuples(st.sampled_from("ab"), st.integers(-50, 120)), max_size=24)


def numbered(pairs):
    return [(key, time, float(2**n)) for n, (key, time) in enumerate(pairs)]


def aligned(stream, size, every, offset=0):
    """By definition: an event belongs to every [start, start + size) that holds it."""
    totals = defaultdict(float)
    for key, time, value in stream:
        for start in range(-400, 400):
            if (start - offset) % every == 0 and start <= time < start + size:
                totals[key, start, start + size] += value
    return dict(totals)


def gap_merged(stream, gap):
    """By definition: sort by time, cut where two neighbours are a gap or more apart."""
    sessions = []
    for key, time, value in sorted(stream):
        if sessions and sessions[-1][0] == key and time - sessions[-1][2] < gap:
            sessions[-1][2], sessions[-1][3] = time, sessions[-1][3] + value
        else:
            sessions.append([key, time, time, value])
    return {(key, start, last + gap): total for key, start, last, total in sessions}


class Table:
    """What a consumer does with results: delete what is replaced, store the rest."""

    def __init__(self):
        self.rows = {}

    def take(self, results):
        for key, start, end, value, replaces in results:
            for span in replaces:
                del self.rows[(key, *span)]
            assert (key, start, end) not in self.rows, "a window is reported twice without saying so"
            self.rows[key, start, end] = value.total
        return self


def run(make, steps):
    """Play events and watermarks; returns the consumer's table and the late events."""
    windows_, table, late = make(), Table(), []
    for step in steps:
        if isinstance(step, int):
            table.take(windows_.advance(step))
        else:
            late += windows_.add(*step)
    table.take(windows_.advance(END))
    assert len(windows_) == 0
    return table.rows, late


@given(events, st.integers(1, 30), st.integers(1, 30), st.integers(-40, 40))
def test_hopping_equals_the_definition(pairs, size, every, offset):
    every = min(every, size)
    stream = numbered(pairs)
    rows, late = run(lambda: HoppingWindows(size, every, aggregate=Tally, offset=offset), stream)
    assert rows == aligned(stream, size, every, offset)
    assert not late


@given(events, st.integers(1, 40), st.randoms(use_true_random=False))
def test_sessions_are_the_gap_merge_in_any_order(pairs, gap, random):
    stream = numbered(pairs)
    shuffled = random.sample(stream, len(stream))
    rows, _ = run(lambda: SessionWindows(gap, aggregate=Tally), shuffled)
    assert rows == gap_merged(stream, gap)


KINDS = {
    "tumbling": lambda **o: TumblingWindows(20, aggregate=Tally, **o),
    "hopping": lambda **o: HoppingWindows(20, 8, aggregate=Tally, **o),
    "sessions": lambda **o: SessionWindows(12, aggregate=Tally, **o),
}
ORACLES = {
    "tumbling": lambda s: aligned(s, 20, 20),
    "hopping": lambda s: aligned(s, 20, 8),
    "sessions": lambda s: gap_merged(s, 12),
}


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.lists(events, max_size=4), st.lists(st.integers(-60, 130), min_size=4, max_size=4), st.integers(0, 40), st.data()
)
@settings(max_examples=60)
def test_order_between_two_watermarks_does_not_matter(kind, batches, marks, lateness, data):
    """Same events between the same watermarks, shuffled: same final table, same late events."""
    stream = iter(numbered([pair for batch in batches for pair in batch]))
    batches = [[next(stream) for _ in batch] for batch in batches]
    outcomes = []
    for shuffle in (False, True):
        steps = []
        for batch, mark in zip(batches, sorted(marks)):
            steps += [*(data.draw(st.permutations(batch)) if shuffle else batch), mark]
        rows, late = run(lambda: KINDS[kind](allowed_lateness=lateness), steps)
        outcomes.append((rows, sorted(late)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("kind", KINDS)
@given(events, st.lists(st.integers(-60, 130), max_size=24), st.integers(0, 40))
@settings(max_examples=60)
def test_accepted_events_are_all_in_the_final_results_and_late_ones_in_none(kind, pairs, marks, lateness):
    """Whatever was not handed to the side output is in the windows, exactly as brute force puts it there."""
    steps = []
    for n, event in enumerate(numbered(pairs)):
        steps += [event, *sorted(marks)[n : n + 1]]
    rows, late = run(lambda: KINDS[kind](allowed_lateness=lateness), steps)
    expected = ORACLES[kind](
        [e for e in steps if isinstance(e, tuple) and not (kind == "sessions" and e in {x[:3] for x in late})]
    )
    if kind != "sessions":
        for key, _, value, missed in late:
            for span in missed:
                expected[(key, *span)] -= value
        expected = {span: total for span, total in expected.items() if total}
    assert rows == expected


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.tuples(events, st.integers(-60, 130)), max_size=4), st.integers(0, 40))
@settings(max_examples=60)
def test_batches_equal_loops(kind, rounds, lateness):
    one, many = (KINDS[kind](allowed_lateness=lateness) for _ in range(2))
    tables = Table(), Table()
    for pairs, mark in rounds:
        stream = numbered(pairs)
        late = [late for event in stream for late in one.add(*event)]
        batch = many.add_many(
            [e[0] for e in stream], np.array([e[1] for e in stream], dtype=int), [e[2] for e in stream]
        )
        assert sorted(late) == sorted(batch)
        assert tables[0].take(one.advance(mark)).rows == tables[1].take(many.advance(mark)).rows
        assert len(one) == len(many)
    assert tables[0].take(one.advance(END)).rows == tables[1].take(many.advance(END)).rows
    assert (one.counters.events, one.counters.late) == (many.counters.events, many.counters.late)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.tuples(events, st.integers(-60, 130)), min_size=2, max_size=4), st.integers(0, 40))
@settings(max_examples=60)
def test_a_restored_operator_goes_on_as_if_nothing_had_happened(kind, rounds, lateness):
    straight, resumed = (KINDS[kind](allowed_lateness=lateness) for _ in range(2))
    for pairs, mark in rounds:
        stream = numbered(pairs)
        assert [straight.add(*e) for e in stream] == [resumed.add(*e) for e in stream]
        frame = resumed.to_bytes()
        resumed = KINDS[kind](allowed_lateness=lateness)
        resumed.restore(frame, Tally.from_bytes)
        assert Table().take([]).rows == {}
        assert straight.advance(mark) == resumed.advance(mark)
        frame, resumed = resumed.to_bytes(), KINDS[kind](allowed_lateness=lateness)
        resumed.restore(frame, Tally.from_bytes)
    assert straight.advance(END) == resumed.advance(END)


def test_snapshots_are_checked():
    full = KINDS["tumbling"]()
    full.add("a", 3, 1)
    full.add(b"\xff", 3, 1)
    full.add(-7, 3, 1)
    frame = full.to_bytes()
    for at in range(len(frame)):
        damaged = bytearray(frame)
        damaged[at] ^= 1
        with pytest.raises(CorruptionError):
            KINDS["tumbling"]().restore(bytes(damaged), Tally.from_bytes)
    with pytest.raises(InvalidArgument):
        full.restore(frame, Tally.from_bytes)  # in use
    with pytest.raises(InvalidArgument):
        KINDS["sessions"]().restore(frame, Tally.from_bytes)
    small = KINDS["tumbling"](panes_max=2)
    with pytest.raises(CapacityError):
        small.restore(frame, Tally.from_bytes)
    assert len(small) == 0
    assert small.watermark == BEGINNING
    full.add((1, 2), 3, 1)
    with pytest.raises(InvalidArgument):
        full.to_bytes()


def test_a_window_reports_at_its_end_and_not_before():
    tumbling = TumblingWindows(10, aggregate=Tally)
    tumbling.add("a", 0, 1)
    tumbling.add("a", 9, 1)
    assert tumbling.advance(9) == []
    ((key, start, end, value, replaces),) = tumbling.advance(10)
    assert (key, start, end, value.count, replaces) == ("a", 0, 10, 2, ())
    assert tumbling.advance(10**6) == []
    assert [late.missed for late in tumbling.add("a", 9, 1)] == [((0, 10),)]
    assert tumbling.counters.late == 1


def test_a_correction_names_what_it_replaces_and_an_earlier_result_does_not_change():
    tumbling = TumblingWindows(10, aggregate=Tally, allowed_lateness=5)
    tumbling.add("a", 1, 1)
    (first,) = tumbling.advance(10)
    assert tumbling.add("a", 2, 1) == []
    (second,) = tumbling.advance(10)
    assert (first.value.count, first.replaces) == (1, ())
    assert (second.value.count, second.replaces) == (2, ((0, 10),))
    assert tumbling.advance(14) == []
    tumbling.add("a", 3, 1)
    assert [r.value.count for r in tumbling.advance(15)] == [3], "corrected and forgotten in one step"
    assert len(tumbling) == 0
    assert len(tumbling.add("a", 3, 1)) == 1


def test_a_bridge_replaces_both_sessions_that_were_reported():
    sessions = SessionWindows(10, aggregate=Tally, allowed_lateness=100)
    for time in (0, 15):
        sessions.add("a", time, 1)
    assert [(r.start, r.end) for r in sessions.advance(30)] == [(0, 10), (15, 25)]
    assert sessions.add("a", 8, 1) == []
    ((_, start, end, value, replaces),) = sessions.advance(30)
    assert (start, end, value.count) == (0, 25, 3)
    assert sorted(replaces) == [(0, 10), (15, 25)]


def test_a_reported_session_that_grows_past_the_watermark_reports_when_due_again():
    sessions = SessionWindows(10, aggregate=Tally, allowed_lateness=100)
    sessions.add("a", 0, 1)
    assert len(sessions.advance(12)) == 1
    sessions.add("a", 9, 1)
    assert sessions.advance(12) == []
    ((_, start, end, _, replaces),) = sessions.advance(25)
    assert (start, end, replaces) == (0, 19, ((0, 10),))


def test_exactly_a_gap_apart_is_two_sessions():
    rows, _ = run(lambda: SessionWindows(10, aggregate=Tally), [("a", 0, 1.0), ("a", 10, 2.0)])
    assert rows == {("a", 0, 10): 1.0, ("a", 10, 20): 2.0}


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_an_error_and_changes_nothing(kind):
    windows_ = KINDS[kind](panes_max=6)
    for key in "ab":
        windows_.add(key, 5, 1.0)
    held, counted = len(windows_), windows_.counters.events
    with pytest.raises(CapacityError):
        windows_.add_many(["c"] * 7, np.arange(7) * 100, np.ones(7))
    assert (len(windows_), windows_.counters.events) == (held, counted)
    while len(windows_) < 6:
        try:
            windows_.add("d", 1000 * len(windows_), 1.0)
        except CapacityError:
            break
    windows_.add("a", 5, 1.0)  # an existing window still takes events
    before = len(windows_)
    with pytest.raises(CapacityError):
        windows_.add("e", 10**6, 1.0)
    assert len(windows_) == before
    windows_.advance(10**7)
    assert len(windows_) == 0
    windows_.add("e", 10**8, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_value_changes_nothing(kind):
    windows_ = KINDS[kind]()
    windows_.add("a", 5, 1.0)
    frame, counters = windows_.to_bytes(), windows_.counters
    for key, time in (("a", 5), ("b", 5), ("a", 10)):
        with pytest.raises(InvalidArgument):
            windows_.add(key, time, float("nan"))
        with pytest.raises(InvalidArgument):
            windows_.add_many([key, key], np.array([time, time]), [1.0, float("nan")])
    assert windows_.to_bytes() == frame
    assert windows_.counters == counters
    assert windows_.counters.events == 1


@pytest.mark.parametrize("time", [1.0, "1", None, True, 2**60 + 1, np.float64(1)])
def test_times_are_integers(time):
    for kind in KINDS.values():
        windows_ = kind()
        with pytest.raises(InvalidArgument):
            windows_.add("a", time, 1)
        with pytest.raises(InvalidArgument):
            windows_.add_many(["a"], np.array([time], dtype=object if time is True else None), [1])
        assert len(windows_) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_does_not_equal_itself_is_refused(kind):
    """NaN as a key would open a window for every event."""
    windows_ = KINDS[kind]()
    for key in (None, float("nan"), np.float64("nan"), ["a"], {}):
        with pytest.raises(InvalidArgument):
            windows_.add(key, 5, 1.0)
    for keys in (["a", None], ["a", float("nan")], [1.0, float("nan")], ["a", ["b"]]):
        with pytest.raises(InvalidArgument):
            windows_.add_many(keys, [5, 5], [1.0, 1.0])
    assert (len(windows_), windows_.counters.events) == (0, 0)


def test_bad_arguments():
    for call in (
        lambda: TumblingWindows(0, aggregate=Tally),
        lambda: TumblingWindows(1.5, aggregate=Tally),
        lambda: HoppingWindows(10, 11, aggregate=Tally),
        lambda: SessionWindows(-1, aggregate=Tally),
        lambda: TumblingWindows(1, aggregate=Tally, allowed_lateness=-1),
        lambda: TumblingWindows(1, aggregate=Tally, panes_max=0),
        lambda: TumblingWindows(1, aggregate=3),
        lambda: TumblingWindows(1, aggregate=Tally).advance(1.5),
        lambda: TumblingWindows(1, aggregate=Tally).add_many(["a"], [1, 2], [1, 2]),
        lambda: TumblingWindows(1, aggregate=Tally).add_many(["a", None], [1, 2], [1, 2]),
    ):
        with pytest.raises(InvalidArgument):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_extremes_of_time_do_not_overflow(kind):
    windows_ = KINDS[kind](allowed_lateness=2**60)
    late = windows_.add_many(["a"] * 4, np.array([-(2**60), 0, 1, 2**60]), np.ones(4))
    late += windows_.add_many([2**62, -1], np.array([-(2**60), 2**60]), np.ones(2))
    assert late == []
    table = Table().take(windows_.advance(END))
    per_event = 3 if kind == "hopping" else 1
    assert sum(table.rows.values()) >= 6
    assert sum(table.rows.values()) <= 6 * per_event
    assert len(windows_.add("a", 2**60, 1.0)) == 1, "after the end everything is late"
    assert len(windows_.add_many(["a"], [2**60], [1.0])) == 1


def test_an_empty_batch_does_nothing():
    for kind in KINDS.values():
        windows_ = kind()
        assert windows_.add_many([], [], []) == []
        assert windows_.counters.events == 0


def test_timers_of_swallowed_sessions_do_not_pile_up():
    """Under a watermark that stalls, memory follows the live panes and not the events."""
    sessions = SessionWindows(10, aggregate=Tally)
    for block in range(2000):
        base = block * 20
        for time in (base, base + 18, base + 9, base + 27 - 18):
            sessions.add("a", time, 1)
    assert len(sessions) <= 2
    assert len(sessions._timers) <= 2 * len(sessions) + 65


def test_docstrings():
    from principal_kit.streaming import tally, watermarks

    for module in (windows, watermarks, tally):
        outcome = doctest.testmod(module)
        assert outcome.attempted
        assert not outcome.failed
