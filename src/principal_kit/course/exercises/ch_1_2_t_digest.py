"""Exercises 1.2.c and 1.2.d: the fold of a merging t-digest, and the requests that a stalled client never sent."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import asin, pi

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 1.2.c ────────────────────────────────────────────────────────────────────────────────────────
fold = Exercise(
    "1.2.c",
    title="The fold of a merging t-digest",
    wants="a function `fold(centroids, delta)` that takes a sorted list of pairs (mean, weight) and returns one "
    "with neighbours joined as the scale function k1(q) = delta / (2 pi) * asin(2q - 1) allows",
    takes=2,
)

_centroids = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4)), min_size=1, max_size=24).map(sorted)
_delta = st.sampled_from([4, 8, 20])
_SLACK = 1e-9


def _folded(answer, centroids, delta):
    got = [(float(mean), float(weight)) for mean, weight in answer(list(centroids), delta)]
    expect(len(got) >= 1, expected="at least one centroid", got=got)
    return got


def _sizes(folded, delta):
    """Each centroid's size on the k1 scale."""
    total, before, found = sum(weight for _, weight in folded), 0.0, []
    for _, weight in folded:
        ends = [delta / (2 * pi) * asin(max(-1.0, min(1.0, 2 * at / total - 1))) for at in (before, before + weight)]
        found.append(ends[1] - ends[0])
        before += weight
    return found


@fold.property("no weight is lost or made", centroids=_centroids, delta=_delta)
def _keeps_weight(answer, centroids, delta):
    got, wanted = sum(weight for _, weight in _folded(answer, centroids, delta)), sum(w for _, w in centroids)
    expect(abs(got - wanted) <= _SLACK * wanted, expected=f"a total weight of {wanted}", got=got)


@fold.property("the weighted mean of everything stays what it was", centroids=_centroids, delta=_delta)
def _keeps_mean(answer, centroids, delta):
    got = sum(mean * weight for mean, weight in _folded(answer, centroids, delta))
    wanted = sum(mean * weight for mean, weight in centroids)
    expect(abs(got - wanted) <= 1e-6 * (1 + wanted), expected=f"a sum of mean * weight of {wanted}", got=got)


@fold.property("the means come in order", centroids=_centroids, delta=_delta)
def _in_order(answer, centroids, delta):
    means = [mean for mean, _ in _folded(answer, centroids, delta)]
    expect(all(a <= b + _SLACK for a, b in pairwise(means)), expected="means in order", got=means)


@fold.property("what has been joined is no larger than 1 on the scale", centroids=_centroids, delta=_delta)
def _small_enough(answer, centroids, delta):
    folded, entries = _folded(answer, centroids, delta), {(float(m), float(w)) for m, w in centroids}
    for entry, size in zip(folded, _sizes(folded, delta)):
        # An entry may be larger by itself: then it stays alone.
        wanted = "a size of at most 1, or an entry as it came"
        expect(size <= 1 + 1e-6 or entry in entries, expected=wanted, got=(*entry, round(size, 3)))


@fold.property("neighbours that fit into one centroid have been joined", centroids=_centroids, delta=_delta)
def _full_enough(answer, centroids, delta):
    sizes = _sizes(_folded(answer, centroids, delta), delta)
    for one, two in pairwise(sizes):
        wanted = "sizes of neighbours that add up to more than 1"
        expect(one + two > 1 - 1e-6, expected=wanted, got=(round(one, 3), round(two, 3)))


# ── 1.2.d ────────────────────────────────────────────────────────────────────────────────────────
omitted = Exercise(
    "1.2.d",
    title="The requests that were never sent",
    wants="a function `corrected(latencies, interval)` that returns the recorded latencies together with those of the "
    "requests a client left out, while it waited, though it should have sent one every `interval`; all are integers",
    takes=2,
)

_latencies = st.lists(st.integers(1, 60), max_size=8)
_interval = st.integers(1, 12)


def _counted(answer, latencies, interval):
    return Counter(int(x) for x in answer(list(latencies), interval))


@omitted.property("what was recorded is still there", latencies=_latencies, interval=_interval)
def _keeps_recorded(answer, latencies, interval):
    got, wanted = _counted(answer, latencies, interval), Counter(latencies)
    expect(not wanted - got, expected=f"all of {sorted(latencies)}", got=sorted(got.elements()))


@omitted.property(
    "a client that never waited longer than the interval left nothing out", latencies=_latencies, interval=_interval
)
def _quiet_clients(answer, latencies, interval):
    quick = [min(x, interval) for x in latencies]
    expect_equal(sorted(_counted(answer, quick, interval).elements()), sorted(quick))


@omitted.property("one wait of n intervals hides n - 1 requests", n=st.integers(1, 8), interval=_interval)
def _counts_missing(answer, n, interval):
    expect_equal(sum(_counted(answer, [n * interval], interval).values()), n)


@omitted.property(
    "each request left out would have waited for the rest of the stall", latencies=_latencies, interval=_interval
)
def _right_waits(answer, latencies, interval):
    wanted = Counter(left for x in latencies for left in [x, *range(x - interval, interval - 1, -interval)])
    expect_equal(sorted(_counted(answer, latencies, interval).elements()), sorted(wanted.elements()))
