"""Files that a sort writes: a spill file without a name, in blocks with checksums, and an output that appears whole.

A file without a name (O_TMPFILE) is gone with the process that has it open: after an error, Ctrl-C or kill -9 there is
nothing to clean up. The output is such a file too until it is complete, and only then gets its name.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import xxhash

from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument, KitError, MissingPrerequisite

COMPRESSIONS = ("lz4", "zstd", "zlib")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Extent(NamedTuple):
    """Where a block lies in a spill file: offset and stored size, its size unpacked and its checksum."""

    offset: int
    stored: int
    size: int
    checksum: int


class Spill:
    """Append-only blocks in a file without a name. Several threads may append and read.

    Args:
        folder: where there is room for it.
        compression: None or one of `COMPRESSIONS`, for each block by itself.
    """

    def __init__(self, folder: Path, compression: str | None = None) -> None:
        self.pack, self._unpack = codec(compression)
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  (closed by close)
        except OSError as error:
            raise clear(error, f"a temporary file in {folder}") from error
        self._lock = threading.Lock()
        self.written = self.read = 0

    def put(self, offset: int, block: np.ndarray) -> Extent:
        """Append a block (1-d bytes). `offset` in the run is not needed here: blocks are found by their extents."""
        packed = np.frombuffer(self.pack(block), dtype=np.uint8)
        with self._lock:
            at, self.written = self.written, self.written + len(packed)
        write_at(self._file.fileno(), memoryview(packed), at, "the temporary file")
        return Extent(at, len(packed), len(block), xxhash.xxh3_64_intdigest(packed))

    def get(self, extent: Extent, into: np.ndarray | None = None) -> np.ndarray:
        """A block's bytes, in `into` if that is given. Raises CorruptionError if they are not those that were put."""
        plain = self._unpack is None and into is not None
        stored = into if plain else np.empty(extent.stored, dtype=np.uint8)
        count = read_at(self._file.fileno(), stored, extent.offset, "the temporary file")
        with self._lock:
            self.read += count
        if count < extent.stored or xxhash.xxh3_64_intdigest(stored) != extent.checksum:
            raise CorruptionError("a block of the temporary file changed after it was written")
        if self._unpack is None:
            return stored
        block = np.frombuffer(self._unpack(stored, extent.size), dtype=np.uint8)
        if into is None:
            return block
        into[:] = block
        return into

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Output:
    """A file that appears under its name when it is complete, in place of an older one, or never; a context manager.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Output(Path(folder, "out")) as output:
    ...         _ = output.put(0, np.frombuffer(b"whole", dtype=np.uint8))
    ...         before = os.listdir(folder)
    ...     before, os.listdir(folder)
    ([], ['out'])
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self._path, self._durable = path, durable
        self._name: Path | None = None
        self._lock = threading.Lock()
        self.written = 0
        try:
            self._fd = self._open()
        except OSError as error:
            raise clear(error, f"the output {path.name}") from error

    def _open(self) -> int:
        if hasattr(os, "O_TMPFILE"):
            try:
                return os.open(self._path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                    raise
        self._name = self._unused()  # the file system has no files without names: this one is removed on failure
        return os.open(self._name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)

    def _unused(self) -> Path:
        return self._path.with_name(f".{self._path.name[:200]}.{uuid.uuid4().hex}.partial")

    def put(self, offset: int, block: np.ndarray) -> None:
        """Write bytes at an offset; any thread, any order."""
        write_at(self._fd, memoryview(block), offset, f"the output {self._path.name}")
        with self._lock:
            self.written += len(block)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self._publish()
        except OSError as failure:
            raise clear(failure, f"the output {self._path.name}") from failure
        finally:
            os.close(self._fd)
            if self._name is not None:
                self._name.unlink(missing_ok=True)

    def _publish(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            if self._durable:
                os.fsync(self._fd)
            if self._name is None:  # a link cannot replace a file, a rename can
                self._name = self._unused()
                # with a folder's descriptor Python calls linkat(), which follows /proc's link to the open file
                os.link(f"/proc/self/fd/{self._fd}", self._name.name, dst_dir_fd=folder, follow_symlinks=True)
            os.replace(self._name, self._path)
            self._name = None
            if self._durable:
                os.fsync(folder)
        finally:
            os.close(folder)


def write_at(fd: int, data: memoryview, offset: int, what: str) -> None:
    """Write all of it, or raise: CapacityError when the disk is full."""
    try:
        while len(data):
            done = os.pwrite(fd, data, offset)
            data, offset = data[done:], offset + done
    except OSError as error:
        raise clear(error, what) from error


def read_at(fd: int, into: np.ndarray, offset: int, what: str) -> int:
    """Fill a 1-d byte array from a file; the count is less than its length only at the end of the file."""
    view, count = memoryview(into), 0
    try:
        while count < len(view) and (done := os.preadv(fd, [view[count:]], offset + count)):
            count += done
    except OSError as error:
        raise clear(error, what) from error
    return count


def clear(error: OSError, what: str) -> KitError:
    """The kit's error for one of the operating system."""
    if error.errno in _FULL:
        return CapacityError(f"no room for {what}: {error.strerror}; nothing was left behind")
    if error.errno == errno.EIO:
        return CorruptionError(f"{what} cannot be read or written: {error.strerror}")
    return InvalidArgument(f"{what}: {error.strerror}")


def codec(compression: str | None) -> tuple[Callable, Callable | None]:
    """Functions that pack a block, and unpack it given its size; (identity, None) for no compression.

    Raises InvalidArgument for an unknown name and MissingPrerequisite where lz4 or zstd lack pyarrow.
    """
    if compression is None:
        return (lambda block: block), None
    if compression not in COMPRESSIONS:
        raise InvalidArgument(f"compression={compression!r}: expected None or one of {', '.join(COMPRESSIONS)}")
    if compression == "zlib":
        import zlib

        return (lambda block: zlib.compress(block, 1)), (lambda packed, size: zlib.decompress(packed, bufsize=size))
    try:
        import pyarrow
    except ImportError as error:
        raise MissingPrerequisite(f"{compression} comes with pyarrow: pip install principal-kit[spark]") from error
    made = pyarrow.Codec(compression, **({"compression_level": 1} if compression == "zstd" else {}))
    return made.compress, (lambda packed, size: made.decompress(pyarrow.py_buffer(packed), size))
