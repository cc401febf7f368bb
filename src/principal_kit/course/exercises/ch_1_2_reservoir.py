"""Exercises 1.2.a and 1.2.b: a reservoir, and two samples made one. Chance is graded exactly, not by sampling.

The answer draws by calling `below(n)`. The checker answers in every possible way, one after the other, and adds up the
probability of every outcome as a fraction: an answer that is wrong by one in a thousand is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect

_MOST_DRAWS = 40


def _all_chances(run: Callable[[Callable[[int], int]], object]) -> Iterator[tuple[Fraction, object]]:
    """Run with every sequence of draws there is: the probability of each, and what came of it."""
    script: list[list[int]] = []  # [what is answered, out of how many]
    while True:
        asked = 0

        def below(n: int) -> int:
            nonlocal asked
            expect(isinstance(n, int) and n >= 1, expected="below(n) called with an integer n >= 1", got=n)
            expect(asked < _MOST_DRAWS, expected=f"at most {_MOST_DRAWS} draws for so short a stream", got=asked + 1)
            if asked == len(script):
                script.append([0, n])
            asked += 1
            return script[asked - 1][0]

        outcome, chance = run(below), Fraction(1)
        for _, n in script:
            chance /= n
        yield chance, outcome
        while script and script[-1][0] == script[-1][1] - 1:
            script.pop()
        if not script:
            return
        script[-1][0] += 1


def _even(chances: dict, what: str, wanted: Fraction) -> None:
    for each, chance in sorted(chances.items(), key=str):
        expect(chance == wanted, expected=f"{what} {_name(each)} with probability {wanted}", got=f"{chance}")


def _name(each: object) -> str:
    return str(sorted(each)) if isinstance(each, frozenset) else str(each)


def _sampled(got: object, stream: list[str], k: int) -> frozenset[str]:
    found = list(got)
    size = min(k, len(stream))
    expect(len(found) == size, expected=f"{size} elements", got=found)
    expect(
        len(set(found)) == size and set(found) <= set(stream), expected=f"{size} different ones of {stream}", got=found
    )
    return frozenset(found)


def _tally(outcomes: Iterator[tuple[Fraction, frozenset[str]]], stream: list[str], size: int) -> tuple[dict, dict]:
    sets = {frozenset(each): Fraction(0) for each in combinations(stream, size)}
    singles = dict.fromkeys(stream, Fraction(0))
    for chance, found in outcomes:
        sets[found] += chance
        for x in found:
            singles[x] += chance
    return sets, singles


# ── 1.2.a ────────────────────────────────────────────────────────────────────────────────────────
reservoir = Exercise(
    "1.2.a",
    title="A sample of k from a stream without end",
    wants="a function `reservoir(stream, k, below)` that reads an iterator once and returns a list of min(k, n) of its "
    "n elements; `below(m)` returns a random integer from 0 to m - 1, and is the only source of chance",
    takes=3,
)

_lengths, _sizes = st.integers(0, 5), st.integers(1, 3)


def _chances(answer, length, k):
    stream = list("abcde"[:length])
    runs = _all_chances(lambda below: answer(iter(stream), k, below))
    return stream, _tally(((chance, _sampled(got, stream, k)) for chance, got in runs), stream, min(k, length))


@reservoir.property("the sample has min(k, n) different elements of the stream", length=_lengths, k=_sizes, examples=30)
def _size(answer, length, k):
    _chances(answer, length, k)


@reservoir.property("every element is in the sample with probability k / n", length=_lengths, k=_sizes, examples=30)
def _single(answer, length, k):
    _, (_, singles) = _chances(answer, length, k)
    _even(singles, "element", Fraction(min(k, length), max(1, length)))


@reservoir.property("every set of k is as likely as any other", length=_lengths, k=_sizes, examples=30)
def _every_set(answer, length, k):
    _, (sets, _) = _chances(answer, length, k)
    _even(sets, "the sample", Fraction(1, len(sets)))


# ── 1.2.b ────────────────────────────────────────────────────────────────────────────────────────
merge = Exercise(
    "1.2.b",
    title="Two samples, one stream",
    wants="a function `merge(a, n, b, m, k, below)`: `a` is a uniform sample of min(k, n) of n elements, in any order, "
    "`b` one of min(k, m) of m others; returns a uniform sample of min(k, n + m) of all; `below` as in 1.2.a",
    takes=6,
)

_long, _few = st.integers(1, 4), st.integers(1, 2)


def _merged(answer, n, m, k):
    """All samples of both streams, and all draws for each pair of them."""
    first, second = list("abcd"[:n]), list("wxyz"[:m])
    ways = [(a, b) for a in combinations(first, min(k, n)) for b in combinations(second, min(k, m))]

    def outcomes():
        for a, b in ways:
            for chance, got in _all_chances(lambda below, a=a, b=b: answer(list(a), n, list(b), m, k, below)):
                found = _sampled(got, first + second, k)
                expect(found <= {*a, *b}, expected=f"elements of {[*a, *b]}", got=sorted(found))
                yield chance / len(ways), found

    return first, second, _tally(outcomes(), first + second, min(k, n + m))


@merge.property("the result has min(k, n + m) elements of the two samples", n=_long, m=_long, k=_few, examples=25)
def _merged_size(answer, n, m, k):
    _merged(answer, n, m, k)


@merge.property("both streams give in proportion to their lengths, on average", n=_long, m=_long, k=_few, examples=25)
def _in_proportion(answer, n, m, k):
    first, _, (_, singles) = _merged(answer, n, m, k)
    got, wanted = sum(singles[x] for x in first), Fraction(min(k, n + m) * n, n + m)
    expect(got == wanted, expected=f"{wanted} of the first stream, on average", got=f"{got}")


@merge.property("every element of both streams has the same chance", n=_long, m=_long, k=_few, examples=25)
def _merged_single(answer, n, m, k):
    *_, (_, singles) = _merged(answer, n, m, k)
    _even(singles, "element", Fraction(min(k, n + m), n + m))


@merge.property("every set of both streams together is as likely as any other", n=_long, m=_long, k=_few, examples=25)
def _merged_sets(answer, n, m, k):
    *_, (sets, _) = _merged(answer, n, m, k)
    _even(sets, "the sample", Fraction(1, len(sets)))
