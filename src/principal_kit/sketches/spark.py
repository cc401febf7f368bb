"""A column of a Spark DataFrame as one sketch: one per partition over Arrow batches, merged in a tree, the rest here.

Only sketches travel, never rows. DataFrame API alone, so the same code runs over Spark Connect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer
from principal_kit.sketches.sketch import Sketch

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

S = TypeVar("S", bound=Sketch)
_SCHEMA = "sketch binary"


def sketch_column(df: DataFrame, column: str, make: Callable[[], S], *, fan_in: int = 8) -> S:
    """The sketch of all values of `column` that are not null. Runs the query.

    Args:
        df: any DataFrame; read once.
        column: a column of strings, binary, integers, or for sketches of numbers of floats.
        make: makes an empty sketch; called in every task, so it must be picklable (a lambda is).
        fan_in: tasks of the second level, and sketches that reach the driver.

    Where merging is exact (Bloom, Count-Min, HyperLogLog, PCSA) the result equals, byte for byte, the sketch of the
    same values in one process, whatever the partitions.

    Complexity: a task holds one sketch and one Arrow batch; `fan_in` sketches come to the driver. Raises
    InvalidArgument for a column that is not there and a bad fan_in; a task's own refusal arrives as Spark's exception.
    """
    if column not in df.columns:
        raise InvalidArgument(f"no column {column!r}: the DataFrame has {', '.join(df.columns)}")
    if not is_integer(fan_in) or not 1 <= fan_in <= 1024:
        raise InvalidArgument(f"fan_in={fan_in!r}: expected an integer from 1 to 1024")
    total = make()
    if not isinstance(total, Sketch):
        raise InvalidArgument(f"make() gave a {type(total).__name__}, expected a sketch")
    parts = df.select(column).mapInArrow(_build(make), _SCHEMA)
    merged = parts.repartition(int(fan_in)).mapInArrow(_merge(make), _SCHEMA)
    for row in merged.collect():
        total.merge(type(total).from_bytes(bytes(row[0])))
    return total


def _build(make: Callable[[], Sketch]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a task of the first level runs: its partition's batches into one sketch."""

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        sketch = make()
        for batch in batches:
            sketch.add_many(_values(batch.column(0)))
        yield _row(sketch)

    return build


def _merge(make: Callable[[], Sketch]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a task of the second level runs: the sketches it was sent into one."""

    def merge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total, kind = make(), type(make())
        for batch in batches:
            for value in batch.column(0):
                total.merge(kind.from_bytes(value.as_py()))
        yield _row(total)

    return merge


def _values(column: pa.Array) -> Any:
    """An Arrow column without its nulls: numbers as a numpy array, text and bytes as a list."""
    column = column.drop_null()
    if str(column.type).startswith(("int", "uint", "float", "double")):
        return column.to_numpy(zero_copy_only=False)
    return column.to_pylist()


def _row(sketch: Sketch) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([sketch.to_bytes()], type=pa.binary())], ["sketch"])
