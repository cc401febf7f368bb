"""Exercises 1.1.a to 1.1.c: the reference solution passes, and plausible wrong ones fail where they should."""

import hashlib
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter

import pytest

from principal_kit.course.check import exercises, grade


def graded(key, answer):
    return grade(exercises("1.1")[key], answer)


def digest(text):
    return hashlib.md5(text.encode()).digest()


# ── 1.1.a ────────────────────────────────────────────────────────────────────────────────────────
def owner_reference(key, nodes):
    return max(nodes, key=lambda node: digest(f"{node}/{key}"))


def owner_by_modulo(key, nodes):
    return nodes[zlib.crc32(key.encode()) % len(nodes)]


def owner_by_modulo_of_sorted(key, nodes):
    return sorted(nodes)[zlib.crc32(key.encode()) % len(nodes)]


def owner_always_the_first(key, nodes):
    return min(nodes)


def owner_on_a_ring_with_one_point(key, nodes):
    points = sorted((digest(node), node) for node in nodes)
    return points[bisect_left(points, (digest(key), "")) % len(points)][1]


def owner_of_no_node(key, nodes):
    return digest(key)[0] % len(nodes)


# ── 1.1.b ────────────────────────────────────────────────────────────────────────────────────────
def replicas_reference(points, at, n, rack_of):
    start = bisect_left(points, (at,))
    chosen, racks = [], set()
    for _, node in points[start:] + points[:start]:
        if rack_of[node] not in racks and len(chosen) < n:
            racks.add(rack_of[node])
            chosen.append(node)
    if len(chosen) < n:
        raise ValueError(f"{n} replicas asked for, {len(chosen)} racks")
    return chosen


def replicas_without_wrap(points, at, n, rack_of):
    return replicas_reference([point for point in points if point[0] >= at] or points[-1:], 0, n, rack_of)


def replicas_strictly_after(points, at, n, rack_of):
    start = bisect_right(points, (at, "~"))
    return replicas_reference(points[start:] + points[:start], -1, n, rack_of)


def replicas_of_distinct_nodes(points, at, n, rack_of):
    return replicas_reference(points, at, n, {node: node for node in rack_of})


def replicas_as_many_as_there_are(points, at, n, rack_of):
    racks = len({rack_of[node] for _, node in points})
    return replicas_reference(points, at, min(n, racks), rack_of)


def replicas_sorted_by_rack(points, at, n, rack_of):
    first, *_ = replicas_reference(points, at, 1, rack_of)
    rest = sorted({rack_of[node]: node for _, node in reversed(points) if rack_of[node] != rack_of[first]}.items())
    if len(rest) + 1 < n:
        raise ValueError
    return [first, *(node for _, node in rest)][:n]


# ── 1.1.c ────────────────────────────────────────────────────────────────────────────────────────
def batches_reference(moves, most, ends=(0, 1)):
    if most < 1:
        raise ValueError("most must be at least 1")
    filled = []
    for move in moves:
        nodes = [move[end] for end in ends]
        room = [entry for entry in filled if all(entry[1][node] < most for node in nodes)]
        if not room:
            room = [([], Counter())]
            filled += room
        room[0][0].append(move)
        room[0][1].update(nodes)
    return [batch for batch, _ in filled]


def batches_by_source_only(moves, most):
    return batches_reference(moves, most, ends=(0,))


def batches_of_one(moves, most):
    if most < 1:
        raise ValueError
    return [[move] for move in moves]


def batches_without_repeats(moves, most):
    return batches_reference(sorted(set(moves)), most)


def batches_cut_to_length(moves, most):
    if most < 1:
        raise ValueError
    return [moves[start : start + 2 * most] for start in range(0, len(moves), 2 * most)]


def batches_that_trust_the_bound(moves, most):
    return batches_reference(moves, max(most, 1))


def batches_with_a_spare(moves, most):
    return [*batches_reference(moves, most), []]


@pytest.mark.parametrize(
    "key, answer", [("1.1.a", owner_reference), ("1.1.b", replicas_reference), ("1.1.c", batches_reference)]
)
def test_reference_solutions_pass(key, answer):
    result = graded(key, answer)
    assert result.passed, str(result)


@pytest.mark.parametrize(
    "key, answer, property_named",
    [
        ("1.1.a", owner_of_no_node, "one of the nodes"),
        ("1.1.a", owner_by_modulo, "order"),
        ("1.1.a", owner_by_modulo_of_sorted, "when another node leaves"),
        ("1.1.a", owner_always_the_first, "2,000 keys spread"),
        ("1.1.a", owner_on_a_ring_with_one_point, "2,000 keys spread"),
        ("1.1.b", replicas_without_wrap, "the circle closes"),
        ("1.1.b", replicas_strictly_after, "first replica"),
        ("1.1.b", replicas_of_distinct_nodes, "no two in one rack"),
        ("1.1.b", replicas_sorted_by_rack, "nearest"),
        ("1.1.b", replicas_as_many_as_there_are, "too few racks"),
        ("1.1.c", batches_without_repeats, "exactly one batch"),
        ("1.1.c", batches_by_source_only, "more than `most` times"),
        ("1.1.c", batches_cut_to_length, "more than `most` times"),
        ("1.1.c", batches_with_a_spare, "no batch is empty"),
        ("1.1.c", batches_of_one, "no more batches"),
        ("1.1.c", batches_that_trust_the_bound, "refused"),
    ],
)
def test_wrong_solutions_fail_at_the_property_they_break(key, answer, property_named):
    result = graded(key, answer)
    assert not result.passed
    assert property_named in (result.failed or ""), str(result)


@pytest.mark.parametrize("key", ["1.1.a", "1.1.b", "1.1.c"])
def test_unanswered_is_not_attempted(key):
    assert not graded(key, None).attempted
