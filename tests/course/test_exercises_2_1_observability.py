"""Exercises 2.1.i and 2.1.j: the reference solution passes, and plausible wrong ones fail where they should."""

import itertools

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_2_1_observability as topic


# ── 2.1.i ────────────────────────────────────────────────────────────────────────────────────────
def culprit_reference(tasks):
    waiting = [i for i, (_, _, held) in enumerate(tasks) if held > 0.1]
    if waiting:
        return tasks[waiting[-1] + 1][0]
    return tasks[0][0] if tasks[0][1] > 0.95 else None


def culprit_the_messenger(tasks):
    name, _, held = max(tasks, key=lambda task: task[2])
    return name if held > 0.1 else None


def culprit_the_busiest(tasks):
    name, busy, _ = max(tasks, key=lambda task: task[1])
    return name if busy > 0.95 else None


def culprit_after_the_first(tasks):
    """Takes the task behind the first that waits, though that one may wait itself."""
    for (_, _, held), (name, _, _) in itertools.pairwise(tasks):
        if held > 0.1:
            return name
    return tasks[0][0] if tasks[0][1] > 0.95 else None


def culprit_without_the_source(tasks):
    waiting = [i for i, (_, _, held) in enumerate(tasks) if held > 0.1]
    return tasks[waiting[-1] + 1][0] if waiting else None


# ── 2.1.j ────────────────────────────────────────────────────────────────────────────────────────
def share(minutes):
    rows, missed = sum(r for r, _ in minutes), sum(m for _, m in minutes)
    return missed / rows if rows else 0.0


def burns_reference(minutes, budget, factor, long, short):
    limit = float(factor * budget)
    return share(minutes[-long:]) > limit and share(minutes[-short:]) > limit


def burns_either(minutes, budget, factor, long, short):
    limit = float(factor * budget)
    return share(minutes[-long:]) > limit or share(minutes[-short:]) > limit


def burns_long_alone(minutes, budget, factor, long, short):
    return share(minutes[-long:]) > float(factor * budget)


def burns_average_of_minutes(minutes, budget, factor, long, short):
    def average(window):
        shares = [missed / rows if rows else 0.0 for rows, missed in minutes[-window:]]
        return sum(shares) / len(shares)

    return average(long) > float(factor * budget) and average(short) > float(factor * budget)


def burns_without_quiet_hours(minutes, budget, factor, long, short):
    return all(
        sum(m for _, m in minutes[-w:]) / sum(r for r, _ in minutes[-w:]) > factor * budget for w in (long, short)
    )


@pytest.mark.parametrize(
    "exercise, answer", [(topic.culprit, culprit_reference), (topic.burns, burns_reference)], ids=["i", "j"]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


SLOWEST = "the slowest task of a chain, working or waiting for somebody outside"
DEFINED = "shares are of rows, not averages of minutes"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.culprit, culprit_the_messenger, {SLOWEST}),
        (topic.culprit, culprit_the_busiest, {SLOWEST}),
        (topic.culprit, culprit_after_the_first, {SLOWEST}),
        (topic.culprit, culprit_without_the_source, {SLOWEST}),
        (topic.burns, burns_either, {DEFINED}),
        (topic.burns, burns_long_alone, {DEFINED}),
        (topic.burns, burns_average_of_minutes, {DEFINED, "a minute counts for its rows"}),
        (topic.burns, burns_without_quiet_hours, {DEFINED, "hours in which nothing came burn nothing"}),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed in fails
