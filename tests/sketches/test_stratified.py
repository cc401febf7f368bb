"""Stratified samples: uniform within every group, mergeable, honest about what they do not know.

The statistical tests use fixed seeds; their limits are set so that a right sample fails one in a million runs or fewer.
"""

import doctest
import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import StratifiedSample, intervals, stratified

KEYS = ["DE", "FR", "MT", 7]
rows_of = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(-50, 50)), max_size=60)
caps_of = st.tuples(st.integers(0, 8), st.dictionaries(st.sampled_from(KEYS), st.integers(0, 20), max_size=2))


def sampled(rows, cap=5, caps=None, seed=0, parts=1):
    generators = np.random.default_rng(seed).spawn(parts)
    samples = [StratifiedSample(cap, caps=caps, rng=rng) for rng in generators]
    for sample, piece in zip(samples, np.array_split(np.arange(len(rows)), parts)):
        sample.add_many([rows[i][0] for i in piece], value=[rows[i][1] for i in piece])
    for other in samples[1:]:
        samples[0].merge(other)
    return samples[0]


def one_group(values, cap, seed=0):
    sample = StratifiedSample(cap, rng=np.random.default_rng(seed))
    sample.add_many(np.zeros(len(values), dtype=int), value=values)
    return sample


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


@given(rows_of, caps_of, st.integers(1, 4))
def test_each_group_keeps_what_its_cap_allows_whatever_was_merged(rows, caps, parts):
    cap, special = caps
    sample = sampled(rows, cap, special, parts=parts)
    strata, frame = sample.strata, sample.frame
    for key in KEYS:
        values = [v for k, v in rows if k == key]
        assert (key in strata.index) == bool(values)
        if values:
            assert strata["seen"][key] == len(values)
            kept = frame["value"][[k == key for k in frame["group"]]].tolist()
            assert len(kept) == strata["kept"][key] == min(len(values), special.get(key, cap))
            assert not pd.Series(kept).value_counts().sub(pd.Series(values).value_counts(), fill_value=0).gt(0).any()
    sample._check()


@given(rows_of, st.integers(0, 60))
def test_batches_do_not_matter(rows, cut):
    whole = sampled(rows, seed=3)
    split = StratifiedSample(5, rng=np.random.default_rng(3).spawn(1)[0])
    for piece in (rows[:cut], rows[cut:]):
        split.add_many([k for k, _ in piece], value=[v for _, v in piece])
    assert split.strata.equals(whole.strata)
    assert split == whole  # the same generator draws the same numbers


def test_a_chunk_boundary_changes_nothing(monkeypatch):
    values, groups = np.arange(10_000.0), np.arange(10_000) % 7
    found = []
    for chunk in (1 << 17, 100):
        monkeypatch.setattr(stratified, "_CHUNK", chunk)
        sample = StratifiedSample(50, rng=np.random.default_rng(5))
        sample.add_many(groups, value=values)
        found.append(sample)
    assert found[0] == found[1]


@pytest.mark.parametrize("parts", [1, 4])
def test_every_row_has_the_same_chance(parts):
    """Chi-square over 40 rows in 2,500 samples, whole and merged from unequal partitions; limit at p = 1e-6."""
    hits = np.zeros(40)
    cuts = [0, 3, 9, 25, 40] if parts == 4 else [0, 40]
    for seed in range(2500):
        samples = []
        for rng, (a, b) in zip(np.random.default_rng(seed).spawn(parts), pairwise(cuts)):
            samples.append(StratifiedSample(8, rng=rng))
            samples[-1].add_many(["g"] * (b - a), value=np.arange(a, b))
        for other in samples[1:]:
            samples[0].merge(other)
        hits[samples[0]["value"].astype(int)] += 1
    assert hits.sum() == 2500 * 8
    # Without replacement the counts vary less than multinomial ones: scale by (N - 1) / (N - n).
    statistic = ((hits - 500) ** 2 / 500).sum() * 39 / 32
    assert statistic < stats.chi2.ppf(1 - 1e-6, 39)


