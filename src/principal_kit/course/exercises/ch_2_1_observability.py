"""Exercises 2.1.i and 2.1.j: which task holds the others up, and an alert on the rate at which a budget burns."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect_equal

# ── 2.1.i ────────────────────────────────────────────────────────────────────────────────────────
culprit = Exercise(
    "2.1.i",
    title="Which task holds the others up",
    wants="a function `culprit(tasks)`: a list of `(name, busy, backpressured)` from the source to the sink, shares of "
    "the time from 0 to 1; returns the name of the task that holds the others up, or None. A task waits for the next "
    "one if `backpressured` is above 0.1; a source that nothing holds up and that is busy for more than 0.95 cannot "
    "follow its topic",
    takes=1,
)

_speeds = st.lists(st.integers(10, 100), min_size=2, max_size=5, unique=True)


def _chain(speeds, arrivals, outside):
    """The shares of a chain in steady state. What waits for a server `outside` is neither busy nor backpressured."""
    through = min([arrivals, *speeds])
    slowest = speeds.index(min(speeds)) if min(speeds) < arrivals else None
    tasks = []
    for i, speed in enumerate(speeds):
        busy, held = through / speed, 0.0
        if slowest is not None and i < slowest:
            held = max(0.15, 1 - busy)
            busy = min(busy, 1 - held)
        if i == slowest and i > 0 and outside:
            busy = 0.05
        tasks.append((f"task-{i}", round(busy, 3), round(held, 3)))
    return tasks, None if slowest is None else f"task-{slowest}"


@culprit.property("the slowest task of a chain, working or waiting for somebody outside", speeds=_speeds,
                  outside=st.booleans())  # fmt: skip
def _held(answer, speeds, outside):
    tasks, slowest = _chain(speeds, 1_000, outside)
    expect_equal(answer(list(tasks)), slowest)


@culprit.property("nobody, when all keep up", speeds=_speeds, share=st.floats(0.1, 0.9))
def _healthy(answer, speeds, share):
    tasks, _ = _chain(speeds, share * min(speeds), False)
    expect_equal(answer(list(tasks)), None)


@culprit.property(
    "a sink that works all the time is not slow if nobody waits for it",
    busy=st.floats(0.96, 1.0),
    count=st.integers(1, 3),
)
def _busy_sink(answer, busy, count):
    tasks = [(f"task-{i}", 0.3, 0.0) for i in range(count)] + [("sink", busy, 0.0)]
    expect_equal(answer(tasks), None)


# ── 2.1.j ────────────────────────────────────────────────────────────────────────────────────────
burns = Exercise(
    "2.1.j",
    title="A budget that burns",
    wants="a function `burns(minutes, budget, factor, long, short)`: `minutes` is a list of `(rows, missed)`, oldest "
    "first; returns whether the share of missed rows is above `factor * budget` in the last `long` minutes and also in "
    "the last `short` ones. A window without rows misses nothing",
    takes=5,
)

_minute = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: (max(pair), min(pair)))
_day = st.lists(_minute, min_size=1, max_size=12)
_windows = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda pair: (max(pair), min(pair)))
_budget = st.sampled_from([Fraction(1, 20), Fraction(1, 100), Fraction(1, 4)])


def _burns(minutes, budget, factor, long, short):
    def above(window):
        rows, missed = (sum(column) for column in zip(*minutes[-window:]))
        return rows > 0 and Fraction(missed, rows) > factor * budget

    return above(long) and above(short)


@burns.property(
    "shares are of rows, not averages of minutes",
    minutes=_day,
    budget=_budget,
    factor=st.integers(1, 3),
    windows=_windows,
)
def _as_defined(answer, minutes, budget, factor, windows):
    expect_equal(bool(answer(list(minutes), budget, factor, *windows)), _burns(minutes, budget, factor, *windows))


@burns.property("a minute counts for its rows", small=st.integers(2, 8), rows=st.integers(1, 3))
def _by_rows(answer, small, rows):
    quiet_and_bad, busy_and_good = [(rows, rows)] * small, [(1_000, 0)]
    minutes = quiet_and_bad + busy_and_good + quiet_and_bad
    expect_equal(bool(answer(minutes, Fraction(1, 20), 3, len(minutes), small + 1)), False)


@burns.property("it ends soon after the cause has ended", bad=st.integers(5, 12), good=st.integers(3, 4))
def _ends(answer, bad, good):
    minutes = [(100, 100)] * bad + [(100, 0)] * good
    expect_equal(bool(answer(minutes, Fraction(1, 20), 3, 60, 3)), False)


@burns.property("a short burst is no reason to wake anybody", before=st.integers(57, 80), rows=st.integers(1, 40))
def _burst(answer, before, rows):
    minutes = [(100, 0)] * before + [(rows, rows)] * 3
    expect_equal(bool(answer(minutes, Fraction(1, 20), 3, 60, 3)), False)


@burns.property("hours in which nothing came burn nothing", quiet=st.integers(1, 12))
def _quiet(answer, quiet):
    expect_equal(bool(answer([(0, 0)] * quiet, Fraction(1, 20), 3, 12, 2)), False)
