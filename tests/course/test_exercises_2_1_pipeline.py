"""Exercises 2.1.a and 2.1.b: the reference solution passes, and plausible wrong ones fail where they should."""

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_2_1_pipeline as topic


# ── 2.1.a ────────────────────────────────────────────────────────────────────────────────────────
def visits_reference(clicks, gap, lateness):
    found = []
    for user, time, sent in sorted(clicks):
        if time < sent - lateness:
            continue
        if found and found[-1][0] == user and time - found[-1][2] <= gap:
            found[-1] = (user, found[-1][1], time, found[-1][3] + 1)
        else:
            found.append((user, time, time, 1))
    return found


def visits_by_arrival(clicks, gap, lateness):
    """Never sorts: what arrives next is taken for what happened next."""
    found = {}
    for user, time, sent in clicks:
        if time >= sent - lateness:
            mine = found.setdefault(user, [])
            if mine and abs(time - mine[-1][2]) <= gap:
                mine[-1] = (user, mine[-1][1], time, mine[-1][3] + 1)
            else:
                mine.append((user, time, time, 1))
    return sorted(visit for mine in found.values() for visit in mine)


def visits_with_late(clicks, gap, lateness):
    return visits_reference([(user, time, time) for user, time, _ in clicks], gap, lateness)


def visits_by_watermark(clicks, gap, lateness):
    """Late is what is behind the highest event time so far: another order, another answer."""
    seen, kept = 0, []
    for click in clicks:
        seen = max(seen, click[1])
        if click[1] >= seen - lateness:
            kept.append((*click[:2], click[1]))
    return visits_reference(kept, gap, lateness)


def visits_cut_at_the_gap(clicks, gap, lateness):
    return visits_reference(clicks, gap - 1, lateness)


# ── 2.1.b ────────────────────────────────────────────────────────────────────────────────────────
def reads(reader, writer):
    for name, (kind, required) in reader.items():
        if name in writer:
            if writer[name][0] != kind or (required and not writer[name][1]):
                return False
        elif required:
            return False
    return True


def first_reference(old, new):
    return {side for side, fine in (("readers", reads(new, old)), ("writers", reads(old, new))) if fine}


def first_the_wrong_way_round(old, new):
    return first_reference(new, old)


def first_by_names_only(old, new):
    plain = [{name: ("text", required) for name, (_, required) in fields.items()} for fields in (old, new)]
    return first_reference(*plain)


def first_never(old, new):
    return first_reference(old, new) if old == new else set()


def first_readers_always(old, new):
    return {"readers"}


@pytest.mark.parametrize(
    "exercise, answer", [(topic.visits, visits_reference), (topic.first, first_reference)], ids=["a", "b"]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


ORDER = "another order of arrival gives the same visits"
SAFE = "whoever is deployed first, no record is refused"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.visits, visits_by_arrival, ORDER),
        (topic.visits, visits_with_late, "a late click changes nothing, not even by joining two visits"),
        (topic.visits, visits_by_watermark, "a late click changes nothing, not even by joining two visits"),
        (topic.visits, visits_cut_at_the_gap, "clicks more than the gap apart are two visits"),
        (topic.first, first_the_wrong_way_round, SAFE),
        (topic.first, first_by_names_only, SAFE),
        (topic.first, first_never, "nobody is told to wait without need"),
        (topic.first, first_readers_always, "a version that changes nothing may be deployed anywhere first"),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
