"""Draws the front page's figure with the kit itself: who owns the circle before and after a node leaves.

python book/_ext/ring_figure.py    writes book/_static/ring.svg, which a test compares with what this computes
"""

from __future__ import annotations

import math
from pathlib import Path

from principal_kit.core.hashing import hash64
from principal_kit.placement import HashRing

NODES = ["cache-1", "cache-2", "cache-3", "cache-4", "cache-5"]
GONE = "cache-3"
KEYS = [f"user:{n}" for n in range(48)]
VNODES = 6
RADIUS = 92
WIDTH, HEIGHT = 640, 318
CENTRES = {"before": (150, 128), "after": (490, 128)}
FULL = 2.0**64


def spot(centre: tuple[int, int], fraction: float, radius: float) -> str:
    """SVG coordinates of a place on the circle; the circle starts at noon and runs clockwise."""
    angle = 2 * math.pi * fraction
    return f"{centre[0] + radius * math.sin(angle):.1f} {centre[1] - radius * math.cos(angle):.1f}"


def arcs(ring: HashRing) -> list[tuple[float, float, str]]:
    """(from, to, owner) as fractions of the circle: a point owns what lies before it."""
    points = [point / FULL for point in ring.points.tolist()]
    owners = [ring.nodes[index] for index in ring.owners.tolist()]
    ends = [*points[:-1], points[-1]]
    starts = [points[-1] - 1, *ends[:-1]]
    return list(zip(starts, ends, owners))


def draw_ring(name: str, ring: HashRing, was: HashRing | None) -> list[str]:
    """One circle: arcs in their owner's colour, keys as ticks; keys that moved since `was` stand out."""
    centre = CENTRES[name]
    lines = []
    for start, end, owner in arcs(ring):
        large = int(end - start > 0.5)
        path = f"M {spot(centre, start, RADIUS)} A {RADIUS} {RADIUS} 0 {large} 1 {spot(centre, end, RADIUS)}"
        lines.append(f'<path class="n{owner[-1]}" d="{path}"/>')
    for key in KEYS:
        moved = was is not None and was.node_for(key) != ring.node_for(key)
        fraction = hash64(key, seed=0) / FULL
        inner, outer = (RADIUS + 11, RADIUS + 27) if moved else (RADIUS + 11, RADIUS + 17)
        path = f"M {spot(centre, fraction, inner)} L {spot(centre, fraction, outer)}"
        lines.append(f'<path class="{"moved" if moved else "key"}" d="{path}"/>')
    return lines


def draw() -> str:
    """The whole figure as an SVG element; its colours are the page's custom properties, so it follows the theme."""
    before = HashRing(NODES, vnodes=VNODES)
    after = HashRing([node for node in NODES if node != GONE], vnodes=VNODES)
    moved = sum(before.node_for(key) != after.node_for(key) for key in KEYS)
    assert all(before.node_for(key) == GONE for key in KEYS if before.node_for(key) != after.node_for(key))
    said = (
        f"Two hash rings. Left: five cache nodes share the circle and {len(KEYS)} keys. Right: {GONE} is gone; only "
        f"its {moved} keys have a new owner, the other {len(KEYS) - moved} stay where they were."
    )
    body = [*draw_ring("before", before, None), *draw_ring("after", after, before)]
    captions = [("before", "five nodes", f"{len(KEYS)} keys"), ("after", f"{GONE} leaves", f"{moved} keys move")]
    for name, large, small in captions:
        x, y = CENTRES[name]
        lines = ((large, y + 158, "large"), (small, y + 183, "small hot" if name == "after" else "small"))
        body += [f'<text class="{style}" x="{x}" y="{height}">{text}</text>' for text, height, style in lines]
    body.append('<path class="arrow" d="M 298 128 H 341 M 332 119 L 342 128 L 332 137"/>')
    return "\n".join(
        [
            f'<svg class="kit-ring" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-labelledby="kit-ring-title"><title id="kit-ring-title">{said}</title>',
            *body,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    (Path(__file__).parents[1] / "_static" / "ring.svg").write_text(draw(), encoding="utf-8")
