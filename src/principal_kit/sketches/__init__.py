"""Sketches: answers about a stream from a few kilobytes, each with a stated error.

All share one interface: `add`, `add_many`, `merge`, `to_bytes`, `from_bytes`, `nbytes`, and a `seed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from principal_kit.sketches.blocked_bloom import BlockedBloomFilter
from principal_kit.sketches.bloom import BloomFilter
from principal_kit.sketches.bucket_histogram import BucketHistogram
from principal_kit.sketches.count_min import CountMinSketch
from principal_kit.sketches.cuckoo import CuckooFilter
from principal_kit.sketches.decaying_top_k import DecayingTopK
from principal_kit.sketches.flajolet_martin import FlajoletMartin
from principal_kit.sketches.heavy_hitters import Hitter
from principal_kit.sketches.hyperloglog import HyperLogLog
from principal_kit.sketches.misra_gries import MisraGries
from principal_kit.sketches.reservoir import Reservoir, WeightedReservoir
from principal_kit.sketches.scalable_bloom import ScalableBloomFilter
from principal_kit.sketches.sketch import Sketch
from principal_kit.sketches.space_saving import SpaceSaving
from principal_kit.sketches.t_digest import TDigest

if TYPE_CHECKING:
    from principal_kit.sketches.stratified import StratifiedSample

__all__ = [
    "BlockedBloomFilter",
    "BloomFilter",
    "BucketHistogram",
    "CountMinSketch",
    "CuckooFilter",
    "DecayingTopK",
    "FlajoletMartin",
    "Hitter",
    "HyperLogLog",
    "MisraGries",
    "Reservoir",
    "ScalableBloomFilter",
    "Sketch",
    "SpaceSaving",
    "StratifiedSample",
    "TDigest",
    "WeightedReservoir",
]


def __getattr__(name: str) -> Any:
    """`StratifiedSample` on first use: it needs pandas, which every Python worker of Spark would load for nothing."""
    if name == "StratifiedSample":
        from principal_kit.sketches.stratified import StratifiedSample

        return StratifiedSample
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
