"""Real numbers on their way into and out of a sketch: what is refused, in one place.

Finite numbers only, and no bool: NaN would poison every sum, and True is nearly always a condition passed by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import is_integer


def number(x: Any, what: str = "value") -> float:
    """A finite number as float; `what` names it in the error. Raises InvalidArgument on anything else."""
    if isinstance(x, (float, np.floating)) or is_integer(x):
        try:
            number = float(x)
        except OverflowError:
            raise InvalidArgument(f"a {what} of {x!r} is beyond the largest float") from None
        if isfinite(number):
            return number
    raise InvalidArgument(f"a {what} of {x!r}: expected a finite number")


def numbers(xs: Any, what: str = "value") -> np.ndarray:
    """Many finite numbers as one float64 array, the array itself where it is one already. Raises InvalidArgument."""
    if hasattr(xs, "to_numpy"):
        xs = xs.to_numpy()
    if not isinstance(xs, np.ndarray):
        xs = _listed(xs, what)
    if isinstance(xs, np.ma.MaskedArray):
        raise InvalidArgument(f"{what}s are a masked array: fill it or drop what is masked")
    if xs.shape == (0,):  # without elements an array or Series has any dtype
        return np.empty(0)
    if xs.ndim != 1 or xs.dtype.kind not in "fiu":
        raise InvalidArgument(f"{what}s of dtype {xs.dtype} and shape {xs.shape}: expected numbers in one dimension")
    with np.errstate(over="ignore"):  # a long double may not fit: refused below
        array = np.ascontiguousarray(xs, dtype=np.float64)
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidArgument(f"the {what} at {at} is {xs[at]!r}: expected finite numbers")
    return array


def _listed(xs: Any, what: str) -> np.ndarray:
    if isinstance(xs, (str, bytes, bytearray, memoryview)) or not isinstance(xs, Iterable):
        raise InvalidArgument(f"{what}s of type {type(xs).__name__}: expected an array or an iterable of numbers")
    items = xs if isinstance(xs, (list, tuple, range)) else list(xs)
    if set(map(type, items)) <= {float, int}:
        try:
            return np.array(items, dtype=np.float64)
        except OverflowError:
            pass  # the slow path names the culprit
    return np.array([number(x, what) for x in items], dtype=np.float64)


def fractions(q: Any) -> np.ndarray:
    """Fractions in [0, 1], in the shape in which they came. Raises InvalidArgument."""
    wanted = reals(q)
    if not ((wanted >= 0) & (wanted <= 1)).all():
        raise InvalidArgument(f"q={q!r}: expected fractions in [0, 1]")
    return wanted


def reals(x: Any) -> np.ndarray:
    """Numbers to ask about, infinities allowed, in the shape in which they came. Raises InvalidArgument."""
    array = np.asarray(x)
    if (array.dtype.kind not in "fiu" and array.size) or np.ma.isMaskedArray(x):
        raise InvalidArgument(f"{x!r}: expected a number or an array of numbers")
    array = array.astype(np.float64)
    if np.isnan(array).any():
        raise InvalidArgument(f"{x!r}: expected numbers, got NaN")
    return array


def shaped(result: np.ndarray, like: Any) -> Any:
    """A float for a scalar question, else the array."""
    return float(result) if np.ndim(like) == 0 else result
