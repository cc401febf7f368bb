"""The Benchmarks page: its tables and its figure from benchmarks/results/*.json, so that no figure is typed by hand.

The prose of book/benchmarks.md is written by people; what stands between `% begin` and `% end` lines is written here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from principal_kit.core.errors import CorruptionError, KitError
from principal_kit.course import pipeline_figure, project

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE = "book/_static/benchmarks.svg"
PAGE = "book/benchmarks.md"
OWN_FIGURES = {"pipeline": pipeline_figure}
"""Topics that have a figure of their own, book/_static/benchmarks-TOPIC.svg, and the module that draws it."""
_PART = re.compile(r"(% begin (\w+)[^\n]*\n).*?(% end \2\n)", re.DOTALL)
# Facts of every machine() that are told elsewhere, or had no part; a topic names the packages that had one.
_UNINVOLVED = {
    "processor", "cores", "memory", "system", "principal-kit",
    "kafka server", "redis server", "redis-py", "kafka-python", "Spark (pyspark)",
}  # fmt: skip
_FARTHEST = 100.0  # beyond a hundred times the bar a dot stays at the figure's edge


@dataclass(frozen=True)
class Bar:
    """One bar of one topic. `margin`: how many times better than wanted; 1 is just met, below 1 is missed."""

    topic: str
    group: str
    name: str
    against: str
    ours: str
    theirs: str
    result: str
    wanted: str
    margin: float
    met: bool

    @property
    def what(self) -> str:
        """Group and name in one."""
        return f"{self.group}: {self.name}"


def reports(folder: Path | None = None) -> list[dict[str, Any]]:
    """What `benchmarks/*.py --record` left, by title. Raises CorruptionError for a file that is no such report."""
    found = []
    for path in sorted((folder or project.root() / "benchmarks" / "results").glob("*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            bars([report])
            provenance(report)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptionError(f"benchmarks/results/{path.name} is not a recorded benchmark: {error!r}") from error
        found.append(report)
    return sorted(found, key=lambda report: report["title"].lower())


def bars(found: Sequence[dict[str, Any]]) -> list[Bar]:
    """All bars of the reports in their order. O(rows)."""
    rows = []
    for report in found:
        rows += [
            _race_bar(report, race, peer)
            for race in report["races"]
            for peer in race["peers"]
            if peer["wanted"] is not None
        ]
        rows += [_bound_bar(report, bound) for bound in report["bounds"] if bound["limit"] is not None]
    return rows


def _race_bar(report: dict, race: dict, peer: dict) -> Bar:
    return Bar(
        report["title"], race["group"], race["name"], peer["name"],
        rate(race, race["seconds"]), rate(race, peer["seconds"]), _ratio(peer),
        f"≥ {peer['wanted']:g} ×", peer["ratio"] / peer["wanted"], peer["met"],
    )  # fmt: skip


def _bound_bar(report: dict, bound: dict) -> Bar:
    unit = f" {bound['unit']}"
    theirs = ", ".join(f"{name} {amount(value)}" for name, value in bound["peers"].items())
    margin = bound["limit"] / bound["value"] if bound["value"] > 0 else _FARTHEST
    return Bar(
        report["title"], bound["group"], bound["name"], "a limit", amount(bound["value"]) + unit, theirs,
        f"{bound['value'] / bound['limit']:.2g} of the limit", f"≤ {bound['limit']:g}{unit}", margin, bound["met"],
    )  # fmt: skip


def rate(race: dict[str, Any], seconds: float) -> str:
    """Items a second of a race's contender; of a race over one item, a file for instance, the seconds it took."""
    return f"{seconds:.3g} s" if race["count"] == 1 else f"{amount(race['count'] / seconds)} {race['unit']}/s"


def _ratio(peer: dict) -> str:
    return f"{peer['ratio']:.2f} × ({peer['low']:.2f} – {peer['high']:.2f})"


def amount(value: float) -> str:
    """Three digits that matter, with k, M or G.

    >>> amount(23_580_000), amount(0.2582), amount(512)
    ('23.6 M', '0.258', '512')
    """
    for size, sign in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}" if abs(value) < 1e3 * size else f"{value / size:,.0f}{sign}"
    return f"{value:.3g}"


def provenance(report: dict[str, Any]) -> str:
    """When, on what, how often and how busy the machine was."""
    machine = report["machine"]
    sizes = "".join(f", {name} {size:,}" for name, size in report["sizes"].items())
    hardware = ", ".join(machine[fact] for fact in ("processor", "cores", "memory", "system"))
    versions = ", ".join(f"{name} {version}" for name, version in machine.items() if name not in _UNINVOLVED)
    return (
        f"Recorded {report['date']}, {report['rounds']} rounds{sizes}, on {hardware}, "
        f"with a load of {report['load']:g} before the run. {versions}."
    )


