"""Whether the windows of a long clip's joint edit show: the same clip, edited with and without.

Keyframes lie two frames apart, so that a clip that fits a CPU has many windows; a row of windows
side by side, without overlap and anchors, shows that the measure finds seams where there are some.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..client.edit_request import EditRequest
from ..diffusion.autoencoder import decode
from ..evaluation.metrics import Picture
from ..evaluation.seams import relative_changes, seams
from ..media.pictures import write_numbered
from ..phases.cache import PhaseCache
from ..phases.correspond import correspond
from ..phases.invert import invert_source
from ..phases.joint_edit import edit_latents
from ..phases.meter import ProgressMeter
from ..phases.prepare import prepare
from ..tokenflow.keyframes import KeyframeSchedule, chunks
from ..tokenflow.windows import WINDOW, Window, one_by_one, windows
from ..tokenflow.wiring import tokenflow
from ..toyworld.clips import sample_clip

FRAMES, SIZE, STEPS, CHUNK = 96, 64, 4, 2
SCENE = {"look": "red", "shape": "ball", "ground": "grass", "sky": "blue"}


def side_by_side(count: int, size: int, step: int) -> list[Window]:
    """Windows without overlap and anchors, at the same places in each step."""
    return one_by_one(count, size)


WAYS = {
    "all keyframes in one call": (4096, windows),
    "windows, overlapping": (WINDOW, windows),
    "windows side by side (control)": (WINDOW, side_by_side),
}


def borders(parts: Iterable[Window], keyframes: tuple[int, ...]) -> set[int]:
    """Pairs of frames, by the first one's index, between the last keyframe before a window and the
    window's first."""
    starts = [part.slots[0] for part in parts if part.slots[0] > 0]
    return {t for s in starts for t in range(keyframes[s - 1], keyframes[s])}


def measure_seams(frames: int, folder: Path) -> list[dict[str, Any]]:
    """One row for each way to edit the clip; files go to `folder`.

    Each row compares the changes at the control's borders, and at the borders of the overlapping
    windows of the first step, with those elsewhere.
    """
    source: list[Picture] = list(sample_clip(11, "orbit", frames, SIZE, SIZE, **SCENE).frames)
    request = EditRequest(
        source=str(write_numbered(folder / "clip", source)),
        prompt="a blue ball on sand under a blue sky",
        source_prompt="a red ball on grass under a blue sky",
        output=str(folder / "out"),
        steps=STEPS,
        inversion_steps=STEPS,
        inversion_solver="ddim",
        chunk=CHUNK,
        device="cpu",
    )
    run = replace(prepare(request, ProgressMeter({})), cache=PhaseCache(folder / "cache"))
    keyframes: KeyframeSchedule = run.keyframes
    count = len(keyframes[0])
    fixed = set().union(*(borders(one_by_one(count, WINDOW), row) for row in keyframes))
    first = borders(windows(count, WINDOW, 0), keyframes[0])
    rows = []
    with run.meter.phase("invert"):
        inversion = invert_source(run)
    with run.meter.phase("edit"), tokenflow(run.model.unet) as wiring, torch.inference_mode():
        fields = correspond(run, wiring, inversion)
        for name, (size, windowing) in WAYS.items():
            own = replace(run, request=replace(request, window=size))
            latents = edit_latents(own, wiring, inversion, fields, windowing=windowing)
            parts = chunks(run.frames, 4)
            edited = [p for part in parts for p in decode(run.model, latents[list(part)])]
            changes = relative_changes(edited, source)
            places = {"fixed": fixed, "first_step": first}
            rows.append({"way": name} | {k: asdict(seams(changes, v)) for k, v in places.items()})
    run.cache.release()
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as Markdown."""
    lines = [
        "| joint edit | places | pairs there | change there | elsewhere | chance | deviations |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for places in ("fixed", "first_step"):
            found = row[places]
            lines.append(
                f"| {row['way']} | {places.replace('_', ' ')} | {found['pairs_at_borders']} "
                f"| {found['at_borders']:.3f} | {found['elsewhere']:.3f} "
                f"| {found['chance']:.2f} | {found['deviation']:+.1f} |"
            )
    return lines
