"""Exercises 1.1.k and 1.1.l: the reference solution passes, and plausible wrong ones fail where they should."""

import numpy as np
import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_1_1_aggregation as topic


# ── 1.1.k ────────────────────────────────────────────────────────────────────────────────────────
def merged_reference(a, b, gap):
    found = []
    for first, last, count in sorted([*a, *b]):
        if found and first - found[-1][1] < gap:
            begin, end, so_far = found[-1]
            found[-1] = (begin, max(end, last), so_far + count)
        else:
            found.append((first, last, count))
    return found


def merged_by_sorting_only(a, b, gap):
    return sorted([*a, *b])


def merged_of_equal_starts(a, b, gap):
    found = {first: (first, last, count) for first, last, count in a}
    for first, last, count in b:
        _, end, so_far = found.get(first, (first, last, 0))
        found[first] = (first, max(end, last), so_far + count)
    return sorted(found.values())


def merged_ends_with_the_later_start(a, b, gap):
    found = []
    for first, last, count in sorted([*a, *b]):
        if found and first - found[-1][1] < gap:
            found[-1] = (found[-1][0], last, found[-1][2] + count)
        else:
            found.append((first, last, count))
    return found


def merged_keeps_the_larger_count(a, b, gap):
    found = []
    for first, last, count in sorted([*a, *b]):
        if found and first - found[-1][1] < gap:
            found[-1] = (found[-1][0], max(found[-1][1], last), max(found[-1][2], count))
        else:
            found.append((first, last, count))
    return found


def merged_joins_at_the_gap(a, b, gap):
    return merged_reference(a, b, gap + 1)


def merged_only_where_they_overlap(a, b, gap):
    return merged_reference(a, b, 1)


# ── 1.1.l ────────────────────────────────────────────────────────────────────────────────────────
def p95_of(weighted):
    rank = -(-95 * sum(weight for _, weight in weighted) // 100)
    for value, weight in sorted(weighted):
        rank -= weight
        if rank <= 0:
            return value


def bounds_reference(parts):
    low, high = [], []
    for requests, p95 in parts:
        inside = -(-95 * requests // 100)
        low += [(0, inside - 1), (p95, requests - inside + 1)]
        high += [(p95, inside), (float("inf"), requests - inside)]
    return p95_of(low), p95_of(high)


def bounds_average(parts):
    mean = float(np.mean([p95 for _, p95 in parts]))
    return mean, mean


def bounds_least_and_greatest(parts):
    return min(p95 for _, p95 in parts), max(p95 for _, p95 in parts)


def bounds_weighted(parts):
    mean = sum(requests * p95 for requests, p95 in parts) / sum(requests for requests, _ in parts)
    return mean, mean


def bounds_least_and_average(parts):
    return min(p95 for _, p95 in parts), bounds_average(parts)[1]


def bounds_zero_and_greatest(parts):
    return (parts[0][1] if len(parts) == 1 else 0), max(p95 for _, p95 in parts)


def bounds_of_the_weighted_p95(parts):
    low, _ = bounds_reference(parts)
    return low, p95_of([(p95, requests) for requests, p95 in parts])


def bounds_low_right_high_the_greatest(parts):
    return bounds_reference(parts)[0], max(p95 for _, p95 in parts)


@pytest.mark.parametrize(
    "exercise, answer", [(topic.sessions, merged_reference), (topic.bounds, bounds_reference)], ids=["k", "l"]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


APART = "sessions are in order and at least a gap apart"
ALL = "the sessions are those of all the events together"
COUNTED = "every event is counted once"
BELOW = "the true P95 is never below the lower bound"
ABOVE = "the true P95 is never above the upper bound"
LOW = "some fleet with these reports reaches the lower bound"
HIGH = "some fleet with these reports reaches the upper bound"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.sessions, merged_by_sorting_only, APART),
        (topic.sessions, merged_of_equal_starts, APART),
        (topic.sessions, merged_ends_with_the_later_start, ALL),
        (topic.sessions, merged_keeps_the_larger_count, COUNTED),
        (topic.sessions, merged_joins_at_the_gap, "a worker that saw nothing adds nothing"),
        (topic.sessions, merged_only_where_they_overlap, APART),
        (topic.bounds, bounds_average, BELOW),
        (topic.bounds, bounds_weighted, BELOW),
        (topic.bounds, bounds_least_and_greatest, LOW),
        (topic.bounds, bounds_zero_and_greatest, LOW),
        (topic.bounds, bounds_least_and_average, ABOVE),
        (topic.bounds, bounds_of_the_weighted_p95, HIGH),
        (topic.bounds, bounds_low_right_high_the_greatest, HIGH),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
