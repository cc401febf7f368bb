"""The judges are themselves judged, against brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.ratelimit import most_in_window, required_burst

traces = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3)), max_size=25)


@given(traces, st.integers(1, 30))
def test_most_in_window_is_the_maximum_over_all_starts(trace, window):
    times, counts = [t for t, _ in trace], [n for _, n in trace]
    brute = max((sum(n for t, n in trace if s <= t < s + window) for s in times), default=0)
    assert most_in_window(times, window, counts) == brute


@given(traces, st.sampled_from([0.25, 1, 2]))
def test_required_burst_is_the_worst_interval(trace, rate):
    brute = max(
        (sum(n for t, n in trace if s <= t <= e) - rate * (e - s) for s, _ in trace for e, _ in trace if s <= e),
        default=0,
    )
    assert required_burst([t for t, _ in trace], rate, [n for _, n in trace]) == pytest.approx(max(brute, 0))


def test_bad_traces_are_refused():
    with pytest.raises(InvalidArgument):
        most_in_window([1, 2], 0)
    with pytest.raises(InvalidArgument):
        most_in_window([1, 2], 1, [1])
    with pytest.raises(InvalidArgument):
        required_burst([1, 2], -1)
