"""A few frames edited jointly and alone: what an edit will look like, in seconds.

They attend to one another as keyframes do; no other frame is inverted or edited, and nothing is
propagated. In the whole edit each step has other keyframes, one for each chunk of frames, so that a
preview shows the edit's look and shapes, not its exact pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..tokenflow.attention import EditedFrames, EditedKeyframes
from ..tokenflow.keyframes import chunks
from ..tokenflow.wiring import tokenflow
from .edit_region import EditRegion, find_region, region_units
from .invert import Inversion, inversion_key, inversion_units, invert_source
from .joint_edit import initial_latents
from .rates import KEYFRAMES, PICTURES
from .run import EditRun
from .step_calls import denoised, guided_noise, pass_of_step


def preview_latents(run: EditRun) -> tuple[Inversion, EditRegion | None, Tensor]:
    """The inversion of the picked frames, where they are edited, and their clean latents
    (n, 4, h, w).

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """
    meter = run.meter
    cached = run.cache.find("invert", inversion_key(run))
    meter.plan("invert", 0 if cached else inversion_units(run))
    meter.plan("edit", _units(run))
    meter.plan("decode", {PICTURES: run.frame_count})
    with meter.phase("invert"):
        inversion = invert_source(run)
    with meter.phase("edit"):
        with tokenflow(run.model.unet) as wiring, torch.inference_mode():
            region = find_region(run, wiring, inversion)
        every = run.frame_count
        latents = edit_every_frame(run, inversion, EditedKeyframes, at_once=every, region=region)
    return inversion, region, latents


def edit_every_frame(
    run: EditRun,
    inversion: Inversion,
    kind: type[EditedFrames],
    at_once: int | None = None,
    region: EditRegion | None = None,
) -> Tensor:
    """Clean latents (F, 4, h, w) of an edit without propagation, on the CPU.

    kind: what the frames of a step attend to; one pass of it serves all calls of a step.
    at_once: frames per UNet call, the run's chunk if None.
    region: the cells that may change, all if None.
    """
    latents = initial_latents(run, inversion)
    with tokenflow(run.model.unet) as wiring, torch.inference_mode():
        for step, timestep in enumerate(run.plan.timesteps):
            unet_pass = pass_of_step(run, wiring, step, kind)
            noise = torch.empty_like(latents)
            for some in chunks(run.frames, at_once or run.request.chunk):
                frames = list(some)
                source = inversion.at(timestep, frames) if unet_pass.source else None
                noise[frames] = guided_noise(
                    run, wiring, unet_pass, latents[frames], timestep, source
                )
            latents = denoised(run, step, latents, noise)
            if region is not None:
                latents = region.blended(list(run.frames), latents, run.after(step))
    return latents


def _units(run: EditRun) -> dict[str, int]:
    """Branches times frames that a preview's edit sends through the UNet."""
    plan, branches = run.plan, len(run.edit_embeddings)
    steps = range(len(plan.timesteps))
    source = sum(plan.injects(step) for step in steps)
    return {
        KEYFRAMES: run.frame_count * (branches * len(steps) + source),
        **region_units(run),
    }
