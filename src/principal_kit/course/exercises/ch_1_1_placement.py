"""Exercises 1.1.a to 1.1.c: an owner without a table, replicas in different racks, a rebalance in batches."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal, expect_raises

_nodes = st.lists(st.sampled_from("ABCDEF"), min_size=1, max_size=6, unique=True)
_keys = st.text("abc0123", min_size=1, max_size=4)

# ── 1.1.a ────────────────────────────────────────────────────────────────────────────────────────
owner = Exercise(
    "1.1.a",
    title="An owner without a table",
    wants="a function `owner(key, nodes)` that returns one of `nodes` (a non-empty list of names) for a text key",
    takes=2,
)


@owner.property("the owner is one of the nodes", key=_keys, nodes=_nodes)
def _is_a_node(answer, key, nodes):
    got = answer(key, list(nodes))
    expect(got in nodes, expected=f"one of {nodes}", got=got)


@owner.property("the order in which the nodes are listed does not matter", key=_keys, nodes=_nodes)
def _order_is_irrelevant(answer, key, nodes):
    expect_equal(answer(key, list(reversed(nodes))), answer(key, list(nodes)))


@owner.property(
    "when another node leaves, the key stays where it is", key=_keys, nodes=_nodes, leaver=st.sampled_from("ABCDEF")
)
def _stays(answer, key, nodes, leaver):
    before = answer(key, list(nodes))
    rest = [node for node in nodes if node != leaver]
    if leaver != before and rest:
        expect_equal(answer(key, rest), before)


@owner.property("2,000 keys spread over 5 nodes, none below half or above double its fair share")
def _spreads(answer):
    counts = Counter(answer(f"user:{number}", list("ABCDE")) for number in range(2000))
    for node in "ABCDE":
        expect(200 <= counts[node] <= 800, expected=f"200 to 800 keys on {node}", got=counts[node])


@owner.property("the keys of a node that leaves spread over all the others")
def _scatters(answer):
    keys = [f"user:{number}" for number in range(2000)]
    orphans = [key for key in keys if answer(key, list("ABCDE")) == "A"]
    heirs = Counter(answer(key, list("BCDE")) for key in orphans)
    for node in "BCDE":
        expect(
            heirs[node] >= len(orphans) / 10, expected=f"at least a tenth of {len(orphans)} on {node}", got=heirs[node]
        )


# ── 1.1.b ────────────────────────────────────────────────────────────────────────────────────────
replicas = Exercise(
    "1.1.b",
    title="Replicas that share no rack",
    wants=(
        "a function `replicas(points, at, n, rack_of)`: the first `n` nodes clockwise from position `at`, at most one "
        "per rack; `points` is a list of (position, node) in rising order, `rack_of` a dict; ValueError if there are "
        "too few racks"
    ),
    takes=4,
)

_racks = {"a1": "A", "a2": "A", "b1": "B", "b2": "B", "c1": "C"}
_points = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(sorted(_racks))),
    min_size=1,
    max_size=8,
    unique_by=lambda point: point[0],
).map(sorted)
_at = st.integers(0, 21)
_n = st.integers(1, 4)


def _racks_in(points: list) -> int:
    return len({_racks[node] for _, node in points})


@replicas.property("the first replica is the node of the first point at or after the position", points=_points, at=_at)
def _first_is_the_owner(answer, points, at):
    after = [node for position, node in points if position >= at]
    if after:
        expect_equal(list(answer(list(points), at, 1, dict(_racks)))[:1], after[:1])


@replicas.property("past the last point the circle closes", points=_points)
def _wraps(answer, points):
    expect_equal(list(answer(list(points), 21, 1, dict(_racks))), [points[0][1]])


@replicas.property("exactly n nodes, no two in one rack", points=_points, at=_at, n=_n)
def _racks_differ(answer, points, at, n):
    if _racks_in(points) >= n:
        got = list(answer(list(points), at, n, dict(_racks)))
        expect(len(got) == n, expected=f"{n} nodes", got=got)
        expect(len({_racks[node] for node in got}) == n, expected="nodes in different racks", got=got)


@replicas.property("every replica is the nearest one that was allowed", points=_points, at=_at, n=_n)
def _nearest(answer, points, at, n):
    if _racks_in(points) < n:
        return
    clockwise = [node for position, node in points if position >= at] + [
        node for position, node in points if position < at
    ]
    used: set[str] = set()
    for got in answer(list(points), at, n, dict(_racks)):
        expect_equal(got, next(node for node in clockwise if _racks[node] not in used))
        used.add(_racks[got])


@replicas.property("too few racks are an error, not a shorter list", points=_points, at=_at)
def _too_few(answer, points, at):
    expect_raises(ValueError, answer, list(points), at, _racks_in(points) + 1, dict(_racks))


# ── 1.1.c ────────────────────────────────────────────────────────────────────────────────────────
batches = Exercise(
    "1.1.c",
    title="A rebalance that overloads nobody",
    wants=(
        "a function `batches(moves, most)`: `moves` is a list of (source, target), the result a list of lists that "
        "holds every move once, in which no batch uses a node more than `most` times, as source and target together"
    ),
    takes=2,
)

_moves = st.lists(
    st.tuples(st.sampled_from("ABCDE"), st.sampled_from("ABCDE")).filter(lambda move: move[0] != move[1]), max_size=14
)
_most = st.integers(1, 4)


def _uses(batch: list) -> Counter:
    return Counter(node for move in batch for node in move)


@batches.property("every move is in exactly one batch", moves=_moves, most=_most)
def _complete(answer, moves, most):
    got = Counter(tuple(move) for batch in answer(list(moves), most) for move in batch)
    expect(got == Counter(moves), expected=f"these moves, each once: {sorted(moves)}", got=sorted(got.elements()))


@batches.property("no node is used more than `most` times in a batch", moves=_moves, most=_most)
def _bounded(answer, moves, most):
    for batch in answer(list(moves), most):
        for node, uses in _uses(batch).items():
            expect(uses <= most, expected=f"at most {most} moves at {node} in a batch", got=batch)


@batches.property("no batch is empty", moves=_moves, most=_most)
def _not_empty(answer, moves, most):
    got = list(answer(list(moves), most))
    expect(all(len(batch) > 0 for batch in got), expected="batches with at least one move", got=got)


@batches.property(
    "there are no more batches than filling each move into the first that has room would need", moves=_moves, most=_most
)
def _few(answer, moves, most):
    if not moves:
        return
    busiest = max(_uses(moves).values())
    bound = 2 * ((busiest - 1) // most) + 1
    got = list(answer(list(moves), most))
    expect(
        len(got) <= bound,
        expected=f"at most {bound} batches (at least {math.ceil(busiest / most)} are needed)",
        got=got,
    )


@batches.property("a bound below 1 is refused with ValueError", moves=_moves)
def _refuses(answer, moves):
    expect_raises(ValueError, answer, list(moves), 0)
