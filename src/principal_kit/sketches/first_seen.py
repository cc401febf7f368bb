"""Which keys of a stream are new? A Bloom filter's answer, batch by batch, in memory that never grows.

A key that was seen is never called new. A new key is called seen at the filter's false-positive rate: that is what is
lost, and it is known beforehand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from principal_kit.sketches.bloom import BitSketch
from principal_kit.sketches.hashed import hash_chunks


class FirstSeen:
    """Tells first occurrences from repeats.

    Args:
        filter: a `BloomFilter` or `BlockedBloomFilter`, filled as the stream passes; save it to go on later.

    Complexity: O(n log CHUNK) for a batch of n keys, O(filter) memory.

    >>> from principal_kit.sketches import BloomFilter
    >>> seen = FirstSeen(BloomFilter(1000, 0.001))
    >>> seen.fresh(["/a", "/b", "/a"]).tolist(), seen.fresh(["/b", "/c"]).tolist()
    ([True, True, False], [False, True])
    """

    def __init__(self, filter: BitSketch) -> None:
        self.filter = filter

    def fresh(self, keys: Any) -> np.ndarray:
        """For each key whether it is new, also within the batch; then all of them are known. Returns a bool array.

        Raises InvalidArgument on bad keys; nothing was taken in then.
        """
        answers = [self._fresh(hashes) for hashes in list(hash_chunks(keys, self.filter.seed))]
        return np.concatenate(answers) if answers else np.zeros(0, dtype=bool)

    def _fresh(self, hashes: np.ndarray) -> np.ndarray:
        """One chunk: what the filter does not know, and of equal ones among these the first."""
        answer = ~self.filter.contains_hashes(hashes)
        candidates = np.flatnonzero(answer)
        unknown = hashes[candidates]
        _, first = np.unique(unknown, return_index=True)
        if first.size < candidates.size:
            answer[:] = False
            answer[candidates[first]] = True
        self.filter.add_hashes(unknown[first])
        return answer
