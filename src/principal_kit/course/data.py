"""Real data that the book carries in `data/`: small, with source and licence in data/README.md, checked when loaded."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from principal_kit.core.errors import CorruptionError, InvalidArgument, MissingPrerequisite
from principal_kit.course import project

if TYPE_CHECKING:
    import pandas as pd

SHA256 = {
    "flights.parquet": "ba14fca49d3812f518a8d414dc5cadba71031c34d1958890a2f65deff3eb10b2",
    "words.txt.gz": "64e5567fc2fec2ca09efc5e8dcdbc28985f7388937034402c541c6fc9ed75123",
}


def flights(columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The 336,776 flights that were to leave New York City's three airports in 2013, by scheduled departure.

    Columns:
        scheduled: departure by the timetable, local time, as datetime64.
        dep_delay, arr_delay: minutes late, negative when early; NaN for 8,255 flights that never left, and
            arr_delay for 1,175 more that did not arrive where they were to.
        air_time: minutes in the air, NaN with arr_delay.
        distance: miles.
        carrier, flight: the airline's code (16 of them) and its number for the flight.
        origin, dest: airport codes: EWR, JFK or LGA, and 105 destinations.
        tailnum: which of 4,043 aircraft; missing for 2,512 flights.

    Args:
        columns: which of them to read, in this order; all by default.

    Costs one read of 3 MB and 50 ms. Raises InvalidArgument for an unknown column, CorruptionError if the file was
    changed, MissingPrerequisite outside of a checkout or without pyarrow. Source: data/README.md.
    """
    import pandas as pd

    source = io.BytesIO(_read("flights.parquet"))
    try:
        from pyarrow.parquet import read_schema
    except ImportError as error:
        raise MissingPrerequisite("flights() needs pyarrow: pip install pyarrow") from error
    known = read_schema(source).names
    wanted = known if columns is None else list(columns)
    if unknown := [name for name in wanted if name not in known]:
        raise InvalidArgument(f"columns {unknown} are not in flights; it has {', '.join(known)}")
    return pd.read_parquet(source, columns=wanted)[wanted]


def words() -> list[str]:
    """74,744 words of American English, capitalised where they are names, without the forms in 's, in byte order.

    Raises CorruptionError if the file was changed, MissingPrerequisite outside of a checkout. Source: data/README.md.

    >>> listed = words()
    >>> len(listed), listed[40_000]
    (74744, 'institutional')
    """
    return gzip.decompress(_read("words.txt.gz")).decode().splitlines()


def _read(name: str) -> bytes:
    """A file of data/, if it is the one this version of the book was written with."""
    path = project.root() / "data" / name
    if not path.exists():
        raise MissingPrerequisite(f"data/{name} is not in this checkout: git checkout -- data")
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256[name]:
        raise CorruptionError(f"data/{name} has sha256 {found[:12]}…, expected {SHA256[name][:12]}…: it was changed")
    return content
