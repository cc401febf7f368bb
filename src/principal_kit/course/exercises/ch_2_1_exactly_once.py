"""Exercises 2.1.c and 2.1.d: a sink that takes any redelivery, and what a restarted committer has to do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 2.1.c ────────────────────────────────────────────────────────────────────────────────────────
absorb = Exercise(
    "2.1.c",
    title="A sink that takes any redelivery",
    wants="a function `absorb(state, batch)`: `state` is `(next_offset, total)`, `batch` a list of `(offset, amount)` "
    "in order; returns the new state with every offset counted once; raises ValueError when an offset is missing",
    takes=2,
)

_log = st.lists(st.integers(-5, 5), max_size=10)
_cut = st.tuples(st.integers(0, 10), st.integers(0, 10))


def _batch(log, begin, end):
    return [(offset, log[offset]) for offset in range(begin, min(end, len(log)))]


def _absorb(answer, state, batch):
    got = answer(state, list(batch))
    expect(isinstance(got, tuple) and len(got) == 2, expected="a tuple (next_offset, total)", got=got)
    return got


@absorb.property("a log that comes in order is added up", log=_log, cuts=st.lists(st.integers(0, 10), max_size=3))
def _in_order(answer, log, cuts):
    state, places = (0, 0), sorted({0, *(c for c in cuts if c <= len(log)), len(log)})
    for begin, end in pairwise(places):
        state = _absorb(answer, state, _batch(log, begin, end))
    expect_equal(state, (len(log), sum(log)))


@absorb.property("the same batch again changes nothing", log=_log)
def _again(answer, log):
    once = _absorb(answer, (0, 0), _batch(log, 0, len(log)))
    expect_equal(_absorb(answer, once, _batch(log, 0, len(log))), once)


@absorb.property(
    "after any redelivery the total is that of the log up to the position", log=_log, cuts=st.lists(_cut, max_size=4)
)
def _redelivered(answer, log, cuts):
    state = (0, 0)
    for back, ahead in cuts:  # each life begins at or before what the table says, as a consumer's saved offset does
        begin = max(0, state[0] - back)
        batch = _batch(log, begin, begin + ahead)
        reached = max(state[0], begin + len(batch))
        state = _absorb(answer, state, batch)
        expect_equal(state, (reached, sum(log[:reached])))


@absorb.property(
    "a gap is refused, not skipped", log=st.lists(st.integers(1, 5), min_size=2, max_size=8), at=st.integers(0, 6)
)
def _gap(answer, log, at):
    at = min(at, len(log) - 2)
    try:
        got = answer((at, 0), _batch(log, at + 1, len(log)))
    except ValueError:
        return
    expect(False, expected=f"ValueError, since offset {at} is missing", got=got)


# ── 2.1.d ────────────────────────────────────────────────────────────────────────────────────────
recover = Exercise(
    "2.1.d",
    title="What a restarted committer has to do",
    wants="a function `recover(committed, restored, pending)`: the newest checkpoint whose files are in the table "
    "(0 if none), the checkpoint that the job is restored from, and a dict from checkpoint to its files; returns the "
    "list of checkpoints to commit, in order",
    takes=3,
)

_life = st.lists(st.sampled_from(["checkpoint", "commit"]), max_size=12)


def _run(steps):
    """A life of a job: numbers of its complete checkpoints, and how many of them, oldest first, are committed."""
    complete = committed = 0
    for step in steps:
        if step == "checkpoint":
            complete += 1
        elif committed < complete:
            committed += 1
    return complete, committed


def _files(numbers):
    return {number: [f"file-{number}"] for number in numbers}


def _recover(answer, committed, restored, pending):
    return list(answer(committed, restored, dict(pending)))


@recover.property("after a crash every complete checkpoint is in the table once, in order", steps=_life)
def _complete(answer, steps):
    complete, committed = _run(steps)
    got = _recover(answer, committed, complete, _files(range(1, complete + 1)))
    expect_equal([*range(1, committed + 1), *got], list(range(1, complete + 1)))


@recover.property("a crash right after the restart repeats nothing", steps=_life, done=st.integers(0, 12))
def _twice(answer, steps, done):
    complete, committed = _run(steps)
    pending = _files(range(1, complete + 1))
    some = _recover(answer, committed, complete, pending)[:done]
    committed = max([committed, *some])
    expect_equal(_recover(answer, committed, complete, pending), list(range(committed + 1, complete + 1)))


@recover.property("files of a checkpoint that never completed are not committed", steps=_life, beyond=st.integers(1, 3))
def _orphans(answer, steps, beyond):
    complete, committed = _run(steps)
    pending = _files(range(1, complete + beyond + 1))
    got = _recover(answer, committed, complete, pending)
    expect(all(number <= complete for number in got), expected=f"nothing above checkpoint {complete}", got=got)


@recover.property(
    "a job restored from an older checkpoint commits nothing that the table has", steps=_life, back=st.integers(0, 5)
)
def _older(answer, steps, back):
    complete, committed = _run(steps)
    restored = max(0, complete - back)
    got = _recover(answer, committed, restored, _files(range(1, complete + 1)))
    expect_equal(got, list(range(committed + 1, restored + 1)))
