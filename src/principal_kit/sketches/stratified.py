"""A stratified sample: of every group of rows, those with the smallest random numbers, up to a cap.

Each row draws a 64-bit number when it arrives. The rows of a group with the least numbers are a uniform sample of it,
whoever looked at them in which order: so samples of partitions merge, and small groups stay whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import Key, is_integer
from principal_kit.sketches.heavy_hitters import checked_key, checked_keys
from principal_kit.sketches.intervals import AGGREGATES, Estimates, Matched, estimates
from principal_kit.sketches.item_codec import read_items, write_items
from principal_kit.sketches.real_numbers import number, numbers
from principal_kit.sketches.sketch import Sketch

_NONE_LEFT_OUT = np.uint64((1 << 64) - 1)  # above every random number drawn
_CHUNK = 1 << 14  # rows sorted at once to begin with: from then on, most rows of large groups are dropped unsorted


class StratifiedSample(Sketch):
    """A sample without replacement of the rows of every group, with COUNT, SUM and AVG estimated from it.

    Args:
        cap: rows kept of a group, >= 0. Groups with fewer rows are kept whole, and answers about them are exact.
        columns: names of the numeric columns kept with each row.
        caps: other caps for some groups, as an allocation gives them (`principal_kit.sketches.allocation`).
        rng: source of the random numbers. Samples to be merged need *different* generators: `rng.spawn(n)`.

    A uniform sample is the case of one group. Complexity for G groups and m kept rows: a batch of n rows costs O(n) and
    sorts what passes the filter; memory O(m + G), and one chunk of rows; merge O(m log m).

    Sources: bottom-k sampling per stratum, Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches", PODC 2007; a
    cap per stratum, Agarwal et al., "BlinkDB", EuroSys 2013, section 3.1.

    >>> sample = StratifiedSample(cap=100, columns=["amount"], rng=np.random.default_rng(1))
    >>> sample.add_many(["DE"] * 1000 + ["MT"] * 3, amount=np.arange(1003))
    >>> sample.estimate("avg", "amount").round(1)
        estimate     low    high  rows  leverage
    DE     490.9   438.7   543.0   100       0.0
    MT    1001.0  1001.0  1001.0     3       0.0
    """

    KIND = b"STRA"

    def __init__(
        self,
        cap: int,
        columns: Sequence[str] = ("value",),
        *,
        caps: Mapping[Key, int] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        names = tuple(columns) if not isinstance(columns, str) else ()
        if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise InvalidArgument(f"columns={columns!r}: expected one or more different names")
        self.cap, self.columns = _cap(cap), names
        self.caps = {checked_key(key): _cap(most) for key, most in (caps or {}).items()}
        self._rng = np.random.default_rng() if rng is None else rng
        self._slots: dict[Key, int] = {}  # a group's number, in order of arrival
        self._seen = np.empty(0, dtype=np.int64)  # rows of each group so far
        self._cut = np.empty(0, dtype=np.uint64)  # no row at or above it is kept: the least number left out so far
        self._rows = _Rows.none(len(names))
        self._waiting: list[_Rows] = []

    # ── taking in ────────────────────────────────────────────────────────────────────────────────

    def add(self, group: Key, **row: float) -> None:
        """Take in one row. Raises InvalidArgument. Prefer `add_many`: this costs a small batch."""
        self.add_many([group], **{name: [value] for name, value in row.items()})

    def add_many(self, groups: Any, **columns: Any) -> None:
        """Take in many rows: one group for each, and each of the columns by name, as long.

        Args:
            groups: integers or text, as an array, a pandas Series or a list.
            columns: finite numbers, kept as float64 (codes of a dictionary, too: exact up to 2^53).

        O(n) and a sort of what is kept. Raises InvalidArgument on other columns than declared, other lengths, NaN or
        keys that are neither integers nor text; nothing has changed then.
        """
        if set(columns) != set(self.columns):
            raise InvalidArgument(f"columns {sorted(columns)}: expected {sorted(self.columns)}")
        keys, values = checked_keys(groups), [numbers(columns[name], name) for name in self.columns]
        if any(len(column) != len(keys) for column in values):
            raise InvalidArgument(f"{len(keys)} groups, but columns of {[len(column) for column in values]} rows")
        if not len(keys):
            return
        codes, distinct = pd.factorize(as_array(keys))
        slots = self._slots_of([checked_key(key) for key in distinct.tolist()])[codes]
        self._seen += np.bincount(slots, minlength=self._seen.size)
        at, size = 0, _CHUNK
        while at < slots.size:
            self._take(slots[at : at + size], [column[at : at + size] for column in values])
            at, size = at + size, 2 * size

    def _take(self, slots: np.ndarray, values: list[np.ndarray]) -> None:
        """Draw a number for each row; what is not below its group's cut can never be kept."""
        draws = self._rng.integers(0, _NONE_LEFT_OUT, size=slots.size, dtype=np.uint64)
        below = np.flatnonzero(draws < self._cut[slots])
        self._waiting.append(_Rows(slots[below], draws[below], np.stack([column[below] for column in values])))
        if sum(len(rows) for rows in self._waiting) > len(self._rows) + _CHUNK // 2:
            self._settle()

    def _settle(self) -> None:
        """Keep of each group the rows with the least numbers, up to its cap, and remember the least one left out."""
        if not self._waiting:
            return
        rows = _Rows.joined([self._rows, *self._waiting])
        order = np.lexsort((rows.draws, rows.slots))
        slots = rows.slots[order]
        place = np.arange(slots.size) - np.searchsorted(slots, np.arange(self._seen.size))[slots]
        caps = self._all_caps()[slots]
        first_out = order[place == caps]
        self._cut[rows.slots[first_out]] = rows.draws[first_out]
        self._rows, self._waiting = rows[order[place < caps]], []

    def _slots_of(self, keys: list[Key]) -> np.ndarray:
        found = np.array([self._slots.setdefault(key, len(self._slots)) for key in keys], dtype=np.int64)
        new = len(self._slots) - self._seen.size
        self._seen = np.append(self._seen, np.zeros(new, dtype=np.int64))
        self._cut = np.append(self._cut, np.full(new, _NONE_LEFT_OUT))
        return found

    def _all_caps(self) -> np.ndarray:
        return np.fromiter((self.caps.get(key, self.cap) for key in self._slots), np.int64, len(self._slots))

    # ── what is known ────────────────────────────────────────────────────────────────────────────

    @property
    def strata(self) -> pd.DataFrame:
        """For each group, by key: `seen` rows in the data, `kept` in the sample, and the `weight` of a kept row."""
        self._settle()
        kept = np.bincount(self._rows.slots, minlength=self._seen.size)
        with np.errstate(divide="ignore"):
            table = {"seen": self._seen, "kept": kept, "weight": self._seen / kept}
        order = _in_order(list(self._slots))
        return pd.DataFrame(table, index=_labels(list(self._slots))).iloc[order]

    @property
    def frame(self) -> pd.DataFrame:
        """The sample as a table: `group`, the columns, and the `weight` a row has in a sum (Horvitz-Thompson)."""
        self._settle()
        kept = np.bincount(self._rows.slots, minlength=self._seen.size)
        names = np.array([*self._slots, None], dtype=object)[:-1]
        weights = self._seen[self._rows.slots] / kept[self._rows.slots]
        table = {"group": names[self._rows.slots], **dict(zip(self.columns, self._rows.values)), "weight": weights}
        return pd.DataFrame(table).infer_objects()

    def __getitem__(self, column: str) -> np.ndarray:
        """A column of the kept rows, in the order of `frame`: for filters and groupings."""
        self._settle()
        return self._rows.values[self._column(column)].copy()

    def __len__(self) -> int:
        """Rows kept."""
        self._settle()
        return len(self._rows)

    def estimate(
        self, what: str, column: str | None = None, *, by: Any = None, where: Any = None, confidence: float = 0.95
    ) -> pd.DataFrame:
        """COUNT, SUM or AVG for each group, with an interval that is meant to hold with probability `confidence`.

        Args:
            what: "count", "sum" or "avg".
            column: what is summed or averaged.
            by: None for the sample's own groups; a mapping of these to labels, for coarser ones; a column's name; or
                one label for each kept row.
            where: None, or one bool for each kept row: the rows that the query is about.
            confidence: of each interval by itself, in (0, 1). Of 20 groups at 0.95, expect one to be missed.

        Returns a table by group: `estimate`, `low`, `high`, `rows` (matched in the sample), and `leverage`, the part of
        the answer that one row gives for rows nobody saw: where that is not small, the interval is too short.
        With a column or labels, groups that no kept row belongs to are absent. O(kept rows). Raises InvalidArgument.
        """
        if what not in AGGREGATES or not 0 < number(confidence, "confidence") < 1:
            raise InvalidArgument(f"what={what!r}, confidence={confidence!r}: expected one of {AGGREGATES}, in (0, 1)")
        if (column is None) != (what == "count"):
            raise InvalidArgument(f"column={column!r} does not fit {what!r}: COUNT takes none, SUM and AVG take one")
        self._settle()
        rows, (labels, group, home) = self._rows, self._grouping(by)
        keep = np.ones(len(rows), dtype=bool) if where is None else self._aligned("where", where)
        if keep.dtype != bool:
            raise InvalidArgument(f"where of dtype {keep.dtype}: expected one bool for each kept row")
        kept = np.bincount(rows.slots, minlength=self._seen.size)
        values = np.ones(len(rows)) if column is None else rows.values[self._column(column)]
        matched = Matched(values[keep], rows.slots[keep], group[keep], len(labels), self._seen, kept, home)
        if what == "count" and home is not None and where is None:  # nothing to estimate: rows are counted as they come
            known = matched.over_strata(np.add, self._seen).astype(float)
            result = Estimates(known, known, known, np.bincount(group, minlength=len(labels)), np.zeros(len(labels)))
        else:
            result = estimates(what, matched, float(confidence))
        table = pd.DataFrame(result._asdict(), index=labels)
        return table.iloc[_in_order(list(labels))] if home is not None else table

    def _grouping(self, by: Any) -> tuple[pd.Index, np.ndarray, np.ndarray | None]:
        """Labels of the groups, the number of each kept row's group, and the group of each stratum if it has one."""
        if by is None or isinstance(by, Mapping):
            if by is not None and not by.keys() >= self._slots.keys():
                raise InvalidArgument(f"by has no label for {sorted(map(str, self._slots.keys() - by.keys()))[:5]}")
            names = [key if by is None else checked_key(by[key]) for key in self._slots]
            labels = list(dict.fromkeys(names))
            number_of = {label: i for i, label in enumerate(labels)}
            home = np.array([number_of[name] for name in names], dtype=np.int64)
            return _labels(labels), home[self._rows.slots], home
        named = isinstance(by, str)
        labels = self._rows.values[self._column(by)] if named else self._aligned("by", by)
        codes, found = pd.factorize(labels, sort=True)
        if (codes < 0).any():
            raise InvalidArgument("by has missing labels: give every kept row one")
        if found.dtype.kind == "f" and (found == np.round(found)).all() and np.abs(found).max(initial=0) < 2**53:
            found = found.astype(np.int64)  # codes were kept as floats
        return pd.Index(found, name=by if named else None), codes, None

    def _aligned(self, name: str, values: Any) -> np.ndarray:
        array = np.asarray(values)
        if array.shape != (len(self._rows),):
            raise InvalidArgument(f"{name} of shape {array.shape}: expected one entry a kept row, ({len(self._rows)},)")
        return array

    def _column(self, name: str) -> int:
        if name not in self.columns:
            raise InvalidArgument(f"column {name!r}: the sample has {list(self.columns)}")
        return self.columns.index(name)

    # ── merging and bytes ────────────────────────────────────────────────────────────────────────

    @property
    def parameters(self) -> dict[str, Any]:
        """Caps and columns."""
        return {"cap": self.cap, "caps": self.caps, "columns": self.columns}

    @property
    def nbytes(self) -> int:
        """A number, a group and the columns for each kept row; two numbers for each group."""
        return sum(rows.nbytes for rows in [self._rows, *self._waiting]) + 16 * len(self._slots)

    def _absorb(self, other: Self) -> None:
        """The lower cut decides: below it both samples have kept all they saw, so their union is uniform."""
        other._settle()
        self._settle()
        if other is self or np.intersect1d(self._rows.draws, other._rows.draws).size:
            raise InvalidArgument(
                "both samples drew the same random numbers: give each its own generator (rng.spawn), and merge it once"
            )
        slots = self._slots_of(list(other._slots))
        self._seen[slots] += other._seen
        self._cut[slots] = np.minimum(self._cut[slots], other._cut)
        theirs = _Rows(slots[other._rows.slots], other._rows.draws, other._rows.values)
        self._waiting = [rows[rows.draws < self._cut[rows.slots]] for rows in (self._rows, theirs)]
        self._rows = _Rows.none(len(self.columns))
        self._settle()

    def _write(self, writer: Writer) -> None:
        self._settle()
        keys, capped = list(self._slots), list(self.caps)
        order, capped = _in_order(keys), [capped[i] for i in _in_order(capped)]
        rank = np.argsort(order)  # keys in order, so that equal samples have equal bytes
        rows = _Rows(rank[self._rows.slots], self._rows.draws, self._rows.values).in_order()
        writer.pack("Q", self.cap)
        for items in (self.columns, capped, [keys[i] for i in order]):
            write_items(writer, items)
        writer.array(np.array([self.caps[key] for key in capped], dtype=np.int64))
        writer.array(self._seen[order]).array(self._cut[order])
        writer.array(rows.slots).array(rows.draws).array(rows.values.reshape(-1))

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        (cap,) = reader.unpack("Q")
        names, capped, keys = read_items(reader), read_items(reader), read_items(reader)
        most, seen, cut = reader.array(np.int64), reader.array(np.int64), reader.array(np.uint64)
        slots, draws, flat = reader.array(np.int64), reader.array(np.uint64), reader.array(np.float64)
        if len(capped) != most.size or not len(keys) == seen.size == cut.size or slots.size != draws.size:
            raise CorruptionError("the parts of a stratified sample do not fit together")
        sample = cls(cap, names, caps=dict(zip(capped, most.tolist())))
        sample._slots_of([checked_key(key) for key in keys])
        if sample._seen.size != len(keys) or flat.size != slots.size * len(names) or not np.isfinite(flat).all():
            raise CorruptionError("a stratified sample with repeated groups or torn columns")
        sample._seen, sample._cut = seen, cut
        sample._rows = _Rows(slots, draws, flat.reshape(len(names), -1))
        sample._check()
        return sample

    def _check(self) -> None:
        """Raise CorruptionError unless the invariants hold."""
        rows, groups = self._rows, self._seen.size
        in_range = ((rows.slots >= 0) & (rows.slots < groups)).all()
        if not in_range or (self._seen < 1).any():
            raise CorruptionError("a stratified sample with rows of no group, or groups of no rows")
        kept = np.bincount(rows.slots, minlength=groups)
        whole = self._cut == _NONE_LEFT_OUT
        if (
            (kept > np.minimum(self._seen, self._all_caps())).any()
            or ((kept == self._seen) != whole).any()
            or (rows.draws >= self._cut[rows.slots]).any()
            or (np.lexsort((rows.draws, rows.slots)) != np.arange(len(rows))).any()
        ):
            raise CorruptionError("a stratified sample that keeps rows it must not, or lacks rows it must have")


