"""Exercises 2.1.e and 2.1.f: a merge of change events that any order survives, and what a new snapshot takes away."""

from __future__ import annotations

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 2.1.e ────────────────────────────────────────────────────────────────────────────────────────
merge = Exercise(
    "2.1.e",
    title="A merge that any order survives",
    wants="a function `newest(events)`: `events` is a list of dicts with `key`, `row` (None for a delete), `snapshot` "
    "(place of the snapshot before it) and `lsn` (its own place; None for a row of the snapshot), in any order, with "
    "repeats; returns a dict from key to row, as the source has it after all of them",
    takes=1,
)

_history = st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 9)), max_size=6)
_picks = st.lists(st.integers(0, 20), max_size=6)


def _events(history, before=()):
    """A snapshot at 100 of what `before` left, then one change each five places; and the rows that it adds up to."""
    state = {key: row for key, row in before if row is not None}
    events = [{"key": key, "row": row, "snapshot": 100, "lsn": None} for key, row in state.items()]
    for number, (key, row) in enumerate(history, start=1):
        events.append({"key": key, "row": row, "snapshot": 100, "lsn": 100 + 5 * number})
        state[key] = row
    return events, {key: row for key, row in state.items() if row is not None}


def _run(answer, events):
    got = answer([dict(event) for event in events])
    expect(isinstance(got, dict), expected="a dict from key to row", got=got)
    return got


@merge.property("events in order add up to the source", history=_history)
def _in_order(answer, history):
    events, expected = _events(history)
    expect_equal(_run(answer, events), expected)


@merge.property("events that come again, late, change nothing", history=_history, picks=_picks)
def _again(answer, history, picks):
    events, expected = _events(history)
    late = [events[pick % len(events)] for pick in picks] if events else []
    expect_equal(_run(answer, events + late), expected)


@merge.property(
    "a row of the snapshot that comes late does not undo a change", key=st.integers(0, 2), row=st.integers()
)
def _snapshot_late(answer, key, row):
    events, expected = _events([(key, row)], before=[(key, -1)])
    expect_equal(_run(answer, events[::-1]), expected)


@merge.property("a change written before the snapshot's place, and committed after it, wins", row=st.integers(0, 9))
def _straddled(answer, row):
    snapshot = {"key": 1, "row": -1, "snapshot": 100, "lsn": None}
    change = {"key": 1, "row": row, "snapshot": 100, "lsn": 95}
    for events in ([snapshot, change], [change, snapshot]):
        expect_equal(_run(answer, events), {1: row})


@merge.property("a new snapshot wins over all changes before it", history=_history, row=st.integers(0, 9))
def _resnapshot(answer, history, row):
    events, expected = _events(history)
    later = {"key": 1, "row": row, "snapshot": 10_000, "lsn": None}
    for order in ([*events, later], [later, *events]):
        expect_equal(_run(answer, order), expected | {1: row})


# ── 2.1.f ────────────────────────────────────────────────────────────────────────────────────────
sweep = Exercise(
    "2.1.f",
    title="What a new snapshot takes away",
    wants="a function `take(copy, events)`: `copy` is a dict from key to `(row, snapshot)`, `events` a list of "
    "`('row', snapshot, key, row)` and `('end', snapshot)`, snapshots numbered upwards; returns the copy afterwards. "
    "Rows that a complete snapshot no longer has are gone; one that broke off takes nothing away",
    takes=2,
)

_table = st.dictionaries(st.integers(0, 4), st.integers(0, 9), max_size=5)


def _take(answer, copy, events):
    got = answer(dict(copy), list(events))
    expect(isinstance(got, dict), expected="a dict", got=got)
    return {key: row for key, (row, _) in got.items()}


def _rows(snapshot, table):
    return [("row", snapshot, key, row) for key, row in table.items()]


def _copy(table, snapshot=1):
    return {key: (row, snapshot) for key, row in table.items()}


@sweep.property("after a complete snapshot the copy is the source", old=_table, new=_table)
def _complete(answer, old, new):
    expect_equal(_take(answer, _copy(old), [*_rows(2, new), ("end", 2)]), new)


@sweep.property("a snapshot that broke off takes nothing away", old=_table, new=_table)
def _broken(answer, old, new):
    expect_equal(_take(answer, _copy(old), _rows(2, new)), old | new)


@sweep.property("what only an attempt that broke off has seen goes as well", old=_table, half=_table, new=_table)
def _second_attempt(answer, old, half, new):
    expect_equal(_take(answer, _copy(old), [*_rows(2, half), *_rows(3, new), ("end", 3)]), new)


@sweep.property("readers never see less than both have", old=_table, new=_table, cut=st.integers(0, 5))
def _never_empty(answer, old, new, cut):
    got = _take(answer, _copy(old), _rows(2, new)[:cut])
    kept = {key for key in old if key in new}
    expect(kept <= got.keys(), expected=f"at least the keys {sorted(kept)}", got=got)


@sweep.property("an end that comes again, late, takes nothing of a newer snapshot away", old=_table, new=_table)
def _old_end(answer, old, new):
    expect_equal(_take(answer, _copy(old, 2), [*_rows(3, new), ("end", 2)]), old | new)
