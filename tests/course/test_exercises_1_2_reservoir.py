"""Exercises 1.2.a and 1.2.b: the reference solution passes, plausible wrong ones fail where they are wrong."""

from fractions import Fraction
from itertools import islice

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises.ch_1_2_reservoir import _all_chances, merge, reservoir

SIZE = "the sample has min(k, n) different elements of the stream"
SINGLE = "every element is in the sample with probability k / n"
SETS = "every set of k is as likely as any other"
MERGED_SIZE = "the result has min(k, n + m) elements of the two samples"
SHARE = "both streams give in proportion to their lengths, on average"
MERGED_SINGLE = "every element of both streams has the same chance"
MERGED_SETS = "every set of both streams together is as likely as any other"


def reservoir_right(stream, k, below):
    kept = []
    for i, x in enumerate(stream):
        if i < k:
            kept.append(x)
        elif (place := below(i + 1)) < k:
            kept[place] = x
    return kept


def reservoir_by_keys(stream, k, below):
    """Right in another way: a random permutation by insertion, then its beginning."""
    order = []
    for x in stream:
        order.insert(below(len(order) + 1), x)
    return order[:k]


def reservoir_first(stream, k, below):
    return list(islice(stream, k))


def reservoir_off_by_one(stream, k, below):
    kept = []
    for i, x in enumerate(stream):
        if i < k:
            kept.append(x)
        elif (place := below(i)) < k:
            kept[place] = x
    return kept


def reservoir_always_replaces(stream, k, below):
    kept = []
    for i, x in enumerate(stream):
        if i < k:
            kept.append(x)
        else:
            kept[below(k)] = x
    return kept


def reservoir_with_replacement(stream, k, below):
    everything = list(stream)
    return [everything[below(len(everything))] for _ in range(min(k, len(everything)))]


def reservoir_one_run(stream, k, below):
    """k neighbours on a circle: every element has the same chance, and neighbours come together."""
    everything = list(stream)
    if not everything:
        return []
    start = below(len(everything))
    return [everything[(start + i) % len(everything)] for i in range(min(k, len(everything)))]


def merge_right(a, n, b, m, k, below):
    result = []
    while (n or m) and len(result) < k:
        if below(n + m) < n:
            result.append(a.pop(below(len(a))))
            n -= 1
        else:
            result.append(b.pop(below(len(b))))
            m -= 1
    return result


def merge_shuffled(a, n, b, m, k, below):
    both = a + b
    return [both.pop(below(len(both))) for _ in range(min(k, len(both)))]


def merge_alternating(a, n, b, m, k, below):
    result = []
    while (a or b) and len(result) < k:
        result.append((a or b).pop(0))
        a, b = b, a
    return result


def merge_prefix(a, n, b, m, k, below):
    """The number of each is right, but the samples' beginnings are no samples."""
    result = []
    while (n or m) and len(result) < k:
        if below(n + m) < n:
            result.append(a.pop(0))
            n -= 1
        else:
            result.append(b.pop(0))
            m -= 1
    return result


def merge_lengths_fixed(a, n, b, m, k, below):
    """Draws with n : m to the end, although what was taken is gone."""
    result = []
    while (a or b) and len(result) < k:
        pick_a = not b or (a and below(n + m) < n)
        side = a if pick_a else b
        result.append(side.pop(below(len(side))))
    return result


@pytest.mark.parametrize(
    "exercise, answer", [(reservoir, reservoir_right), (reservoir, reservoir_by_keys), (merge, merge_right)]
)
def test_reference_solutions_pass(exercise, answer):
    result = grade(exercise, answer)
    assert result.passed, result


@pytest.mark.parametrize(
    "exercise, answer, failed",
    [
        (reservoir, lambda stream, k, below: list(stream), SIZE),
        (reservoir, reservoir_with_replacement, SIZE),
        (reservoir, reservoir_first, SINGLE),
        (reservoir, reservoir_off_by_one, SINGLE),
        (reservoir, reservoir_always_replaces, SINGLE),
        (reservoir, reservoir_one_run, SETS),
        (merge, lambda a, n, b, m, k, below: a + b, MERGED_SIZE),
        (merge, merge_shuffled, SHARE),
        (merge, merge_alternating, SHARE),
        (merge, merge_prefix, MERGED_SINGLE),
        (merge, merge_lengths_fixed, SHARE),
    ],
)
def test_wrong_answers_fail_where_they_are_wrong(exercise, answer, failed):
    assert grade(exercise, answer).failed == failed


def test_an_answer_that_never_stops_drawing_is_told():
    def forever(stream, k, below):
        while below(2) == 0:
            pass
        return list(islice(stream, k))

    assert grade(reservoir, forever).failed == SIZE


def test_all_chances_are_all():
    found = list(_all_chances(lambda below: (below(2), below(3))))
    assert sorted(outcome for _, outcome in found) == [(i, j) for i in range(2) for j in range(3)]
    assert {chance for chance, _ in found} == {Fraction(1, 6)}
    uneven = list(_all_chances(lambda below: below(3) if below(2) else "stop"))
    assert sum(chance for chance, _ in uneven) == 1
    assert {outcome: chance for chance, outcome in uneven}["stop"] == Fraction(1, 2)
