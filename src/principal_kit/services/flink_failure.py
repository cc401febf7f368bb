"""What went wrong, in one line, out of the two hundred lines of Java that Flink answers with.

A chain of exceptions is told outermost first; the last `Caused by` is the reason. Calcite's reasons alone leave out
where in the statement they are, so the link above that says it wins.
"""

from __future__ import annotations

import re

from principal_kit.core.errors import ServiceError

_LINE_MAX = 600
_POSITION = re.compile(r"(From|At) line \d+, column \d+")
_LINK = re.compile(
    r"^(?:Caused by: |\[?ERROR\]? ?)?((?:[\w$]+\.)+[\w$]*(?:Exception|Error|Throwable|Failure)\b[\w$]*)(?:: ?(.*))?$"
)


class FlinkError(ServiceError):
    """A statement or job that Flink refused or failed; the message is the root cause, `trace` all that Flink said."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def links(trace: str) -> list[str]:
    """The messages of a chain of Java exceptions, outermost first; those of several lines joined by spaces."""
    chain: list[list[str]] = []
    reading = False
    for line in trace.splitlines():
        match = _LINK.match(line.strip().removeprefix("<Exception on server side:").strip())
        if match and (line.startswith("Caused by") or not chain or not reading):
            chain.append([match[1].rsplit(".", 1)[-1], match[2] or ""])
            reading = True
        elif re.match(r"\s+(at |\.\.\. \d+ more|Suppressed: )|\s*End of exception on server side", line):
            reading = False
        elif reading:
            chain[-1].append(line.strip())
    return [" ".join(filter(None, words)) or name for name, *words in chain]


def root_cause(trace: str) -> str:
    """The reason at the end of the chain, at most 600 characters; what was said itself if it is no chain."""
    messages = links(trace)
    if not messages:
        said = " ".join(trace.split())
        return said[:_LINE_MAX] or "no reason given"
    cause = messages[-1]
    for message in reversed(messages[:-1]):
        if _POSITION.match(message) and message.endswith(cause):
            cause = message
            break
    cause = cause.partition(" Was expecting one of")[0]  # what a parser would have taken is half the grammar
    return cause if len(cause) <= _LINE_MAX else cause[: _LINE_MAX - 1] + "…"
