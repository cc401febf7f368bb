"""Log lines of a few services with an incident: most lines say nothing, and what matters comes late and rarely.

Nobody's production logs: services differ in volume, levels are skewed, and from the deploy on one service writes an
error that was never seen before. Fixed seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer

SERVICES = ("gateway", "search", "catalog", "payments")
VOLUME = (0.70, 0.20, 0.08, 0.02)  # share of the lines
LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")
ODDS = (0.600, 0.370, 0.028, 0.002)
_SAYS = ("cache lookup", "request served", "slow response", "upstream timeout")
INCIDENT = "ledger version mismatch"


class LogLine(NamedTuple):
    """Seconds since the start, who wrote it, how loud, and what."""

    at: float
    service: str
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.level} {self.service} {self.message}"

    @classmethod
    def parse(cls, text: str) -> LogLine:
        """The line that `str` wrote. Raises InvalidArgument on anything else."""
        try:
            at, level, service, message = text.split(" ", 3)
            return cls(float(at), service, level, message)
        except ValueError:
            raise InvalidArgument(f"no log line: {text[:60]!r}") from None


def log_lines(count: int, *, seed: int, seconds: float = 3600.0, deploy: float = 0.8) -> list[LogLine]:
    """`count` lines in order of time; from the share `deploy` of the time on, one payments line in 25 is the new error.

    O(count). Raises InvalidArgument on a count below 1 or a share outside [0, 1].
    """
    if not is_integer(count) or count < 1 or not 0 <= deploy <= 1:
        raise InvalidArgument(f"count={count!r}, deploy={deploy!r}: expected >= 1, in [0, 1]")
    rng = np.random.default_rng([seed, 21])
    times = np.sort(rng.uniform(0, seconds, count))
    services = rng.choice(len(SERVICES), count, p=VOLUME)
    levels = rng.choice(len(LEVELS), count, p=ODDS)
    broken = (services == SERVICES.index("payments")) & (times >= deploy * seconds) & (rng.random(count) < 0.04)
    return [
        LogLine(round(at, 3), SERVICES[s], "ERROR" if new else LEVELS[n], INCIDENT if new else _SAYS[n])
        for at, s, n, new in zip(times.tolist(), services.tolist(), levels.tolist(), broken.tolist())
    ]
