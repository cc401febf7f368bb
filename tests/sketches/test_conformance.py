"""What all sketches promise, held against every sketch that the package exports: a new one without a case fails here.

A case says how to make a sketch, what a stream for it is, what refuses to go in, and `truthful`: what must hold between
the sketch and the stream it has seen, however that came in: one by one, in batches, merged, or read from bytes.
"""

import copy
import inspect
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from principal_kit import sketches
from principal_kit.core.codec import seal, unseal
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import Sketch

SEED = 20260101
LONG = 5000  # elements of a long stream: more than any of the small sketches below can keep


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


def integers(size: int) -> list[int]:
    """Some keys many times, most of them once; the ends of the range are among them."""
    drawn = (np.random.default_rng(SEED).zipf(1.2, size) % 100_003).tolist()
    return [2**63 - 1, -(2**63), 0, -1, *drawn][:size]


def texts(size: int) -> list[str]:
    return ["", "ü€😀", "a b", "x" * 300, *(f"user-{key}" for key in integers(size))][:size]


def blobs(size: int) -> list[bytes]:
    return [b"", b"\0", b"a\0\0", *(text.encode() for text in texts(size))][:size]


KEYS: dict[str, Callable[[int], list]] = {"int": integers, "str": texts, "bytes": blobs}


def values(size: int) -> list[float]:
    return np.random.default_rng(SEED).lognormal(3, 1, size).tolist()


def rows(size: int) -> list[tuple[str, float]]:
    return list(zip((f"g{key % 7}" for key in integers(size)), values(size)))


def forms_of_keys(keys: list) -> dict[str, Any]:
    """The same keys in every form that `add_many` takes."""
    forms = {"list": keys, "tuple": tuple(keys), "iterator": iter(keys), "generator": (key for key in keys)}
    if isinstance(keys[0], int):
        array = np.array(keys, dtype=np.int64)
        apart = np.zeros(2 * len(keys), dtype=np.int64)
        apart[::2] = array
        forms |= {"int64": array, "strided": apart[::2], "big-endian": array.astype(">i8")}
    else:
        fixed = np.array(keys, dtype=object)
        forms |= {"object": fixed}
        array = fixed
    forms["Series"] = pd.Series(array, index=np.arange(len(keys))[::-1])
    return forms


def forms_of_values(xs: list) -> dict[str, Any]:
    array = np.array(xs)
    apart = np.zeros(2 * len(xs))
    apart[::2] = array
    return {
        "list": xs, "tuple": tuple(xs), "iterator": iter(xs), "float64": array, "strided": apart[::2],
        "Series": pd.Series(array, index=np.arange(len(xs))[::-1]), "big-endian": array.astype(">f8"),
    }  # fmt: skip


def broken_iterator(first: Any):
    yield first
    raise RuntimeError("the source broke")


BAD_KEYS = [None, 1.5, True, np.float64(2), np.True_, ["a"], ("a",), {"a": 1}, object(), 2j, np.timedelta64(1, "s")]
BAD_BATCHES = [
    None, "text", b"bytes", 7, object(), [None], ["a", None], ["a", 1.5], [1, True], [1, 2.5], [["a"]],
    [b"a", bytearray()],
    np.ones((2, 2), dtype=np.int64), np.array([1.5, 2.5]), np.array([True, False]), np.array(["a", None], dtype=object),
    np.ma.array([1, 2], mask=[False, True]), pd.Series([1.5, None]), np.array(7), np.array([1], dtype="m8[s]"),
    pd.Series(pd.to_datetime(["2026-01-01"])),
]  # fmt: skip
BAD_VALUES = [None, "1", b"1", True, np.True_, float("nan"), float("inf"), -float("inf"), 1j, [1.0], 10**400]
BAD_VALUE_BATCHES = [
    None, "text", 7.5, [1.0, float("nan")], [1.0, None], [1.0, "x"], [float("inf")], [True], [[1.0]], np.ones((2, 2)),
    np.array([1j]), np.array(["1"]), np.array([True]), np.ma.array([1.0, 2.0], mask=[False, True]),
    np.array([1.0, np.nan]), pd.Series([1.0, None]), [10**400],
]  # fmt: skip
NO_BATCHES = [None, "text", b"bytes", 7, object(), np.ones((2, 2)), np.array(7), np.ma.array([1, 2], mask=[0, 1])]
EMPTY = [
    [],
    (),
    iter(()),
    np.array([], dtype=np.int64),
    np.array([]),
    np.array([], dtype=object),
    pd.Series([], dtype=int),
]


