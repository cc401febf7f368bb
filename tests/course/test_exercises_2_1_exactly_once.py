"""Exercises 2.1.c and 2.1.d: the reference solution passes, and plausible wrong ones fail where they should."""

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_2_1_exactly_once as topic


# ── 2.1.c ────────────────────────────────────────────────────────────────────────────────────────
def absorb_reference(state, batch):
    at, total = state
    for offset, amount in batch:
        if offset > at:
            raise ValueError(f"offset {at} is missing")
        if offset == at:
            at, total = at + 1, total + amount
    return at, total


def absorb_everything(state, batch):
    return (batch[-1][0] + 1 if batch else state[0]), state[1] + sum(amount for _, amount in batch)


def absorb_whole_batches(state, batch):
    """Skips a batch that begins before the position, with what is new in it."""
    if not batch or batch[0][0] < state[0]:
        return state
    return absorb_reference(state, batch)


def absorb_and_rewind(state, batch):
    """Counts each offset once, but believes that the position is the batch's end."""
    at, total = state
    total += sum(amount for offset, amount in batch if offset >= at)
    return (batch[-1][0] + 1 if batch else at), total


def absorb_over_gaps(state, batch):
    at, total = state
    for offset, amount in batch:
        if offset >= at:
            at, total = offset + 1, total + amount
    return at, total


# ── 2.1.d ────────────────────────────────────────────────────────────────────────────────────────
def recover_reference(committed, restored, pending):
    return [number for number in sorted(pending) if committed < number <= restored]


def recover_everything(committed, restored, pending):
    return sorted(pending)


def recover_nothing(committed, restored, pending):
    return []


def recover_the_newest(committed, restored, pending):
    return [restored] if committed < restored else []


def recover_with_orphans(committed, restored, pending):
    return [number for number in sorted(pending) if number > committed]


@pytest.mark.parametrize(
    "exercise, answer", [(topic.absorb, absorb_reference), (topic.recover, recover_reference)], ids=["c", "d"]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


REDELIVERED = "after any redelivery the total is that of the log up to the position"
COMPLETE = "after a crash every complete checkpoint is in the table once, in order"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.absorb, absorb_everything, "the same batch again changes nothing"),
        (topic.absorb, absorb_whole_batches, REDELIVERED),
        (topic.absorb, absorb_and_rewind, REDELIVERED),
        (topic.absorb, absorb_over_gaps, "a gap is refused, not skipped"),
        (topic.recover, recover_everything, COMPLETE),
        (topic.recover, recover_nothing, COMPLETE),
        (topic.recover, recover_the_newest, COMPLETE),
        (topic.recover, recover_with_orphans, "files of a checkpoint that never completed are not committed"),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
