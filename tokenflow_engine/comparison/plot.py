"""The plot of a comparison: edit success against warp error, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .methods import METHODS
from .scoring import METRICS
from .summary import Figure, Table

WIDTH, HEIGHT = 760, 420
LEFT, TOP, RIGHT, BOTTOM = 64, 24, 260, 56
"""Margins in pixels; the legend stands in the right one."""
COLOURS = (
    *("#888888", "#444444", "#d55e00", "#e69f00", "#cc79a7", "#56b4e9", "#0072b2", "#009e73"),
    *("#8c564b", "#7f3fbf", "#b8a000", "#1a1a66", "#66c2a5"),
)
"""Okabe and Ito's, which the colour-blind can tell apart, and some more for the ablations."""


class Axis(NamedTuple):
    """From `low` at pixel `start` to `high` at pixel `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """About five round values."""
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scatter(table: Table, across: str = "warp_error", up: str = "edit_success") -> str:
    """SVG text: a dot for each method, with bars of one standard deviation.

    across, up: metrics. Methods without both figures are left out; with none the axes stay empty.
    """
    points = {
        name: (figures[across], figures[up])
        for name, figures in table.items()
        if math.isfinite(figures[across].mean) and math.isfinite(figures[up].mean)
    }
    x = Axis(0, _ceiling(across, [p[0] for p in points.values()]), LEFT, WIDTH - RIGHT)
    y = Axis(0, _ceiling(up, [p[1] for p in points.values()]), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_frame(x, y, across, up),
    ]
    for row, (name, (right, above)) in enumerate(points.items()):
        colour = COLOURS[list(METHODS).index(name) % len(COLOURS)]
        parts += _dot(x, y, right, above, colour)
        level = TOP + 12 + 20 * row
        label = escape(METHODS[name].title)
        parts.append(f'<circle cx="{WIDTH - RIGHT + 22}" cy="{level}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 34}" y="{level + 4}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ceiling(metric: str, figures: Sequence[Figure]) -> float:
    if METRICS[metric].unit == "share":
        return 1.0
    highest = max((f.mean + f.spread for f in figures), default=0.0)
    return highest * 1.08 or 1.0


def _frame(x: Axis, y: Axis, across: str, up: str) -> list[str]:
    parts = [
        f'<path d="M{x.start} {y.end}V{y.start}H{x.end}" fill="none" stroke="black"/>',
    ]
    for value in x.ticks():
        at = f"{x.place(value):.1f}"
        parts.append(f'<path d="M{at} {y.start}v5" stroke="black"/>')
        parts.append(f'<text x="{at}" y="{y.start + 20}" text-anchor="middle">{value:.4g}</text>')
    for value in y.ticks():
        at = f"{y.place(value):.1f}"
        parts.append(f'<path d="M{x.start} {at}H{x.end}" stroke="#dddddd"/>')
        parts.append(
            f'<text x="{x.start - 8}" y="{at}" text-anchor="end" dy="4">{value:.4g}</text>'
        )
    middle, centre = (x.start + x.end) / 2, (y.start + y.end) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">{_title(across)}</text>'
    )
    parts.append(
        f'<text x="18" y="{centre}" text-anchor="middle" '
        f'transform="rotate(-90 18 {centre})">{_title(up)}</text>'
    )
    return parts


def _dot(x: Axis, y: Axis, right: Figure, above: Figure, colour: str) -> list[str]:
    cx, cy = x.place(right.mean), y.place(above.mean)
    west, east = (x.place(max(x.low, right.mean + s * right.spread)) for s in (-1, 1))
    ends = (above.mean - above.spread, above.mean + above.spread)
    south, north = (y.place(min(y.high, max(y.low, end))) for end in ends)
    return [
        f'<path d="M{west:.1f} {cy:.1f}H{east:.1f}M{cx:.1f} {south:.1f}V{north:.1f}" '
        f'stroke="{colour}" stroke-opacity="0.45" fill="none"/>',
        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="5" fill="{colour}"/>',
    ]


def _title(name: str) -> str:
    metric = METRICS[name]
    unit = f" ({metric.unit})" if metric.unit else ""
    return escape(f"{metric.title}{unit}, {metric.better} is better")
