"""Hashtags over time: a few that everybody always uses, a long tail, and one that breaks out for some minutes.

Popularity follows Zipf's law over made-up tags. The planted burst takes a share of the events of its time, which is
little of the whole: that is what makes a trend invisible in all-time counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer

_FIRST = [
    "music", "news", "game", "food", "travel", "book", "film", "sport", "art", "tech",
    "city", "home", "photo", "dance", "wild", "slow", "daily", "open", "new", "good",
]  # fmt: skip
_SECOND = [
    "monday", "friday", "night", "love", "life", "time", "world", "fans", "talk",
    "club", "lab", "day", "week", "tips", "live", "show", "trip", "pics", "stories",
]  # fmt: skip


@dataclass(frozen=True)
class Hashtags:
    """A stream in order of time: `times` in seconds as float64, `tags` as text, and the planted one with its times."""

    times: np.ndarray
    tags: list[str]
    burst: str
    begins: float
    ends: float


def tag_names(count: int) -> list[str]:
    """`count` different names, the most popular first. O(count)."""
    plain = [f"#{a}{b}" for b in _SECOND for a in _FIRST]
    return [plain[i % len(plain)] + (str(i // len(plain) + 1) if i >= len(plain) else "") for i in range(count)]


def hashtags(
    events: int, *, seed: int, seconds: float = 21_600.0, kinds: int = 50_000, skew: float = 1.0, share: float = 0.25
) -> Hashtags:
    """A stream of `events` hashtags over `seconds`; "#eclipse" breaks out in its last tenth but one.

    Args:
        events: number of hashtags, >= 1.
        seed: fixes the stream.
        seconds: length of the stream in event time.
        kinds: different ordinary tags.
        skew: exponent of Zipf's law, >= 0.
        share: part of the events that are the planted tag while it lasts, a twentieth of the stream's time.

    Complexity: O(events log kinds). Raises InvalidArgument on sizes below 1 or a share outside [0, 1].
    """
    if not (is_integer(events) and is_integer(kinds) and events >= 1 and kinds >= 1 and 0 <= share <= 1):
        raise InvalidArgument(f"events={events!r}, kinds={kinds!r}, share={share!r}: expected >= 1, >= 1, in [0, 1]")
    draw = np.random.default_rng(seed)
    odds = np.arange(1, kinds + 1, dtype=np.float64) ** -skew
    ranks = np.searchsorted(np.cumsum(odds) / odds.sum(), draw.random(events))
    times = np.sort(draw.uniform(0, seconds, events))
    begins, ends = 0.85 * seconds, 0.9 * seconds
    planted = (times >= begins) & (times < ends) & (draw.random(events) < share)
    names = tag_names(kinds)
    tags = ["#eclipse" if p else names[r] for p, r in zip(planted.tolist(), np.minimum(ranks, kinds - 1).tolist())]
    return Hashtags(times, tags, "#eclipse", begins, ends)
