"""Exercises 1.2.e and 1.2.f: the reference solution passes, and plausible wrong ones fail where they should."""

import numpy as np
import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_1_2_distinct as topic


# ── 1.2.e ────────────────────────────────────────────────────────────────────────────────────────
def build(place, rank, keep=max):
    """A solution that differs from the reference in one of its three decisions."""

    def registers(hashes, precision):
        found = [0] * 2**precision
        for h in hashes:
            at = place(h, precision)
            found[at] = keep(found[at], rank(h, precision))
        return found

    return registers


def first_bits(h, precision):
    return h >> (64 - precision)


def right_rank(h, precision):
    rest = h & ((1 << (64 - precision)) - 1)
    return 65 - precision - rest.bit_length()


registers_reference = build(first_bits, right_rank)
registers_last_bits = build(lambda h, p: h % 2**p, right_rank)
registers_whole_hash = build(first_bits, lambda h, p: 65 - h.bit_length())
registers_last_one = build(first_bits, lambda h, p: (h & -h).bit_length() if h % 2 ** (64 - p) else 65 - p)
registers_no_one_at_the_last = build(first_bits, lambda h, p: min(right_rank(h, p), 64 - p))
registers_keeps_the_last = build(first_bits, right_rank, keep=lambda old, new: new)
registers_adds_up = build(first_bits, right_rank, keep=lambda old, new: old + new)


def registers_zero_based(hashes, precision):
    found = [-1] * 2**precision
    for h in hashes:
        found[first_bits(h, precision)] = max(found[first_bits(h, precision)], right_rank(h, precision) - 1)
    return [max(r, 0) for r in found]


# ── 1.2.f ────────────────────────────────────────────────────────────────────────────────────────
def overlap_reference(a, b):
    union = a.copy().merge(b).estimate()
    one, other = a.estimate(), b.estimate()
    return max(0.0, one + other - union)  # never above one of the two: no register of the union is smaller


def overlap_merges_in_place(a, b):
    one, other = a.estimate(), b.estimate()
    return min(max(0.0, one + other - a.merge(b).estimate()), one, other)


def overlap_is_the_smaller(a, b):
    a.copy().merge(b)
    return min(a.estimate(), b.estimate())


def overlap_unclamped(a, b):
    return a.estimate() + b.estimate() - a.copy().merge(b).estimate()


def overlap_of_registers(a, b):
    """The lesser of each pair of registers: a sketch of something, but not of the intersection."""
    both = type(a)(a.precision, seed=a.seed)
    both._keep(np.minimum(a.registers, b.registers))
    return min(both.estimate(), a.estimate(), b.estimate())


def overlap_asks_no_one(a, b):
    """Takes registers as they come, whatever hash they are of."""
    union = type(a)(a.precision)
    union._keep(np.maximum(a.registers, b.registers))
    one, other = a.estimate(), b.estimate()
    return min(max(0.0, one + other - union.estimate()), one, other)


@pytest.mark.parametrize(
    "exercise, answer", [(topic.registers, registers_reference), (topic.overlap, overlap_reference)]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


CHOOSE = "the first bits of a hash choose the register"
RANK = "it holds where the first 1 of the other bits is, from 1 up"

GREATEST = "a register keeps the greatest of its ranks, in any order of arrival"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.registers, registers_last_bits, CHOOSE),
        (topic.registers, registers_zero_based, RANK),
        (topic.registers, registers_whole_hash, RANK),
        (topic.registers, registers_last_one, RANK),
        (topic.registers, registers_no_one_at_the_last, "other bits that are all 0 count as one place behind the last"),
        (topic.registers, registers_keeps_the_last, GREATEST),
        (topic.registers, registers_adds_up, GREATEST),
        (topic.overlap, overlap_merges_in_place, "the sketches stay as they were"),
        (topic.overlap, overlap_is_the_smaller, "a large overlap is found"),
        (topic.overlap, overlap_unclamped, "nor do they share less than nothing"),
        (topic.overlap, overlap_of_registers, "days with no visitor in common share none, within the error"),
        (topic.overlap, overlap_asks_no_one, "sketches of other seeds are refused"),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
