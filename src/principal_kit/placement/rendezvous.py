"""Rendezvous (highest random weight) hashing: every node bids for the key with its own hash; the highest bid wins.

No structure to keep: a node that leaves takes only its own wins with it, and the ranking of the bids is the
preference list. The price is O(nodes) a lookup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from principal_kit.core.hashing import hash64, mix64_many
from principal_kit.placement.interface import Placement

_CHUNK = 1 << 15


@dataclass(frozen=True)
class _Bidders:
    nodes: tuple[str, ...]
    hashes: np.ndarray  # uint64, one per node
    weights: np.ndarray | None  # None when all are equal: bids are then compared as integers, exactly
    rank: np.ndarray  # position of each node by name, which settles equal bids


class Rendezvous(Placement):
    """Exact weights, exactly minimal movement, no tables; for up to a few hundred nodes.

    Args:
        nodes: node names (str or int), at least one.
        seed: an integer in [0, 2^64).
        weights: relative capacity per node name; the bid of a node is weight / -ln(u), u its hash in (0, 1).

    Complexity: O(n) a lookup for n nodes, O(n log n) for a preference list, memory 16 bytes a node.

    Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 6(1), 1998;
    weights by the logarithmic method of Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005.

    >>> Rendezvous(["a", "b", "c"]).nodes_for("key", 3)[0] == Rendezvous(["c", "b", "a"]).node_for("key")
    True
    """

    def __init__(self, nodes: Iterable[str | int], seed: int = 0, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(nodes, seed=seed, weights=weights)

    def _build(self, members: Mapping[str, float]) -> _Bidders:
        nodes = tuple(members)
        hashes = np.array([hash64(node, self._seed) for node in nodes], dtype=np.uint64)
        weights = np.array(list(members.values()))
        rank = np.argsort(np.argsort(np.array(nodes, dtype=object)))
        return _Bidders(nodes, hashes, None if np.all(weights == weights[0]) else weights, rank)

    def _index(self, snapshot: _Bidders, hashed: int) -> int:
        return int(self._ranking(snapshot, hashed)[0])

    def _preference(self, snapshot: _Bidders, hashed: int) -> Iterator[int]:
        return iter(self._ranking(snapshot, hashed).tolist())

    @staticmethod
    def _ranking(snapshot: _Bidders, hashed: int) -> np.ndarray:
        bids = _bids(np.uint64(hashed) ^ snapshot.hashes, snapshot.weights)
        return np.lexsort((snapshot.rank, _falling(bids)))

    def _indices(self, snapshot: _Bidders, hashed: np.ndarray) -> np.ndarray:
        found = np.empty(len(hashed), dtype=np.intp)
        by_name = np.argsort(snapshot.rank)
        for start in range(0, len(hashed), _CHUNK):
            part = hashed[start : start + _CHUNK]
            best, owner = None, np.zeros(len(part), dtype=np.intp)
            for node in by_name:  # in name order, and only a strictly higher bid wins: ties fall as in _ranking
                bids = _bids(part ^ snapshot.hashes[node], None if snapshot.weights is None else snapshot.weights[node])
                higher = np.ones(len(part), dtype=bool) if best is None else bids > best
                best = bids if best is None else np.where(higher, bids, best)
                owner[higher] = node
            found[start : start + _CHUNK] = owner
        return found


def _bids(combined: np.ndarray, weights: np.ndarray | float | None) -> np.ndarray:
    drawn = mix64_many(combined)
    if weights is None:
        return drawn
    return weights / -np.log(((drawn >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


def _falling(bids: np.ndarray) -> np.ndarray:
    return ~bids if bids.dtype == np.uint64 else -bids
