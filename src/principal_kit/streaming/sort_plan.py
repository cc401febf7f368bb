"""How many runs a sort makes, how many passes merge them, how many at a time, and what that reads and writes.

The arithmetic that a sort follows, apart from the sort: it plans 1 TB as readily as it plans a test file.
"""

from __future__ import annotations

from dataclasses import dataclass

from principal_kit.core.errors import InvalidArgument
from principal_kit.streaming import key_order

_BLOCKS = 512  # a block is this part of the limit, so that some 160 runs can be merged at any limit
_BLOCK_BYTES_MIN, _BLOCK_BYTES_MAX = 4 << 10, 4 << 20
_AREA_RECORDS_MIN = 4  # two runs of two blocks, whatever the limit
_SMALL_BYTES = 16 << 20  # what these may take beyond the limit: it is within the constant that the process may


@dataclass(frozen=True)
class SortPlan:
    """`runs` sorted pieces, merged in `passes` of at most `width` at a time."""

    runs: int
    passes: int
    width: int

    def bytes_moved(self, size: int) -> int:
        """Bytes read and written for an input of `size` bytes: once for each merge pass and once for the runs."""
        return 2 * size * (self.passes + 1)


def merge_plan(runs: int, width_max: int) -> SortPlan:
    """The fewest passes that merge so many runs, and the narrowest merges that need no more of them. O(log runs).

    >>> merge_plan(21, 80), merge_plan(100, 80)
    (SortPlan(runs=21, passes=1, width=21), SortPlan(runs=100, passes=2, width=10))
    """
    if runs < 1:
        return SortPlan(0, 0, 0)
    passes, reach = 1, width_max
    while reach < runs:
        passes, reach = passes + 1, reach * width_max
    width = 1
    while width**passes < runs:
        width += 1
    return SortPlan(runs, passes, width)


@dataclass(frozen=True)
class BlockBudget:
    """How records of one width share the memory, counted in records.

    A record in memory costs its width and what ordering it takes; a tenth is for blocks on their way to a file. Each
    of `threads` sorts a run of `run_records`. A merge gives its `area_records` to the runs in equal parts, and each has
    to hold two blocks.
    """

    record_size: int
    memory_limit: int
    threads: int = 2

    def __post_init__(self) -> None:
        if self.memory_limit < self.record_size:
            raise InvalidArgument(f"memory_limit={self.memory_limit}: less than one record of {self.record_size} bytes")
        least = _AREA_RECORDS_MIN * (self.record_size + key_order.BYTES_PER_RECORD)
        if least > self.memory_limit + _SMALL_BYTES:
            raise InvalidArgument(
                f"memory_limit={self.memory_limit}: records of {self.record_size} bytes are so large that a merge "
                f"needs {least:,} bytes"
            )

    @property
    def area_records(self) -> int:
        """Records that fit into the limit together."""
        return max(_AREA_RECORDS_MIN, self.memory_limit * 9 // 10 // (self.record_size + key_order.BYTES_PER_RECORD))

    @property
    def run_records(self) -> int:
        """Records of a run."""
        return max(1, self.area_records // self.threads)

    @property
    def block_records(self) -> int:
        """Records that are read and written at a time."""
        small = min(_BLOCK_BYTES_MIN, self.memory_limit // 16)  # of a small limit a larger part, or calls cost most
        size = min(max(self.memory_limit // _BLOCKS, small), _BLOCK_BYTES_MAX)
        return max(1, size // self.record_size)

    @property
    def width_max(self) -> int:
        """Runs that can be merged at a time."""
        return max(2, self.area_records // (2 * self.block_records))

    def plan(self, size: int) -> SortPlan:
        """The plan for a file of so many bytes.

        >>> BlockBudget(100, 256 << 20).plan(2 * 10**9)
        SortPlan(runs=24, passes=1, width=24)
        >>> BlockBudget(100, 16 * 10**9).plan(10**12).passes
        1
        """
        records = size // self.record_size
        return merge_plan(0 if records <= self.area_records else -(-records // self.run_records), self.width_max)
