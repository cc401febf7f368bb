"""Exercises 1.1.d to 1.1.f: GCRA as a pure function, an adversary for the window counter, a fair share for tenants."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import strategies as st

from principal_kit.core.clock import ManualClock
from principal_kit.course.check import Exercise, expect, expect_equal
from principal_kit.ratelimit import SlidingWindowCounter, most_in_window

# ── 1.1.d ────────────────────────────────────────────────────────────────────────────────────────
gcra = Exercise(
    "1.1.d",
    title="GCRA as a pure function",
    wants="a function `gcra(tat, now, n, spacing, burst)` that returns `(allowed, new_tat)`; all times are integers",
    takes=5,
)

_now = st.integers(0, 40)
_lead = st.integers(-30, 30)
_cost = st.integers(1, 4)
_spacing = st.integers(1, 6)
_burst = st.integers(1, 6)


def _both(answer, *args):
    got = answer(*args)
    expect(isinstance(got, tuple) and len(got) == 2, expected="a pair (allowed, new_tat)", got=got)
    return bool(got[0]), got[1]


@gcra.property("an idle limiter admits exactly its burst at one instant", now=_now, spacing=_spacing, burst=_burst)
def _admits_burst(answer, now, spacing, burst):
    tat, admitted = now, 0
    for _ in range(burst + 2):
        allowed, tat = _both(answer, tat, now, 1, spacing, burst)
        admitted += allowed
    expect_equal(admitted, burst)


@gcra.property(
    "a long silence saves up one burst and no more", silence=st.integers(0, 1000), spacing=_spacing, burst=_burst
)
def _saves_one_burst(answer, silence, spacing, burst):
    tat, admitted = 0, 0
    for _ in range(2 * burst + 2):
        allowed, tat = _both(answer, tat, silence, 1, spacing, burst)
        admitted += allowed
    expect_equal(admitted, burst)


@gcra.property("a refusal changes nothing", now=_now, lead=_lead, n=_cost, spacing=_spacing, burst=_burst)
def _refusal_is_free(answer, now, lead, n, spacing, burst):
    allowed, tat = _both(answer, now + lead, now, n, spacing, burst)
    if not allowed:
        expect_equal(tat, now + lead)


@gcra.property(
    "a sequence of requests of several costs is decided as a token bucket decides it",
    requests=st.lists(st.tuples(st.integers(0, 12), _cost), min_size=1, max_size=8),
    spacing=_spacing,
    burst=_burst,
)
def _equals_token_bucket(answer, requests, spacing, burst):
    tat = now = last = 0
    tokens = Fraction(burst)
    for gap, n in requests:
        now += gap
        tokens, last = min(Fraction(burst), tokens + Fraction(now - last, spacing)), now
        wanted = n <= tokens
        tokens -= n * wanted
        allowed, tat = _both(answer, tat, now, n, spacing, burst)
        expect_equal(allowed, wanted)


# ── 1.1.e ────────────────────────────────────────────────────────────────────────────────────────
adversary = Exercise(
    "1.1.e",
    title="Beat the sliding-window counter",
    wants="a function `adversary(limit)` that returns at most 20,000 arrival times (seconds from 0 to 10, in order) of "
    "requests to `SlidingWindowCounter(limit, window=1.0)`",
    takes=1,
)

_limits = st.sampled_from([10, 25, 50, 100])


def _attack(answer, limit):
    times = [float(t) for t in answer(limit)]
    expect(len(times) <= 20_000, expected="at most 20,000 times", got=len(times))
    expect(all(a <= b for a, b in pairwise(times)), expected="times in order", got=times)
    expect(not times or (times[0] >= 0 and times[-1] <= 10), expected="times from 0 to 10", got=times[:1] + times[-1:])
    clock = ManualClock()
    limiter = SlidingWindowCounter(limit, 1.0, clock=clock)
    admitted = []
    for clock.now in times:
        if limiter.acquire().allowed:
            admitted.append(round(clock.now * 1e9))
    return most_in_window(admitted, 10**9)


@adversary.property("the limiter admits something", limit=_limits, examples=4)
def _admits_something(answer, limit):
    got = _attack(answer, limit)
    expect(got >= 1, expected="at least 1 admission", got=got)


@adversary.property("some window of one second holds more than the limit", limit=_limits, examples=4)
def _over_limit(answer, limit):
    got = _attack(answer, limit)
    expect(got > limit, expected=f"more than {limit} admissions in one second", got=got)


@adversary.property("some window of one second holds at least 1.8 times the limit", limit=_limits, examples=4)
def _nearly_twice(answer, limit):
    got = _attack(answer, limit)
    expect(got >= 1.8 * limit, expected=f"at least {int(1.8 * limit)} admissions in one second", got=got)


# ── 1.1.f ────────────────────────────────────────────────────────────────────────────────────────
fair = Exercise(
    "1.1.f",
    title="A fair share for every tenant",
    wants="a function `fair_share(capacity, demands)` that returns what each tenant gets, in the order of `demands`",
    takes=2,
)

_capacity = st.integers(0, 100)
_demands = st.lists(st.integers(0, 60), min_size=1, max_size=6)
_SLACK = 1e-6


def _shares(answer, capacity, demands):
    got = [float(share) for share in answer(capacity, list(demands))]
    expect(len(got) == len(demands), expected=f"{len(demands)} shares", got=got)
    return got


@fair.property("nobody gets more than asked for, nor less than nothing", capacity=_capacity, demands=_demands)
def _within_demand(answer, capacity, demands):
    got = _shares(answer, capacity, demands)
    expect(all(-_SLACK <= g <= d + _SLACK for g, d in zip(got, demands)), expected=f"0 to {demands}", got=got)


@fair.property("the capacity is never exceeded", capacity=_capacity, demands=_demands)
def _within_capacity(answer, capacity, demands):
    got = _shares(answer, capacity, demands)
    expect(sum(got) <= capacity + _SLACK, expected=f"a sum of at most {capacity}", got=sum(got))


@fair.property("no capacity is left while somebody wants more", capacity=_capacity, demands=_demands)
def _work_conserving(answer, capacity, demands):
    got = _shares(answer, capacity, demands)
    wanted = min(capacity, sum(demands))
    expect(sum(got) >= wanted - _SLACK, expected=f"a sum of {wanted}", got=sum(got))


@fair.property("nothing is left either when sharing out the rest satisfies one more tenant")
def _several_rounds(answer):
    for capacity, demands in ((100, [0, 30, 60, 60]), (100, [60, 0, 60, 30, 2])):
        got = _shares(answer, capacity, demands)
        expect(sum(got) >= capacity - _SLACK, expected=f"a sum of {capacity} for demands {demands}", got=sum(got))


@fair.property(
    "who gets less than asked for gets at least as much as everybody else", capacity=_capacity, demands=_demands
)
def _max_min(answer, capacity, demands):
    got = _shares(answer, capacity, demands)
    for share, demand in zip(got, demands):
        if share < demand - _SLACK:
            expect(
                share >= max(got) - _SLACK, expected=f"at least {max(got)} for the tenant who asked {demand}", got=share
            )
