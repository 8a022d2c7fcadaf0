"""How peak memory grows with the length of a clip: one child process for each length.

Pictures of 64x64 and two steps keep it affordable; what grows with the length does so at any size.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ..client.edit_request import EditRequest
from ..media.pictures import write_png
from .plots import line_chart

SIZE, STEPS = 64, 2
SHORT, LONG = 40, 1000
MIB = 2**20
SAMPLED_SECONDS = 0.02

CHILD = """
import json, sys
import torch
torch.set_num_threads(1)
from tokenflow_engine.benchmark.memory import edit_and_watch
print(json.dumps(edit_and_watch(json.loads(sys.argv[1]))))
"""


def anonymous_bytes() -> tuple[int, int]:
    """Resident bytes of this process: (its own, those that files on disk back).

    The second are pages that the system takes back whenever it likes. Linux tells them apart; other
    systems count everything as the process's own.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return psutil.Process().memory_info().rss, 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    own, files, shared = (
        int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile", "RssShmem")
    )
    return own, files + shared


def edit_and_watch(request: dict[str, Any]) -> dict[str, float]:
    """Make an edit and watch this process: MiB before it and at the highest, by kind."""
    import torch

    from ..phases.edit_run import edit
    from ..phases.prepare import shelf

    shelf.model("embedded", torch.device("cpu"), torch.float32)
    before = anonymous_bytes()
    peaks = list(before)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLED_SECONDS):
            for place, value in enumerate(anonymous_bytes()):
                peaks[place] = max(peaks[place], value)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        result = edit(EditRequest.from_json(request))
    finally:
        done.set()
        watcher.join()
    return {
        "frames": result.frame_count,
        "loaded_mib": round(before[0] / MIB, 1),
        "anonymous_mib": round(peaks[0] / MIB, 1),
        "file_backed_mib": round(peaks[1] / MIB, 1),
        "peak_rss_mib": result.peak_memory_mb["host"],
        "processor_seconds": round(time.process_time(), 1),
    }


def write_clip(folder: Path, frames: int) -> None:
    """A bright disc that wanders over a gradient, as numbered pictures."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    ground = np.stack([x * 2, 90 + y, 200 - x], -1)
    for number in range(frames):
        angle = number / 20
        centre = SIZE / 2 + 18 * np.array([np.cos(angle), np.sin(angle * 0.7)])
        disc = np.hypot(x - centre[0], y - centre[1]) < 12
        picture = np.where(disc[..., None], np.array([220.0, 40, 40]), ground)
        write_png(folder / f"{number:05d}.png", picture.clip(0, 255).astype(np.uint8))


def measure(frames: int, folder: Path) -> dict[str, float]:
    """Peak memory of a whole edit of a clip of `frames` frames, in a process of its own.

    Raises:
        RuntimeError: with what the process said, where it failed.
    """
    write_clip(folder / "clip", frames)
    request = EditRequest(
        source=str(folder / "clip"),
        prompt="a blue ball",
        output=str(folder / "out"),
        steps=STEPS,
        inversion_steps=STEPS,
        device="cpu",
    )
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(request.to_json())],
        capture_output=True,
        text=True,
        env={**os.environ, "TOKENFLOW_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    return json.loads(done.stdout.splitlines()[-1])


def memory_growth(lengths: tuple[int, ...], tell: Callable[[str], None]) -> dict[str, Any]:
    """`memory_growth_40_to_1000`, with what was measured beside it.

    The share by which the process's own (anonymous) resident memory at its highest is greater for
    1000 frames than for 40; not a number where one of them was not measured. `over_loaded_mib` is
    that memory less what the loaded engine held before.
    """
    runs = []
    for frames in lengths:
        tell(f"memory of an edit of {frames} frames")
        with tempfile.TemporaryDirectory(prefix="tokenflow-memory-") as scratch:
            runs.append(measure(frames, Path(scratch)))
    by_length = {run["frames"]: run for run in runs}
    growth = math.nan
    if SHORT in by_length and LONG in by_length:
        short, long = (by_length[n]["anonymous_mib"] for n in (SHORT, LONG))
        growth = round(long / short - 1, 4)
    return {
        "memory_growth_40_to_1000": growth,
        "size": [SIZE, SIZE],
        "steps": STEPS,
        "over_loaded_mib": {
            str(run["frames"]): round(run["anonymous_mib"] - run["loaded_mib"], 1) for run in runs
        },
        "runs": runs,
    }


def plot(measured: dict[str, Any]) -> str:
    """Memory against length, as SVG text."""
    runs = measured["runs"]
    return line_chart(
        {
            "anonymous": [(r["frames"], r["anonymous_mib"]) for r in runs],
            "engine loaded": [(r["frames"], r["loaded_mib"]) for r in runs],
            "pages of files": [(r["frames"], r["file_backed_mib"]) for r in runs],
        },
        "frames",
        "MiB",
        from_zero=True,
    )
