"""Page views of a web site over days: who looked at what, and when. Counting them is easy, counting people is not.

Views come in sessions of about four, a few visitors come ten times as often as others, evenings are busy, and of
yesterday's visitors two in five are back today: all that makes sums of unique counts wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer

DAY_MS = 86_400_000
SECTIONS = ("shop", "help")
RETURNING = 0.4


class Visits(NamedTuple):
    """Views in order of time: `times` in ms from the day's midnight, int64; `visitors` by account number, uint64;
    `sections` as places in SECTIONS, uint8."""

    times: np.ndarray
    visitors: np.ndarray
    sections: np.ndarray


def visits(views: int, *, seed: int, day: int = 0) -> Visits:
    """One day of `views` page views by up to views / 4 accounts; about half of these show up.

    Args:
        views: number of views, >= 4.
        seed: fixes the stream, together with the day.
        day: which day, >= 0; accounts of neighbouring days overlap by 40 %.

    Complexity: O(views log views). Raises InvalidArgument on other sizes.

    >>> day = visits(10_000, seed=1)
    >>> len(day.times), len(np.unique(day.visitors))
    (10000, 1315)
    """
    if not (is_integer(views) and is_integer(day) and views >= 4 and day >= 0):
        raise InvalidArgument(f"views={views!r}, day={day!r}: expected integers, at least 4 and 0")
    draw = np.random.default_rng([seed, day])
    accounts = sessions = views // 4
    fond = np.cumsum(np.random.default_rng([seed]).lognormal(0.0, 0.8, accounts))
    who = np.searchsorted(fond, draw.random(sessions) * fond[-1]) + round(day * (1 - RETURNING) * accounts)
    helped = draw.random(sessions) < 0.15
    hours = np.linspace(0, 24, 1_441)
    busy = np.cumsum(1 + 0.8 * np.cos((hours - 20) / 12 * np.pi))
    begins = np.interp(draw.random(sessions) * busy[-1], busy, hours) / 24 * DAY_MS
    of = draw.integers(0, sessions, views)
    times = np.minimum(begins[of] + draw.exponential(120_000, views), DAY_MS - 1).astype(np.int64)
    order = np.argsort(times, kind="stable")
    of = of[order]
    return Visits(times[order], (1_000_000 + who[of]).astype(np.uint64), helped[of].astype(np.uint8))
