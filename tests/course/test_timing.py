"""The median of a call's times."""

import doctest

from principal_kit.course import timing


def test_the_example_runs():
    found = doctest.testmod(timing)
    assert (found.attempted, found.failed) == (2, 0)


def test_the_call_is_made_so_many_times():
    calls = []
    assert timing.median_ms(lambda: calls.append(1), 5) >= 0.0
    assert len(calls) == 5
