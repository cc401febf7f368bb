"""Sketches: answers about a stream from a few kilobytes, each with a stated error.

All share one interface: `add`, `add_many`, `merge`, `to_bytes`, `from_bytes`, `nbytes`, and a `seed`.
"""

from principal_kit.sketches.sketch import Sketch

__all__ = ["Sketch"]
