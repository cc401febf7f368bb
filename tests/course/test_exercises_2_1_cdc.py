"""Exercises 2.1.e and 2.1.f: the reference solution passes, and plausible wrong ones fail where they should."""

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_2_1_cdc as topic


# ── 2.1.e ────────────────────────────────────────────────────────────────────────────────────────
def _merge(version):
    """A merge that keeps the row with the highest version of each key, deletes among them."""

    def newest(events):
        found = {}
        for event in events:
            if event["key"] not in found or version(event) >= version(found[event["key"]]):
                found[event["key"]] = event
        return {key: event["row"] for key, event in found.items() if event["row"] is not None}

    return newest


merge_reference = _merge(lambda event: (event["snapshot"], event["lsn"] or 0))
merge_last_arrival = _merge(lambda event: 0)
merge_by_place = _merge(lambda event: event["lsn"] or event["snapshot"])
merge_changes_first = _merge(lambda event: (event["lsn"] is not None, event["lsn"] or event["snapshot"]))


def merge_forgetting_deletes(events):
    """A delete takes the row away, and with it the memory of how new it was."""
    found = {}
    for event in events:
        version = (event["snapshot"], event["lsn"] or 0)
        if event["key"] in found and found[event["key"]][0] > version:
            continue
        found[event["key"]] = (version, event["row"])
        if event["row"] is None:
            del found[event["key"]]
    return {key: row for key, (_, row) in found.items()}


# ── 2.1.f ────────────────────────────────────────────────────────────────────────────────────────
def sweep_reference(copy, events):
    for kind, snapshot, *row in events:
        if kind == "row":
            copy[row[0]] = (row[1], snapshot)
        else:
            copy = {key: entry for key, entry in copy.items() if entry[1] >= snapshot}
    return copy


def sweep_never(copy, events):
    for kind, snapshot, *row in events:
        if kind == "row":
            copy[row[0]] = (row[1], snapshot)
    return copy


def sweep_at_the_first_row(copy, events):
    for kind, snapshot, *row in events:
        if kind == "row":
            copy = {key: entry for key, entry in copy.items() if entry[1] >= snapshot}
            copy[row[0]] = (row[1], snapshot)
        else:
            copy = {key: entry for key, entry in copy.items() if entry[1] >= snapshot}
    return copy


def sweep_what_was_not_seen(copy, events):
    """Believes that every row of the batch belongs to the snapshot that ends."""
    seen = {event[2] for event in events if event[0] == "row"}
    for kind, snapshot, *row in events:
        if kind == "row":
            copy[row[0]] = (row[1], snapshot)
        else:
            copy = {key: entry for key, entry in copy.items() if key in seen}
    return copy


def sweep_all_others(copy, events):
    for kind, snapshot, *row in events:
        if kind == "row":
            copy[row[0]] = (row[1], snapshot)
        else:
            copy = {key: entry for key, entry in copy.items() if entry[1] == snapshot}
    return copy


@pytest.mark.parametrize(
    "exercise, answer", [(topic.merge, merge_reference), (topic.sweep, sweep_reference)], ids=["e", "f"]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


AGAIN = "events that come again, late, change nothing"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.merge, merge_last_arrival, AGAIN),
        (topic.merge, merge_forgetting_deletes, AGAIN),
        (topic.merge, merge_by_place, "a change written before the snapshot's place, and committed after it, wins"),
        (topic.merge, merge_changes_first, "a new snapshot wins over all changes before it"),
        (topic.sweep, sweep_never, "after a complete snapshot the copy is the source"),
        (topic.sweep, sweep_at_the_first_row, "a snapshot that broke off takes nothing away"),
        (topic.sweep, sweep_what_was_not_seen, "what only an attempt that broke off has seen goes as well"),
        (topic.sweep, sweep_all_others, "an end that comes again, late, takes nothing of a newer snapshot away"),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
