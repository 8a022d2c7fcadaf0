"""Table and plot of a job's time on 1 to 1000 workers, from measured step times."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from ..client.errors import TokenFlowError
from ..client.job_folder import JobFolder
from .cost_model import Footage, StepTimes, measured
from .simulation import Played, play

WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
MINUTE = 1440
"""Frames of a minute at 24 a second."""

JOBS = {
    "1 minute in 10 shots": Footage(10, MINUTE // 10),
    "1 minute in 100 shots": Footage(100, MINUTE // 100),
    "10 minutes in 200 shots": Footage(200, 10 * MINUTE // 200),
}
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 400, 70, 20, 20, 50
_COLOURS = ("#0072b2", "#d55e00", "#009e73")


def write_simulation(output: Path, times_file: Path | None, job: Path | None) -> list[Path]:
    """Write step_times.json, simulation.md and simulation.svg; return the files.

    job: folder of a finished job to take the times from, else times_file.

    Raises:
        TokenFlowError: code "bad_request", where there are no times.
    """
    if job is not None:
        times = measured(JobFolder(job.absolute()), "")
    elif times_file is not None:
        try:
            times = StepTimes.from_json(json.loads(times_file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise TokenFlowError(
                "bad_request", f'"{times_file}" cannot be read.', "Name another.", str(error)
            ) from error
    else:
        raise TokenFlowError("bad_request", "No times are given.", "Use --job or --times.")
    played = {name: [play(footage, times, n) for n in WORKERS] for name, footage in JOBS.items()}
    output.mkdir(parents=True, exist_ok=True)
    files = [output / name for name in ("step_times.json", "simulation.md", "simulation.svg")]
    texts = (json.dumps(times.to_json(), indent=1) + "\n", table(played), plot(played))
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def table(played: dict[str, list[Played]]) -> str:
    """Markdown: for each job, wall time and efficiency by workers."""
    lines = []
    for name, rows in played.items():
        lines += [f"**{name}**", "", "| workers | wall | efficiency | longest step |"]
        lines += ["|---|---|---|---|"]
        for row in rows:
            longest = max(row.steps, key=lambda step: row.steps[step])
            share = f"{longest} ({row.steps[longest] / row.wall:.0%})"
            lines.append(f"| {row.workers} | {_time(row.wall)} | {row.efficiency:.0%} | {share} |")
        lines.append("")
    return "\n".join(lines)


def plot(played: dict[str, list[Played]]) -> str:
    """SVG: wall time over workers, both axes logarithmic; dashed what ideal scaling would give."""
    walls = [row.wall for rows in played.values() for row in rows]
    ideal = [row.busy / row.workers for rows in played.values() for row in rows]
    high = math.ceil(math.log10(max(walls)))
    low = min(math.floor(math.log10(min(walls + ideal))), high - 1)

    def x(workers: float) -> float:
        return _LEFT + math.log10(workers) / 3 * (_WIDTH - _LEFT - _RIGHT)

    def y(seconds: float) -> float:
        share = (math.log10(max(seconds, 10**low)) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        label = _time(10.0**power)
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for workers in (1, 10, 100, 1000):
        at = x(workers)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>')
        label_y = _HEIGHT - _BOTTOM + 18
        parts.append(f'<text x="{at:.1f}" y="{label_y}" text-anchor="middle">{workers}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">workers</text>')
    for index, (name, rows) in enumerate(played.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        real = _path([(x(r.workers), y(r.wall)) for r in rows])
        best = _path([(x(r.workers), y(rows[0].wall / r.workers)) for r in rows])
        parts.append(f'<path d="{real}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<path d="{best}" fill="none" stroke="{colour}" stroke-dasharray="3 4" opacity="0.6"/>'
        )
        label_y = _TOP + 16 + 18 * index
        label_x = _WIDTH - _RIGHT - 190
        parts.append(f'<path d="M{label_x} {label_y - 4}h22" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{label_x + 28}" y="{label_y}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
