"""What all sketches share: they are values. They merge only with their like, and travel as checked bytes.

A sketch answers a question about a stream from far less memory than the stream takes, within a stated error.
Subclasses say how one key is added, how another sketch is taken in, and how their state is written and read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from principal_kit.core.codec import Reader, Writer, seal, unseal
from principal_kit.core.errors import CorruptionError, InvalidArgument


class Sketch(ABC):
    """Base of every sketch. Equal bytes mean equal sketches; pickle uses the checked bytes, so Spark can ship them.

    Class attributes: `KIND`, four ASCII bytes that name the type in its frame; `VERSION` of the layout.
    """

    KIND: ClassVar[bytes]
    VERSION: ClassVar[int] = 1

    @abstractmethod
    def add(self, x: Any) -> None:
        """Take in one element."""

    @abstractmethod
    def add_many(self, xs: Any) -> None:
        """Take in many elements: a numpy array, a pandas Series or a list. Bad input changes nothing."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What must be equal for two sketches to merge: sizes and seed, by name."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory of the sketch's state in bytes, without Python's own overhead per object."""

    @abstractmethod
    def _absorb(self, other: Self) -> None:
        """Take in a compatible sketch."""

    @abstractmethod
    def _write(self, writer: Writer) -> None:
        """Append parameters and state."""

    @classmethod
    @abstractmethod
    def _read(cls, reader: Reader) -> Self:
        """The sketch that `_write` wrote. May raise InvalidArgument for impossible parameters."""

    def merge(self, other: Self) -> Self:
        """Take in all that `other` has seen, in place, and return self; `other` stays as it is.

        Raises InvalidArgument for another type or other parameters, naming those that differ; nothing has changed then.
        """
        if type(other) is not type(self):
            raise InvalidArgument(f"cannot merge {type(other).__name__} into {type(self).__name__}")
        mine, theirs = self.parameters, other.parameters
        differ = [f"{name} {mine[name]!r} and {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]
        if differ:
            raise InvalidArgument(f"{type(self).__name__}s with different parameters do not merge: {'; '.join(differ)}")
        self._absorb(other)
        return self

    def to_bytes(self) -> bytes:
        """The sketch as a versioned, checksummed frame (see `core.codec`). O(nbytes)."""
        writer = Writer()
        self._write(writer)
        return seal(self.KIND, self.VERSION, writer.payload())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The sketch in `data`. O(n). Raises CorruptionError for anything but an unchanged frame of this type."""
        reader = unseal(cls.KIND, cls.VERSION, data)
        try:
            sketch = cls._read(reader)
        except CorruptionError:
            raise
        except (InvalidArgument, ValueError) as error:  # a valid checksum over impossible contents
            raise CorruptionError(f"the frame of a {cls.__name__} holds impossible values: {error}") from error
        reader.end()
        return sketch

    def copy(self) -> Self:
        """An independent sketch in the same state. O(nbytes)."""
        return type(self).from_bytes(self.to_bytes())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, (self.to_bytes(),)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # a value that changes