def finding(rows: Sequence[Bar]) -> str:
    """The page's result in one sentence."""
    missed = [row for row in rows if not row.met]
    if not rows:
        return "Nothing is recorded yet"
    if not missed:
        return (
            f"All {len(rows)} bars are met, the closest at {min(row.margin for row in rows):.2f} times what was wanted"
        )
    return f"{len(rows) - len(missed)} of {len(rows)} bars are met, {len(missed)} missed"


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _summary(found: list[dict], rows: list[Bar]) -> str:
    missed = [f"- {row.what}, against {row.against}: {row.result}, wanted {row.wanted}." for row in rows if not row.met]
    return "\n".join([f"**{finding(rows)}.**", *(["", "Missed:", "", *missed] if missed else [])])


def _figure_part(found: list[dict], rows: list[Bar]) -> str:
    worst = sorted(rows, key=lambda row: row.margin)[:3]
    alt = f"Dot plot with a logarithmic axis, one dot for each of {len(rows)} bars. {finding(rows)}. " + "; ".join(
        f"{row.what} against {row.against} at {row.margin:.2f}" for row in worst
    )
    return f"""```{{figure}} _static/benchmarks.svg
:name: fig-benchmarks
:alt: {alt}

How far each bar was passed: 1 is just met, 2 is twice as good as wanted. The lowest are the ones to watch.
```"""


def _topics(found: list[dict], rows: list[Bar]) -> str:
    return "\n\n".join(_topic(report) for report in found)


def _topic(report: dict) -> str:
    groups = dict.fromkeys(row["group"] for row in (*report["races"], *report["bounds"]))
    judged = [table for group in groups for table in _tables(report, group, with_bar=True)]
    rest = [table for group in groups for table in _tables(report, group, with_bar=False)]
    parts = [f"### {report['title']}", *_own_figure(report), *judged]
    if rest:
        parts.append(":::{dropdown} Measured without a bar\n" + "\n\n".join(rest) + "\n:::")
    parts.append(f"{provenance(report)} Run it again: `python benchmarks/{report['topic']}.py --record`.")
    return "\n\n".join(parts)


def _own_figure(report: dict) -> list[str]:
    module = OWN_FIGURES.get(report["topic"])
    if module is None:
        return []
    name = _own_path(report)
    return [
        f"""```{{figure}} {name.removeprefix("book/")}
:name: fig-benchmarks-{report["topic"]}
:alt: {module.alt(report)}

{module.finding(report)}.
```"""
    ]


def _own_path(report: dict) -> str:
    return f"book/_static/benchmarks-{report['topic']}.svg"


def _tables(report: dict, group: str, *, with_bar: bool) -> list[str]:
    """A group's races, and its figures with each peer in a column of its own."""
    found = []
    races = [
        (race, peer)
        for race in report["races"]
        for peer in race["peers"] or ([] if with_bar else [None])
        if race["group"] == group and (peer is not None and peer["wanted"] is not None) == with_bar
    ]
    if races:
        header = [f"**{group}**", "Ours", "Peer", "Ratio (spread)"] + ["Wanted"] * with_bar
        found.append(_table(header, [_race_row(race, peer)[: len(header)] for race, peer in races]))
    bounds = [b for b in report["bounds"] if b["group"] == group and (b["limit"] is not None) == with_bar]
    if bounds:
        peers = list(dict.fromkeys(name for bound in bounds for name in bound["peers"]))
        header = [f"**{group}**", "Ours"] + ["Wanted"] * with_bar + peers
        found.append(_table(header, [_bound_row(bound, peers, with_bar) for bound in bounds]))
    return found


def _race_row(race: dict, peer: dict | None) -> list[str]:
    ours = [race["name"], rate(race, race["seconds"])]
    if peer is None:
        return [*ours, "", "", ""]
    wanted = "" if peer["wanted"] is None else f"≥ {peer['wanted']:g} × {_verdict(peer['met'])}"
    return [*ours, f"{peer['name']} {rate(race, peer['seconds'])}", _ratio(peer), wanted]


def _bound_row(bound: dict, peers: Sequence[str], with_bar: bool) -> list[str]:
    wanted = [f"≤ {bound['limit']:g} {bound['unit']} {_verdict(bound['met'])}"] if with_bar else []
    theirs = [amount(bound["peers"][name]) if name in bound["peers"] else "" for name in peers]
    return [bound["name"], f"{amount(bound['value'])} {bound['unit']}", *wanted, *theirs]


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def render(text: str, found: list[dict]) -> str:
    """The page with its generated parts renewed. Raises KitError if the page has no place for one of them."""
    makers = {"summary": _summary, "figure": _figure_part, "topics": _topics}
    rows = bars(found)
    if {match.group(2) for match in _PART.finditer(text)} != makers.keys():
        raise KitError(f"{PAGE} needs a '% begin NAME' and '% end NAME' line for each of {', '.join(makers)}")
    return _PART.sub(lambda match: f"{match[1]}\n{makers[match[2]](found, rows)}\n\n{match[3]}", text)


