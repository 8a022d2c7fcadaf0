"""How much faster several processes are at one edit, each with one processor core."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..client.edit_request import EditRequest
from ..phases.edit_run import edit
from .timing import time_of
from .whole_edits import cache_in, toy_request

FRAMES, SIZE, STEPS, CHUNK = 16, 128, 10, 4


def measure_processes(folder: Path, counts: Sequence[int], device: str) -> dict[str, Any]:
    """Seconds of the same edit by so many processes; the first count is 1.

    On a CPU every process has one thread, so that more of them also use more cores.
    """
    request = toy_request(folder / "clip", FRAMES, SIZE, STEPS, device)
    threads = torch.get_num_threads()
    runs = []
    for count in counts:
        torch.set_num_threads(count)
        place = folder / f"by{count}"
        shared = replace(request, chunk=CHUNK, processes=count, output=str(place / "out"))
        with cache_in(place / "cache"):
            runs.append(_timed(shared))
    torch.set_num_threads(threads)
    for run in runs:
        run["speed_up"] = round(runs[0]["seconds_in_unet"] / run["seconds_in_unet"], 3)
    return {
        "frames": FRAMES,
        "size": SIZE,
        "steps": STEPS,
        "chunk": CHUNK,
        "cores": os.cpu_count(),
        "runs": runs,
    }


def _timed(request: EditRequest) -> dict[str, Any]:
    result, seconds = time_of(lambda: edit(request), torch.device("cpu"))
    phases = ("invert", "correspond", "edit")
    return {
        "processes": request.processes,
        "seconds": round(seconds.wall, 3),
        "seconds_in_unet": round(sum(result.seconds[phase] for phase in phases), 3),
        "seconds_by_phase": {phase: result.seconds[phase] for phase in phases},
    }
