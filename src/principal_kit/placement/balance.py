"""How even is a placement, how even should it be, and what to do when it is not.

Theory: the arcs between P random points on a circle are Dirichlet(1, …, 1), so a node with V of them owns a
Beta(V, P - V) share. Policies here return values (a report, a plan, a node); carrying them out is somebody else's job.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from principal_kit.core.errors import CapacityError, InvalidArgument
from principal_kit.core.hashing import Key, is_integer
from principal_kit.placement.interface import Placement
from principal_kit.placement.ring import HashRing

CIRCLE = 1 << 64


# ── what is ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class LoadReport:
    """Load per node, divided by what the node's weight entitles it to, summarised.

    Attributes:
        relative: load over fair load per node, 1.0 is exactly fair.
        cv: coefficient of variation of `relative` (population standard deviation over mean).
        peak: the largest of `relative`: how much bigger the fleet must be bought than its average needs.
    """

    relative: dict[str, float]
    cv: float
    peak: float

    @classmethod
    def of(cls, loads: Mapping[str, float], weights: Mapping[str, float] | None = None) -> LoadReport:
        """Summarise loads (requests, bytes, keys: any unit) per node. O(nodes).

        Raises InvalidArgument if there are none, one is negative, all are zero, or a node of `loads` has no weight > 0.

        >>> LoadReport.of({"a": 60, "b": 40}).peak
        1.2
        """
        total = sum(loads.values())
        if not loads or not total > 0 or min(loads.values()) < 0:
            raise InvalidArgument("loads must name at least one node, none negative, with a total > 0")
        share = dict.fromkeys(loads, 1.0) if weights is None else weights
        if unweighted := [node for node in loads if not share.get(node, 0) > 0]:
            raise InvalidArgument(f"no weight > 0 for node {unweighted[0]!r}")
        entitled = sum(share[node] for node in loads)
        relative = {node: load * entitled / (total * share[node]) for node, load in loads.items()}
        values = np.array(list(relative.values()))
        return cls(relative, float(values.std() / values.mean()), float(values.max()))

    @classmethod
    def of_keys(cls, placement: Placement, keys: Iterable[Key] | np.ndarray) -> LoadReport:
        """Summarise how many of `keys` each node of `placement` owns. O(keys)."""
        counts = np.bincount(placement.nodes_for_many(keys), minlength=len(placement.nodes))
        return cls.of(dict(zip(placement.nodes, counts.tolist())), placement.weights)


# ── what theory says ─────────────────────────────────────────────────────────────────────────────
def share_cv(nodes: int, vnodes: int) -> float:
    """Expected coefficient of variation of a node's share of the ring, all weights equal. O(1).

    The Beta(V, NV - V) variance over the squared mean (1/N)^2 gives sqrt((N - 1) / (NV + 1)), about 1 / sqrt(V).

    >>> round(share_cv(10, 100), 4)
    0.0948
    """
    _positive(nodes=nodes, vnodes=vnodes)
    return math.sqrt((nodes - 1) / (nodes * vnodes + 1))


def load_cv(nodes: int, vnodes: int, keys: int) -> float:
    """As `share_cv`, for the count of `keys` random keys per node: uneven arcs plus the luck of the draw. O(1).

    Var(count) = E[binomial variance] + Var(K * share); both terms divided by the squared mean K / N.
    """
    _positive(keys=keys)
    arcs = share_cv(nodes, vnodes) ** 2
    return math.sqrt(arcs + (nodes - 1 - arcs) / keys)


def moved_on_join(nodes: int, vnodes: int, keys: int | None = None) -> tuple[float, float]:
    """Mean and standard deviation of the share of keys that move when one node joins `nodes` equal ones. O(1).

    The mean, 1 / (nodes + 1), is also the minimum for a placement that stays even: the newcomer must get its share.
    With `keys` given, the deviation includes that only so many keys were sampled.
    """
    _positive(nodes=nodes, vnodes=vnodes)
    after = nodes + 1
    share = 1 / after
    variance = (share_cv(after, vnodes) * share) ** 2
    if keys is not None:
        _positive(keys=keys)
        variance += (share * (1 - share) - variance) / keys
    return share, math.sqrt(variance)


# ── a rebalancing plan as a value ────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Move:
    """Hashes in (after, upto], going round through zero if upto <= after, pass from `source` to `target`."""

    after: int
    upto: int
    source: str
    target: str

    @property
    def size(self) -> int:
        """Hashes in the range; the whole circle if both ends are equal. O(1)."""
        return (self.upto - self.after) % CIRCLE or CIRCLE

    @property
    def share(self) -> float:
        """`size` as a share of the circle. O(1)."""
        return self.size / CIRCLE

    def __contains__(self, hashed: int) -> bool:
        return 0 < (hashed - self.after) % CIRCLE <= self.size or self.size == CIRCLE


@dataclass(frozen=True)
class RebalancePlan:
    """Every range that changes hands between two rings, in hash order. Nothing has happened yet: look, then apply."""

    moves: tuple[Move, ...]

    @property
    def share_moved(self) -> float:
        """Share of the hash space that changes hands. O(moves)."""
        return sum(move.size for move in self.moves) / CIRCLE

    def traffic(self) -> dict[tuple[str, str], float]:
        """Share of the hash space per (source, target). O(moves)."""
        shares: dict[tuple[str, str], float] = {}
        for move in self.moves:
            shares[move.source, move.target] = shares.get((move.source, move.target), 0.0) + move.share
        return shares

    def batches(self, share_max: float) -> Iterator[RebalancePlan]:
        """Split into plans that each move at most `share_max` of the space, or one range if that alone is more.

        O(moves). Raises InvalidArgument unless 0 < share_max <= 1.
        """
        if not 0 < share_max <= 1:
            raise InvalidArgument(f"share_max={share_max!r}: expected 0 < share_max <= 1")
        batch: list[Move] = []
        size = 0
        for move in self.moves:
            if batch and size + move.size > share_max * CIRCLE:
                yield RebalancePlan(tuple(batch))
                batch, size = [], 0
            batch.append(move)
            size += move.size
        if batch:
            yield RebalancePlan(tuple(batch))

    def __len__(self) -> int:
        return len(self.moves)


def plan_rebalance(before: HashRing, after: HashRing) -> RebalancePlan:
    """The exact ranges whose owner differs between two rings with the same seed.

    Between two neighbouring points of either ring both owners are constant, so comparing one hash per gap suffices.
    O((P + Q) log(P + Q)) for P and Q points. Raises InvalidArgument if the seeds differ: the hashes would not compare.

    >>> old = HashRing(["a", "b"]); new = old.copy(); new.add_node("c")
    >>> {move.target for move in plan_rebalance(old, new).moves}
    {'c'}
    """
    if before.seed != after.seed:
        raise InvalidArgument(f"rings with seeds {before.seed} and {after.seed} place the same key at different hashes")
    ends = np.union1d(before.points, after.points)
    old = np.array(before.nodes, dtype=object)[before.owners_of(ends)]
    new = np.array(after.nodes, dtype=object)[after.owners_of(ends)]
    starts = np.roll(ends, 1)
    moves: list[Move] = []
    for at in np.flatnonzero(old != new):
        start, end, source, target = int(starts[at]), int(ends[at]), old[at], new[at]
        last = moves[-1] if moves else None
        if last and (last.upto, last.source, last.target) == (start, source, target):
            moves[-1] = Move(last.after, end, source, target)
        else:
            moves.append(Move(start, end, source, target))
    return RebalancePlan(tuple(moves))


# ── bounded loads ────────────────────────────────────────────────────────────────────────────────
@dataclass
class BoundedLoads:
    """Consistent placement with a cap: a full node passes its next request down the key's preference list.

    A node takes a request only if it then holds at most ceil((1 + epsilon) * requests in flight / nodes), scaled by
    its weight. The bound is one on admission: nothing is moved when the total falls or the members change, so a node
    may hold more until its own requests end. A popular key spreads over as many nodes as it needs, and every other
    key stays where it was. The caps are exact: epsilon and weights count as the decimal numbers they are written as.

    Args:
        placement: where requests would go without a cap; membership changes on it take effect at once.
        epsilon: slack over the average, finite and > 0: 0.25 means at most 25 % above it.

    Complexity: O(1 + nodes passed) per `acquire`; memory one counter a node.

    Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018.

    >>> bounded = BoundedLoads(HashRing(["a", "b", "c", "d"]), epsilon=0.25)
    >>> _ = [bounded.acquire("hot") for _ in range(100)]
    >>> sorted(bounded.in_flight.values())
    [6, 31, 31, 32]
    """

    placement: Placement
    epsilon: float = 0.25
    in_flight: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        number = is_integer(self.epsilon) or isinstance(self.epsilon, (float, np.floating, Fraction))
        if not number or not 0 < self.epsilon < math.inf:
            raise InvalidArgument(f"epsilon={self.epsilon!r}: expected a finite number > 0")
        self._slack = 1 + _exact(self.epsilon)
        self._weights: dict[str, float] = {}
        self._quota: dict[str, Fraction] = {}
        self._total = 0

    def capacity(self, node: str, total: int | None = None) -> int:
        """Requests `node` may hold when `total` (default: now) are in flight. O(nodes). InvalidArgument if unknown."""
        quota = self._quotas()
        if node not in quota:
            raise InvalidArgument(f"unknown node {node!r}")
        return math.ceil(quota[node] * (self._total if total is None else total))

    def acquire(self, key: Key) -> str:
        """Take a place for one request for `key` and return the node. Raises InvalidArgument on a bad key."""
        quota, total = self._quotas(), self._total + 1
        node = self.placement.node_for(key)
        if self.in_flight.get(node, 0) >= math.ceil(quota[node] * total):
            for node in self.placement.nodes_for(key, len(quota)):
                if self.in_flight.get(node, 0) < math.ceil(quota[node] * total):
                    break
            else:
                raise CapacityError("every node is at its bound")  # only after members left with requests in flight
        self.in_flight[node] = self.in_flight.get(node, 0) + 1
        self._total += 1
        return node

    def release(self, node: str) -> None:
        """Give the place back. O(1). Raises InvalidArgument if `node` holds none."""
        if self.in_flight.get(node, 0) == 0:
            raise InvalidArgument(f"node {node!r} has no request in flight")
        self.in_flight[node] -= 1
        self._total -= 1

    def _quotas(self) -> dict[str, Fraction]:
        """(1 + epsilon) * weight / sum of weights per node, worked out again only when the members change."""
        weights = self.placement.weights
        if weights != self._weights:
            exact = {node: _exact(weight) for node, weight in weights.items()}
            whole = sum(exact.values())
            self._weights, self._quota = weights, {node: self._slack * share / whole for node, share in exact.items()}
        return self._quota


def _exact(number: float | Fraction) -> Fraction:
    """The decimal number a float is written as: 0.1 is 1/10, not the binary fraction just above it."""
    return number if isinstance(number, Fraction) else Fraction(str(number))


def _positive(**values: int) -> None:
    for name, value in values.items():
        if not is_integer(value) or value < 1:
            raise InvalidArgument(f"{name}={value!r}: expected an integer >= 1")
