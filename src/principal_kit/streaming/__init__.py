"""Streams and files larger than memory: external sort, range-partitioned sort, windows with watermarks."""

from principal_kit.streaming.aggregation import Agent, Aggregator, Merged, Report, Tree, Verdict
from principal_kit.streaming.running_quantile import RunningMedian, RunningQuantile
from principal_kit.streaming.tally import Tally
from principal_kit.streaming.watermarks import BEGINNING, END, Watermarks
from principal_kit.streaming.windows import HoppingWindows, Late, Result, SessionWindows, TumblingWindows, Windows

__all__ = [
    "BEGINNING",
    "END",
    "Agent",
    "Aggregator",
    "HoppingWindows",
    "Late",
    "Merged",
    "Report",
    "Result",
    "RunningMedian",
    "RunningQuantile",
    "SessionWindows",
    "Tally",
    "Tree",
    "TumblingWindows",
    "Verdict",
    "Watermarks",
    "Windows",
]
