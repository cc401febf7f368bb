"""One error tree for the whole kit.

An error says what was wrong, what was expected, and, where waiting helps, `retry_after` in seconds.
Everything a caller can act on derives from `KitError`; `assert` is kept for bugs in the kit itself.
"""

from __future__ import annotations


class KitError(Exception):
    """Base of every error the kit raises on purpose.

    Args:
        message: what was wrong and what was expected instead.
        retry_after: seconds after which the same call may succeed, or None if waiting does not help.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidArgument(KitError, ValueError):
    """A value outside an argument's contract. The callee has changed nothing."""


class CapacityError(KitError):
    """A documented bound (queue, table, pool, number of clients) was reached."""


class CorruptionError(KitError):
    """Bytes that fail their checksum or format. They are never read as data."""


class MissingPrerequisite(KitError):
    """Software the call needs is not installed; the message names the command that installs it."""


class ServiceError(KitError):
    """A server did not start, died, or does not answer. The message ends with the last lines of its log."""


class Unavailable(KitError):
    """A dependency cannot be reached right now and the caller asked to fail closed."""
