"""Exercises 1.2.e and 1.2.f: the registers of a HyperLogLog from hashes, and how many visitors two sketches share."""

from __future__ import annotations

from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.check import Exercise, expect, expect_equal, expect_raises
from principal_kit.sketches import HyperLogLog

# ── 1.2.e ────────────────────────────────────────────────────────────────────────────────────────
registers = Exercise(
    "1.2.e",
    title="Registers from hashes",
    wants="a function `registers(hashes, precision)` that returns HyperLogLog's 2**precision registers as a list",
    takes=2,
)

_hash = st.integers(0, 2**64 - 1) | st.integers(0, 63).map(lambda n: 1 << n)
_hashes = st.lists(_hash, max_size=12)
_precision = st.integers(2, 6)


def _registers(answer, hashes, precision):
    got = answer(list(hashes), precision)
    expect(hasattr(got, "__len__"), expected="a list of registers", got=got)
    return [int(r) for r in got]


def _place_and_rank(h, precision):
    bits = format(h, "064b")
    return int(bits[:precision], 2), (bits[precision:] + "1").index("1") + 1


@registers.property("without hashes all 2**precision registers are 0", precision=_precision)
def _all_empty(answer, precision):
    expect_equal(_registers(answer, [], precision), [0] * 2**precision)


@registers.property("the first bits of a hash choose the register", h=_hash, precision=_precision)
def _first_bits(answer, h, precision):
    h &= ~(1 << (63 - precision))  # a rank of at least 2: where ranks start is the next property's business
    got = _registers(answer, [h], precision)
    used = [place for place, rank in enumerate(got) if rank]
    expect(used == [_place_and_rank(h, precision)[0]], expected=f"one register in use, number "
           f"{_place_and_rank(h, precision)[0]}, for the hash {h:#066b}", got=f"in use: {used}")  # fmt: skip


@registers.property("it holds where the first 1 of the other bits is, from 1 up", h=_hash, precision=_precision)
def _rank(answer, h, precision):
    place, rank = _place_and_rank(h, precision)
    if rank <= 64 - precision:
        got = _registers(answer, [h], precision)[place]
        expect(got == rank, expected=f"{rank} for the hash {h:#066b}", got=got)


@registers.property("other bits that are all 0 count as one place behind the last", precision=_precision)
def _no_one(answer, precision):
    h = ((1 << precision) - 1) << (64 - precision)
    expect_equal(_registers(answer, [h], precision)[-1], 65 - precision)


@registers.property("a register keeps the greatest of its ranks, in any order of arrival", hashes=_hashes)
def _greatest(answer, hashes):
    expected = [0] * 4
    for h in hashes:
        place, rank = _place_and_rank(h, 2)
        expected[place] = max(expected[place], rank)
    expect_equal(_registers(answer, hashes, 2), expected)


# ── 1.2.f ────────────────────────────────────────────────────────────────────────────────────────
overlap = Exercise(
    "1.2.f",
    title="Who came on both days",
    wants="a function `overlap(a, b)` that estimates how many keys two HyperLogLogs share",
    takes=2,
)


def _days(only_a, both, only_b, precision=10):
    """Two sketches with that many keys of their own and in common."""
    a, b = HyperLogLog(precision), HyperLogLog(precision)
    a.add_many(range(only_a + both))
    b.add_many(range(only_a, only_a + both + only_b))
    return a, b


@overlap.property("two sketches of the same keys share them all", keys=st.integers(1, 3_000), examples=15)
def _same(answer, keys):
    a, b = _days(0, keys, 0)
    got = answer(a, b)
    expect(abs(got / keys - 1) < 0.2, expected=f"about {keys}", got=got)


@overlap.property("the sketches stay as they were", only=st.integers(1, 500), examples=20)
def _unchanged(answer, only):
    a, b = _days(only, 100, 50)
    before = a.to_bytes(), b.to_bytes()
    answer(a, b)
    expect(a.to_bytes() == before[0], expected="the first sketch unchanged", got="another one")
    expect(b.to_bytes() == before[1], expected="the second sketch unchanged", got="another one")


@overlap.property("a large overlap is found", both=st.integers(1_000, 4_000), only=st.integers(0, 2_000), examples=15)
def _large(answer, both, only):
    a, b = _days(only, both, 1_000)
    error = 5 * a.error * (only + 2 * both + 1_000)
    got = answer(a, b)
    expect(abs(got - both) < error, expected=f"{both}, within {error:.0f}", got=got)


@overlap.property(
    "days with no visitor in common share none, within the error", size=st.integers(500, 4_000), examples=9
)
def _disjoint(answer, size):
    a, b = _days(size, 0, size)
    got, error = answer(a, b), 5 * a.error * 2 * size
    expect(got < error, expected=f"0, within {error:.0f}", got=got)


@overlap.property("nor do they share less than nothing", size=st.integers(10, 4_000), examples=20)
def _not_negative(answer, size):
    got = answer(*_days(size, 0, size))
    expect(got >= 0, expected="0 or more", got=got)


@overlap.property("sketches of other seeds are refused")
def _other_seeds(answer):
    expect_raises(InvalidArgument, answer, HyperLogLog(10, seed=1), HyperLogLog(10, seed=2))
