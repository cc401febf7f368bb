"""Exercises 1.1.g and 1.1.h: a Bloom filter that forgets on request, and a memory budget for the filters of a store."""

from __future__ import annotations

from math import exp, log

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 1.1.g ────────────────────────────────────────────────────────────────────────────────────────
counting = Exercise(
    "1.1.g",
    title="A Bloom filter that forgets",
    wants="a class `CountingFilter(size, most)` of `size` counters from 0 to `most`, with `add(places)`, "
    "`remove(places)`, which returns whether it did, and `has(places)`; a key comes as the list of its places",
    takes=2,
    methods=("add", "remove", "has"),
)

_SIZE, _AMPLE = 6, 1_000
_key = st.lists(st.integers(0, _SIZE - 1), min_size=2, max_size=3)  # its hashes may agree: a place can come twice
_keys = st.lists(_key, min_size=1, max_size=5)


def _filled(answer, keys, most=_AMPLE):
    made = answer(_SIZE, most)
    for key in keys:
        made.add(list(key))
    return made


def _still_in(made, keys, why):
    for key in keys:
        expect(made.has(list(key)), expected=f"{key} in, {why}", got=False)


def _empty(made, why):
    for place in range(_SIZE):
        expect(not made.has([place]), expected=f"every counter at 0, {why}", got=f"counter {place} is not")


@counting.property("a new filter has nothing in, and one that got keys has these in", keys=_keys)
def _adds(answer, keys):
    _empty(answer(_SIZE, _AMPLE), "before anything was added")
    _still_in(_filled(answer, keys), keys, "since it was added")


@counting.property("a key with a place that no key has is not in", keys=_keys, other=_key)
def _needs_all(answer, keys, other):
    used = {place for key in keys for place in key}
    if not used.issuperset(other):
        got = _filled(answer, keys).has(list(other))
        expect(not got, expected=f"{other} not in, since only the places {sorted(used)} are in use", got=got)


@counting.property("a key that was added and removed is gone", key=_key)
def _removes(answer, key):
    made = _filled(answer, [key])
    expect(made.remove(list(key)) is True, expected="True from remove", got="something else")
    _empty(made, "after its only key was removed")


@counting.property("removing one key leaves the others in", keys=_keys, gone=_key)
def _leaves_others(answer, keys, gone):
    made = _filled(answer, [*keys, gone])
    made.remove(list(gone))
    _still_in(made, keys, f"though {gone} was removed")


@counting.property("removing a key that is not in returns False and changes nothing", keys=_keys, other=_key)
def _refuses(answer, keys, other):
    made = _filled(answer, keys)
    if not made.has(list(other)):
        expect(made.remove(list(other)) is False, expected="False from remove", got="something else")
        _still_in(made, keys, f"after {other}, which was not, should have been removed")
        for key in keys:
            made.remove(list(key))
        _empty(made, "after every key was removed that was added")


@counting.property(
    "no member is ever denied, however small the counters", keys=_keys, copies=st.integers(1, 4), most=st.integers(1, 3)
)
def _never_denied(answer, keys, copies, most):
    made = _filled(answer, [key for key in keys for _ in range(copies)] + keys, most)
    for key in keys:
        for _ in range(copies):
            made.remove(list(key))
    _still_in(made, keys, f"since it was added {copies + 1} times and removed {copies} times")


# ── 1.1.h ────────────────────────────────────────────────────────────────────────────────────────
budget = Exercise(
    "1.1.h",
    title="A memory budget for a store's filters",
    wants="a function `rates(keys, bits)`: from the number of keys in each table and the bits for all filters "
    "together, the list of false-positive rates that makes the reads of a miss, their sum, as few as can be",
    takes=2,
)

_LN2_SQUARED = log(2) ** 2
_size = st.integers(20, 1_000)
_tables = st.lists(_size, min_size=1, max_size=5)
_each = st.integers(0, 12)  # bits a key, on average


def _bits(keys, rates):
    return sum(-n * log(p) / _LN2_SQUARED for n, p in zip(keys, rates))


def _rates(answer, keys, bits):
    got = [float(p) for p in answer(list(keys), bits)]
    expect(len(got) == len(keys), expected=f"{len(keys)} rates", got=got)
    expect(all(0 < p <= 1 for p in got), expected="rates above 0 and at most 1", got=got)
    return got


def _least_reads(keys, bits):
    """By bisection: at the best split every rate is proportional to its table's keys, or 1."""
    low, high = -800.0, 0.0  # logarithm of the rate a key
    for _ in range(200):
        middle = (low + high) / 2
        too_many = _bits(keys, [min(1.0, exp(middle) * n) for n in keys]) > bits
        low, high = (middle, high) if too_many else (low, middle)
    return sum(min(1.0, exp(high) * n) for n in keys)


@budget.property("there is a rate for each table, above 0 and at most 1", keys=_tables, each=_each)
def _are_rates(answer, keys, each):
    _rates(answer, keys, each * sum(keys))


@budget.property("a single table gets all the bits", n=_size, each=_each)
def _single(answer, n, each):
    got, wanted = _rates(answer, [n], each * n)[0], exp(-each * _LN2_SQUARED)
    expect(abs(got / wanted - 1) < 1e-6, expected=wanted, got=got)


@budget.property("the filters fit into the bits", keys=_tables, each=_each)
def _fits(answer, keys, each):
    bits = each * sum(keys)
    got = _bits(keys, _rates(answer, keys, bits))
    expect(got <= bits * (1 + 1e-6) + 1e-6, expected=f"at most {bits} bits", got=got)


@budget.property("tables with as many keys get the same rate", n=_size, m=_size)
def _equal(answer, n, m):
    got = _rates(answer, [n, m, n], 10 * (2 * n + m))
    expect(abs(got[0] / got[2] - 1) < 1e-6, expected="the first and the last rate equal", got=got)


@budget.property("a miss costs no more reads than with the same bits for every key", keys=_tables, each=_each)
def _beats_uniform(answer, keys, each):
    got, uniform = sum(_rates(answer, keys, each * sum(keys))), len(keys) * exp(-each * _LN2_SQUARED)
    expect(got <= uniform * (1 + 1e-6), expected=f"at most {uniform:.6g} reads", got=got)


@budget.property("no other split of the bits saves a read", keys=_tables, each=_each)
def _is_least(answer, keys, each):
    got, least = sum(_rates(answer, keys, each * sum(keys))), _least_reads(keys, each * sum(keys))
    expect(got <= least * (1 + 1e-5), expected=f"{least:.6g} reads", got=got)


@budget.property("no bits give no filters", keys=_tables)
def _nothing(answer, keys):
    expect_equal([round(p, 9) for p in _rates(answer, keys, 0)], [1.0] * len(keys))
