"""Orders of a shop: few countries and products have most of them, amounts have a heavy tail, a few are giants.

Nobody's production data. What makes it hard for a sample is planted and known: countries with a handful of orders, and
`GIANTS` orders of a quarter to two million among millions of about forty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer

COUNTRIES = (
    "US", "DE", "GB", "FR", "JP", "IT", "ES", "NL", "CA", "AU", "PL", "SE", "BR", "IN", "CH",
    "AT", "BE", "DK", "NO", "FI", "PT", "IE", "NZ", "EE", "LU", "IS", "MT", "LI", "SM", "VA",
)  # fmt: skip
"""Names of the country codes, from most to fewest orders."""

RARE = {25: 600, 26: 240, 27: 80, 28: 24, 29: 6}
"""Countries with so many orders, whatever the scale: IS, MT, LI, SM, VA."""

STATUSES = ("delivered", "shipped", "returned", "disputed")
PRODUCTS = 500
GIANTS = 12
_STATUS_ODDS = (0.86, 0.10, 0.0395, 0.0005)


@dataclass(frozen=True)
class Orders:
    """Columns of equal length: codes of `COUNTRIES` and `STATUSES`, product, customer and day, and the amount."""

    country: np.ndarray
    product: np.ndarray
    status: np.ndarray
    customer: np.ndarray
    day: np.ndarray
    amount: np.ndarray

    def __len__(self) -> int:
        return len(self.amount)

    def frame(self) -> pd.DataFrame:
        """The columns as a table, without a copy where pandas allows."""
        return pd.DataFrame(vars(self), copy=False)


def orders(rows: int, *, seed: int, days: int = 90, giants: int = GIANTS) -> Orders:
    """`rows` orders in order of time.

    Args:
        rows: number of orders, at least 10,000.
        seed: fixes them.
        days: the orders spread evenly over days 0, 1, ….
        giants: orders of 250,000 to 2,000,000, in countries that are not rare.

    Amounts are lognormal with a median of 30; one in 200 is a business order on a Pareto tail of exponent 1.4 from 200,
    whose variance is infinite. About 50 bytes and 0.3 µs a row. Raises InvalidArgument on too few rows or days.
    """
    if not (is_integer(rows) and is_integer(days) and is_integer(giants)) or rows < 10_000 or days < 1:
        raise InvalidArgument(f"rows={rows!r}, days={days!r}, giants={giants!r}: expected >= 10,000, >= 1, an integer")
    if not 0 <= giants <= rows // 100:
        raise InvalidArgument(f"giants={giants!r}: expected 0 to a hundredth of the rows")
    draw = np.random.default_rng(seed)
    common = len(COUNTRIES) - len(RARE)
    country = _skewed(draw, rows, common, 1.2).astype(np.int16)
    some = draw.choice(rows, sum(RARE.values()) + giants, replace=False)
    amount = draw.lognormal(np.log(30.0), 0.8, rows)
    business = np.flatnonzero(draw.random(rows) < 1 / 200)
    amount[business] = 200.0 * (draw.pareto(1.4, business.size) + 1.0)
    amount[some[:giants]] = draw.uniform(250_000, 2_000_000, giants)
    country[some[giants:]] = np.repeat(list(RARE), list(RARE.values()))
    return Orders(
        country=country,
        product=_skewed(draw, rows, PRODUCTS, 1.0).astype(np.int16),
        status=np.searchsorted(np.cumsum(_STATUS_ODDS)[:-1], draw.random(rows), side="right").astype(np.int8),
        customer=_skewed(draw, rows, max(rows // 10, 1), 0.6).astype(np.int32),
        day=(np.arange(rows) * days // rows).astype(np.int16),
        amount=np.round(amount, 2),
    )


def _skewed(draw: np.random.Generator, rows: int, kinds: int, skew: float) -> np.ndarray:
    """Codes below `kinds` by Zipf's law, 0 the most frequent."""
    odds = np.cumsum(np.arange(1, kinds + 1, dtype=np.float64) ** -skew)
    return np.searchsorted(odds, draw.random(rows) * odds[-1], side="right")
