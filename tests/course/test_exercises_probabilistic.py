"""Exercises 1.1.g and 1.1.h: the reference solution passes, and plausible wrong ones fail where they should."""

from math import exp, log

import pytest

from principal_kit.course.check import grade
from principal_kit.course.exercises import ch_1_1_probabilistic as topic


# ── 1.1.g ────────────────────────────────────────────────────────────────────────────────────────
class Counting:
    """The reference: a counter that was full stays full, since nobody knows how many it stands for."""

    def __init__(self, size, most):
        self.counters, self.most = [0] * size, most

    def add(self, places):
        for place in set(places):
            self.counters[place] = min(self.most, self.counters[place] + 1)

    def has(self, places):
        return all(self.counters[place] for place in places)

    def remove(self, places):
        if not self.has(places):
            return False
        for place in set(places):
            if self.counters[place] < self.most:
                self.counters[place] -= 1
        return True


class ClearsBits(Counting):
    def remove(self, places):
        if not self.has(places):
            return False
        for place in places:
            self.counters[place] = 0
        return True


class NeverForgets(Counting):
    def remove(self, places):
        return self.has(places)


class TakesFromFullCounters(Counting):
    def remove(self, places):
        if not self.has(places):
            return False
        for place in set(places):
            self.counters[place] -= 1
        return True


class WrapsAround(Counting):
    def add(self, places):
        for place in set(places):
            self.counters[place] = (self.counters[place] + 1) % (self.most + 1)


class DoesNotAsk(Counting):
    def remove(self, places):
        for place in set(places):
            if 0 < self.counters[place] < self.most:
                self.counters[place] -= 1
        return True


class StopsHalfway(Counting):
    def remove(self, places):
        for place in dict.fromkeys(places):
            if not self.counters[place]:
                return False
            if self.counters[place] < self.most:
                self.counters[place] -= 1
        return True


class CountsPlacesTwice(Counting):
    """Adds each place once, but takes it back as often as it comes."""

    def remove(self, places):
        if not self.has(places):
            return False
        for place in places:
            if 0 < self.counters[place] < self.most:
                self.counters[place] -= 1
        return True


class AnyPlace(Counting):
    def has(self, places):
        return any(self.counters[place] for place in places)


# ── 1.1.h ────────────────────────────────────────────────────────────────────────────────────────
L = log(2) ** 2


def rates_reference(keys, bits):
    order = sorted(range(len(keys)), key=keys.__getitem__)
    while order:
        some = [keys[at] for at in order]
        level = -(bits * L + sum(n * log(n) for n in some)) / sum(some)
        if level + log(some[-1]) <= 0:
            break
        order.pop()  # the largest table goes without a filter
    return [min(1.0, exp(level + log(n))) if at in order else 1.0 for at, n in enumerate(keys)]


def rates_same_bits_a_key(keys, bits):
    return [exp(-bits / sum(keys) * L)] * len(keys)


def rates_same_bits_a_table(keys, bits):
    return [exp(-bits / len(keys) / n * L) for n in keys]


def rates_unbounded(keys, bits):
    level = -(bits * L + sum(n * log(n) for n in keys)) / sum(keys)
    return [exp(level + log(n)) for n in keys]


def rates_cut_at_one(keys, bits):
    return [min(1.0, p) for p in rates_unbounded(keys, bits)]


def rates_more_for_the_large(keys, bits):
    level = (sum(n * log(n) for n in keys) - bits * L) / sum(keys)
    rates = [min(1.0, exp(level - log(n))) for n in keys]
    spent = sum(-n * log(p) / L for n, p in zip(keys, rates))
    return [p ** min(1.0, bits / spent) if spent else p for p in rates]


def rates_by_information(keys, bits):
    """One bit halves the rate: the lower bound of any filter, not what a Bloom filter reaches."""
    return [2 ** (-bits / sum(keys))] * len(keys)


def rates_half(keys, bits):
    return rates_reference(keys, bits / 2)


@pytest.mark.parametrize(
    "exercise, answer", [(topic.counting, Counting), (topic.budget, rates_reference)], ids=["g", "h"]
)
def test_the_reference_passes(exercise, answer):
    result = grade(exercise, answer)
    assert result.failed is None, str(result)


OTHERS = "removing one key leaves the others in"
REFUSES = "removing a key that is not in returns False and changes nothing"
DENIED = "no member is ever denied, however small the counters"
SINGLE = "a single table gets all the bits"
UNIFORM = "a miss costs no more reads than with the same bits for every key"


@pytest.mark.parametrize(
    "exercise, answer, fails",
    [
        (topic.counting, NeverForgets, "a key that was added and removed is gone"),
        (topic.counting, ClearsBits, OTHERS),
        (topic.counting, CountsPlacesTwice, OTHERS),
        (topic.counting, DoesNotAsk, REFUSES),
        (topic.counting, StopsHalfway, REFUSES),
        (topic.counting, AnyPlace, "a key with a place that no key has is not in"),
        (topic.counting, TakesFromFullCounters, DENIED),
        (topic.counting, WrapsAround, DENIED),
        (topic.budget, rates_unbounded, "there is a rate for each table, above 0 and at most 1"),
        (topic.budget, rates_by_information, SINGLE),
        (topic.budget, rates_half, SINGLE),
        (topic.budget, rates_cut_at_one, "the filters fit into the bits"),
        (topic.budget, rates_same_bits_a_table, UNIFORM),
        (topic.budget, rates_more_for_the_large, UNIFORM),
        (topic.budget, rates_same_bits_a_key, "no other split of the bits saves a read"),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(exercise, answer, fails):
    assert grade(exercise, answer).failed == fails
