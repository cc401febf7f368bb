"""Exercises 2.1.g and 2.1.h: the reference solution passes, and plausible wrong ones fail where they should."""

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_2_1_architectures as topic


# ── 2.1.g ────────────────────────────────────────────────────────────────────────────────────────
def serve_reference(view, known, cut, records):
    minutes, seen = dict(view), set(known)
    for partition, offset, name, minute, cents in records:
        if offset >= cut[partition] and name not in seen:
            seen.add(name)
            minutes[minute] = minutes.get(minute, 0) + cents
    return minutes


def serve_without_ids(view, known, cut, records):
    """The speed layer knows nothing of the batch, and nothing of what it has counted itself."""
    minutes = dict(view)
    for partition, offset, _, minute, cents in records:
        if offset >= cut[partition]:
            minutes[minute] = minutes.get(minute, 0) + cents
    return minutes


def serve_with_own_ids(view, known, cut, records):
    return serve_reference(view, (), cut, records)


def serve_with_the_batch_s_ids_only(view, known, cut, records):
    minutes = dict(view)
    for partition, offset, name, minute, cents in records:
        if offset >= cut[partition] and name not in known:
            minutes[minute] = minutes.get(minute, 0) + cents
    return minutes


def serve_whatever_comes(view, known, cut, records):
    """Trusts the consumer to have begun at the cut, and adds."""
    return serve_without_ids(view, known, dict.fromkeys(cut, 0), records)


def serve_and_overwrite(view, known, cut, records):
    """The newer layer's minute replaces the older's, as it would if the cut were between two minutes."""
    return {**view, **serve_reference({}, known, cut, records)}


def serve_in_place(view, known, cut, records):
    for partition, offset, name, minute, cents in records:
        if offset >= cut[partition] and name not in known:
            known.add(name)
            view[minute] = view.get(minute, 0) + cents
    return view


# ── 2.1.h ────────────────────────────────────────────────────────────────────────────────────────
def follow_reference(visible, oldest, after):
    return sorted(event for event in visible if event > after and event[0] < oldest)


def follow_by_position(visible, oldest, after):
    return sorted((e for e in visible if e[1] > after[1]), key=lambda e: e[1])


def follow_by_position_among_the_finished(visible, oldest, after):
    return sorted((e for e in visible if e[1] > after[1] and e[0] < oldest), key=lambda e: e[1])


def follow_what_is_visible(visible, oldest, after):
    return sorted(event for event in visible if event > after)


def follow_everything(visible, oldest, after):
    return sorted(event for event in visible if event[0] < oldest)


def follow_when_all_is_quiet(visible, oldest, after):
    """Waits until no transaction is open that is older than anything it would hand out."""
    return follow_reference(visible, oldest, after) if all(e[0] < oldest for e in visible) else []


def follow_by_transaction_alone(visible, oldest, after):
    """Forgets that one transaction may have appended twice."""
    return sorted({e[0]: e for e in sorted(visible) if e[0] > after[0] and e[0] < oldest}.values())


@pytest.mark.parametrize(
    "exercise, answer", [(topic.serve, serve_reference), (topic.follow, follow_reference)], ids=["g", "h"]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


FRONT = "what lies in front of the cut changes nothing, however late it is delivered"
AGAIN = "an order that was sent again behind the cut counts once"
MISSED = "whenever a reader asks, in the end it has missed nothing"
ALL_ONCE = "once all is over, a new reader gets every event once"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.serve, serve_without_ids, AGAIN),
        (topic.serve, serve_with_own_ids, AGAIN),
        (topic.serve, serve_with_the_batch_s_ids_only, AGAIN),
        (topic.serve, serve_whatever_comes, FRONT),
        (topic.serve, serve_and_overwrite, AGAIN),
        (topic.serve, serve_in_place, "with the cut at the beginning, different orders are added up"),
        (topic.follow, follow_by_position, MISSED),
        (topic.follow, follow_by_position_among_the_finished, MISSED),
        (topic.follow, follow_what_is_visible, MISSED),
        (topic.follow, follow_everything, "a reader that asks again at once gets nothing twice"),
        (topic.follow, follow_by_transaction_alone, ALL_ONCE),
        (
            topic.follow,
            follow_when_all_is_quiet,
            "nobody waits for a transaction that is newer than an event's own",
        ),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
