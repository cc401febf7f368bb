"""Exercises 1.1.i and 1.1.j: the reference solution passes, and plausible wrong ones fail where they should."""

import heapq
import itertools

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_1_1_sort


# ── 1.1.i ────────────────────────────────────────────────────────────────────────────────────────
def merge_reference(runs, key):
    heap = []
    for number, run in enumerate(runs):
        for record in run:
            heap.append((key(record), number, record, run))
            break
    heapq.heapify(heap)
    while heap:
        _, number, record, run = heap[0]
        yield record
        for record in run:
            heapq.heapreplace(heap, (key(record), number, record, run))
            break
        else:
            heapq.heappop(heap)


def merge_by_the_library(runs, key):
    return heapq.merge(*runs, key=key)


def merge_all_at_once(runs, key):
    return iter(sorted(itertools.chain.from_iterable(list(itertools.islice(run, 100)) for run in runs), key=key))


def merge_compares_records(runs, key):
    heap = [(key(record), record, at) for at, run in enumerate(runs) for record in itertools.islice(run, 1)]
    heapq.heapify(heap)
    while heap:
        _, record, at = heapq.heappop(heap)
        yield record
        for record in itertools.islice(runs[at], 1):
            heapq.heappush(heap, (key(record), record, at))


def merge_forgets_the_key(runs, key):
    return heapq.merge(*runs)


def merge_last_run_first(runs, key):
    return heapq.merge(*runs[::-1], key=key)


def merge_drops_when_a_run_ends(runs, key):
    heads = [(next(run, None), run) for run in runs]
    while heads and all(head is not None for head, _ in heads):
        at = min(range(len(heads)), key=lambda at: key(heads[at][0]))
        yield heads[at][0]
        heads[at] = (next(heads[at][1], None), heads[at][1])


@pytest.mark.parametrize("answer", [merge_reference, merge_by_the_library])
def test_merge_right(answer):
    assert grade(ch_1_1_sort.merge, answer).failed is None


@pytest.mark.parametrize("answer, failed", [
    (merge_drops_when_a_run_ends, "no record is lost and none is made up"),
    (merge_forgets_the_key, "the result is in the order of the key"),
    (merge_compares_records, "records themselves are never compared, only their keys"),
    (merge_last_run_first, "equal keys come in the order of the runs, and of each run"),
    (merge_all_at_once, "at most one record of a run is held while others come out"),
])  # fmt: skip
def test_merge_wrong(answer, failed):
    assert grade(ch_1_1_sort.merge, answer).failed == failed


# ── 1.1.j ────────────────────────────────────────────────────────────────────────────────────────
def split_reference(sample, partitions):
    ordered = sorted(sample)
    return [ordered[len(ordered) * p // partitions] for p in range(1, partitions)]


def split_unsorted(sample, partitions):
    return [sample[len(sample) * p // partitions] for p in range(1, partitions)]


def split_equal_width(sample, partitions):
    low, high = min(sample)[0], max(sample)[0]
    return [(low + (high - low) * p // partitions, 0) for p in range(1, partitions)]


def split_keys_only(sample, partitions):
    return [(key, -1) for key, _ in split_reference(sample, partitions)]


def split_distinct_keys(sample, partitions):
    distinct = [(key, -1) for key in sorted({key for key, _ in sample})]
    return [distinct[len(distinct) * p // partitions] for p in range(1, partitions)]


def split_one_too_many(sample, partitions):
    ordered = sorted(sample)
    return [ordered[len(ordered) * p // partitions] for p in range(partitions)]


def test_split_right():
    assert grade(ch_1_1_sort.split, split_reference).failed is None


@pytest.mark.parametrize("answer, failed", [
    (split_unsorted, "there is one splitter fewer than partitions, in order"),
    (split_one_too_many, "there is one splitter fewer than partitions, in order"),
    (split_equal_width, "where keys differ, no partition is overfull"),
    (split_keys_only, "where most keys are equal, no partition is overfull either"),
    (split_distinct_keys, "where most keys are equal, no partition is overfull either"),
])  # fmt: skip
def test_split_wrong(answer, failed):
    assert grade(ch_1_1_sort.split, answer).failed == failed
