"""Exercises 1.2.i and 1.2.j: the reference solution passes, plausible wrong ones fail where they are wrong."""

from math import sqrt
from statistics import variance

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises.ch_1_2_aqp import allocate, total


def total_right(strata):
    estimate = sum(size * sum(values) / len(values) for size, values in strata)
    error = sqrt(sum(size * (size - len(v)) * variance(v) / len(v) for size, v in strata))
    return estimate, error


def total_without_correction(strata):
    return total_right(strata)[0], sqrt(sum(size**2 * variance(v) / len(v) for size, v in strata))


def total_pooled(strata):
    """As if all values came from one uniform sample."""
    values, size = [x for _, v in strata for x in v], sum(size for size, _ in strata)
    return total_right([(size, values)])


def total_population_variance(strata):
    return total_right(strata)[0], sqrt(
        sum(size * (size - len(v)) * variance(v) * (len(v) - 1) / len(v) ** 2 for size, v in strata)
    )


def total_adds_errors(strata):
    return total_right(strata)[0], sum(total_right([stratum])[1] for stratum in strata)


def total_variance_instead(strata):
    return total_right(strata)[0], total_right(strata)[1] ** 2


def allocate_right(counts, deviations, rows):
    given, left = [0.0] * len(counts), set(range(len(counts)))
    while left:
        share = sum(counts[i] * deviations[i] for i in left)
        part = {i: rows * counts[i] * deviations[i] / share for i in left}
        whole = [i for i in left if part[i] >= counts[i]]
        if not whole:
            break
        for i in whole:
            given[i] = float(counts[i])
            rows -= counts[i]
            left.remove(i)
    for i in left:
        given[i] = part[i]
    return given


def allocate_over(counts, deviations, rows):
    share = sum(n * d for n, d in zip(counts, deviations))
    return [rows * n * d / share for n, d in zip(counts, deviations)]


def allocate_clipped(counts, deviations, rows):
    return [min(n, part) for n, part in zip(counts, allocate_over(counts, deviations, rows))]


def allocate_proportional(counts, deviations, rows):
    return [rows * n / sum(counts) for n in counts]


def allocate_once(counts, deviations, rows):
    """What is left over is spread by free rows, not by what does most good."""
    given = allocate_clipped(counts, deviations, rows)
    free = [n - part for n, part in zip(counts, given)]
    left = rows - sum(given)
    return [part + left * f / (sum(free) or 1) for part, f in zip(given, free)]


def allocate_by_variance(counts, deviations, rows):
    return allocate_right(counts, [d * d for d in deviations], rows)


@pytest.mark.parametrize("exercise, answer", [(total, total_right), (allocate, allocate_right)])
def test_reference_solutions_pass(exercise, answer):
    result = grade(exercise, answer)
    assert result.passed, result


@pytest.mark.parametrize(
    "exercise, answer, failed",
    [
        (total, total_without_correction, "a stratum that was read whole gives its sum, without error"),
        (total, lambda s: (sum(sum(v) for _, v in s), 0.0), "each value stands for N / n rows of its own stratum"),
        (total, total_pooled, "each value stands for N / n rows of its own stratum"),
        (total, total_population_variance, "the standard error of one stratum is the textbook's"),
        (total, total_variance_instead, "the standard error of one stratum is the textbook's"),
        (total, total_adds_errors, "strata are independent: their variances add up"),
        (allocate, allocate_over, "no group gives fewer than none or more than it has"),
        (allocate, allocate_clipped, "the whole budget is spent"),
        (allocate, allocate_proportional, "no row would do more good in another group"),
        (allocate, allocate_once, "no row would do more good in another group"),
        (allocate, allocate_by_variance, "no row would do more good in another group"),
    ],
)
def test_wrong_answers_fail_where_they_are_wrong(exercise, answer, failed):
    assert grade(exercise, answer).failed == failed
