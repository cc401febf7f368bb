"""What every placement algorithm promises: a key in, an owner out, the same answer in every process.

An instance is a mutable set of members around an immutable snapshot. Each change builds a new snapshot first and
then swaps it in, so bad input changes nothing and a thread that reads during a change sees the old or the new one.
Changes themselves are for one thread at a time: of two `add_node` that overlap, one may be lost.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import Key, check_seed, hash64, hash64_many, is_integer

WEIGHT_MIN, WEIGHT_MAX = 1e-100, 1e100  # whatever is computed from weights in between neither overflows nor vanishes


class Snapshot(Protocol):
    """Whatever an algorithm precomputes for one set of members; never changed once built."""

    nodes: tuple[str, ...]


class Placement(ABC):
    """Maps keys to nodes. Subclasses supply `_build`, `_index`, `_indices` and `_preference`; the rest is shared.

    Args:
        nodes: node names, str or int (an int stands for its decimal text); at least one, no duplicates.
        seed: an integer in [0, 2^64). Two instances with the same members, weights and seed always agree.
        weights: relative capacity per node name, in [1e-100, 1e100]; 1.0 for those not named.
    """

    def __init__(
        self, nodes: Iterable[str | int], *, seed: int = 0, weights: Mapping[str, float] | None = None
    ) -> None:
        self._seed = check_seed(seed)
        names = [node_name(node) for node in _iterate(nodes)]
        if not names:
            raise InvalidArgument("zero nodes: a placement needs at least one")
        if repeated := [name for name, times in Counter(names).items() if times > 1]:
            raise InvalidArgument(f"duplicate node {repeated[0]!r}")
        given = _named_weights({} if weights is None else weights)
        if unknown := given.keys() - set(names):
            raise InvalidArgument(f"weights name unknown nodes: {', '.join(sorted(unknown))}")
        self._install({name: check_weight(name, given.get(name, 1.0)) for name in names})

    # ── members ──────────────────────────────────────────────────────────────────────────────────
    @property
    def nodes(self) -> tuple[str, ...]:
        """Node names in the order they joined; `nodes_for_many` returns indices into this tuple. O(1)."""
        return self._snapshot.nodes

    @property
    def weights(self) -> dict[str, float]:
        """Weight per node name, as a copy. O(nodes)."""
        return dict(self._members)

    @property
    def seed(self) -> int:
        """The seed of every hash this placement takes. O(1)."""
        return self._seed

    def add_node(self, node: str | int, weight: float = 1.0) -> None:
        """Let `node` join; rebuilds the snapshot. Raises InvalidArgument on a duplicate or a bad weight."""
        name = node_name(node)
        if name in self._members:
            raise InvalidArgument(f"duplicate node {name!r}")
        self._install({**self._members, name: check_weight(name, weight)})

    def remove_node(self, node: str | int) -> None:
        """Let `node` leave; rebuilds the snapshot. Raises InvalidArgument if it is unknown or the last one."""
        name = node_name(node)
        if name not in self._members:
            raise InvalidArgument(f"unknown node {name!r}; members: {_listed(self._members)}")
        if len(self._members) == 1:
            raise InvalidArgument(f"{name!r} is the last node: a placement needs at least one")
        self._install({other: weight for other, weight in self._members.items() if other != name})

    def copy(self):
        """An independent placement with the same members. O(nodes): the immutable snapshot is shared."""
        twin = copy.copy(self)
        twin._members = dict(self._members)
        return twin

    # ── placement ────────────────────────────────────────────────────────────────────────────────
    def node_for(self, key: Key) -> str:
        """The owner of `key`. Raises InvalidArgument on a key that is not str, bytes or int."""
        snapshot = self._snapshot
        return snapshot.nodes[self._index(snapshot, hash64(key, self._seed))]

    def nodes_for(self, key: Key, n: int) -> list[str]:
        """The preference list of `key`: `n` distinct nodes, the owner first, then where its replicas go.

        Raises InvalidArgument unless 1 <= n <= number of nodes.
        """
        snapshot = self._snapshot
        if not is_integer(n) or not 1 <= n <= len(snapshot.nodes):
            raise InvalidArgument(f"n={n!r} distinct nodes asked for: expected 1 <= n <= {len(snapshot.nodes)}")
        walk = self._preference(snapshot, hash64(key, self._seed))
        return [snapshot.nodes[next(walk)] for _ in range(n)]

    def nodes_for_many(self, keys: Iterable[Key] | np.ndarray) -> np.ndarray:
        """Owners of many keys of one kind, as indices into `nodes`; agrees with `node_for` on every key.

        Returns:
            intp array, one index per key. Raises InvalidArgument as `hash64_many` does.
        """
        return self._indices(self._snapshot, hash64_many(keys, self._seed))

    # ── for subclasses ───────────────────────────────────────────────────────────────────────────
    @abstractmethod
    def _build(self, members: Mapping[str, float]) -> Any:
        """A snapshot for these members; raises InvalidArgument if the algorithm cannot serve them."""

    @abstractmethod
    def _index(self, snapshot: Any, hashed: int) -> int:
        """Owner of one hash, as an index into snapshot.nodes."""

    @abstractmethod
    def _indices(self, snapshot: Any, hashed: np.ndarray) -> np.ndarray:
        """Owners of many hashes (uint64), as an intp array."""

    @abstractmethod
    def _preference(self, snapshot: Any, hashed: int) -> Iterator[int]:
        """Every node index once, the owner first."""

    def _install(self, members: dict[str, float]) -> None:
        snapshot = self._build(members)
        self._members, self._snapshot = members, snapshot

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, node: object) -> bool:
        return node in self._members

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} nodes: {_listed(self._members)}; seed={self._seed})"

    def __getstate__(self) -> dict:  # travels to Spark workers without its tables, which are rebuilt on arrival
        return {name: value for name, value in self.__dict__.items() if name != "_snapshot"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._install(self._members)

    def __copy__(self):
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


def node_name(node: str | int) -> str:
    """The text a node is known by. O(1). Raises InvalidArgument unless it is a non-empty str or an int."""
    if isinstance(node, str) and node:
        return str(node)
    if is_integer(node):
        return str(int(node))
    raise InvalidArgument(f"node {node!r}: expected a non-empty str or an int, whose text is the same in every process")


def check_weight(name: str, weight: float) -> float:
    """Return the weight as a float, or raise InvalidArgument unless it is a number in [1e-100, 1e100]. O(1)."""
    if not (is_integer(weight) or isinstance(weight, (float, np.floating))) or not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        raise InvalidArgument(f"weight={weight!r} of node {name!r}: expected a number in [{WEIGHT_MIN}, {WEIGHT_MAX}]")
    return float(weight)


def _named_weights(weights: Any) -> dict[str, float]:
    if not isinstance(weights, Mapping):
        raise InvalidArgument(f"weights={weights!r}: expected a mapping from node name to weight")
    named = {node_name(node): weight for node, weight in weights.items()}
    if len(named) < len(weights):
        raise InvalidArgument(f"weights={weights!r}: two of the names have the same text")
    return named


def _iterate(nodes: Any) -> Iterable[Any]:
    if isinstance(nodes, (str, bytes)) or not isinstance(nodes, Iterable):
        raise InvalidArgument(f"nodes={nodes!r}: expected an iterable of node names")
    return nodes


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
