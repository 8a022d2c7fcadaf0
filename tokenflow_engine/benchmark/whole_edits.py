"""Whole edits by the engine, timed: the first prompt on a strip, and the second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..client.edit_request import EditRequest
from ..client.progress import EditResult
from ..media.pictures import write_numbered
from ..phases.edit_run import edit
from ..phases.meter import ProgressMeter
from ..phases.prepare import prepare
from ..phases.run import EditRun
from ..toyworld.clips import sample_clip
from .timing import Seconds, time_of

PROMPTS = ("a blue ball on grass under a blue sky", "a green ball on grass under a blue sky")
SEED = 11


@dataclass
class WholeEdits:
    """Results and seconds of the first and the second prompt, without loading the model."""

    run: EditRun
    results: tuple[EditResult, EditResult]
    seconds: tuple[Seconds, Seconds]

    @property
    def second_prompt_ratio(self) -> float:
        return self.seconds[1].wall / self.seconds[0].wall

    def to_json(self) -> dict[str, Any]:
        request = self.run.request
        return {
            "frames": self.run.frame_count,
            "size": list(self.run.size),
            "steps": request.steps,
            "inversion_steps": request.inversion_steps,
            "chunk": request.chunk,
            "prompts": [
                {
                    "seconds": seconds.to_json(),
                    "seconds_by_phase": result.seconds,
                    "reconstruction_psnr": result.reconstruction_psnr,
                    "peak_memory_mb": result.peak_memory_mb,
                }
                for result, seconds in zip(self.results, self.seconds, strict=True)
            ],
        }


def toy_request(clip: Path, frames: int, size: int, steps: int, device: str) -> EditRequest:
    """An edit of a clip of the toy world, which is written to the folder `clip`."""
    scene = {"look": "red", "shape": "ball", "ground": "grass", "sky": "blue"}
    drawn = sample_clip(SEED, "roll", frames, size, size, **scene)
    write_numbered(clip, drawn.frames)
    return EditRequest(
        source=str(clip),
        prompt=PROMPTS[0],
        source_prompt=drawn.caption,
        output=str(clip.parent / "first"),
        steps=steps,
        inversion_steps=steps,
        device=device,
    )


def time_whole_edits(folder: Path, frames: int, size: int, steps: int, device: str) -> WholeEdits:
    """Edit a clip of the toy world twice by the embedded model, with an empty cache before."""
    request = toy_request(folder / "clip", frames, size, steps, device)
    meter = ProgressMeter({})
    with meter.phase("prepare"), torch.inference_mode():
        run = prepare(request.validated().resolved(), meter)
    with cache_in(folder / "cache"):
        first = time_of(lambda: edit(request), run.model.device)
        another = replace(request, prompt=PROMPTS[1], output=str(folder / "second"))
        second = time_of(lambda: edit(another), run.model.device)
    return WholeEdits(run, (first[0], second[0]), (first[1], second[1]))


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """The phases' results go into a folder of their own."""
    before = os.environ.get("TOKENFLOW_CACHE")
    os.environ["TOKENFLOW_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENFLOW_CACHE"]
        else:
            os.environ["TOKENFLOW_CACHE"] = before
