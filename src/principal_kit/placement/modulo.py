"""`hash(key) % n`: the placement everybody writes first, kept here as the baseline the others are measured against.

It is even, fast and needs no memory. It also moves n / (n + 1) of all keys when node n + 1 joins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.placement.interface import Placement


@dataclass(frozen=True)
class _Numbered:
    nodes: tuple[str, ...]


class Modulo(Placement):
    """The node whose position is hash mod n. Order of joining matters; weights are refused.

    Complexity: O(1) a lookup, O(1) memory.

    >>> Modulo(["a", "b"]).node_for("key") in ("a", "b")
    True
    """

    def __init__(self, nodes: Iterable[str | int], seed: int = 0, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(nodes, seed=seed, weights=weights)

    def _build(self, members: Mapping[str, float]) -> _Numbered:
        if any(weight != 1.0 for weight in members.values()):
            raise InvalidArgument("modulo placement has no weights; use HashRing or Rendezvous")
        return _Numbered(tuple(members))

    def _index(self, snapshot: _Numbered, hashed: int) -> int:
        return hashed % len(snapshot.nodes)

    def _indices(self, snapshot: _Numbered, hashed: np.ndarray) -> np.ndarray:
        return (hashed % np.uint64(len(snapshot.nodes))).astype(np.intp)

    def _preference(self, snapshot: _Numbered, hashed: int) -> Iterator[int]:
        count = len(snapshot.nodes)
        return ((hashed + step) % count for step in range(count))
