"""Runs too big for every reader, made once and kept: what they measured, how, when and on which machine.

`record` writes data/runs/<name>.json at the end of such a run; `recorded` reads it in the chapter, so that the page can
print the figures, compare them with a model, and be executed anywhere with the same output.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from principal_kit.core.errors import CorruptionError, InvalidArgument, MissingPrerequisite
from principal_kit.course import project

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ABSOLUTE = re.compile(r"(?:^|[\s\"'=(,:;])(?:~|/[\w.]|[A-Za-z]:\\)")  # the start of a path; not the slash in keys/s


@dataclass(frozen=True, repr=False)
class Recorded(Mapping[str, Any]):
    """A recorded run: a read-only mapping of its values, which says where they come from when printed."""

    name: str
    values_: Mapping[str, Any]
    how: str
    date: str
    machine: Mapping[str, str]

    def __getitem__(self, key: str) -> Any:
        try:
            return self.values_[key]
        except KeyError:
            raise InvalidArgument(f"the run {self.name!r} has no {key!r}; it has {', '.join(self.values_)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __contains__(self, key: object) -> bool:
        return key in self.values_

    def __repr__(self) -> str:
        hardware = ", ".join(self.machine[fact] for fact in ("processor", "cores", "memory") if fact in self.machine)
        return f"recorded on {self.date} by `{self.how}` ({hardware})"


def record(name: str, values: Mapping[str, Any], *, how: str, folder: Path | None = None) -> Path:
    """Keep the figures of a big run, in place of an earlier one of this name. Returns the file.

    Args:
        name: lower-case words joined by hyphens; the unit last in each key of `values`, as in `seconds`, `peak_mib`.
        values: numbers, text, booleans, None, and lists and mappings of them; numpy's are converted.
        how: the command that makes the run again.
        folder: where to write instead of data/runs.

    Complexity: O(size of values). Raises InvalidArgument for another kind of value, a number that is not finite, or
    text with an absolute path, which would name the machine's user; nothing is written then.
    """
    from principal_kit.course.machine import machine

    if not values or not how.strip():
        raise InvalidArgument(f"values={values!r}, how={how!r}: expected figures and the command that made them")
    plain = _plain(values, "values")
    entry = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "how": _plain(how, "how"),
        "machine": dict(machine().facts),
        "sha256": _digest(plain),
        "values": plain,
    }
    path = _path(name, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def recorded(name: str, *, folder: Path | None = None) -> Recorded:
    """The run kept under `name`. O(its size).

    Raises MissingPrerequisite if there is none, and CorruptionError if the file is not what `record` wrote: its values
    carry a checksum, so that a figure cannot be changed by hand.
    """
    path = _path(name, folder)
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.json"))) or "none"
        raise MissingPrerequisite(f"no run {name!r} is recorded in data/runs; there are: {known}")
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        run = Recorded(name, entry["values"], entry["how"], entry["date"], entry["machine"])
        whole = entry["sha256"] == _digest(run.values_)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"data/runs/{path.name} is not a recorded run: {error!r}") from error
    if not whole:
        raise CorruptionError(f"the values in data/runs/{path.name} do not match their checksum; run again: {run.how}")
    return run


def _path(name: str, folder: Path | None) -> Path:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgument(f"name={name!r}: expected lower-case words and digits joined by hyphens")
    return (folder or project.root() / "data" / "runs") / f"{name}.json"


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _plain(value: Any, where: str) -> Any:
    """The value as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and not _ABSOLUTE.search(value):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(inner, f"{where}[{at}]") for at, inner in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(inner, f"{where}[{key!r}]") for key, inner in value.items()}
    raise InvalidArgument(
        f"{where} is {value!r}: expected finite numbers, text without absolute paths, lists, mappings"
    )
