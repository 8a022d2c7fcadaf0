"""The time that the released code's way takes, from a sample of its steps.

All its steps of a kind cost the same, so that a few of them are timed and multiplied: the report
says how many.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from ..phases.run import EditRun
from .plain_tokenflow import PlainEdit, PlainModel
from .timing import Seconds, time_of

INVERSION_STEPS = 500
EDIT_STEPS = 50
"""The released code's defaults; it also samples the inversion back in as many steps."""

SAMPLED_STEPS = 2
"""Of the inversion, and of each stretch of the edit (both injections, features only, none)."""


@dataclass
class PlainTimes:
    """inversion_step: one step of all frames' inversion, or of its reconstruction.
    edit_step: one step of the edit, the mean over its stretches in their shares.
    """

    inversion_step: Seconds
    edit_step: Seconds

    @property
    def inversion(self) -> Seconds:
        return self.inversion_step * INVERSION_STEPS

    @property
    def total(self) -> Seconds:
        """Inversion, reconstruction and edit, without reading, encoding, and decoding."""
        return self.inversion * 2 + self.edit_step * EDIT_STEPS

    def to_json(self) -> dict[str, Any]:
        return {
            "inversion_steps": INVERSION_STEPS,
            "reconstruction_steps": INVERSION_STEPS,
            "edit_steps": EDIT_STEPS,
            "timed": f"{SAMPLED_STEPS} inversion steps and {SAMPLED_STEPS} edit steps of each of "
            "three stretches, multiplied",
            "inversion_step_seconds": self.inversion_step.to_json(),
            "edit_step_seconds": self.edit_step.to_json(),
            "seconds": self.total.to_json(),
        }


def time_plain_way(run: EditRun) -> PlainTimes:
    """Steps of an edit of the same clip, model, chunk and branches; latents without meaning."""
    device, model = run.model.device, run.model
    shape = (run.frame_count, 4, run.size[1] // 8, run.size[0] // 8)
    latents = torch.randn(shape, device=device, dtype=model.dtype)
    source = torch.randn_like(latents)
    # Its forwards are replaced for good.
    unet = copy.deepcopy(model.unet)
    alphas = torch.tensor(model.schedule.alphas_cumprod, device=device, dtype=model.dtype)
    plain = PlainModel(unet, alphas, model.schedule.prediction_type)
    timesteps = model.schedule.timesteps(EDIT_STEPS)
    chunk = run.request.chunk

    def invert_some() -> None:
        ascending = timesteps[::-1][:SAMPLED_STEPS]
        for start in range(0, len(latents), chunk):
            plain.invert(latents[start : start + chunk], run.source_embedding, ascending)

    with torch.inference_mode():
        plain.invert(latents[:chunk], run.source_embedding, timesteps[-1:])
        _, inversion = time_of(invert_some, device)
        unconditional, conditional = run.edit_embeddings[:1], run.edit_embeddings[-1:]
        edit = PlainEdit(
            plain,
            (run.source_embedding, unconditional, conditional),
            chunk,
            run.request.guidance_scale,
            int(EDIT_STEPS * run.request.pnp_attention),
            int(EDIT_STEPS * run.request.pnp_features),
        )
        keyframes = list(run.keyframes[0])
        bounds = (0, edit.attention_steps, edit.feature_steps, EDIT_STEPS)
        seconds = Seconds()
        for first, end in pairwise(bounds):
            if first == end:
                continue
            for number in range(first, first + SAMPLED_STEPS):
                t = timesteps[min(number, EDIT_STEPS - 1)]
                step = partial(edit.step, first, t, latents, source, keyframes)
                _, taken = time_of(step, device)
                seconds += taken * ((end - first) / EDIT_STEPS / SAMPLED_STEPS)
    return PlainTimes(inversion * (1 / SAMPLED_STEPS), seconds)