# ── what must hold between a sketch and its stream ───────────────────────────────────────────────


def counts_truthful(sketch: Any, stream: list) -> None:
    """Bounds hold for every key that came and for one that did not."""
    true = Counter(stream)
    assert sketch.total == len(stream)
    for key in [*list(true)[:200], "never" if isinstance(stream[0], str) else 424242]:
        low, high = sketch.bounds(key)
        assert low <= true[key] <= high, key


def count_min_truthful(sketch: Any, stream: list) -> None:
    true = Counter(stream)
    assert sketch.total == len(stream)
    found = sketch.estimate_many(list(true)).tolist()
    assert found == [sketch.estimate(key) for key in true]
    assert all(estimate >= count for estimate, count in zip(found, true.values()))
    over = sum(estimate > count + sketch.epsilon * len(stream) for estimate, count in zip(found, true.values()))
    assert over <= 0.2 * len(true), "delta is 0.1 in these cases"


def decayed_truthful(sketch: Any, stream: list) -> None:
    true = Counter(stream)
    for key in list(true)[:200]:
        low, high = sketch.bounds(key, at=0.0)
        assert low - 1e-6 <= true[key] <= high + 1e-6
    assert sketch.total(at=0.0) == pytest.approx(len(stream))


def distinct_truthful(sketch: Any, stream: list) -> None:
    """Six standard errors: a fixed seed and stream, so either always or never."""
    low, high = sketch.bounds(6)
    assert low <= len(set(stream)) <= high
    assert low <= sketch.estimate() <= high


def quantiles_truthful(sketch: Any, stream: list) -> None:
    qs = np.array([0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0])
    in_order = np.sort(stream)
    exact = in_order[np.maximum(np.ceil(qs * len(stream)).astype(int), 1) - 1]
    low, high = sketch.bounds(qs)
    assert sketch.count == len(stream)
    assert (low <= exact).all()
    assert (exact <= high).all()


def members_truthful(sketch: Any, stream: list) -> None:
    assert sketch.contains_many(stream).all(), "no false negative"
    assert all(key in sketch for key in stream[:100])


def sample_truthful(sketch: Any, stream: list) -> None:
    """Every kept element is one of the stream, no more often than there, and there are as many as there should be."""
    assert sketch.seen == len(stream)
    assert len(sketch) == min(sketch.k, len(stream))
    assert not Counter(sketch.sample) - Counter(stream)


def strata_truthful(sketch: Any, stream: list) -> None:
    seen = Counter(group for group, _ in stream)
    assert sketch.strata.seen.to_dict() == dict(seen)
    assert sketch.strata.kept.to_dict() == {group: min(sketch.cap, count) for group, count in seen.items()}
    kept = Counter(sketch.frame[["group", "value"]].itertuples(index=False, name=None))
    assert not kept - Counter(stream)


