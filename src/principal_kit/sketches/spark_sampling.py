"""Exactly k rows of a Spark DataFrame, every set of k as likely as any other: a reservoir a partition, then a merge.

Each partition keeps rows with keys (`AlgorithmL.keys`); the k smallest keys of all partitions are a uniform sample of
all rows, however unequal the partitions are. DataFrame API only, so it also runs over Spark Connect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import check_seed, is_integer
from principal_kit.sketches.algorithm_l import AlgorithmL

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

KEY, CUT = "_reservoir_key", "_reservoir_cut"


def sample_exactly(df: DataFrame, k: int, *, seed: int, capacity: int | None = None) -> DataFrame:
    """A uniform sample without replacement of exactly k rows (of all rows if there are fewer), in random order, lazy.

    Args:
        df: any DataFrame; read once.
        k: rows wanted, >= 1.
        seed: partition p draws from the generator of (seed, p); the same seed over the same partitions gives the same
            rows.
        capacity: rows a partition keeps. Default k, which is always enough. P partitions send up to P * capacity rows
            through the shuffle, so for many partitions give somewhat more than the largest partition's fair share, see
            `fair_share`. If it was too small the query fails; it never returns a skewed sample.

    Complexity: every row passes once through Python; memory of a task O(capacity) rows. Raises InvalidArgument.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import BooleanType, DoubleType, StructField, StructType

    for name, value in (("k", k), ("capacity", k if capacity is None else capacity)):
        if not is_integer(value) or not 1 <= value < 1 << 31:
            raise InvalidArgument(f"{name}={value!r}: expected an integer of at least 1")
    if clash := {KEY, CUT} & set(df.columns):
        raise InvalidArgument(f"columns named {sorted(clash)}: rename them, the sample needs these names")
    size = min(k, k if capacity is None else capacity)
    columns = [StructField(KEY, DoubleType(), False), StructField(CUT, BooleanType(), False)]
    kept = df.mapInArrow(
        _reservoir_of_rows(size, check_seed(seed), whole=size >= k), StructType([*df.schema, *columns])
    )
    first = kept.orderBy(KEY).limit(k)
    if size < k:
        message = f"capacity={size} is too small for k={k}: a partition left out rows that may belong in the sample"
        fine = F.when(F.col(CUT), F.raise_error(F.lit(message)).cast("boolean")).otherwise(F.lit(True))
        first = first.where(fine)
    return first.drop(KEY, CUT)


def fair_share(k: int, rows: int, largest_partition: int) -> int:
    """A capacity that a partition's part of the sample exceeds with probability 10^-12 at most. O(1).

    Args:
        k: rows wanted.
        rows: rows of the table.
        largest_partition: rows of its largest partition.

    Bernstein's inequality for the binomial count that bounds the hypergeometric one.

    >>> fair_share(1_000_000, 10_000_000_000, 10_000_000)
    1246
    """
    mean, odds = k * largest_partition / rows, np.log(1e12)
    return min(k, int(np.ceil(mean + odds / 3 + np.sqrt(odds**2 / 9 + 2 * mean * odds))) + 1)


def _reservoir_of_rows(size: int, seed: int, *, whole: bool) -> Callable[[Iterator[pa.RecordBatch]], Iterator]:
    """What runs in a task: the partition's batches in, its reservoir with keys out."""

    def sample(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyspark import TaskContext

        rng = np.random.default_rng([seed, TaskContext.get().partitionId()])
        plan, held, rows = AlgorithmL(size, rng), [], 0
        where = np.empty(0, dtype=np.int64)  # by place in the reservoir: its row among those held
        for batch in batches:
            taken, places = plan.advance(batch.num_rows)
            if taken.size:
                held.append(batch.take(pa.array(taken)))
                where = np.concatenate([where, np.empty(len(plan) - where.size, dtype=np.int64)])
                where[places] = rows + np.arange(taken.size)
                rows += taken.size
            if rows > 3 * size + 10_000:  # most have been evicted since
                held, where, rows = [pa.Table.from_batches(held).take(pa.array(where))], np.arange(len(plan)), len(plan)
                held = held[0].to_batches()
        if held:
            keys = plan.keys(rng)
            cut = np.zeros(keys.size, dtype=bool)
            cut[keys.argmax()] = not whole and plan.seen > size  # whoever comes after this key is not here
            table = pa.Table.from_batches(held).take(pa.array(where))
            yield from table.append_column(KEY, pa.array(keys)).append_column(CUT, pa.array(cut)).to_batches()

    return sample
