"""Statistics against arithmetic, theory against simulation, plans against brute force, bounds at every step."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.placement import (
    BoundedLoads,
    HashRing,
    LoadReport,
    Move,
    RebalancePlan,
    Rendezvous,
    load_cv,
    moved_on_join,
    plan_rebalance,
    share_cv,
)

NODES = [f"n{i}" for i in range(10)]
small_names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


class TestLoadReport:
    def test_against_arithmetic(self):
        report = LoadReport.of({"a": 60, "b": 40})
        assert report.relative == {"a": 1.2, "b": 0.8}
        assert report.cv == pytest.approx(0.2)
        assert report.peak == 1.2

    def test_weights_say_what_is_fair(self):
        report = LoadReport.of({"a": 30, "b": 10}, {"a": 3, "b": 1})
        assert report.relative == {"a": 1.0, "b": 1.0}
        assert report.cv == 0

    def test_of_keys_counts_owners(self):
        ring = HashRing(["a", "b"])
        counts = np.bincount(ring.nodes_for_many(range(1000)))
        assert LoadReport.of_keys(ring, range(1000)).relative["a"] == pytest.approx(counts[0] / 500)

    @pytest.mark.parametrize("loads", [{}, {"a": 0}, {"a": -1, "b": 3}, {"a": math.nan}])
    def test_loads_that_mean_nothing_are_refused(self, loads):
        with pytest.raises(InvalidArgument):
            LoadReport.of(loads)


class TestTheory:
    @pytest.mark.parametrize("weights", [{}, {"b": 1.0}, {"a": 0.0}])
    def test_a_load_without_a_weight_is_refused(self, weights):
        with pytest.raises(InvalidArgument, match="weight"):
            LoadReport.of({"a": 1}, weights)

    def test_one_node_is_always_fair(self):
        assert share_cv(1, 100) == 0
        assert load_cv(1, 100, 10) == 0

    def test_infinite_keys_leave_the_arcs(self):
        assert load_cv(10, 100, 10**12) == pytest.approx(share_cv(10, 100), rel=1e-6)

    def test_perfect_arcs_leave_the_draw(self):
        assert load_cv(10, 10**9, 1000) == pytest.approx(math.sqrt(9 / 1000), rel=1e-3)

    def test_close_to_one_over_root_vnodes(self):
        assert share_cv(1000, 400) == pytest.approx(1 / 20, rel=1e-2)

    def test_moved_share_against_fifty_rings(self):
        """The mean of 50 joins within 4 standard errors: a false alarm in 16,000 new seeds; the seeds are fixed."""
        keys = np.arange(20_000)
        moved = []
        for seed in range(50):
            ring = HashRing(NODES, vnodes=64, seed=seed)
            before = ring.nodes_for_many(keys)
            ring.add_node("newcomer")
            moved.append(np.mean(before != ring.nodes_for_many(keys)))
        mean, deviation = moved_on_join(10, 64, keys=20_000)
        assert mean == 1 / 11
        assert abs(np.mean(moved) - mean) < 4 * deviation / math.sqrt(50)
        # the deviation itself: 50 draws know it to 10 %, four times that allowed
        assert np.std(moved) == pytest.approx(deviation, rel=0.4)

    @pytest.mark.parametrize(
        "call",
        [
            lambda: share_cv(0, 1), lambda: share_cv(1, 0), lambda: load_cv(1, 1, 0),
            lambda: moved_on_join(1.5, 1), lambda: moved_on_join(1, 1, True),
        ],
    )  # fmt: skip
    def test_counts_below_one_are_refused(self, call):
        with pytest.raises(InvalidArgument):
            call()


class TestRebalancePlan:
    @given(
        before=small_names,
        after=small_names,
        vnodes=st.integers(1, 6),
        probes=st.lists(st.integers(0, 2**64 - 1), max_size=30),
    )
    @settings(max_examples=200)
    def test_moves_say_exactly_who_gives_what_to_whom(self, before, after, vnodes, probes):
        old, new = HashRing(before, vnodes=vnodes), HashRing(after, vnodes=vnodes)
        plan = plan_rebalance(old, new)
        ends = [int(point) + step for point in (*old.points, *new.points) for step in (0, 1)]
        hashes = np.array([value % 2**64 for value in probes + ends], dtype=np.uint64)
        pairs = zip(old.owners_of(hashes), new.owners_of(hashes))
        for hashed, (source, target) in zip(hashes.tolist(), pairs):
            source, target = old.nodes[source], new.nodes[target]
            found = [(move.source, move.target) for move in plan.moves if hashed in move]
            assert found == ([] if source == target else [(source, target)])

    @given(before=small_names, vnodes=st.integers(1, 20))
    def test_a_join_moves_exactly_the_newcomers_share(self, before, vnodes):
        old = HashRing(before, vnodes=vnodes)
        new = old.copy()
        new.add_node("newcomer")
        plan = plan_rebalance(old, new)
        assert plan.share_moved == pytest.approx(new.shares()["newcomer"])
        assert {move.target for move in plan.moves} == {"newcomer"}
        assert sum(plan.traffic().values()) == pytest.approx(plan.share_moved)

    @given(vnodes=st.integers(1, 30), share=st.floats(1e-4, 1))
    def test_batches_are_the_plan_in_pieces_of_bounded_size(self, vnodes, share):
        plan = plan_rebalance(HashRing(["a", "b"], vnodes=vnodes), HashRing(["c", "d"], vnodes=vnodes))
        batches = list(plan.batches(share))
        assert [move for batch in batches for move in batch.moves] == list(plan.moves)
        assert all(batch.share_moved <= share + 1e-12 or len(batch) == 1 for batch in batches)

    def test_everything_moves_from_one_node_to_another(self):
        plan = plan_rebalance(HashRing(["a"], vnodes=1), HashRing(["b"], vnodes=1))
        assert plan.share_moved == 1
        assert plan.traffic() == {("a", "b"): 1}

    def test_no_change_no_moves(self):
        ring = HashRing(["a", "b"])
        assert plan_rebalance(ring, ring.copy()) == RebalancePlan(())
        assert list(RebalancePlan(()).batches(0.1)) == []

    def test_rings_with_other_seeds_do_not_compare(self):
        with pytest.raises(InvalidArgument, match="seed"):
            plan_rebalance(HashRing(["a"], seed=1), HashRing(["a"], seed=2))

    @pytest.mark.parametrize("share", [0, -1, 1.5, math.nan])
    def test_bad_batch_sizes_are_refused(self, share):
        with pytest.raises(InvalidArgument):
            list(RebalancePlan((Move(0, 5, "a", "b"),)).batches(share))


class TestBoundedLoads:
    @given(
        keys=st.lists(st.integers(0, 5), max_size=120),
        epsilon=st.floats(0.01, 3),
        nodes=st.integers(1, 6),
        releases=st.randoms(use_true_random=False),
    )
    @settings(max_examples=150)
    def test_no_node_ever_passes_its_bound(self, keys, epsilon, nodes, releases):
        bounded = BoundedLoads(HashRing(range(nodes), vnodes=4), epsilon=epsilon)
        held = []
        for key in keys:
            total = len(held) + 1
            node = bounded.acquire(key)
            assert bounded.in_flight[node] <= bounded.capacity(node, total)
            held.append(node)
            if releases.random() < 0.3:
                bounded.release(held.pop(releases.randrange(len(held))))
        assert sum(bounded.in_flight.values()) == len(held)

    @pytest.mark.parametrize("epsilon", ["0.1", "0.2", "0.3", "0.25", "0.05"])
    @pytest.mark.parametrize("nodes", [3, 7, 10, 11])
    def test_the_bound_is_exact(self, nodes, epsilon):
        bounded = BoundedLoads(HashRing(range(nodes)), epsilon=float(epsilon))
        for total in range(1, 300):
            bounded.acquire("hot")
            assert max(bounded.in_flight.values()) <= math.ceil((1 + Fraction(epsilon)) * total / nodes)

    def test_the_bound_follows_the_members(self):
        ring = HashRing(["a", "b"])
        bounded = BoundedLoads(ring, epsilon=0.5)
        assert bounded.capacity("a", 100) == 75
        ring.add_node("c", weight=2.0)
        assert (bounded.capacity("a", 100), bounded.capacity("c", 100)) == (38, 75)

    def test_below_the_bound_a_key_stays_with_its_owner(self):
        ring = HashRing(NODES)
        bounded = BoundedLoads(ring, epsilon=9.0)
        assert [bounded.acquire(key) for key in range(5)] == [ring.node_for(key) for key in range(5)]

    def test_a_hot_key_overflows_down_its_preference_list(self):
        ring = HashRing(NODES)
        bounded = BoundedLoads(ring, epsilon=0.25)
        for _ in range(1000):
            bounded.acquire("hot")
        loads = [bounded.in_flight.get(node, 0) for node in ring.nodes_for("hot", 10)]
        assert loads == sorted(loads, reverse=True)
        assert max(loads) <= math.ceil(1.25 * 1000 / 10)

    def test_weights_scale_the_bound(self):
        bounded = BoundedLoads(Rendezvous(["a", "b"], weights={"a": 3.0}), epsilon=0.1)
        for _ in range(400):
            bounded.acquire("hot")
        assert bounded.in_flight["a"] <= math.ceil(1.1 * 400 * 0.75)

    def test_requests_of_a_node_that_left_can_still_be_released(self):
        ring = HashRing(["a", "b"])
        bounded = BoundedLoads(ring, epsilon=0.5)
        held = [bounded.acquire(key) for key in range(10)]
        ring.remove_node("a")
        bounded.acquire("key")
        for node in held:
            bounded.release(node)
        assert sum(bounded.in_flight.values()) == 1

    def test_when_members_left_and_nobody_has_room(self):
        """One node holds all requests; the bound counts them over all members, so a lone survivor always has room."""
        ring = HashRing(["a", "b"])
        bounded = BoundedLoads(ring, epsilon=0.01)
        for key in range(50):
            bounded.acquire(key)
        ring.remove_node("b")
        for key in range(50):
            assert bounded.acquire(key) == "a"

    def test_bad_input(self):
        for epsilon in (0, -1, math.nan, math.inf, True, "x", None, [0.5]):
            with pytest.raises(InvalidArgument):
                BoundedLoads(HashRing(["a"]), epsilon=epsilon)
        bounded = BoundedLoads(HashRing(["a"]))
        with pytest.raises(InvalidArgument):
            bounded.capacity("nobody")
        with pytest.raises(InvalidArgument):
            bounded.release("a")
        with pytest.raises(InvalidArgument):
            bounded.acquire(None)
        assert bounded.in_flight == {}


def test_capacity_error_is_reachable_only_through_foreign_counts():
    bounded = BoundedLoads(HashRing(["a", "b"]), epsilon=0.1)
    bounded.in_flight.update(a=10, b=10)
    with pytest.raises(CapacityError):
        bounded.acquire("key")
