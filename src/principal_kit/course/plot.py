"""One look for every figure of the book.

`plot.use()` at the top of a notebook; then plain matplotlib. Figures are opaque cards of a light paper colour with dark
text: the one choice whose contrast holds on the light and on the dark site (no grey reaches 4.5:1 on both).
Colours are Okabe and Ito's, which stay apart for colour-blind readers; a PNG carries no date and no software name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from principal_kit.core.errors import InvalidArgument

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK, MUTED, GRID = "#faf8f3", "#1f2430", "#5b6270", "#dedad0"

BLUE = "#0072b2"
VERMILLION = "#d55e00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
ORANGE = "#e69f00"
SKY = "#56b4e9"
YELLOW = "#f0e442"
BLACK = "#1f2430"
GREY = "#8a8f99"

PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""The order in which lines take their colours. Yellow is left out: too pale for a line on paper."""

SIZE = (7.0, 3.6)
"""Inches; 7 × 100 dpi is the width of the text column."""


def style() -> dict:
    """The look as matplotlib settings (rcParams)."""
    from cycler import cycler

    return {
        "figure.figsize": SIZE,
        "figure.dpi": 100,
        "figure.facecolor": PAPER,
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.h_pad": 0.1,  # inches: a title does not touch the card's edge
        "figure.constrained_layout.w_pad": 0.1,
        "savefig.dpi": 200,
        "savefig.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlepad": 10,
        "axes.labelsize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=PALETTE),
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "lines.linewidth": 2.0,
        "lines.markersize": 5,
        "patch.edgecolor": PAPER,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
        "font.size": 10,
        "svg.hashsalt": "principal-kit",
    }


def use() -> None:
    """Set the look for this session; inside Jupyter also double-density PNG without metadata. Idempotent, O(1)."""
    import matplotlib

    matplotlib.rcParams.update(style())
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if getattr(get_ipython(), "kernel", None) is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # bbox_inches=None keeps the size we asked for; the layout engine has already fitted the labels.
        set_matplotlib_formats("retina", bbox_inches=None, metadata={"Software": None})


def finding(ax: Axes, title: str, xlabel: str = "", ylabel: str = "") -> Axes:
    """Label an axis the book's way: the title states the finding, both axes name their quantity and unit. Returns `ax`.

    Raises InvalidArgument on an empty title: a figure without a finding is not ready.
    """
    if not title.strip():
        raise InvalidArgument("a figure's title states its finding; got an empty title")
    ax.set_title(title)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def save(fig: Figure, path: str | Path) -> Path:
    """Write a figure as PNG or SVG, byte for byte the same each time. Returns the path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Software": None} if target.suffix == ".png" else {"Date": None, "Creator": None}
    fig.savefig(target, metadata=metadata)
    return target
