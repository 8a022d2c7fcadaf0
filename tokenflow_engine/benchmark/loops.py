"""Our edit loop and the released code's way of it, on the same latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..diffusion.model import DiffusionModel
from ..phases.correspond import correspond
from ..phases.joint_edit import edit_latents
from ..tokenflow.wiring import tokenflow
from .loop_rate import LoopSize, random_inversion, synthetic_run
from .plain_way import time_plain_way
from .timing import time_of


def compare_loops(model: DiffusionModel, size: LoopSize, folder: Path) -> tuple[float, Any]:
    """The plain way's seconds for a step of the edit over ours, and what was measured.

    size: its steps stand for the whole edit's, in equal distances, injections in their shares.
    folder: for the loop's files.
    """
    run = synthetic_run(model, size, folder)
    inversion = random_inversion(run, folder / "inversion")

    def loop() -> None:
        with tokenflow(model.unet) as wiring, torch.inference_mode():
            edit_latents(run, wiring, inversion, correspond(run, wiring, inversion))

    _, taken = time_of(loop, model.device)
    ours = taken * (1 / size.steps)
    plain = time_plain_way(run).edit_step
    beside = {
        "frames": size.frames,
        "chunk": size.chunk,
        "steps": size.steps,
        "size": size.size,
        "step_seconds": ours.to_json(),
        "plain_step_seconds": plain.to_json(),
        "ratio_by_processor_time": round(plain.cpu / ours.cpu, 4),
    }
    return plain.wall / ours.wall, beside
