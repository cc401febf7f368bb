"""Exercises 1.2.c and 1.2.d: the reference solution passes, plausible wrong ones fail where they are wrong."""

from math import asin, pi

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises.ch_1_2_t_digest import fold, omitted


def k1(q, delta):
    return delta / (2 * pi) * asin(max(-1.0, min(1.0, 2 * q - 1)))


def fold_right(centroids, delta, limit=1.0, weigh=True):
    total, before = sum(w for _, w in centroids), 0.0
    (mean, weight), done = centroids[0], []
    for next_mean, next_weight in centroids[1:]:
        if k1((before + weight + next_weight) / total, delta) - k1(before / total, delta) <= limit:
            share = next_weight / (weight + next_weight) if weigh else 0.5
            mean, weight = mean + (next_mean - mean) * share, weight + next_weight
        else:
            done.append((mean, weight))
            before += weight
            mean, weight = next_mean, next_weight
    return [*done, (mean, weight)]


def fold_forgets_last(centroids, delta):
    return fold_right(centroids, delta)[:-1] or fold_right(centroids, delta)


def fold_plain_mean(centroids, delta):
    return fold_right(centroids, delta, weigh=False)


def fold_too_much(centroids, delta):
    return fold_right(centroids, delta, limit=2.0)


def fold_nothing(centroids, delta):
    return centroids


def fold_equal_weights(centroids, delta):
    """A histogram of equal weights: the tails are as coarse as the middle."""
    total, done = sum(w for _, w in centroids), []
    mean, weight = centroids[0]
    for next_mean, next_weight in centroids[1:]:
        if weight + next_weight <= 2 * total / delta:
            mean = (mean * weight + next_mean * next_weight) / (weight + next_weight)
            weight += next_weight
        else:
            done.append((mean, weight))
            mean, weight = next_mean, next_weight
    return [*done, (mean, weight)]


def corrected_right(latencies, interval):
    return latencies + [left for x in latencies for left in range(x - interval, interval - 1, -interval)]


def corrected_same(latencies, interval):
    return latencies + [x for x in latencies for _ in range((x - 1) // interval)]


def corrected_one_too_many(latencies, interval):
    return latencies + [left for x in latencies for left in range(x - interval, 0, -interval)]


def corrected_only_missing(latencies, interval):
    return [left for x in latencies for left in range(x - interval, interval - 1, -interval)]


def corrected_not_at_all(latencies, interval):
    return latencies


@pytest.mark.parametrize("exercise, answer", [(fold, fold_right), (omitted, corrected_right)])
def test_reference_solutions_pass(exercise, answer):
    assert grade(exercise, answer).failed is None


@pytest.mark.parametrize(
    "exercise, answer, failed",
    [
        (fold, fold_forgets_last, "no weight is lost or made"),
        (fold, fold_plain_mean, "the weighted mean of everything stays what it was"),
        (fold, lambda c, d: fold_right(c, d)[::-1], "the means come in order"),
        (fold, fold_too_much, "what has been joined is no larger than 1 on the scale"),
        (fold, fold_equal_weights, "what has been joined is no larger than 1 on the scale"),
        (fold, fold_nothing, "neighbours that fit into one centroid have been joined"),
        (omitted, corrected_only_missing, "what was recorded is still there"),
        (omitted, lambda x, i: x * 2, "a client that never waited longer than the interval left nothing out"),
        (omitted, corrected_not_at_all, "one wait of n intervals hides n - 1 requests"),
        (omitted, corrected_same, "each request left out would have waited for the rest of the stall"),
        (omitted, corrected_one_too_many, "each request left out would have waited for the rest of the stall"),
    ],
)
def test_wrong_answers_fail_where_they_are_wrong(exercise, answer, failed):
    assert grade(exercise, answer).failed == failed
