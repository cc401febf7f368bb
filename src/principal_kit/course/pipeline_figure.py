"""The pipeline's figure on the Benchmarks page: where the CPU for an event goes, at the highest rate that was held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from principal_kit.core.errors import CorruptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS, _THREADS = "CPU for an event, ", "the TaskManager's threads, "


def shares(report: dict[str, Any]) -> tuple[str, list[tuple[str, str, float]]]:
    """At which rate, and for each part whose it is, what it does and its microseconds; the largest first.

    The TaskManager is told by what its threads do, everything else as a whole. Raises CorruptionError without rows.
    """
    rows = [(row["group"], row["name"], row["value"]) for row in report["bounds"]]
    parts = [row for row in rows if row[0].startswith(_PARTS)]
    inside = [row for row in rows if row[0].startswith(_THREADS)]
    if not parts or not inside:
        raise CorruptionError("the pipeline's report lacks the CPU for an event, or that of the TaskManager's threads")
    found = [("the TaskManager", name, us) for _, name, us in inside]
    found += [(name, name, us) for _, name, us in parts if name != "TaskManager" and us >= 0.5]
    return parts[0][0].removeprefix(_PARTS), sorted(found, key=lambda share: -share[2])


def finding(report: dict[str, Any]) -> str:
    """The figure's result in one sentence."""
    at, found = shares(report)
    total = sum(us for _, _, us in found)
    flink = sum(us for whose, _, us in found if whose == "the TaskManager")
    return f"An event costs {total:.0f} µs of CPU {at}; {flink / total:.0%} of it is the TaskManager's"


def alt(report: dict[str, Any]) -> str:
    """What the figure shows, for those who do not see it."""
    listed = "; ".join(f"{what} {us:.1f}" for _, what, us in shares(report)[1])
    return f"Horizontal bars, microseconds of CPU for an event. {finding(report)}. {listed}"


def draw(report: dict[str, Any]) -> Figure:
    """A bar for each part, in microseconds; the TaskManager's in one colour, everybody else's in another."""
    import matplotlib
    from matplotlib.figure import Figure

    from principal_kit.course import plot

    found = shares(report)[1]
    with matplotlib.rc_context(plot.style()):
        figure = Figure(figsize=(plot.SIZE[0], 1.2 + 0.3 * len(found)))
        axes = figure.subplots()
        for own, colour, label in ((True, plot.BLUE, "in the TaskManager"), (False, plot.ORANGE, "elsewhere")):
            chosen = [(y, us) for y, (whose, _, us) in enumerate(found) if (whose == "the TaskManager") == own]
            axes.barh([y for y, _ in chosen], [us for _, us in chosen], color=colour, label=label)
        for y, (_, _, us) in enumerate(found):
            axes.annotate(f"{us:.1f}", (us, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(found)), [what for _, what, _ in found])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
        axes.set_xlabel("CPU for an event, µs")
        figure.suptitle(finding(report), x=0.02, ha="left", fontsize=11.5, fontweight="bold", color=plot.INK)
    return figure
