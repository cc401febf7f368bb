"""The small job that can be crashed anywhere: right however it is cut and crashed, and wrong with each mistake."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.platform import commit_model
from principal_kit.platform.commit_model import MISTAKES, run, try_all

logs = st.text("abc", max_size=12)


@given(logs, st.integers(1, 5), st.lists(st.integers(0, 12), max_size=4))
def test_no_crash_leaves_a_trace(log, every, crashes):
    durable, _ = run(log, every, crashes)
    seen = Counter()
    expected = Counter()
    for key in log:
        seen[key] += 1
        expected[key, seen[key]] += 1
    assert durable.rows() == expected
    assert len({id for id, _ in durable.table}) == len(durable.table)


@pytest.mark.parametrize("mistake", MISTAKES)
@given(log=logs, every=st.integers(1, 5))
def test_without_a_crash_every_mistake_goes_unseen(mistake, log, every):
    assert run(log, every, (), mistake)[0].rows() == run(log, every, ())[0].rows()


@pytest.mark.parametrize("mistake", MISTAKES[1:])
def test_one_crash_is_enough_for_each_mistake(mistake):
    verdict = try_all("abacab", 2, mistake, crashes=1)
    assert verdict.wrong >= 1
    assert len(verdict.prevented) == 1
    assert verdict.lost + verdict.doubled > 0


def test_every_plan_of_three_crashes():
    verdict = try_all("abacab", 2, crashes=3)
    assert verdict.wrong == 0
    assert verdict.plans > 28


def test_a_crash_after_the_last_step_prevents_nothing():
    assert run("ab", 1, [100])[1] == []
    assert set(commit_model.run("ab", 1, [0, 0])[1]) == {"write the checkpoint"}
