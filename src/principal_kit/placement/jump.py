"""Jump consistent hash: no table at all. Replay the key's own history of moves as buckets 1, 2, … n appear.

When bucket b + 1 appears a key moves to it with probability 1 / (b + 1); drawing the next jump directly makes the
replay take O(log n) steps. The price: buckets are numbers, so only the last one can leave, and there are no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import MASK64, is_integer, mix64
from principal_kit.placement.interface import Placement, node_name

_LCG = 2862933555777941757  # the multiplier of the paper's generator


@dataclass(frozen=True)
class _Buckets:
    nodes: tuple[str, ...]


class JumpHash(Placement):
    """Perfectly even, memory-free placement over numbered buckets; for shards that never leave out of turn.

    Bucket i is the i-th node to have joined, so here the order of joining matters. `nodes_for` hashes again for every
    further replica: distinct, but when a bucket is added a replica may move between old nodes.

    Complexity: O(log n) a lookup, O(1) memory. Raises InvalidArgument on weights other than 1 and on the removal of
    any node but the last to have joined.

    Source: Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.

    >>> shards = JumpHash(["s0", "s1", "s2"])
    >>> shards.add_node("s3")
    >>> shards.remove_node("s3")
    >>> shards.nodes
    ('s0', 's1', 's2')
    """

    def __init__(self, nodes: Iterable[str | int], seed: int = 0, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(nodes, seed=seed, weights=weights)

    def remove_node(self, node: str | int) -> None:
        """Let the last bucket leave. Raises InvalidArgument for any other: the buckets after it would be renumbered."""
        name = node_name(node)
        if name in self and name != self.nodes[-1]:
            raise InvalidArgument(
                f"jump hash can only remove the last node ({self.nodes[-1]!r}), not {name!r}: "
                "replace the machine behind the bucket, or use HashRing or Rendezvous"
            )
        super().remove_node(node)

    def _build(self, members: Mapping[str, float]) -> _Buckets:
        for name, weight in members.items():
            if weight != 1.0:
                raise InvalidArgument(f"weight={weight!r} of {name!r}: jump hash has no weights; Rendezvous has")
        return _Buckets(tuple(members))

    def _index(self, snapshot: _Buckets, hashed: int) -> int:
        return _jump(hashed, len(snapshot.nodes))

    def _indices(self, snapshot: _Buckets, hashed: np.ndarray) -> np.ndarray:
        return jump_buckets(hashed, len(snapshot.nodes))

    def _preference(self, snapshot: _Buckets, hashed: int) -> Iterator[int]:
        count, seen = len(snapshot.nodes), set()
        for attempt in range(16 * count):  # an attempt misses with probability seen/count; the rest comes in order
            bucket = _jump(hashed if attempt == 0 else mix64((hashed + attempt) & MASK64), count)
            if bucket not in seen:
                seen.add(bucket)
                yield bucket
        yield from (bucket for bucket in range(count) if bucket not in seen)


def jump_bucket(key: int, buckets: int) -> int:
    """Bucket in [0, buckets) of a 64-bit key, as in figure 1 of the paper. O(log buckets).

    Raises InvalidArgument if the key is no integer or there is no bucket.

    >>> [jump_bucket(256, 1024), jump_bucket(42, 57), jump_bucket(0xDEAD10CC, 666)]
    [520, 43, 361]
    """
    _check_buckets(buckets)
    if not is_integer(key):
        raise InvalidArgument(f"key={key!r}: expected an integer; hash64 makes one of text")
    return _jump(int(key), buckets)


def _jump(key: int, buckets: int) -> int:
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * _LCG + 1) & MASK64
        following = int((bucket + 1) * (2147483648.0 / ((key >> 33) + 1)))
    return bucket


def jump_buckets(keys: np.ndarray, buckets: int) -> np.ndarray:
    """`jump_bucket` over a uint64 array: all jump at once, and those who have landed sit out. O(n log buckets)."""
    _check_buckets(buckets)
    landed = np.zeros(len(keys), dtype=np.intp)
    active = np.arange(len(keys))
    state = np.array(keys, dtype=np.uint64)
    at = np.zeros(len(keys), dtype=np.float64)
    while active.size:
        landed[active] = at
        state = state * np.uint64(_LCG) + np.uint64(1)
        at = np.floor((at + 1.0) * (2147483648.0 / ((state >> np.uint64(33)).astype(np.float64) + 1.0)))
        going = at < buckets
        active, state, at = active[going], state[going], at[going]
    return landed


def _check_buckets(buckets: int) -> None:
    if not is_integer(buckets) or buckets < 1:
        raise InvalidArgument(f"buckets={buckets!r}: expected an integer >= 1")
