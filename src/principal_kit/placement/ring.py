"""The consistent-hashing ring: hash nodes and keys onto one circle; a key belongs to the next node point clockwise.

A node that joins takes only the arcs that end at its own points, so only those keys move. Many points a node
("virtual nodes") even out the arcs. Batch lookups put a table in front of the sorted points: the hash's top bits
name a slot, and a slot with no point inside has one owner, known without a search.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np

from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.core.hashing import GAMMA, Key, hash64, is_integer, mix64_many
from principal_kit.placement.interface import Placement

POINTS_MAX = 1 << 24  # 16.8 M points are 200 MB; more is a configuration error, not a ring
_TABLE_FROM_KEYS = 4096  # below this a binary search is cheaper than building the table
_CHUNK = 1 << 15


class RingSnapshot:
    """Points in ascending order with their owners; the lookup structures are derived on first use."""

    def __init__(self, nodes: tuple[str, ...], points: np.ndarray, owners: np.ndarray) -> None:
        self.nodes = nodes
        self.points = points  # uint64, ascending
        self.owners = owners  # int32 index into nodes, parallel to points

    @cached_property
    def scalar(self) -> tuple[list[int], list[int], list[str]]:
        """Plain lists, which `bisect` reads faster than arrays; the first owner again at the end, for the wrap."""
        wrapped = [*self.owners.tolist(), int(self.owners[0])]
        return self.points.tolist(), wrapped, [self.nodes[index] for index in wrapped]

    @cached_property
    def table(self) -> tuple[np.ndarray, np.uint64]:
        """(owner per slot or -1 where a point lies inside the slot, shift that turns a hash into its slot)."""
        bits = min(max(int(self.points.size).bit_length() + 5, 10), 20)
        shift = np.uint64(64 - bits)
        slots = 1 << bits
        starts = np.arange(slots, dtype=np.uint64) << shift
        first = np.searchsorted(self.points, starts, side="left")
        narrow = np.int16 if len(self.nodes) < 1 << 15 else np.int32  # half the bytes stay in cache
        table = np.append(self.owners, self.owners[0])[first].astype(narrow)
        table[(self.points >> shift).astype(np.intp)] = -1
        return table, shift


class HashRing(Placement):
    """A ring with virtual nodes and weights.

    Args:
        nodes: node names (str or int), at least one.
        vnodes: points on the circle per unit of weight, >= 1. A node's share of the key space has a coefficient of
            variation of about 1 / sqrt(vnodes): see `balance.share_cv`.
        seed: an integer in [0, 2^64).
        weights: relative capacity per node name; a node gets max(1, round(vnodes * weight)) points.

    Complexity, with P = points in all: `node_for` O(log P); `nodes_for_many` O(1) a key behind the table;
    `add_node` and `remove_node` O(P log P); memory 12 bytes a point, about 80 more once scalar lookups are used,
    and at most 2 MiB (4 MiB from 2^15 nodes) for the table.

    Source: Karger et al., "Consistent Hashing and Random Trees", STOC 1997; points per server as in libketama.

    >>> ring = HashRing(["a", "b", "c"], seed=1)
    >>> before = [ring.node_for(key) for key in range(1000)]
    >>> ring.add_node("d")
    >>> {new for old, new in zip(before, map(ring.node_for, range(1000))) if old != new}
    {'d'}
    """

    def __init__(
        self, nodes: Iterable[str | int], vnodes: int = 128, seed: int = 0, weights: Mapping[str, float] | None = None
    ) -> None:
        if not is_integer(vnodes) or vnodes < 1:
            raise InvalidArgument(f"vnodes={vnodes!r}: expected an integer >= 1")
        self._vnodes = int(vnodes)
        super().__init__(nodes, seed=seed, weights=weights)

    @property
    def vnodes(self) -> int:
        """Points per unit of weight. O(1)."""
        return self._vnodes

    @property
    def points(self) -> np.ndarray:
        """The sorted points, uint64, as a copy; `owners` says whose they are. O(P)."""
        return self._snapshot.points.copy()

    @property
    def owners(self) -> np.ndarray:
        """Index into `nodes` for each of `points`, as a copy. O(P)."""
        return self._snapshot.owners.copy()

    def owners_of(self, hashes: np.ndarray) -> np.ndarray:
        """Owners of raw hashes (uint64 positions on the circle) as indices into `nodes`. O(1) a hash."""
        return self._indices(self._snapshot, np.asarray(hashes, dtype=np.uint64))

    def shares(self) -> dict[str, float]:
        """The exact share of the hash space each node owns; sums to 1. O(P)."""
        snapshot = self._snapshot
        arcs = np.diff(snapshot.points, prepend=snapshot.points[-1])  # uint64 wraps: the arc over zero comes out right
        lengths = arcs.astype(np.float64) if len(arcs) > 1 else np.array([2.0**64])
        totals = np.bincount(snapshot.owners, weights=lengths, minlength=len(snapshot.nodes)) / 2.0**64
        return dict(zip(snapshot.nodes, totals.tolist()))

    def memory_bytes(self) -> dict[str, int]:
        """Bytes of the arrays behind lookups: points, owners, and the batch table. O(1), builds the table."""
        snapshot = self._snapshot
        return {"points": snapshot.points.nbytes, "owners": snapshot.owners.nbytes, "table": snapshot.table[0].nbytes}

    def node_for(self, key: Key) -> str:
        """The owner of `key`: the node of the first point at or after its hash. O(log P)."""
        points, _, names = self._snapshot.scalar
        return names[bisect_left(points, hash64(key, self._seed))]

    def _build(self, members: Mapping[str, float]) -> RingSnapshot:
        nodes = tuple(members)
        counts = [max(1, round(self._vnodes * weight)) for weight in members.values()]
        if sum(counts) > POINTS_MAX:
            raise CapacityError(f"{sum(counts):,} points: at most {POINTS_MAX:,} fit; lower vnodes or the weights")
        points = np.concatenate([self._points_of(node, count) for node, count in zip(nodes, counts)])
        owners = np.repeat(np.arange(len(nodes), dtype=np.int32), counts)
        # Two nodes may draw the same point (about P^2 / 2^65 likely): the smaller name wins, whoever joined first
        rank = np.argsort(np.argsort(np.array(nodes, dtype=object)))
        order = np.lexsort((rank[owners], points))
        return RingSnapshot(nodes, points[order], owners[order])

    def _points_of(self, node: str, count: int) -> np.ndarray:
        """A SplitMix64 stream seeded by the node's name: depends on nobody else, grows without moving old points."""
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
        return mix64_many(steps + np.uint64(hash64(node, self._seed)))

    def _index(self, snapshot: RingSnapshot, hashed: int) -> int:
        points, owners, _ = snapshot.scalar
        return owners[bisect_left(points, hashed)]

    def _indices(self, snapshot: RingSnapshot, hashed: np.ndarray) -> np.ndarray:
        if len(hashed) < _TABLE_FROM_KEYS and "table" not in snapshot.__dict__:
            return self._searched(snapshot, hashed)
        table, shift = snapshot.table
        found = np.empty(len(hashed), dtype=np.intp)
        for start in range(0, len(hashed), _CHUNK):
            part = hashed[start : start + _CHUNK]
            chunk = table[(part >> shift).view(np.int64)]
            mixed = np.flatnonzero(chunk < 0)
            if mixed.size:
                chunk[mixed] = self._searched(snapshot, part[mixed])
            found[start : start + _CHUNK] = chunk
        return found

    @staticmethod
    def _searched(snapshot: RingSnapshot, hashed: np.ndarray) -> np.ndarray:
        at = np.searchsorted(snapshot.points, hashed, side="left")
        at[at == len(snapshot.points)] = 0  # past the last point: the circle closes
        return snapshot.owners[at].astype(np.intp)

    def _preference(self, snapshot: RingSnapshot, hashed: int) -> Iterator[int]:
        points, owners, _ = snapshot.scalar
        start, seen = bisect_left(points, hashed), set()
        for step in range(len(points)):
            owner = owners[(start + step) % len(points)]
            if owner not in seen:
                seen.add(owner)
                yield owner