def test_scalar_add_is_a_small_batch():
    one, many = (StratifiedSample(3, ["a", "b"], rng=np.random.default_rng(1)) for _ in range(2))
    for i in range(20):
        one.add(i % 2, a=i, b=-i)
    many.add_many([i % 2 for i in range(20)], a=range(20), b=range(0, -20, -1))
    assert one == many
    assert (one["a"] == -one["b"]).all()


def test_memory_follows_the_sample_and_not_the_data():
    sample = one_group(np.arange(1_000_000.0), 1000)
    assert len(sample) == 1000
    assert sample.nbytes == 1000 * 24 + 16


# ── estimates ────────────────────────────────────────────────────────────────────────────────────


@given(rows_of, st.lists(st.booleans(), min_size=60, max_size=60))
def test_a_sample_of_everything_is_exact(rows, chosen):
    sample = sampled(rows, cap=100)
    frame, where = sample.frame, np.array(chosen[: len(rows)], dtype=bool)
    for by, labels in ((None, frame["group"]), ("value", frame["value"]), (dict.fromkeys(KEYS, "all"), "all")):
        table = pd.DataFrame({"label": labels, "value": frame["value"]}, index=frame.index)[where]
        exact = table.groupby("label")["value"].agg(["count", "sum", "mean"]) if len(table) else None
        for what, name in (("count", "count"), ("sum", "sum"), ("avg", "mean")):
            column = None if what == "count" else "value"
            found = sample.estimate(what, column, by=by, where=where)
            if exact is not None:
                assert np.allclose(found["estimate"].reindex(exact.index), exact[name])
            hit = found[found["rows"] > 0]
            assert (hit["low"] == hit["high"]).all()
            assert (hit["leverage"] == 0).all()


def test_estimates_agree_with_the_textbook():
    """Two strata by hand: total and variance of sum N^2 (1 - f) s^2 / n, and Satterthwaite's degrees of freedom."""
    draw = np.random.default_rng(2)
    data = {"a": draw.normal(10, 3, 400), "b": draw.normal(50, 20, 300)}
    sample = StratifiedSample(0, caps={"a": 40, "b": 25}, rng=draw)
    for key, values in data.items():
        sample.add_many([key] * len(values), value=values)
    frame = sample.frame
    total = variance = below = 0.0
    for key, big, n in (("a", 400, 40), ("b", 300, 25)):
        y = frame["value"][frame["group"] == key]
        part = big**2 * (1 - n / big) * y.var() / n
        total, variance, below = total + big * y.mean(), variance + part, below + part**2 / (n - 1)
    half = stats.t.ppf(0.975, variance**2 / below) * np.sqrt(variance)
    (row,) = sample.estimate("sum", "value", by={"a": "all", "b": "all"}).itertuples()
    assert row.estimate == pytest.approx(total)
    assert (row.high - row.low) / 2 == pytest.approx(half, rel=1e-3)
    (mean,) = sample.estimate("avg", "value", by={"a": "all", "b": "all"}).itertuples()
    assert mean.estimate == pytest.approx(total / 700)
    by_group = sample.estimate("avg", "value")
    assert by_group["estimate"]["a"] == pytest.approx(frame["value"][frame["group"] == "a"].mean())


def test_weights_make_the_same_sums_in_sql():
    duckdb = pytest.importorskip("duckdb")
    sample = StratifiedSample(30, ["amount", "status"], rng=np.random.default_rng(4))
    draw = np.random.default_rng(5)
    country, amount, status = draw.integers(0, 9, 5000), draw.lognormal(0, 1, 5000), draw.integers(0, 3, 5000)
    sample.add_many(country, amount=amount, status=status)
    frame = sample.frame  # read by name in the query
    found = duckdb.sql("select status, sum(amount * weight), sum(weight) from frame group by all order by 1").fetchall()
    assert frame is not None
    assert np.allclose([row[1] for row in found], sample.estimate("sum", "amount", by="status")["estimate"])
    assert np.allclose([row[2] for row in found], sample.estimate("count", by="status")["estimate"])
    assert sample.estimate("sum", "amount", by="status").index.tolist() == [0, 1, 2]