# ── the figure ───────────────────────────────────────────────────────────────────────────────────


def draw(rows: Sequence[Bar]) -> Figure:
    """A dot for each bar, on a logarithmic axis, grouped by topic; missed ones are crosses in another colour."""
    import matplotlib
    from matplotlib.figure import Figure

    from principal_kit.course import plot

    groups = list(dict.fromkeys((row.topic, row.group) for row in rows))
    order = [item for group in groups for item in (group, *(row for row in rows if (row.topic, row.group) == group))]
    with matplotlib.rc_context(plot.style()):
        figure = Figure(figsize=(plot.SIZE[0], 1.4 + 0.21 * len(order)))
        axes = figure.subplots()
        for met, colour, marker, label in ((True, plot.BLUE, "o", "met"), (False, plot.VERMILLION, "X", "missed")):
            chosen = [
                (y, min(row.margin, _FARTHEST))
                for y, row in enumerate(order)
                if isinstance(row, Bar) and row.met == met
            ]
            if chosen:
                places, margins = zip(*chosen)
                axes.hlines(places, 1, margins, color=colour, linewidth=1.2, alpha=0.6)
                axes.scatter(margins, places, color=colour, marker=marker, s=34, label=label, zorder=3)
        axes.axvline(1, color=plot.INK, linewidth=1.2)
        _name_rows(axes, order)
        _scale(axes, rows)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        axes.set_xlabel("times as good as wanted (1 = just met)")
        figure.suptitle(finding(rows), x=0.02, ha="left", fontsize=11.5, fontweight="bold", color=plot.INK)
    return figure


def _name_rows(axes: Axes, order: Sequence[Bar | tuple[str, str]]) -> None:
    """Groups in bold, below them their bars, each with whom it is held against."""
    names = [f"{row.name}  ({row.against})" if isinstance(row, Bar) else row[1] for row in order]
    axes.set_yticks(range(len(order)), names, fontsize=8)
    for label, row in zip(axes.get_yticklabels(), order):
        label.set_fontweight("normal" if isinstance(row, Bar) else "bold")
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _scale(axes: Axes, rows: Sequence[Bar]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    margins = [min(row.margin, _FARTHEST) for row in rows]
    low, high = min([0.8, *(margin / 1.2 for margin in margins)]), max([2.0, *(margin * 1.2 for margin in margins)])
    axes.set_xlim(low, high)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= t <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}" for tick in ticks])


def digest(rows: Sequence[Bar]) -> str:
    """What the figure shows, as a checksum that is written into it."""
    shown = [[row.what, row.against, row.margin, row.met] for row in rows]
    return _digest(shown)


def _digest(shown: object) -> str:
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


def _save(figure: Figure, digest: str, path: Path) -> None:
    import matplotlib

    from principal_kit.course import plot

    with matplotlib.rc_context(plot.style()):
        figure.savefig(path, metadata={"Date": None, "Creator": None, "Description": f"results {digest}"})


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def write() -> list[Path]:
    """Renew page and figure from what is recorded. Returns the files written."""
    root, found = project.root(), reports()
    page, figure = root / PAGE, root / FIGURE
    page.write_text(render(page.read_text(encoding="utf-8"), found), encoding="utf-8")
    rows = bars(found)
    _save(draw(rows), digest(rows), figure)
    written = [page, figure]
    for report in found:
        if report["topic"] in OWN_FIGURES:
            _save(OWN_FIGURES[report["topic"]].draw(report), _digest(report["bounds"]), root / _own_path(report))
            written.append(root / _own_path(report))
    return written


def problems() -> list[str]:
    """What keeps page and figure from being those of the recorded results."""
    root, found = project.root(), reports()
    text = (root / PAGE).read_text(encoding="utf-8")
    stale = [PAGE] if render(text, found) != text else []
    figures = {FIGURE: digest(bars(found))}
    figures |= {_own_path(r): _digest(r["bounds"]) for r in found if r["topic"] in OWN_FIGURES}
    for name, wanted in figures.items():
        figure = root / name
        if not figure.exists() or f"results {wanted}" not in figure.read_text(encoding="utf-8"):
            stale.append(name)
    return [f"{name} is not what benchmarks/results says: `principal-kit benchmarks` writes it" for name in stale]
