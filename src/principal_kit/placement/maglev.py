"""Maglev hashing: a lookup table that the nodes fill by taking turns, each in its own pseudo-random order.

Turns make the table almost perfectly even, which a load balancer wants; a key is one array access. The price: a
change of membership also moves a few keys between nodes that stayed, and the table is rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import hash64, is_integer
from principal_kit.placement.interface import Placement

SLOTS_MAX = 1 << 24  # 64 MiB of entries, and about as long to build as anyone will wait


@dataclass(frozen=True)
class _Table:
    nodes: tuple[str, ...]
    entries: np.ndarray  # int32 node index per slot


class Maglev(Placement):
    """Even placement by table, for load balancers in front of nodes that come and go.

    Args:
        nodes: node names (str or int), at least one.
        table_size: slots, a prime below 2^24, at least the number of nodes; the paper advises more than 100 per node.
        seed: an integer in [0, 2^64).
        weights: relative capacity per node name; a node takes turns in proportion.

    Complexity: O(1) a lookup; expected O(M log M) to build for M slots; memory 4 bytes a slot.
    Raises InvalidArgument if `table_size` is not a prime below 2^24 or smaller than the number of nodes.

    Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.

    >>> sorted(Maglev(["a", "b"], table_size=7).slots().values())
    [3, 4]
    """

    def __init__(
        self,
        nodes: Iterable[str | int],
        table_size: int = 65537,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if not is_integer(table_size) or not table_size < SLOTS_MAX or not _is_prime(int(table_size)):
            raise InvalidArgument(
                f"table_size={table_size!r}: expected a prime below {SLOTS_MAX:,}: every stride must visit every slot"
            )
        self._size = int(table_size)
        super().__init__(nodes, seed=seed, weights=weights)

    def slots(self) -> dict[str, int]:
        """Slots per node. O(table size)."""
        counts = np.bincount(self._snapshot.entries, minlength=len(self.nodes))
        return dict(zip(self.nodes, counts.tolist()))

    def _build(self, members: Mapping[str, float]) -> _Table:
        nodes, size = tuple(members), self._size
        if len(nodes) > size:
            raise InvalidArgument(f"{len(nodes)} nodes in a table of {size} slots: expected table_size >= nodes")
        turns = sorted(range(len(nodes)), key=nodes.__getitem__)  # by name: the order of joining must not matter
        at = [hash64(node, self._seed) % size for node in nodes]
        stride = [hash64(node, self._seed ^ 1) % (size - 1) + 1 if size > 2 else 1 for node in nodes]
        heaviest = max(members.values())
        wage = [weight / heaviest for weight in members.values()]
        earned = [0.0] * len(nodes)
        entries, free = [-1] * size, size
        while True:
            for node in turns:
                earned[node] += wage[node]
                if earned[node] < 1.0 - 1e-9:
                    continue
                earned[node] -= 1.0
                slot, step = at[node], stride[node]
                while entries[slot] >= 0:
                    slot = (slot + step) % size
                entries[slot] = node
                at[node] = (slot + step) % size
                free -= 1
                if free == 0:
                    return _Table(nodes, np.array(entries, dtype=np.int32))

    def _index(self, snapshot: _Table, hashed: int) -> int:
        return int(snapshot.entries[hashed % self._size])

    def _indices(self, snapshot: _Table, hashed: np.ndarray) -> np.ndarray:
        return snapshot.entries[(hashed % np.uint64(self._size)).view(np.int64)].astype(np.intp)

    def _preference(self, snapshot: _Table, hashed: int) -> Iterator[int]:
        start, seen = hashed % self._size, set()
        for step in range(self._size):
            owner = int(snapshot.entries[(start + step) % self._size])
            if owner not in seen:
                seen.add(owner)
                yield owner
        # a node light enough to have got no slot still belongs at the end of every list
        yield from sorted(set(range(len(snapshot.nodes))) - seen, key=snapshot.nodes.__getitem__)


def _is_prime(number: int) -> bool:
    return number >= 2 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