def test_what_one_row_or_none_can_tell():
    sample = one_group(np.arange(1000.0), 20)
    values = sample["value"]
    once = values == values[0]
    (avg,) = sample.estimate("avg", "value", where=once).itertuples()
    assert (avg.low, avg.high, avg.rows) == (-np.inf, np.inf, 1)
    none = np.zeros(20, dtype=bool)
    (count,) = sample.estimate("count", where=none).itertuples()
    assert (count.estimate, count.low) == (0, 0)
    assert count.high == pytest.approx(3.69 * 50, rel=0.01)  # the rule of three, two-sided
    (total,) = sample.estimate("sum", "value", where=none).itertuples()
    assert (total.low, total.high) == (-np.inf, np.inf)
    assert np.isnan(sample.estimate("avg", "value", where=none)["estimate"][0])


def test_a_group_without_a_sampled_row_spoils_what_it_may_be_part_of():
    sample = StratifiedSample(5, caps={"out": 0}, rng=np.random.default_rng(1))
    sample.add_many(["in"] * 50 + ["out"] * 50, value=np.ones(100))
    assert np.isinf(sample.estimate("sum", "value", by={"in": 1, "out": 1})["high"][1])
    assert np.isinf(sample.estimate("sum", "value", by="value")["high"][1])
    assert sample.estimate("count", by="value")["high"][1] == 5 + 45 + 50
    assert np.isfinite(sample.estimate("sum", "value", by={"in": 1, "out": 2})["high"][1])


def test_counts_of_groups_are_known_and_counts_of_others_contain_what_was_seen():
    sample = sampled([("DE", i % 3) for i in range(100)] + [("MT", 1)] * 4, cap=10)
    assert sample.estimate("count")["estimate"].to_dict() == {"DE": 100, "MT": 4}
    assert sample.estimate("count", by={"DE": "EU", "MT": "EU"})["low"]["EU"] == 104
    by_value = sample.estimate("count", by="value")
    assert (by_value["low"] >= by_value["rows"]).all()
    assert (by_value["high"] <= 104 - (14 - by_value["rows"])).all()


@pytest.mark.parametrize(
    "law, cap, least",
    [("normal", 5, 0.94), ("normal", 200, 0.94), ("exponential", 200, 0.93), ("lognormal", 50, 0.85)],
)
def test_coverage_of_averages(law, cap, least):
    """1,000 samples at 95 %: five standard errors (3.4 %) around nominal for normal values, less for skewed ones."""
    draw = np.random.default_rng(11)
    values = {
        "normal": lambda: draw.normal(5, 2, 2000),
        "exponential": lambda: draw.exponential(1, 2000),
        "lognormal": lambda: draw.lognormal(0, 1.0, 2000),
    }[law]()
    hits = 0
    for seed in range(1000):
        (row,) = one_group(values, cap, seed).estimate("avg", "value").itertuples()
        hits += row.low <= values.mean() <= row.high
    assert least - 0.025 < hits / 1000 < 0.984


@pytest.mark.parametrize("matches", [3, 40, 1000])
def test_coverage_of_counts(matches):
    """Counts of 3 to 1,000 of 4,000 rows from 200: at least 95 % less five standard errors, however rare they are."""
    values, hits = (np.arange(4000) < matches).astype(float), 0
    for seed in range(1000):
        sample = one_group(values, 200, seed)
        (row,) = sample.estimate("count", where=sample["value"] == 1).itertuples()
        hits += row.low <= matches <= row.high
    assert hits >= 0.95 * 1000 - 5 * np.sqrt(1000 * 0.95 * 0.05)


def test_coverage_of_filtered_totals_and_rollups():
    """A filter across strata with very different weights: within five standard errors (4.9 %) below 95 %."""
    draw = np.random.default_rng(3)
    country = np.repeat([0, 1, 2], [3000, 600, 60])
    status, amount = draw.integers(0, 4, 3660), draw.gamma(2.0, 10.0, 3660) * (1 + country)
    hits = np.zeros(3)
    for seed in range(500):
        sample = StratifiedSample(80, ["amount", "status"], rng=np.random.default_rng(seed))
        sample.add_many(country, amount=amount, status=status)
        found = [
            (sample.estimate("sum", "amount", by="status"), amount[status == 2].sum()),
            (sample.estimate("avg", "amount", by="status"), amount[status == 2].mean()),
            (sample.estimate("count", by="status"), (status == 2).sum()),
        ]
        hits += [table["low"][2] <= exact <= table["high"][2] for table, exact in found]
    assert (hits / 500 >= 0.95 - 0.049).all()


