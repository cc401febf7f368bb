"""Exercises 1.1.k and 1.1.l: sessions of two workers made one, and what the percentiles of servers still tell."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 1.1.k ────────────────────────────────────────────────────────────────────────────────────────
sessions = Exercise(
    "1.1.k",
    title="Sessions of two workers",
    wants="a function `merged(a, b, gap)`: two workers' sessions of one user, in order, as lists of tuples "
    "`(first, last, count)`, as the list that one worker would have made of all events",
    takes=3,
)

_times = st.lists(st.integers(0, 40), max_size=8)
_gap = st.integers(1, 8)


def _sessions_of(times, gap):
    """By definition: events in order, cut wherever two neighbours are a gap or more apart."""
    found = []
    for time in sorted(times):
        if found and time - found[-1][1] < gap:
            found[-1] = (found[-1][0], time, found[-1][2] + 1)
        else:
            found.append((time, time, 1))
    return found


def _merged(answer, a, b, gap):
    got = [tuple(session) for session in answer(_sessions_of(a, gap), _sessions_of(b, gap), gap)]
    expect(all(len(session) == 3 for session in got), expected="tuples (first, last, count)", got=got)
    return got


@sessions.property("a worker that saw nothing adds nothing", a=_times, gap=_gap)
def _with_nothing(answer, a, gap):
    expect_equal(_merged(answer, a, [], gap), _sessions_of(a, gap))


@sessions.property("every event is counted once", a=_times, b=_times, gap=_gap)
def _counted_once(answer, a, b, gap):
    got = _merged(answer, a, b, gap)
    expect_equal(sum(count for *_, count in got), len(a) + len(b))


@sessions.property("sessions are in order and at least a gap apart", a=_times, b=_times, gap=_gap)
def _apart(answer, a, b, gap):
    got = _merged(answer, a, b, gap)
    expect(all(left[1] + gap <= right[0] for left, right in pairwise(got)), expected=f"gaps of at least {gap}", got=got)


@sessions.property("the sessions are those of all the events together", a=_times, b=_times, gap=_gap)
def _as_one(answer, a, b, gap):
    expect_equal(_merged(answer, a, b, gap), _sessions_of([*a, *b], gap))


# ── 1.1.l ────────────────────────────────────────────────────────────────────────────────────────
bounds = Exercise(
    "1.1.l",
    title="What a thousand P95s still tell",
    wants="a function `bounds(parts)`: from a list of pairs `(requests, P95)`, one a server, the least and the "
    "greatest P95 that the fleet can have, as a tuple `(low, high)`; latencies are at least 0",
    takes=1,
)

_latency = st.integers(0, 9)
_two_values = st.builds(lambda n, x, m, y: [x] * n + [y] * m, st.integers(1, 40), _latency, st.integers(0, 4), _latency)
_server = st.lists(_latency, min_size=1, max_size=20) | _two_values
_fleet = st.lists(_server, min_size=1, max_size=4)
_parts = st.lists(st.tuples(st.integers(1, 45), st.integers(0, 9)), min_size=1, max_size=4)
_BEYOND = 10**6  # a latency above all that are drawn


def _p95(values):
    """The smallest value that at least 95 % of the values do not exceed, in integers."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]


def _bounds(answer, parts):
    got = answer([tuple(part) for part in parts])
    expect(isinstance(got, tuple) and len(got) == 2, expected="a tuple (low, high)", got=got)
    expect(all(isinstance(x, (int, float)) and math.isfinite(x) for x in got), expected="two numbers", got=got)
    return got


def _extreme(requests, p95, low, high):
    """A server's requests with this P95: as many as possible at `low` below it, and at `high` above it."""
    at_most = -(-95 * requests // 100)
    return [low] * (at_most - 1) + [p95] + [high] * (requests - at_most)


@bounds.property("a single server's P95 is the fleet's", part=st.tuples(st.integers(1, 45), st.integers(0, 9)))
def _single(answer, part):
    expect_equal(tuple(_bounds(answer, [part])), (part[1], part[1]))


@bounds.property("the true P95 is never below the lower bound", fleet=_fleet)
def _never_below(answer, fleet):
    low, _ = _bounds(answer, [(len(server), _p95(server)) for server in fleet])
    truth = _p95([x for server in fleet for x in server])
    expect(low <= truth, expected=f"a lower bound of at most {truth}", got=low)


@bounds.property("the true P95 is never above the upper bound", fleet=_fleet)
def _never_above(answer, fleet):
    _, high = _bounds(answer, [(len(server), _p95(server)) for server in fleet])
    truth = _p95([x for server in fleet for x in server])
    expect(high >= truth, expected=f"an upper bound of at least {truth}", got=high)


@bounds.property("some fleet with these reports reaches the lower bound", parts=_parts)
def _low_is_reached(answer, parts):
    low, _ = _bounds(answer, parts)
    expect_equal(low, _p95([x for n, p in parts for x in _extreme(n, p, 0, p)]))


@bounds.property("some fleet with these reports reaches the upper bound", parts=_parts)
def _high_is_reached(answer, parts):
    _, high = _bounds(answer, parts)
    expect_equal(high, _p95([x for n, p in parts for x in _extreme(n, p, p, _BEYOND)]))
