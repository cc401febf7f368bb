"""Exercises 1.1.i and 1.1.j: a lazy, stable merge of sorted runs, and splitters that divide a crowd of equal keys."""

from __future__ import annotations

from itertools import chain, islice, pairwise

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 1.1.i ────────────────────────────────────────────────────────────────────────────────────────
merge = Exercise(
    "1.1.i",
    title="Merge sorted runs",
    wants="a function `merged(runs, key)`: an iterator over all records of several iterators, each in the order of "
    "`key`; equal keys in the order of the runs",
    takes=2,
)

_runs = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=5)


def _all(runs):
    return list(chain.from_iterable(runs))


def _merged(answer, runs, key=lambda record: record):
    return list(answer([iter(run) for run in runs], key))


@merge.property("no record is lost and none is made up", runs=_runs)
def _permutation(answer, runs):
    got = _merged(answer, [sorted(run) for run in runs])
    expect(sorted(got) == sorted(_all(runs)), expected=f"the records {sorted(_all(runs))}", got=got)


@merge.property("the result is in the order of the key", runs=_runs)
def _in_order(answer, runs):
    got = _merged(answer, [sorted(run, reverse=True) for run in runs], key=lambda record: -record)
    expect_equal(got, sorted(_all(runs), reverse=True))


@merge.property("records themselves are never compared, only their keys", runs=_runs)
def _compares_keys(answer, runs):
    boxes = [[{"key": number, "run": at} for number in sorted(run)] for at, run in enumerate(runs)]  # no order
    got = [box["key"] for box in _merged(answer, boxes, key=lambda box: box["key"])]
    expect_equal(got, sorted(_all(runs)))


@merge.property("equal keys come in the order of the runs, and of each run", runs=_runs)
def _stable(answer, runs):
    marked = [[(number, run, at) for at, number in enumerate(sorted(numbers))] for run, numbers in enumerate(runs)]
    got = _merged(answer, marked, key=lambda record: record[0])
    expect_equal(got, sorted(_all(marked)))


@merge.property("at most one record of a run is held while others come out", wanted=st.integers(1, 12))
def _lazy(answer, wanted):
    taken = [0, 0, 0]

    def endless(run):
        while True:
            taken[run] += 1
            yield 3 * taken[run] + run

    got = list(islice(answer([endless(run) for run in range(3)], lambda record: record), wanted))
    expect_equal(got, list(range(3, 3 + wanted)))
    expect(sum(taken) <= wanted + 3, expected=f"at most {wanted + 3} records read for {wanted}", got=sum(taken))


# ── 1.1.j ────────────────────────────────────────────────────────────────────────────────────────
split = Exercise(
    "1.1.j",
    title="Splitters for a crowd",
    wants="a function `splitters(sample, partitions)`: from a list of distinct pairs `(key, position)` the "
    "`partitions - 1` pairs, ascending, at which the second and later partitions begin",
    takes=2,
)

_partitions = st.integers(1, 6)
_spread = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 99)), unique_by=lambda pair: pair[0], min_size=6)
_crowded = st.lists(st.tuples(st.sampled_from([5, 5, 5, 6]), st.integers(0, 99)), unique=True, min_size=6)


def _sizes(answer, sample, partitions):
    cuts = [tuple(cut) for cut in answer(list(sample), partitions)]
    expect(len(cuts) == partitions - 1, expected=f"{partitions - 1} splitters", got=cuts)
    expect(all(a <= b for a, b in pairwise(cuts)), expected="splitters in ascending order", got=cuts)
    found = [0] * partitions
    for record in sample:
        found[sum(cut <= record for cut in cuts)] += 1
    return found


@split.property("there is one splitter fewer than partitions, in order", sample=_spread, partitions=_partitions)
def _count(answer, sample, partitions):
    _sizes(answer, sample, partitions)


@split.property("where keys differ, no partition is overfull", sample=_spread, partitions=_partitions)
def _even(answer, sample, partitions):
    got, most = _sizes(answer, sample, partitions), -(-len(sample) // partitions)
    expect(max(got) <= most, expected=f"at most {most} of {len(sample)} records in a partition", got=got)


@split.property("where most keys are equal, no partition is overfull either", sample=_crowded, partitions=_partitions)
def _even_in_a_crowd(answer, sample, partitions):
    got, most = _sizes(answer, sample, partitions), -(-len(sample) // partitions)
    expect(max(got) <= most, expected=f"at most {most} of {len(sample)} records in a partition", got=got)