def test_unbiased():
    """The mean of 2,000 estimated totals is the total, within five of its standard errors."""
    values = np.random.default_rng(1).lognormal(0, 1.5, 500)
    totals = [one_group(values, 20, seed).estimate("sum", "value")["estimate"][0] for seed in range(2000)]
    assert abs(np.mean(totals) - values.sum()) < 5 * np.std(totals) / np.sqrt(2000)


def test_leverage_names_the_row_that_carries_the_answer():
    values = np.r_[np.ones(99), 901.0]
    sample = next(s for s in (one_group(values, 50, seed) for seed in range(20)) if 901.0 in s["value"])
    assert sample.estimate("sum", "value")["leverage"][0] == pytest.approx(901 / (2 * 950))  # of 2 x (49 + 901)
    assert one_group(values, 99, 1).estimate("sum", "value")["leverage"][0] < 0.01  # one row is missing, no more
    assert one_group(values, 100).estimate("sum", "value")["leverage"][0] == 0


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_quantiles_against_scipy(confidence):
    freedom = np.array([5.0, 7.5, 30, 1e4, 1e13, np.inf])
    exact = stats.t.ppf((1 + confidence) / 2, freedom)
    ratio = intervals._student(confidence, freedom) / exact
    assert ((ratio > 0.998) & (ratio < 1.04)).all()
    few = intervals._student(confidence, np.array([1.0, 2.0])) / stats.t.ppf((1 + confidence) / 2, [1.0, 2.0])
    assert (few > 0.95).all()
    for f in (6.0, 20.0, 400.0):
        for p in ((1 - confidence) / 2, (1 + confidence) / 2):
            assert intervals._chi_square(p, f) == pytest.approx(stats.chi2.ppf(p, f), rel=0.02, abs=0.12)


# ── refusals and bytes ───────────────────────────────────────────────────────────────────────────


def test_merging_what_must_not_be_merged():
    sample = sampled([("DE", 1), ("DE", 2)])
    for other in (
        sample,
        sample.copy(),
        sampled([("FR", 1)], seed=0),  # the same generator: the same numbers
        StratifiedSample(6),
        StratifiedSample(5, ["other"]),
        StratifiedSample(5, caps={"DE": 1}),
    ):
        before = sample.to_bytes()
        with pytest.raises(InvalidArgument):
            sample.merge(other)
        assert sample.to_bytes() == before
    assert sample.merge(StratifiedSample(5)) is sample


@pytest.mark.parametrize(
    "groups, columns",
    [
        ([1], {}),
        ([1], {"value": [1.0], "more": [1.0]}),
        ([1], {"other": [1.0]}),
        ([1, 2], {"value": [1.0]}),
        ([], {"value": [1.0]}),
        ([1], {"value": [np.nan]}),
        ([1], {"value": [np.inf]}),
        ([1], {"value": ["x"]}),
        ([1], {"value": [True]}),
        ([1.5], {"value": [1.0]}),
        ([None], {"value": [1.0]}),
        ([True], {"value": [1.0]}),
        ("DE", {"value": [1.0, 1.0]}),
        ([[1]], {"value": [1.0]}),
    ],
)
def test_bad_rows_change_nothing(groups, columns):
    sample = sampled([("DE", 1), ("MT", 2)])
    before = sample.to_bytes()
    with pytest.raises(InvalidArgument):
        sample.add_many(groups, **columns)
    assert sample.to_bytes() == before


