"""The hashtag stream is repeatable, ordered, skewed, and its burst is small overall and large in its time."""

from collections import Counter

import numpy as np
import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.workloads.hashtags import hashtags, tag_names


def test_the_same_seed_gives_the_same_stream():
    one, two, other = hashtags(500, seed=1), hashtags(500, seed=1), hashtags(500, seed=2)
    assert (one.tags, one.times.tolist()) == (two.tags, two.times.tolist())
    assert one.tags != other.tags


def test_the_burst_rules_its_time_and_not_the_stream():
    stream = hashtags(40_000, seed=3)
    within = (stream.times >= stream.begins) & (stream.times < stream.ends)
    inside = Counter(np.array(stream.tags)[within].tolist())
    assert inside.most_common(1)[0][0] == stream.burst
    assert 0.2 < inside[stream.burst] / within.sum() < 0.3
    exact = Counter(stream.tags)
    assert exact[stream.burst] == inside[stream.burst]  # nowhere else
    assert exact.most_common(1)[0][0] == tag_names(1)[0]
    assert (np.diff(stream.times) >= 0).all()


def test_names_are_different():
    assert len(set(tag_names(50_000))) == 50_000


@pytest.mark.parametrize("bad", [{"events": 0}, {"events": 1.5}, {"events": 9, "share": 2}, {"events": 9, "kinds": 0}])
def test_bad_sizes(bad):
    with pytest.raises(InvalidArgument):
        hashtags(**bad, seed=1)