_TYPES = (int, str, bytes)


def _in_order(keys: list[Key]) -> list[int]:
    """The places of keys in their order: integers, then text, then bytes."""
    return sorted(range(len(keys)), key=lambda i: (_TYPES.index(type(keys[i])), keys[i]))


def _labels(keys: list[Key]) -> pd.Index:
    return pd.Index(keys, dtype=object).infer_objects()


class _Rows:
    """Rows side by side: group number, random number, and a matrix with one line for each column."""

    __slots__ = ("draws", "slots", "values")

    def __init__(self, slots: np.ndarray, draws: np.ndarray, values: np.ndarray) -> None:
        self.slots, self.draws, self.values = slots, draws, values

    @classmethod
    def none(cls, columns: int) -> _Rows:
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64), np.empty((columns, 0)))

    @classmethod
    def joined(cls, parts: list[_Rows]) -> _Rows:
        return cls(
            np.concatenate([part.slots for part in parts]),
            np.concatenate([part.draws for part in parts]),
            np.concatenate([part.values for part in parts], axis=1),
        )

    def in_order(self) -> _Rows:
        return self[np.lexsort((self.draws, self.slots))]

    def __getitem__(self, which: np.ndarray) -> _Rows:
        return _Rows(self.slots[which], self.draws[which], self.values[:, which])

    def __len__(self) -> int:
        return self.slots.size

    @property
    def nbytes(self) -> int:
        return self.slots.nbytes + self.draws.nbytes + self.values.nbytes


def _cap(value: int) -> int:
    if not is_integer(value) or not 0 <= value < 1 << 62:
        raise InvalidArgument(f"cap={value!r}: expected an integer >= 0")
    return int(value)


def as_array(keys: np.ndarray | list[Key]) -> np.ndarray:
    """Plain keys as an array that keeps their types apart. O(n)."""
    if isinstance(keys, np.ndarray):
        return keys
    array = np.empty(len(keys), dtype=object)
    array[:] = keys
    return array
