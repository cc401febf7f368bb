"""Exercises 1.2.g and 1.2.h: Misra-Gries from scratch, and two of its summaries made one."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 1.2.g ────────────────────────────────────────────────────────────────────────────────────────
gries = Exercise(
    "1.2.g",
    title="Heavy hitters with k counters",
    wants="a function `heavy(stream, k)` that reads the stream once and returns Misra-Gries's counters as a dict",
    takes=2,
)

_streams = st.lists(st.sampled_from("abcde"), max_size=14)
_k = st.integers(1, 4)


def _counters(answer, stream, k):
    got = answer(list(stream), k)
    expect(isinstance(got, dict), expected="a dict of counters", got=got)
    return {x: n for x, n in got.items() if n}


@gries.property("what fits into the counters is counted exactly", stream=st.lists(st.sampled_from("ab"), max_size=10))
def _exact(answer, stream):
    expect_equal(_counters(answer, stream, 2), dict(Counter(stream)))


@gries.property("no more than k counters are in use", stream=_streams, k=_k)
def _few(answer, stream, k):
    got = _counters(answer, stream, k)
    expect(len(got) <= k, expected=f"at most {k} counters", got=got)


@gries.property("no counter is above the true count", stream=_streams, k=_k)
def _never_above(answer, stream, k):
    exact = Counter(stream)
    got = _counters(answer, stream, k)
    expect(all(n <= exact[x] for x, n in got.items()), expected=f"at most {dict(exact)}", got=got)


@gries.property("whatever makes up more than 1 / (k + 1) of the stream has a counter", stream=_streams, k=_k)
def _none_hides(answer, stream, k):
    heavy = {x for x, n in Counter(stream).items() if n * (k + 1) > len(stream)}
    got = _counters(answer, stream, k)
    expect(heavy <= set(got), expected=f"counters for {sorted(heavy)}", got=got)


@gries.property("no counter lacks more than n / (k + 1)", stream=_streams, k=_k)
def _lacks_little(answer, stream, k):
    got = _counters(answer, stream, k)
    for x, n in Counter(stream).items():
        expect((n - got.get(x, 0)) * (k + 1) <= len(stream), expected=f"{x!r} near {n}", got=got)


# ── 1.2.h ────────────────────────────────────────────────────────────────────────────────────────
merged = Exercise(
    "1.2.h",
    title="Two summaries, one guarantee",
    wants="a function `merge(a, b, k)` that makes one dict of at most k counters from two Misra-Gries summaries",
    takes=3,
)

_summary = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 9), max_size=4)


def _merge(answer, a, b, k=4):
    got = answer(dict(a), dict(b), k)
    expect(isinstance(got, dict), expected="a dict of counters", got=got)
    expect(all(n >= 0 for n in got.values()), expected="counts of at least 0", got=got)
    return Counter({x: n for x, n in got.items() if n})


@merged.property(
    "summaries that fit together lose nothing", a=st.dictionaries(st.sampled_from("abc"), st.integers(1, 9))
)
def _lossless(answer, a):
    b = {"a": 2, "d": 1}
    expect_equal(_merge(answer, a, b), Counter(a) + Counter(b))


@merged.property("no more than k counters are left", a=_summary, b=_summary)
def _stays_small(answer, a, b):
    got = _merge(answer, a, b)
    expect(len(got) <= 4, expected="at most 4 counters", got=dict(got))


@merged.property("no counter is above the sum of the two", a=_summary, b=_summary)
def _not_above(answer, a, b):
    got, both = _merge(answer, a, b), Counter(a) + Counter(b)
    expect(all(n <= both[x] for x, n in got.items()), expected=f"at most {dict(both)}", got=dict(got))


@merged.property("no key loses more than its part of what all lose, which is one in k + 1", a=_summary, b=_summary)
def _shared_loss(answer, a, b):
    got, both = _merge(answer, a, b), Counter(a) + Counter(b)
    lost = sum(both.values()) - sum(got.values())
    for x, n in both.items():
        expect((n - got[x]) * 5 <= lost, expected=f"{x!r} to lose at most {lost} / 5 of its {n}", got=dict(got))
