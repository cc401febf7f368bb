"""Streams and files larger than memory: external sort, range-partitioned sort, windows with watermarks."""

from principal_kit.streaming.tally import Tally
from principal_kit.streaming.watermarks import BEGINNING, END, Watermarks
from principal_kit.streaming.windows import HoppingWindows, Late, Result, SessionWindows, TumblingWindows, Windows

__all__ = [
    "BEGINNING",
    "END",
    "HoppingWindows",
    "Late",
    "Result",
    "SessionWindows",
    "Tally",
    "TumblingWindows",
    "Watermarks",
    "Windows",
]
