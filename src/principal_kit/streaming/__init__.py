"""Streams and files larger than memory: external sort, range-partitioned sort, windows with watermarks.

What needs pandas is imported on first use: a sort that answers for its memory should not pay 40 MB for windows.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from principal_kit.streaming.external_sort import OVERHEAD_BYTES, SortObserver, SortStats, external_sort
from principal_kit.streaming.range_sort import RangeSortStats, Splitter, range_sort
from principal_kit.streaming.records import FixedWidth, LengthPrefixed, Lines
from principal_kit.streaming.sort_plan import BlockBudget, SortPlan

if TYPE_CHECKING:
    from principal_kit.streaming.aggregation import Agent, Aggregator, Merged, Report, Tree, Verdict
    from principal_kit.streaming.running_quantile import RunningMedian, RunningQuantile
    from principal_kit.streaming.tally import Tally
    from principal_kit.streaming.watermarks import BEGINNING, END, Watermarks
    from principal_kit.streaming.windows import HoppingWindows, Late, Result, SessionWindows, TumblingWindows, Windows

_ON_FIRST_USE = {
    "aggregation": ("Agent", "Aggregator", "Merged", "Report", "Tree", "Verdict"),
    "running_quantile": ("RunningMedian", "RunningQuantile"),
    "tally": ("Tally",),
    "watermarks": ("BEGINNING", "END", "Watermarks"),
    "windows": ("HoppingWindows", "Late", "Result", "SessionWindows", "TumblingWindows", "Windows"),
}
_MODULE_OF = {name: module for module, names in _ON_FIRST_USE.items() for name in names}

__all__ = [
    "BEGINNING",
    "END",
    "OVERHEAD_BYTES",
    "Agent",
    "Aggregator",
    "BlockBudget",
    "FixedWidth",
    "HoppingWindows",
    "Late",
    "LengthPrefixed",
    "Lines",
    "Merged",
    "RangeSortStats",
    "Report",
    "Result",
    "RunningMedian",
    "RunningQuantile",
    "SessionWindows",
    "SortObserver",
    "SortPlan",
    "SortStats",
    "Splitter",
    "Tally",
    "Tree",
    "TumblingWindows",
    "Verdict",
    "Watermarks",
    "Windows",
    "external_sort",
    "range_sort",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
