"""Rendezvous: bids, exact weights, and ties."""

import numpy as np

from principal_kit.core.hashing import hash64, mix64
from principal_kit.placement import Rendezvous
from principal_kit.placement import rendezvous as module


def test_the_highest_bid_wins():
    nodes = ["a", "b", "c"]
    placement = Rendezvous(nodes, seed=3)
    for key in range(200):
        bids = {node: mix64(hash64(key, 3) ^ hash64(node, 3)) for node in nodes}
        assert placement.nodes_for(key, 3) == sorted(nodes, key=bids.get, reverse=True)


def test_a_heavier_node_only_gains():
    """Raising one weight moves keys to that node and nowhere else."""
    before = Rendezvous(["a", "b", "c"], weights={"a": 1.0, "b": 2.0})
    after = Rendezvous(["a", "b", "c"], weights={"a": 1.5, "b": 2.0})
    for old, new in zip(before.nodes_for_many(np.arange(5000)), after.nodes_for_many(np.arange(5000))):
        assert new in (old, 0)


def test_equal_bids_go_to_the_smaller_name(monkeypatch):
    monkeypatch.setattr(module, "mix64_many", lambda values: np.zeros(np.shape(values), dtype=np.uint64))
    for nodes in (["b", "a", "c"], ["c", "b", "a"]):
        placement = Rendezvous(nodes)
        assert placement.nodes_for("key", 3) == ["a", "b", "c"]
        assert {placement.nodes[index] for index in placement.nodes_for_many(range(9))} == {"a"}


def test_batches_longer_than_a_chunk():
    placement = Rendezvous(["a", "b", "c"])
    batch = placement.nodes_for_many(np.arange(70_000))
    for at in (0, 32_767, 32_768, 69_999):
        assert placement.nodes[batch[at]] == placement.node_for(at)
