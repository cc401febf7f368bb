"""One class of tests over every placement: what the shared interface promises, whatever the algorithm."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.placement import HashRing, JumpHash, Maglev, Modulo, Rendezvous

MAKERS = {
    "ring": lambda nodes, **kw: HashRing(nodes, vnodes=16, **kw),
    "ring, one point a node": lambda nodes, **kw: HashRing(nodes, vnodes=1, **kw),
    "rendezvous": Rendezvous,
    "maglev": lambda nodes, **kw: Maglev(nodes, table_size=211, **kw),
    "jump": JumpHash,
    "modulo": Modulo,
}
WEIGHTED = ["ring", "rendezvous", "maglev"]
MINIMAL = ["ring", "ring, one point a node", "rendezvous"]  # any node may leave, and only keys that must move do
UNORDERED = [*MINIMAL, "maglev"]

names = st.lists(st.text("abcdef0123456789", min_size=1, max_size=6), min_size=1, max_size=8, unique=True)
keys = st.one_of(
    st.lists(st.integers(-(2**63), 2**64 - 1), max_size=40), st.lists(st.text("xyz", max_size=9), max_size=40)
)
seeds = st.integers(0, 2**64 - 1)


def owners(placement, keys):
    return [placement.node_for(key) for key in keys]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
class TestEveryPlacement:
    @given(nodes=names, keys=keys, seed=seeds)
    def test_batch_equals_scalar(self, make, nodes, keys, seed):
        placement = make(nodes, seed=seed)
        batch = placement.nodes_for_many(keys)
        assert batch.dtype == np.intp
        assert [placement.nodes[index] for index in batch] == owners(placement, keys)

    @given(nodes=names, key=st.text(max_size=8), data=st.data())
    def test_preference_list_is_distinct_and_starts_with_the_owner(self, make, nodes, key, data):
        placement = make(nodes)
        n = data.draw(st.integers(1, len(nodes)))
        listed = placement.nodes_for(key, n)
        assert len(set(listed)) == n
        assert set(listed) <= set(nodes)
        assert listed[0] == placement.node_for(key)
        assert placement.nodes_for(key, len(nodes))[:n] == listed

    @given(nodes=names, keys=keys, seed=seeds)
    def test_join_then_leave_changes_nothing(self, make, nodes, keys, seed):
        placement = make(nodes, seed=seed)
        before = owners(placement, keys)
        placement.add_node("newcomer")
        placement.remove_node("newcomer")
        assert owners(placement, keys) == before
        assert placement.nodes == tuple(nodes)

    @given(nodes=names, keys=keys)
    def test_copies_and_pickles_agree_and_are_independent(self, make, nodes, keys):
        placement = make(nodes)
        for twin in (placement.copy(), copy.copy(placement), pickle.loads(pickle.dumps(placement))):
            assert owners(twin, keys) == owners(placement, keys)
            assert twin.nodes_for_many(keys).tolist() == placement.nodes_for_many(keys).tolist()
        twin = placement.copy()
        twin.add_node("newcomer")
        assert "newcomer" not in placement
        assert len(twin) == len(placement) + 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda p: p.add_node("b"), lambda p: p.add_node(""), lambda p: p.add_node(None), lambda p: p.add_node(True),
            lambda p: p.add_node("d", weight=0), lambda p: p.add_node("d", weight=-1),
            lambda p: p.add_node("d", weight=float("nan")), lambda p: p.add_node("d", weight=float("inf")),
            lambda p: p.add_node("d", weight="2"), lambda p: p.add_node("d", weight=True),
            lambda p: p.remove_node("nobody"), lambda p: p.remove_node(None),
            lambda p: p.nodes_for("key", 4), lambda p: p.nodes_for("key", 0), lambda p: p.nodes_for("key", True),
            lambda p: p.node_for(None), lambda p: p.node_for(1.5), lambda p: p.nodes_for_many([1.5]),
        ],
    )  # fmt: skip
    def test_bad_input_is_refused_and_changes_nothing(self, make, change):
        placement = make(["a", "b", "c"])
        before = owners(placement, range(200))
        with pytest.raises(InvalidArgument):
            change(placement)
        assert placement.nodes == ("a", "b", "c")
        assert owners(placement, range(200)) == before
        assert [placement.nodes[index] for index in placement.nodes_for_many(range(200))] == before

    @pytest.mark.parametrize("nodes", [[], ["a", "a"], ["1", 1], "abc", None, [None], [""], [1.5], 3], ids=repr)
    def test_bad_nodes_are_refused(self, make, nodes):
        with pytest.raises(InvalidArgument):
            make(nodes)

    @pytest.mark.parametrize("seed", [-1, 2**64, 1.5, None, True], ids=repr)
    def test_bad_seeds_are_refused(self, make, seed):
        with pytest.raises(InvalidArgument):
            make(["a"], seed=seed)

    def test_the_last_node_cannot_leave(self, make):
        placement = make(["a"])
        with pytest.raises(InvalidArgument, match="last"):
            placement.remove_node("a")
        assert placement.node_for("key") == "a"

    def test_integer_nodes_are_known_by_their_text(self, make):
        assert make([1, 2]).nodes == make(["1", "2"]).nodes == ("1", "2")
        assert owners(make([1, 2]), range(50)) == owners(make(["1", "2"]), range(50))

    def test_seed_and_members_are_visible(self, make):
        placement = make(["a", "b"], seed=9)
        assert (placement.seed, len(placement), "a" in placement, "z" in placement) == (9, 2, True, False)
        assert placement.weights == {"a": 1.0, "b": 1.0}
        assert "a, b" in repr(placement)

    def test_seeds_differ(self, make):
        one, other = (make([f"n{i}" for i in range(8)], seed=seed) for seed in (1, 2))
        # 8 nodes agree by chance on 1/8 of 1,000 keys; with single-point arcs on more. Never on all of them.
        assert owners(one, range(1000)) != owners(other, range(1000))


@pytest.mark.parametrize("name", UNORDERED)
@given(nodes=names, keys=keys, data=st.data())
def test_order_of_joining_does_not_matter(name, nodes, keys, data):
    shuffled = data.draw(st.permutations(nodes))
    assert owners(MAKERS[name](nodes), keys) == owners(MAKERS[name](shuffled), keys)
    one_by_one = MAKERS[name](shuffled[:1])
    for node in shuffled[1:]:
        one_by_one.add_node(node)
    assert owners(one_by_one, keys) == owners(MAKERS[name](nodes), keys)


@pytest.mark.parametrize("name", [*MINIMAL, "jump"])
@given(nodes=names, seed=seeds)
@settings(max_examples=50)
def test_only_keys_of_the_newcomer_move(name, nodes, seed):
    placement = MAKERS[name](nodes, seed=seed)
    keys = range(300)
    before = owners(placement, keys)
    placement.add_node("newcomer")
    for old, new in zip(before, owners(placement, keys)):
        assert new in (old, "newcomer")


@pytest.mark.parametrize("name", MINIMAL)
@given(nodes=names.filter(lambda nodes: len(nodes) > 1), data=st.data())
@settings(max_examples=50)
def test_keys_of_a_leaver_go_to_the_next_in_their_preference_list(name, nodes, data):
    leaver = data.draw(st.sampled_from(nodes))
    placement = MAKERS[name](nodes)
    before = {key: placement.nodes_for(key, 2) for key in range(300)}
    placement.remove_node(leaver)
    for key, (owner, following) in before.items():
        assert placement.node_for(key) == (following if owner == leaver else owner)


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_are_respected(name):
    """Shares of 3 : 1 : 1 within 5 standard deviations of theory: one false alarm in a million new seeds."""
    weights = {"big": 3.0, "b": 1.0, "c": 1.0}
    vnodes, count = 512, 40_000
    placement = (
        HashRing(list(weights), vnodes=vnodes, weights=weights)
        if name == "ring"
        else MAKERS[name](list(weights), weights=weights)
    )
    counts = np.bincount(placement.nodes_for_many(np.arange(count)), minlength=3)
    assert owners(placement, range(100)) == [placement.nodes[index] for index in placement.nodes_for_many(range(100))]
    for node, keys in zip(placement.nodes, counts):
        share = weights[node] / 5
        arcs = share * (1 - share) / (5 * vnodes + 1) if name == "ring" else (1 / 211) ** 2 if name == "maglev" else 0
        assert abs(keys / count - share) < 5 * np.sqrt(share * (1 - share) / count + arcs)


@pytest.mark.parametrize("name", ["jump", "modulo"])
def test_no_weights_where_the_algorithm_has_none(name):
    with pytest.raises(InvalidArgument, match="weights"):
        MAKERS[name](["a", "b"], weights={"a": 2.0})


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_of_unknown_nodes_are_refused(name):
    with pytest.raises(InvalidArgument, match="unknown"):
        MAKERS[name](["a"], weights={"b": 2.0})


@pytest.mark.parametrize(
    "weights",
    [{1: 2.0, "1": 3.0}, {"1": 1e308}, {"1": 10**400}, {"1": 1e-308}, {"1": np.timedelta64(2, "s")}, [1, 2], "12", 5],
    ids=lambda weights: repr(weights)[:30],
)
@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_that_cannot_be_computed_with_are_refused(name, weights):
    with pytest.raises(InvalidArgument):
        MAKERS[name](["1", "2"], weights=weights)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weights", [{"a": 1e100, "b": 0.5e100}, {"a": 2e-100, "b": 1e-100}])
@pytest.mark.parametrize("make", [Rendezvous, Maglev])
def test_only_the_ratio_of_weights_matters(make, weights):
    plain = make(["a", "b"], weights={"a": 1.0, "b": 0.5})
    assert make(["a", "b"], weights=weights).nodes_for_many(range(2000)).tolist() == (
        plain.nodes_for_many(range(2000)).tolist()
    )


def test_another_process_with_another_hash_salt_agrees():
    code = (
        "from principal_kit.placement import *\n"
        "nodes = 'ab c d'.split()\n"
        "for p in (HashRing(nodes), Rendezvous(nodes), Maglev(nodes, 211), JumpHash(nodes)):\n"
        "    print(*p.nodes_for_many([str(i) for i in range(64)]), sep='')"
    )
    salts = [{"PYTHONHASHSEED": salt} for salt in ("1", "2")]
    ran = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env) for env in salts]
    assert ran[0].stdout == ran[1].stdout
    assert len(ran[0].stdout.split()) == 4, ran[0].stderr
