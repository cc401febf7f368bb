"""Exactly once in sixty lines: a job that counts a log into a table, with a crash possible before every step.

Durable are the log, one checkpoint and the table; all else is memory and gone with the process. A life of the job is a
generator that stops before each step with an effect, so a crash is to call it no more, and every crash can be tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, NamedTuple

Mistake = Literal["none", "offsets apart", "commit first", "commit blindly", "state left out"]
MISTAKES: tuple[Mistake, ...] = ("none", "offsets apart", "commit first", "commit blindly", "state left out")
"""*offsets apart*: the position is saved by itself, before the checkpoint; *commit first*: files go into the table and
then the checkpoint is written; *commit blindly*: a restart commits the checkpoint's file without a look at the table;
*state left out*: a checkpoint has the position and not the counts."""


class Checkpoint(NamedTuple):
    """What is durable of the job: how far it read, what it counted, and the file to commit under this `id`."""

    id: int = 0
    offset: int = 0
    counts: tuple[tuple[str, int], ...] = ()
    file: tuple[tuple[str, int], ...] = ()


@dataclass
class Durable:
    """What survives a crash. `table` has the committed files, (checkpoint id, rows); a row is (key, running count)."""

    log: Sequence[str]
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    offset: int = 0  # only looked at by *offsets apart*
    table: list[tuple[int, tuple[tuple[str, int], ...]]] = field(default_factory=list)

    def rows(self) -> Counter[tuple[str, int]]:
        """The table as a bag of rows."""
        return Counter(row for _, file in self.table for row in file)


def life(durable: Durable, every: int, mistake: Mistake = "none") -> Iterator[str]:
    """One life of the job, a checkpoint after `every` records; gives the name of each step before taking it."""
    last = durable.checkpoint
    offset = durable.offset if mistake == "offsets apart" else last.offset
    counts = Counter() if mistake == "state left out" else Counter(dict(last.counts))
    known = {id for id, _ in durable.table}
    if last.file and (mistake == "commit blindly" or last.id not in known) and mistake != "commit first":
        yield "commit the checkpoint's file again"
        durable.table.append((last.id, last.file))
    rows: list[tuple[str, int]] = []
    while offset < len(durable.log):
        key = durable.log[offset]
        counts[key] += 1
        rows.append((key, counts[key]))
        offset += 1
        if offset % every and offset < len(durable.log):
            continue
        new = Checkpoint(durable.checkpoint.id + 1, offset, tuple(counts.items()), tuple(rows))
        if mistake == "offsets apart":
            yield "save the position"
            durable.offset = offset
        if mistake == "commit first":
            yield "commit the file"
            durable.table.append((new.id, new.file))
        yield "write the checkpoint"
        durable.checkpoint = new
        if mistake != "commit first":
            yield "commit the file"
            durable.table.append((new.id, new.file))
        rows = []


def run(log: Sequence[str], every: int, crashes: Sequence[int], mistake: Mistake = "none") -> tuple[Durable, list[str]]:
    """Let the job live, crash before step `crashes[0]`, live again, and so on, and at last live to the end.

    Returns what is durable then, and the steps that the crashes prevented. O(lives × records).
    """
    durable, prevented = Durable(log), []
    for crash in crashes:
        for number, step in enumerate(life(durable, every, mistake)):
            if number == crash:
                prevented.append(step)
                break
    for _ in life(durable, every, mistake):
        pass
    return durable, prevented


class Verdict(NamedTuple):
    """What trying all crashes showed: how many plans went wrong, and the shortest of those with its effect."""

    plans: int
    wrong: int
    prevented: tuple[str, ...] = ()
    lost: int = 0
    doubled: int = 0


def try_all(log: Sequence[str], every: int, mistake: Mistake = "none", *, crashes: int = 2) -> Verdict:
    """Every plan of up to `crashes` crashes, held against the table of a run without any.

    O(steps^crashes) runs. A plan whose crash comes after the job's last step is the plan without it and is not counted.

    >>> try_all("abab", 2).wrong
    0
    """
    truth = run(log, every, ())[0].rows()
    steps = 3 * (len(log) // every + 2)
    plans = wrong = 0
    first = Verdict(0, 0)
    for many in range(crashes + 1):
        for plan in product(range(steps), repeat=many):
            durable, prevented = run(log, every, plan, mistake)
            if len(prevented) < many:
                continue
            plans += 1
            rows = durable.rows()
            if rows != truth:
                wrong += 1
                if wrong == 1:
                    first = Verdict(0, 0, tuple(prevented), (truth - rows).total(), (rows - truth).total())
    return first._replace(plans=plans, wrong=wrong)
