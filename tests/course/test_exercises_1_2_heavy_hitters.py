"""Exercises 1.2.g and 1.2.h: the reference solution passes, and plausible wrong ones fail where they should."""

from collections import Counter

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_1_2_heavy_hitters as topic


# ── 1.2.g ────────────────────────────────────────────────────────────────────────────────────────
def heavy_reference(stream, k):
    counters = {}
    for x in stream:
        if x in counters:
            counters[x] += 1
        elif len(counters) < k:
            counters[x] = 1
        else:
            counters = {y: n - 1 for y, n in counters.items() if n > 1}
    return counters


def heavy_counts_all(stream, k):
    return dict(Counter(stream))


def heavy_first_come(stream, k):
    counters = {}
    for x in stream:
        if x in counters or len(counters) < k:
            counters[x] = counters.get(x, 0) + 1
    return counters


def heavy_takes_over_the_smallest(stream, k):
    counters = {}
    for x in stream:
        if x not in counters and len(counters) == k:
            counters[x] = counters.pop(min(counters, key=counters.get))
        counters[x] = counters.get(x, 0) + 1
    return counters


def heavy_lets_the_newcomer_in(stream, k):
    counters = {}
    for x in stream:
        if x not in counters and len(counters) == k:
            counters = {y: n - 1 for y, n in counters.items() if n > 1}
        if x in counters or len(counters) < k:
            counters[x] = counters.get(x, 0) + 1
    return counters


def heavy_decrements_one(stream, k):
    counters = {}
    for x in stream:
        if x in counters or len(counters) < k:
            counters[x] = counters.get(x, 0) + 1
        else:
            least = min(counters, key=counters.get)
            counters[least] -= 1
            if not counters[least]:
                counters[least] = 0
    return counters


def heavy_clears(stream, k):
    counters = {}
    for x in stream:
        if x in counters or len(counters) < k:
            counters[x] = counters.get(x, 0) + 1
        else:
            counters = {}
    return counters


# ── 1.2.h ────────────────────────────────────────────────────────────────────────────────────────
def merge_reference(a, b, k):
    both = Counter(a) + Counter(b)
    if len(both) <= k:
        return dict(both)
    off = sorted(both.values(), reverse=True)[k]
    return {x: n - off for x, n in both.items() if n > off}


def merge_adds(a, b, k):
    return dict(Counter(a) + Counter(b))


def merge_keeps_the_top(a, b, k):
    return dict((Counter(a) + Counter(b)).most_common(k))


def merge_takes_the_larger(a, b, k):
    return dict((Counter(a) | Counter(b)).most_common(k))


def merge_subtracts_the_kth(a, b, k):
    both = Counter(a) + Counter(b)
    off = sorted(both.values(), reverse=True)[k - 1] if len(both) > k else 0
    return {x: n - off for x, n in both.items() if n > off}


def merge_subtracts_all_that_goes(a, b, k):
    both = Counter(a) + Counter(b)
    off = sum(n for _, n in both.most_common()[k:])
    return {x: n - off for x, n in both.most_common(k) if n > off}


@pytest.mark.parametrize("exercise, answer", [(topic.gries, heavy_reference), (topic.merged, merge_reference)])
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


FEW = "no more than k counters are in use"
ABOVE = "no counter is above the true count"
HIDES = "whatever makes up more than 1 / (k + 1) of the stream has a counter"
LACKS = "no counter lacks more than n / (k + 1)"
LOSS = "no key loses more than its part of what all lose, which is one in k + 1"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.gries, heavy_counts_all, FEW),
        (topic.gries, heavy_takes_over_the_smallest, ABOVE),
        (topic.gries, heavy_first_come, HIDES),
        (topic.gries, heavy_decrements_one, HIDES),
        (topic.gries, heavy_clears, HIDES),
        (topic.gries, heavy_lets_the_newcomer_in, LACKS),
        (topic.merged, merge_adds, "no more than k counters are left"),
        (topic.merged, merge_takes_the_larger, "summaries that fit together lose nothing"),
        (topic.merged, merge_keeps_the_top, LOSS),
        (topic.merged, merge_subtracts_the_kth, LOSS),
        (topic.merged, merge_subtracts_all_that_goes, LOSS),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