# ── the cases ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """What the suite has to know of one sketch.

    `exact`: add_many leaves the very state that a loop of add leaves; `exact_merge`: merge leaves that of the joined
    stream; `one_road`: every form of a batch leaves the same state (else arrays of integers are counted in another
    order); `seeded`: a seed is among the parameters; `resumes`: bytes hold all there is, chance included.
    """

    make: Callable[[int], Any]
    truthful: Callable[[Any, list], None]
    others: tuple[Callable[[], Any], ...]  # the same type with parameters that do not fit
    elements: str = "keys"
    exact: bool = False
    exact_merge: bool = False
    one_road: bool = True
    seeded: bool = True
    resumes: bool = True
    random: bool = False  # samples: what is to be merged needs seeds that differ
    bad: tuple[list, list] = (BAD_KEYS, BAD_BATCHES)
    one: Callable[[Any, Any], None] = lambda sketch, x: sketch.add(x)
    many: Callable[[Any, Any], None] = lambda sketch, xs: sketch.add_many(xs)


def _reservoir(kind: str, **more: Any) -> Case:
    make = getattr(sketches, kind, None)
    return Case(
        lambda seed: make(50, seed=seed), sample_truthful, (lambda: make(51, seed=9),),
        seeded=False, random=True, bad=([], NO_BATCHES), **more,
    )  # fmt: skip


def _hashed(kind: str, truthful: Callable, default: dict, *others: dict, **more: Any) -> Case:
    make = getattr(sketches, kind, None)
    return Case(
        lambda seed: make(**default, seed=seed), truthful,
        tuple(lambda other=other: make(**default | other, seed=SEED) for other in others),
        **{"exact": True, "exact_merge": True} | more,
    )  # fmt: skip


CASES: dict[str, Case] = {
    "BlockedBloomFilter": _hashed(
        "BlockedBloomFilter", members_truthful, {"capacity": 300, "fpr": 0.05}, {"capacity": 301}, {"fpr": 0.04}
    ),
    "BloomFilter": _hashed(
        "BloomFilter", members_truthful, {"capacity": 300, "fpr": 0.05}, {"capacity": 301}, {"fpr": 0.04}
    ),
    "BucketHistogram": Case(
        lambda seed: sketches.BucketHistogram([1.0, 10.0, 20.0, 50.0, 100.0, 1000.0], seed=seed), quantiles_truthful,
        (
            lambda: sketches.BucketHistogram([1.0, 10.0], seed=SEED),
            lambda: sketches.BucketHistogram([1.0, 10.0, 20.0, 50.0, 100.0, 1000.0], geometric=True, seed=SEED),
        ),
        elements="values", exact=True, exact_merge=True,
        bad=([*BAD_VALUES, -1.0], [*BAD_VALUE_BATCHES, [1.0, -1.0]]),
    ),
    "CountMinSketch": _hashed(
        "CountMinSketch", count_min_truthful, {"epsilon": 0.05, "delta": 0.1},
        {"epsilon": 0.01}, {"delta": 0.01}, {"conservative": True},
    ),
    "CountMinSketch, conservative": _hashed(
        "CountMinSketch", count_min_truthful, {"epsilon": 0.05, "delta": 0.1, "conservative": True},
        {"conservative": False}, exact_merge=False,
    ),
    "CuckooFilter": _hashed(
        "CuckooFilter", members_truthful, {"capacity": 6_000, "fpr": 0.05}, {"capacity": 6_001}, {"fpr": 0.04},
        exact_merge=False,
    ),
    "DecayingTopK": Case(
        lambda seed: sketches.DecayingTopK(20, 60.0, clock=lambda: 0.0, seed=seed), decayed_truthful,
        (lambda: sketches.DecayingTopK(21, 60.0, seed=SEED), lambda: sketches.DecayingTopK(20, 61.0, seed=SEED)),
        one_road=False,
        one=lambda sketch, x: sketch.add(x, at=0.0), many=lambda sketch, xs: sketch.add_many(xs, at=0.0),
    ),
    "FlajoletMartin": _hashed("FlajoletMartin", distinct_truthful, {"bitmaps": 32}, {"bitmaps": 64}),
    "HyperLogLog": _hashed("HyperLogLog", distinct_truthful, {"precision": 8}, {"precision": 9}),
    "MisraGries": Case(
        lambda seed: sketches.MisraGries(20, seed=seed), counts_truthful,
        (lambda: sketches.MisraGries(21, seed=SEED), lambda: sketches.MisraGries(20, room=20, seed=SEED)),
    ),
    "Reservoir": _reservoir("Reservoir", exact=True),
    "ScalableBloomFilter": _hashed(
        "ScalableBloomFilter", members_truthful, {"capacity": 50, "fpr": 0.05}, {"capacity": 51}, {"fpr": 0.04},
        exact=False, exact_merge=False,
    ),
    "SpaceSaving": Case(
        lambda seed: sketches.SpaceSaving(20, seed=seed), counts_truthful,
        (lambda: sketches.SpaceSaving(21, seed=SEED),), one_road=False,
    ),
    "StratifiedSample": Case(
        lambda seed: sketches.StratifiedSample(40, rng=np.random.default_rng(seed)), strata_truthful,
        (
            lambda: sketches.StratifiedSample(41),
            lambda: sketches.StratifiedSample(40, ["other"]),
            lambda: sketches.StratifiedSample(40, caps={"g1": 3}),
        ),
        elements="rows", seeded=False, resumes=False, random=True,
        bad=(
            [(None, 1.0), (1.5, 1.0), ("g", float("nan")), ("g", None), ("g", "1"), (True, 1.0)],
            [[("g", 1.0), (None, 1.0)], [("g", 1.0), ("g", float("nan"))], [("g", "x")], [(1.5, 1.0)]],
        ),
        one=lambda sketch, row: sketch.add(row[0], value=row[1]),
        many=lambda sketch, xs: sketch.add_many([g for g, _ in xs], value=[v for _, v in xs]),
    ),
    "TDigest": Case(
        lambda seed: sketches.TDigest(20, seed=seed), quantiles_truthful, (lambda: sketches.TDigest(21, seed=SEED),),
        elements="values", bad=(BAD_VALUES, BAD_VALUE_BATCHES),
    ),
    "WeightedReservoir": _reservoir("WeightedReservoir"),
}  # fmt: skip


def exported() -> set[str]:
    found = {name: getattr(sketches, name) for name in sketches.__all__}
    return {
        n
        for n, kind in found.items()
        if inspect.isclass(kind) and issubclass(kind, Sketch) and not inspect.isabstract(kind)
    }


def test_every_exported_sketch_has_a_case_here():
    assert {name.split(",")[0] for name in CASES} == exported()


def test_kinds_are_four_bytes_and_no_two_sketches_share_one():
    kinds = [getattr(sketches, name).KIND for name in sorted(exported())]
    assert all(isinstance(kind, bytes) and len(kind) == 4 and kind.isascii() for kind in kinds)
    assert len(set(kinds)) == len(kinds)


def with_streams() -> list:
    """Every case with every kind of element it takes."""
    found = []
    for name, case in CASES.items():
        streams = KEYS if case.elements == "keys" else {case.elements: {"values": values, "rows": rows}[case.elements]}
        found += [pytest.param(case, stream, id=f"{name}-{kind}") for kind, stream in streams.items()]
    return found


def of(chosen: Callable[[Case], bool]) -> Any:
    found = {name: case for name, case in CASES.items() if chosen(case)}
    return pytest.mark.parametrize("case", found.values(), ids=found)


each = of(lambda case: True)
each_stream = pytest.mark.parametrize("case, stream", with_streams())


def stream_of(case: Case) -> Callable[[int], list]:
    return {"keys": texts, "values": values, "rows": rows}[case.elements]


def filled(case: Case, stream: list, seed: int = SEED) -> Any:
    sketch = case.make(seed)
    case.many(sketch, stream)
    return sketch


def small(case: Case) -> Any:
    """Few elements, so that its bytes can be tried one by one."""
    return filled(case, stream_of(case)(12)[-6:])


def refused(call: Callable, sketch: Any, *arguments: Any) -> None:
    """InvalidArgument, and nothing has changed."""
    before = sketch.to_bytes()
    with pytest.raises(InvalidArgument):
        call(*arguments)
    assert sketch.to_bytes() == before


# ── taking in ────────────────────────────────────────────────────────────────────────────────────


@each_stream
@pytest.mark.parametrize("size", [1, 3, 60, LONG])
def test_what_it_says_is_true_of_its_stream_one_by_one_and_in_batches(case, stream, size):
    elements = stream(size)
    loop, batch, pieces = case.make(SEED), case.make(SEED), case.make(SEED)
    for x in elements:
        case.one(loop, x)
    case.many(batch, elements)
    for at in range(0, size, 700):
        case.many(pieces, elements[at : at + 300])
        for x in elements[at + 300 : at + 320]:
            case.one(pieces, x)
        case.many(pieces, elements[at + 320 : at + 700])
    for sketch in (loop, batch, pieces):
        case.truthful(sketch, elements)
    if case.exact:
        assert loop == batch == pieces


@each_stream
def test_add_and_add_many_return_nothing(case, stream):
    sketch, elements = case.make(SEED), stream(5)
    assert case.one(sketch, elements[0]) is None
    assert case.many(sketch, elements) is None


@pytest.mark.parametrize("case, stream", [p for p in with_streams() if p.values[1] is not rows])
def test_every_form_of_a_batch_is_the_same_batch(case, stream):
    elements = stream(300)
    expected = filled(case, list(elements))
    forms = (forms_of_keys if case.elements == "keys" else forms_of_values)(elements)
    for form, batch in forms.items():
        sketch = filled(case, batch)
        case.truthful(sketch, elements)
        assert not case.one_road or sketch == expected, form


@of(lambda case: case.elements == "keys")
def test_numpy_keys_are_the_keys_they_hold(case):
    plain, numpy = case.make(SEED), case.make(SEED)
    for key, same in [
        (5, np.int64(5)),
        (7, np.uint8(7)),
        (2**64 - 1, np.uint64(2**64 - 1)),
        ("ü", np.str_("ü")),
        (b"a", np.bytes_(b"a")),
    ]:
        case.one(plain, key)
        case.one(numpy, same)
    assert plain == numpy
    for array in (
        np.array([2**64 - 1, 2**63, 1], dtype=np.uint64),
        np.array([1, 2], dtype=np.int8),
        np.array(["a", "bb"]),
        np.array([b"a", b"bb"]),
    ):
        sketch = filled(case, array)
        case.truthful(sketch, array.tolist())
        assert not case.one_road or sketch == filled(case, array.tolist())


@each
def test_an_empty_batch_changes_nothing(case):
    for sketch in (case.make(SEED), small(case)):
        before = sketch.to_bytes()
        for batch in EMPTY:
            case.many(sketch, batch)
            assert sketch.to_bytes() == before, repr(batch)


@each
def test_bad_input_is_refused_and_changes_nothing(case):
    for sketch in (case.make(SEED), small(case), filled(case, stream_of(case)(LONG))):
        for x in case.bad[0]:
            refused(case.one, sketch, sketch, x)
        for xs in case.bad[1]:
            refused(case.many, sketch, sketch, xs)


@of(lambda case: bool(case.bad[0]))
def test_a_good_start_does_not_save_a_bad_batch(case):
    """What is refused comes last, after more elements than any piece or buffer holds."""
    sketch = small(case)
    good = stream_of(case)(70_000)
    refused(case.many, sketch, sketch, [*good, case.bad[0][0]])


@each
def test_a_source_that_breaks_changes_nothing(case):
    sketch = small(case)
    before = sketch.to_bytes()
    with pytest.raises(RuntimeError, match="the source broke"):
        case.many(sketch, broken_iterator(stream_of(case)(1)[0]))
    assert sketch.to_bytes() == before


@of(lambda case: case.elements != "rows")  # its columns come by name
def test_the_callers_array_stays_as_it_was(case):
    array = np.array((values if case.elements == "values" else integers)(1000))
    before = array.copy()
    sketch = case.make(SEED)
    case.many(sketch, array)
    state = sketch.to_bytes()
    assert (array == before).all()
    array[:] = 1
    assert sketch.to_bytes() == state, "nor does the sketch look at it later"


# ── merging ──────────────────────────────────────────────────────────────────────────────────────


@each_stream
def test_merged_parts_say_what_is_true_of_the_whole(case, stream):
    elements = stream(LONG)
    cuts = [0, 10, 11, 11, 2000, LONG]  # one part is empty, one has a single element
    parts = [filled(case, elements[a:b], SEED + case.random * at) for at, (a, b) in enumerate(pairwise(cuts))]
    before = [part.to_bytes() for part in parts]
    total = case.make(SEED + case.random * 99)
    for part, state in zip(parts, before):
        assert total.merge(part) is total
        assert part.to_bytes() == state, "what is merged stays as it is"
    case.truthful(total, elements)
    pairs = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3].merge(parts[4])))  # another tree
    case.truthful(pairs, elements)
    if case.exact_merge:
        assert total == pairs == filled(case, elements)
    case.many(total, stream(50))
    case.truthful(total, [*elements, *stream(50)])


@each
def test_an_empty_sketch_merges_and_is_merged_into(case):
    elements = stream_of(case)(LONG)
    full = filled(case, elements)
    case.truthful(full.merge(case.make(SEED + case.random)), elements)
    empty = case.make(SEED + 2 * case.random)
    case.truthful(empty.merge(filled(case, elements, SEED + 3 * case.random)), elements)
    nothing = case.make(SEED + 4 * case.random).merge(case.make(SEED + 5 * case.random))
    case.many(nothing, elements)
    case.truthful(nothing, elements)


@each
def test_merging_with_itself_is_right_or_refused(case):
    elements = stream_of(case)(200)
    sketch = filled(case, elements)
    before = sketch.to_bytes()
    try:
        sketch.merge(sketch)
    except InvalidArgument:
        assert case.random, "only samples may refuse: their draws are not two independent ones"
        assert sketch.to_bytes() == before
    else:
        case.truthful(sketch, [*elements, *elements])


@each
def test_other_types_and_parameters_do_not_merge(case):
    sketch = small(case)
    strangers = [other() for other in case.others]
    strangers += [other.make(SEED) for other in CASES.values() if type(other.make(SEED)) is not type(sketch)]
    strangers += [None, b"", 5, sketch.to_bytes()]
    if case.seeded:
        strangers.append(case.make(SEED + 1))
    for stranger in strangers:
        refused(sketch.merge, sketch, stranger)


@of(lambda case: case.seeded)
def test_seeded_sketches_say_their_seed(case):
    sketch = case.make(SEED)
    assert sketch.seed == SEED
    assert sketch.parameters["seed"] == SEED
    assert small(case).copy().seed == SEED
    for seed in (-1, 2**64, 1.5, None, "1", True):
        with pytest.raises(InvalidArgument):
            case.make(seed)


# ── values ───────────────────────────────────────────────────────────────────────────────────────


@each_stream
@pytest.mark.parametrize("size", [0, 1, 7, LONG])
def test_bytes_pickle_and_copy_bring_back_the_same_sketch(case, stream, size):
    elements = stream(size)
    sketch = filled(case, elements)
    state = sketch.to_bytes()
    assert sketch.to_bytes() == state, "to look does not change it"
    twins = [type(sketch).from_bytes(form(state)) for form in (bytes, bytearray, memoryview)]
    twins += [pickle.loads(pickle.dumps(sketch, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    twins += [sketch.copy(), copy.copy(sketch), copy.deepcopy(sketch)]
    for twin in twins:
        assert type(twin) is type(sketch)
        assert twin == sketch
        assert twin.to_bytes() == state
        assert twin.parameters == sketch.parameters
        if size:
            case.truthful(twin, elements)


@each_stream
def test_a_sketch_read_from_bytes_goes_on_as_if_nothing_had_been(case, stream):
    elements = stream(LONG)
    sketch = filled(case, elements[:2000])
    twin = type(sketch).from_bytes(sketch.to_bytes())
    for each_sketch in (sketch, twin):
        case.many(each_sketch, elements[2000:4000])
        for x in elements[4000:]:
            case.one(each_sketch, x)
    case.truthful(twin, elements)
    if case.resumes:
        assert twin == sketch


@each
def test_a_copy_has_a_life_of_its_own(case):
    elements = stream_of(case)(LONG)
    sketch = filled(case, elements[:100])
    before, twin = sketch.to_bytes(), sketch.copy()
    case.many(twin, elements[100:])
    case.one(twin, elements[0])
    assert sketch.to_bytes() == before
    then = twin.to_bytes()
    case.many(sketch, elements)
    assert twin.to_bytes() == then


@each
def test_equal_means_same_type_and_state(case):
    elements = stream_of(case)(100)
    sketch = filled(case, elements)
    assert sketch == sketch.copy()
    more = sketch.copy()
    case.many(more, elements * 3)
    assert (
        type(sketch).__name__ in ("HyperLogLog", "FlajoletMartin") or "Bloom" in type(sketch).__name__ or sketch != more
    )
    assert sketch != case.make(SEED)
    assert sketch != None  # noqa: E711
    assert sketch != sketch.to_bytes()
    with pytest.raises(TypeError, match="unhashable"):
        hash(sketch)


@each
def test_nbytes_is_a_number_of_bytes_near_what_is_written(case):
    sketch = filled(case, stream_of(case)(LONG))
    written = len(sketch.to_bytes())  # first, since it brings what waits to its place
    assert isinstance(sketch.nbytes, int)
    assert written / 4 - 1000 <= sketch.nbytes <= 4 * written
    assert sketch.nbytes > 0
    assert isinstance(case.make(SEED).nbytes, int)


@each
def test_it_has_a_page(case):
    """Every public method of every sketch says what it does."""
    kind = type(case.make(SEED))
    for name, member in inspect.getmembers(kind):
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            assert inspect.getdoc(member), f"{kind.__name__}.{name}"
    assert "Source" in kind.__doc__, "where it comes from"
    assert "Complexity" in kind.__doc__


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


@each
def test_a_flipped_bit_anywhere_is_noticed(case):
    sketch = small(case)
    kind, frame = type(sketch), bytearray(sketch.to_bytes())
    bits = range(8 * len(frame)) if len(frame) < 1000 else [8 * at + at % 8 for at in range(len(frame))]
    for bit in bits:
        frame[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError):
            kind.from_bytes(bytes(frame))
        frame[bit // 8] ^= 1 << bit % 8
    assert kind.from_bytes(bytes(frame)) == sketch


@each
def test_cut_extended_and_empty_bytes_are_noticed(case):
    sketch = small(case)
    kind, frame = type(sketch), sketch.to_bytes()
    for size in range(0, len(frame), 1 + len(frame) // 2000):
        with pytest.raises(CorruptionError):
            kind.from_bytes(frame[:size])
    for wrong in (frame[:-1], frame + b"\0", frame[1:], frame + frame, b"\0" * 100):
        with pytest.raises(CorruptionError):
            kind.from_bytes(wrong)


@each
def test_another_kind_and_a_newer_version_are_not_read(case):
    sketch = small(case)
    kind = type(sketch)
    payload = unseal(kind.KIND, kind.VERSION, sketch.to_bytes()).rest()
    assert kind.from_bytes(seal(kind.KIND, kind.VERSION, payload)) == sketch
    with pytest.raises(CorruptionError, match="version"):
        kind.from_bytes(seal(kind.KIND, kind.VERSION + 1, payload))
    for other in CASES.values():
        stranger = other.make(SEED)
        if type(stranger) is not kind:
            with pytest.raises(CorruptionError, match="expected"):
                kind.from_bytes(stranger.to_bytes())
    for wrong in (None, "text", 5, [1]):
        with pytest.raises(InvalidArgument):
            kind.from_bytes(wrong)


@each
def test_bytes_forged_with_a_right_checksum_are_refused_or_whole(case):
    """Whatever the payload says, there is a CorruptionError or a sketch that can be used: no other error, no crash."""
    sketch = small(case)
    kind = type(sketch)
    payload = bytearray(unseal(kind.KIND, kind.VERSION, sketch.to_bytes()).rest())
    places = np.random.default_rng(SEED).permutation(8 * len(payload))[:3000].tolist()
    refusals = 0
    for bit in places:
        payload[bit // 8] ^= 1 << bit % 8
        try:
            forged = kind.from_bytes(seal(kind.KIND, kind.VERSION, bytes(payload)))
        except CorruptionError:
            refusals += 1
        else:
            assert kind.from_bytes(forged.to_bytes()) == forged
            assert forged.nbytes >= 0
        payload[bit // 8] ^= 1 << bit % 8
    assert refusals, "nothing in it is checked"
    for end in range(0, len(payload), 1 + len(payload) // 2000):
        with pytest.raises(CorruptionError):
            kind.from_bytes(seal(kind.KIND, kind.VERSION, bytes(payload[:end])))
    with pytest.raises(CorruptionError):
        kind.from_bytes(seal(kind.KIND, kind.VERSION, bytes(payload) + b"\0"))
