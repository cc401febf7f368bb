"""Exercises 2.1.a and 2.1.b: visits that a replay does not change, and which side of a contract is deployed first."""

from __future__ import annotations

from itertools import combinations

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 2.1.a ────────────────────────────────────────────────────────────────────────────────────────
visits = Exercise(
    "2.1.a",
    title="Visits that a replay does not change",
    wants="a function `visits(clicks, gap, lateness)`: a list of tuples `(user, event_time, sent_at)` in the order of "
    "their arrival in, a list of tuples `(user, first, last, clicks)` sorted by user and first out",
    takes=3,
)

_click = st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.integers(0, 12)).map(
    lambda c: (c[0], c[1], c[1] + c[2])
)
_clicks = st.lists(_click, max_size=8)
_gap, _lateness = st.integers(1, 6), st.integers(0, 6)


def _by_definition(clicks, gap, lateness):
    found = []
    for user, time, _ in sorted(c for c in clicks if c[1] >= c[2] - lateness):
        if found and found[-1][0] == user and time - found[-1][2] <= gap:
            found[-1] = (user, found[-1][1], time, found[-1][3] + 1)
        else:
            found.append((user, time, time, 1))
    return found


def _visits(answer, clicks, gap, lateness):
    got = [tuple(visit) for visit in answer(list(clicks), gap, lateness)]
    expect(all(len(visit) == 4 for visit in got), expected="tuples (user, first, last, clicks)", got=got)
    return got


@visits.property("without late clicks, every click is in one visit", clicks=_clicks, gap=_gap)
def _all_counted(answer, clicks, gap):
    expect_equal(sum(n for *_, n in _visits(answer, clicks, gap, 12)), len(clicks))


@visits.property(
    "a late click changes nothing, not even by joining two visits", clicks=_clicks, gap=_gap, late=_lateness
)
def _late_is_left_out(answer, clicks, gap, late):
    in_time = [c for c in clicks if c[1] >= c[2] - late]
    expect_equal(_visits(answer, clicks, gap, late), _visits(answer, in_time, gap, late))


@visits.property(
    "another order of arrival gives the same visits", clicks=_clicks, gap=_gap, late=_lateness, at=st.randoms()
)
def _any_order(answer, clicks, gap, late, at):
    other = list(clicks)
    at.shuffle(other)
    expect_equal(_visits(answer, other, gap, late), _visits(answer, clicks, gap, late))


@visits.property("clicks more than the gap apart are two visits", clicks=_clicks, gap=_gap, late=_lateness)
def _as_defined(answer, clicks, gap, late):
    expect_equal(_visits(answer, clicks, gap, late), _by_definition(clicks, gap, late))


# ── 2.1.b ────────────────────────────────────────────────────────────────────────────────────────
first = Exercise(
    "2.1.b",
    title="Who may be deployed first",
    wants="a function `first(old, new)`: two versions of a record's fields as dicts, name to `(kind, required)`; "
    "returns the set of those of 'readers' and 'writers' that may be deployed before the other side",
    takes=2,
)

_fields = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.tuples(st.sampled_from(["text", "integer"]), st.booleans()), max_size=3
)


def _records(fields):
    """Every record that a writer of `fields` may write: all required ones, and any of the others."""
    optional = [name for name, (_, required) in fields.items() if not required]
    for size in range(len(optional) + 1):
        for chosen in combinations(optional, size):
            yield {n: kind for n, (kind, required) in fields.items() if required or n in chosen}


def _reads(fields, record):
    """Whether a reader of `fields` takes the record; fields it does not know are nothing to it."""
    for name, (kind, required) in fields.items():
        if name in record:
            if record[name] != kind:
                return False
        elif required:
            return False
    return True


def _right(old, new):
    safe = {"readers"} if all(_reads(new, record) for record in _records(old)) else set()
    return safe | ({"writers"} if all(_reads(old, record) for record in _records(new)) else set())


def _first(answer, old, new):
    got = answer(dict(old), dict(new))
    expect(isinstance(got, set | frozenset), expected="a set", got=got)
    expect(set(got) <= {"readers", "writers"}, expected="a subset of {'readers', 'writers'}", got=got)
    return set(got)


@first.property("a version that changes nothing may be deployed anywhere first", fields=_fields)
def _unchanged(answer, fields):
    expect_equal(_first(answer, fields, fields), {"readers", "writers"})


@first.property("undoing a change swaps the two sides", old=_fields, new=_fields)
def _swapped(answer, old, new):
    other = {"readers": "writers", "writers": "readers"}
    expect_equal(_first(answer, new, old), {other[side] for side in _first(answer, old, new)})


@first.property("whoever is deployed first, no record is refused", old=_fields, new=_fields)
def _safe(answer, old, new):
    got, right = _first(answer, old, new), _right(old, new)
    expect(got <= right, expected=f"nothing beyond {sorted(right)}", got=sorted(got))


@first.property("nobody is told to wait without need", old=_fields, new=_fields)
def _complete(answer, old, new):
    expect_equal(_first(answer, old, new), _right(old, new))
