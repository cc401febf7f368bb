"""Exercises 1.1.d to 1.1.f: the reference solution passes, and plausible wrong ones fail where they should."""

import pytest

from principal_kit.course.check import exercises, grade


def graded(key, answer):
    return grade(exercises("1.1")[key], answer)


# ── 1.1.d ────────────────────────────────────────────────────────────────────────────────────────
def gcra_reference(tat, now, n, spacing, burst):
    after = max(tat, now) + n * spacing
    return (True, after) if after - now <= burst * spacing else (False, tat)


def gcra_charges_refusals(tat, now, n, spacing, burst):
    after = max(tat, now) + n * spacing
    return after - now <= burst * spacing, after


def gcra_saves_for_ever(tat, now, n, spacing, burst):
    after = tat + n * spacing
    return (True, after) if after - now <= burst * spacing else (False, tat)


def gcra_one_burst_short(tat, now, n, spacing, burst):
    after = max(tat, now) + n * spacing
    return (True, after) if after - now < burst * spacing else (False, tat)


def gcra_ignores_cost(tat, now, n, spacing, burst):
    after = max(tat, now) + spacing
    return (True, after) if after - now <= burst * spacing else (False, tat)


def gcra_checks_before_charging(tat, now, n, spacing, burst):
    if max(tat, now) - now > (burst - 1) * spacing:
        return False, tat
    return True, max(tat, now) + n * spacing


# ── 1.1.e ────────────────────────────────────────────────────────────────────────────────────────
def adversary_reference(limit):
    return [0.9999] * limit + [1 + step / 5000 for step in range(5000)]


def adversary_one_burst(limit):
    return [0.5] * (10 * limit)


def adversary_of_the_fixed_window(limit):
    return [0.9999] * limit + [1.0] * limit


def adversary_even(limit):
    return [step / (10 * limit) for step in range(100 * limit)]


def adversary_two_bursts_a_window_apart(limit):
    return [0.9999] * limit + [1.5] * limit


def adversary_silent(limit):
    return []


# ── 1.1.f ────────────────────────────────────────────────────────────────────────────────────────
def fair_reference(capacity, demands):
    shares, left = [0.0] * len(demands), float(capacity)
    order = sorted(range(len(demands)), key=demands.__getitem__)
    for done, tenant in enumerate(order):
        shares[tenant] = min(demands[tenant], left / (len(demands) - done))
        left -= shares[tenant]
    return shares


def fair_equal_parts(capacity, demands):
    return [capacity / len(demands)] * len(demands)


def fair_equal_parts_capped(capacity, demands):
    return [min(d, capacity / len(demands)) for d in demands]


def fair_proportional(capacity, demands):
    total = sum(demands)
    return [d if total <= capacity else d * capacity / total for d in demands]


def fair_first_come(capacity, demands):
    shares = []
    for demand in demands:
        shares.append(min(demand, capacity))
        capacity -= shares[-1]
    return shares


def fair_one_redistribution(capacity, demands):
    shares = [min(d, capacity / len(demands)) for d in demands]
    hungry = [i for i, d in enumerate(demands) if d > shares[i]]
    spare = capacity - sum(shares)
    for i in hungry:
        shares[i] = min(demands[i], shares[i] + spare / len(hungry))
    return shares


@pytest.mark.parametrize(
    "key, answer", [("1.1.d", gcra_reference), ("1.1.e", adversary_reference), ("1.1.f", fair_reference)]
)
def test_the_reference_passes(key, answer):
    result = graded(key, answer)
    assert result.failed is None, str(result)


ONE_BURST = "an idle limiter admits exactly its burst at one instant"
OVER = "some window of one second holds more than the limit"
NEARLY = "some window of one second holds at least 1.8 times the limit"
LEFT = "no capacity is left while somebody wants more"
SECOND = "nothing is left either when sharing out the rest satisfies one more tenant"
MAX_MIN = "who gets less than asked for gets at least as much as everybody else"
AS_BUCKET = "a sequence of requests of several costs is decided as a token bucket decides it"


@pytest.mark.parametrize(
    "key, answer, fails",
    [
        ("1.1.d", gcra_charges_refusals, "a refusal changes nothing"),
        ("1.1.d", gcra_saves_for_ever, "a long silence saves up one burst and no more"),
        ("1.1.d", gcra_one_burst_short, ONE_BURST),
        ("1.1.d", gcra_ignores_cost, AS_BUCKET),
        ("1.1.d", gcra_checks_before_charging, AS_BUCKET),
        ("1.1.e", adversary_silent, "the limiter admits something"),
        ("1.1.e", adversary_one_burst, OVER),
        ("1.1.e", adversary_of_the_fixed_window, OVER),
        ("1.1.e", adversary_even, OVER),
        ("1.1.e", adversary_two_bursts_a_window_apart, NEARLY),
        ("1.1.f", fair_equal_parts, "nobody gets more than asked for, nor less than nothing"),
        ("1.1.f", fair_equal_parts_capped, LEFT),
        ("1.1.f", fair_proportional, MAX_MIN),
        ("1.1.f", fair_first_come, MAX_MIN),
        ("1.1.f", fair_one_redistribution, SECOND),
    ],
)
def test_a_plausible_wrong_answer_fails_at_the_property_it_breaks(key, answer, fails):
    assert graded(key, answer).failed == fails