def test_an_empty_batch_is_nothing():
    sample = sampled([("DE", 1)])
    before = sample.to_bytes()
    sample.add_many([], value=[])
    sample.add_many(np.empty(0, dtype=np.int64), value=np.empty(0))
    assert sample.to_bytes() == before
    empty = StratifiedSample(3)
    assert len(empty) == 0
    assert empty.estimate("count").empty
    assert empty.estimate("avg", "value", by="value").empty
    assert empty.frame.empty
    assert StratifiedSample.from_bytes(empty.to_bytes()) == empty


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.estimate("max", "value"),
        lambda s: s.estimate("sum"),
        lambda s: s.estimate("count", "value"),
        lambda s: s.estimate("sum", "amount"),
        lambda s: s.estimate("sum", "value", by="amount"),
        lambda s: s.estimate("sum", "value", by=[1]),
        lambda s: s.estimate("sum", "value", by=[1, None]),
        lambda s: s.estimate("sum", "value", by={"DE": "EU"}),
        lambda s: s.estimate("sum", "value", where=[1, 0]),
        lambda s: s.estimate("sum", "value", where=[True]),
        lambda s: s.estimate("sum", "value", confidence=1),
        lambda s: s["amount"],
        lambda s: StratifiedSample(-1),
        lambda s: StratifiedSample(1.5),
        lambda s: StratifiedSample(1, []),
        lambda s: StratifiedSample(1, "value"),
        lambda s: StratifiedSample(1, ["a", "a"]),
        lambda s: StratifiedSample(1, caps={"DE": -1}),
        lambda s: StratifiedSample(1, caps={1.5: 1}),
    ],
)
def test_bad_questions(ask):
    with pytest.raises(InvalidArgument):
        ask(sampled([("DE", 1), ("MT", 2)]))


@settings(max_examples=50)
@given(rows_of, caps_of)
def test_bytes_and_pickle_bring_it_back(rows, caps):
    sample = sampled(rows, *caps)
    for back in (StratifiedSample.from_bytes(sample.to_bytes()), pickle.loads(pickle.dumps(sample)), sample.copy()):
        assert back == sample
        assert back.strata.equals(sample.strata)
        assert back.estimate("sum", "value").equals(sample.estimate("sum", "value"))


def test_equal_samples_have_equal_bytes_whatever_came_first():
    rows = [("MT", 1), ("DE", 2), (7, 3), (b"x", 4)]
    a, b = (StratifiedSample(9, rng=np.random.default_rng(s)) for s in (1, 2))
    a.add_many([k for k, _ in rows], value=[v for _, v in rows])
    b.add_many([7, "DE"], value=[1, 1])
    assert a.copy().merge(b) == b.copy().merge(a)
    assert a.strata.index.tolist() == [7, "DE", "MT", b"x"]


def test_damage_anywhere_is_noticed():
    frame = sampled([("DE", 1), ("MT", 2), ("DE", 3)], cap=1, caps={"MT": 4}).to_bytes()
    for at in range(len(frame)):
        broken = bytearray(frame)
        broken[at] ^= 4
        with pytest.raises(CorruptionError):
            StratifiedSample.from_bytes(bytes(broken))
    with pytest.raises(CorruptionError):
        StratifiedSample.from_bytes(frame[:-1])


def _state(**changes):
    sample = sampled([("DE", 1), ("DE", 2), ("DE", 3), ("MT", 4)], cap=2)
    len(sample)
    for name, value in changes.items():
        setattr(sample, name, value(sample))
    return sample.to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"_seen": lambda s: np.array([2, 1])},  # as if all were kept, but something was cut
        {"_seen": lambda s: np.array([3, 0])},
        {"_seen": lambda s: np.array([3, 2])},  # two rows, one kept, none left out
        {"_cut": lambda s: np.array([1, 2**64 - 1], dtype=np.uint64)},
        {"cap": lambda s: 1},
        {"_rows": lambda s: s._rows[np.array([0, 0, 1])]},
    ],
)
def test_impossible_contents_with_a_valid_checksum(changes):
    StratifiedSample.from_bytes(_state())
    with pytest.raises(CorruptionError):
        StratifiedSample.from_bytes(_state(**changes))


def test_examples():
    result = doctest.testmod(stratified)
    assert result.attempted > 0
    assert result.failed == 0
