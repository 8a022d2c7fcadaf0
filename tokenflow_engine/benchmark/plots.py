"""Line charts as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from ..comparison.plot import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis

Points = Sequence[tuple[float, float]]


def line_chart(
    series: Mapping[str, Points],
    across: str,
    up: str,
    *,
    log_across: bool = False,
    from_zero: bool = False,
    level: tuple[str, float] | None = None,
) -> str:
    """SVG text: one line with dots for each series of (across, up).

    level: name and height of a dashed horizontal line. from_zero: the upward axis begins at 0.
    """
    scale = math.log10 if log_across else float
    xs = [scale(x) for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points] + ([level[1]] if level else [])
    room = (max(ys) - min(ys)) * 0.08 or abs(max(ys)) * 0.1 or 1.0
    x = Axis(min(xs), max(max(xs), min(xs) + 1e-6), LEFT, WIDTH - RIGHT)
    y = Axis(0.0 if from_zero else min(ys) - room, max(ys) + room, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{x.start} {y.end}V{y.start}H{x.end}" fill="none" stroke="black"/>',
    ]
    marks = sorted({value for points in series.values() for value, _ in points})
    for value in marks if len(marks) <= 8 or log_across else x.ticks():
        at = f"{x.place(scale(value)):.1f}"
        parts.append(f'<path d="M{at} {y.start}v5" stroke="black"/>')
        parts.append(f'<text x="{at}" y="{y.start + 20}" text-anchor="middle">{value:.4g}</text>')
    for value in y.ticks():
        at = f"{y.place(value):.1f}"
        parts.append(f'<path d="M{x.start} {at}H{x.end}" stroke="#dddddd"/>')
        label = f'<text x="{x.start - 8}" y="{at}" text-anchor="end" dy="4">{value:.5g}</text>'
        parts.append(label)
    for row, (name, points) in enumerate(series.items()):
        colour = COLOURS[(row + 6) % len(COLOURS)]
        places = [(x.place(scale(across)), y.place(height)) for across, height in points]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"/>' for px, py in places
        ]
        parts += _legend(row, name, f'stroke="{colour}"')
    if level:
        at = f"{y.place(level[1]):.1f}"
        dashes = 'stroke="#444444" stroke-dasharray="5 4"'
        parts.append(f'<path d="M{x.start} {at}H{x.end}" {dashes}/>')
        parts += _legend(len(series), level[0], dashes)
    middle, centre = (x.start + x.end) / 2, (y.start + y.end) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">{escape(across)}</text>'
    )
    parts.append(
        f'<text x="18" y="{centre}" text-anchor="middle" '
        f'transform="rotate(-90 18 {centre})">{escape(up)}</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(row: int, name: str, stroke: str) -> list[str]:
    level, left = TOP + 12 + 20 * row, WIDTH - RIGHT + 16
    return [
        f'<path d="M{left} {level}h24" fill="none" stroke-width="2" {stroke}/>',
        f'<text x="{left + 32}" y="{level + 4}">{escape(name)}</text>',
    ]
