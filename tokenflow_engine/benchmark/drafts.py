"""What draft quality saves and what it costs: `python -m tokenflow_engine.benchmark.drafts`.

One clip of the toy world is edited at final quality, at final quality with as few steps as a draft
takes, and as a draft, each with an empty cache. The joint call over keyframes, where thinned-out
attention counts, is also timed at the tokens of 512x512 pixels.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..client.edit_request import DRAFT_STEPS, EditRequest
from ..client.progress import Progress
from ..diffusion.model import DiffusionModel
from ..evaluation.metrics import psnr
from ..media.frames import read_frames
from ..phases.edit_run import edit
from ..phases.prepare import shelf
from ..tokenflow.attention import EditedKeyframes
from ..tokenflow.wiring import tokenflow
from .bench import machine_facts
from .timing import time_of
from .whole_edits import cache_in, toy_request

FRAMES, SIZE, STEPS = 16, 192, 50
KEYFRAMES, CELLS = 5, 64
"""Of the joint call: 40 frames of 512x512 pixels."""


def measure(folder: Path) -> dict[str, Any]:
    """Seconds, UNet calls times frames, and dB beside the final edit, for each of the three."""
    model = shelf.model("embedded", torch.device("cpu"), torch.float32)
    asked = toy_request(folder / "clip", FRAMES, SIZE, STEPS, "cpu")
    kinds = {
        "final": asked,
        "few_steps": replace(asked, steps=DRAFT_STEPS, inversion_steps=DRAFT_STEPS),
        "draft": replace(asked, quality="draft"),
    }
    edits = {
        name: _edited(replace(request, output=str(folder / name)), folder / f"cache-{name}")
        for name, request in kinds.items()
    }
    source, final = _pictures(folder / "clip"), _pictures(folder / "final")
    edited = (source != final).any(-1)
    for name, figures in edits.items():
        pictures = _pictures(folder / name)
        figures["psnr_to_final"] = round(psnr(pictures, final), 2)
        figures["psnr_to_final_where_edited"] = round(psnr(pictures, final, edited), 2)
    return {
        "frames": FRAMES,
        "size": SIZE,
        "steps": STEPS,
        "draft_steps": DRAFT_STEPS,
        "edits": edits,
        "joint_call": dict(_joint_calls(model)),
        "machine": machine_facts(torch.device("cpu")),
    }


def _pictures(folder: Path) -> np.ndarray:
    return np.stack(list(read_frames(folder, 0, FRAMES)))


def _edited(request: EditRequest, cache: Path) -> dict[str, Any]:
    planned: dict[str, int] = {}

    def keep(report: Progress) -> None:
        planned[report.phase] = report.total

    with cache_in(cache):
        result, seconds = time_of(lambda: edit(request, progress=keep), torch.device("cpu"))
    unet = sum(planned[phase] for phase in ("invert", "correspond", "edit"))
    by_phase = result.seconds
    return {"seconds": seconds.to_json(), "seconds_by_phase": by_phase, "unet_units": unet}


def _joint_calls(model: DiffusionModel) -> Iterator[tuple[str, dict[str, float]]]:
    """Seconds of one joint call over the keyframes by both branches, whole and thinned out."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2 * KEYFRAMES, 4, CELLS, CELLS, generator=generator)
    words = torch.randn(2 * KEYFRAMES, 77, model.unet.config.cross_attention_dim)
    with tokenflow(model.unet) as wiring, torch.inference_mode():
        for name, thinned in (("whole", None), ("thinned", (CELLS, CELLS))):

            def call(thinned: tuple[int, int] | None = thinned) -> None:
                joint = EditedKeyframes(2, False, False, False, frozenset(), thinned=thinned)
                wiring.run(joint, latents, 500, words)

            call()
            yield name, time_of(call, torch.device("cpu"))[1].to_json()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        json.dump(measure(Path(folder)), sys.stdout, indent=1)
        print()
