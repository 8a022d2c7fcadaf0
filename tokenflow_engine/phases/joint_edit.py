"""Phase 3: the edit itself, all frames from the noisiest step down to clean latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from ..diffusion.schedule import add_noise, ddim_step, noise_in
from ..tokenflow.attention import EditedFrames, EditedKeyframes, PropagatedFrames, UNetPass
from ..tokenflow.keyframes import chunks
from ..tokenflow.wiring import Wiring
from .cache import key_of
from .correspond import Correspondences, correspondence_key
from .invert import Inversion
from .run import EditRun

FINAL = "final"

StepCallback = Callable[[int, Tensor], None]
"""(denoising step, latents (F, 4, h, w) after it)."""

Pass = TypeVar("Pass", bound=EditedFrames)


def edit_key(run: EditRun) -> str:
    request = run.request
    return key_of(
        {
            "correspondence": correspondence_key(run),
            "prompts": [request.prompt, request.negative_prompt],
            "guidance_scale": request.guidance_scale,
            "attention_steps": run.plan.attention_steps,
        }
    )


def edit_units(run: EditRun) -> int:
    """Branches times frames that the phase sends through the UNet."""
    branches = len(run.edit_embeddings)
    return sum(
        len(keyframes) * (branches + _needs_source(run, step))
        + len(run.propagated(step)) * branches
        for step, keyframes in enumerate(run.keyframes)
    )


def edit_latents(
    run: EditRun,
    wiring: Wiring,
    inversion: Inversion,
    correspondences: Correspondences,
    after_step: StepCallback | None = None,
    keyframe_pass: type[EditedKeyframes] = EditedKeyframes,
) -> Tensor:
    """Clean latents (F, 4, h, w) of the edited clip, on the CPU.

    keyframe_pass: what the keyframes attend to; an ablation gives another one.

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """
    latents = initial_latents(run, inversion)
    for step in range(len(run.plan.timesteps)):
        latents = edit_step(run, wiring, inversion, correspondences, step, latents, keyframe_pass)
        if after_step:
            after_step(step, latents)
    return latents


def initial_latents(run: EditRun, inversion: Inversion) -> Tensor:
    """The source at the plan's first timestep, noised with the noise that the inversion ended in.

    The same as the inverted latents where the inversion ends at that timestep.
    """
    schedule, top = run.model.schedule, inversion.noisiest
    start = run.plan.timesteps[0]
    parts = []
    for frames in chunks(run.frames, run.request.chunk):
        clean = inversion.clean(list(frames))
        noise = noise_in(inversion.at(top, list(frames)), clean, schedule.level(top))
        parts.append(add_noise(clean, noise, schedule.level(start)).cpu())
    return torch.cat(parts)


def edit_step(
    run: EditRun,
    wiring: Wiring,
    inversion: Inversion,
    correspondences: Correspondences,
    step: int,
    latents: Tensor,
    keyframe_pass: type[EditedKeyframes] = EditedKeyframes,
) -> Tensor:
    """Latents (F, 4, h, w) after one denoising step from those before it."""
    keyframes = list(run.keyframes[step])
    timestep = run.plan.timesteps[step]
    noise = torch.empty_like(latents)

    def predict(unet_pass: UNetPass, frames: list[int], source: Tensor | None = None) -> Tensor:
        return guided_noise(run, wiring, unet_pass, latents[frames], timestep, source)

    joint = pass_of_step(run, wiring, step, keyframe_pass)
    source = inversion.at(timestep, keyframes) if joint.source else None
    noise[keyframes] = predict(joint, keyframes, source)
    for some in chunks(run.propagated(step), run.request.chunk):
        frames = list(some)
        features = correspondences.features(step, frames) if joint.inject_features else None
        blends = [run.rule.blend(f, keyframes, run.request.chunk) for f in frames]
        fields = correspondences.fields(step, frames)
        noise[frames] = predict(PropagatedFrames(joint, blends, fields, features), frames)

    return denoised(run, step, latents, noise)


def pass_of_step(run: EditRun, wiring: Wiring, step: int, kind: Callable[..., Pass]) -> Pass:
    """A pass over edited frames with the injections that the plan has for a step."""
    return kind(
        branches=len(run.edit_embeddings),
        source=_needs_source(run, step),
        inject_attention=run.plan.injects_attention(step),
        inject_features=run.plan.injects_features(step),
        injected_layers=wiring.injected_layers,
    )


def denoised(run: EditRun, step: int, latents: Tensor, noise: Tensor) -> Tensor:
    """Latents after one denoising step, from those before it and the noise found in them."""
    timesteps, level = run.plan.timesteps, run.model.schedule.level
    after = timesteps[step + 1] if step + 1 < len(timesteps) else None
    return ddim_step(latents, noise, level(timesteps[step]), level(after))


def _needs_source(run: EditRun, step: int) -> bool:
    return run.plan.injects_attention(step) or run.plan.injects_features(step)


def guided_noise(
    run: EditRun,
    wiring: Wiring,
    unet_pass: UNetPass,
    latents: Tensor,
    timestep: int,
    source: Tensor | None,
) -> Tensor:
    """Noise (n, 4, h, w) in latents (n, 4, h, w) under classifier-free guidance
    (Ho & Salimans, arXiv:2207.12598), on the CPU.

    source: the source's latents of the same frames at this timestep, where the pass needs them.
    """
    model, branches = run.model, len(run.edit_embeddings)
    count = len(latents)
    latents = latents.to(model.device)
    batch = [latents] * branches
    embeddings = run.edit_embeddings
    if source is not None:
        batch = [source, *batch]
        embeddings = torch.cat([run.source_embedding, embeddings])
    output = wiring.run(
        unet_pass,
        torch.cat(batch).to(model.dtype),
        timestep,
        embeddings.repeat_interleave(count, 0),
    )
    edited = output[-branches * count :].to(latents.dtype)
    noise = model.schedule.noise(edited, latents.repeat(branches, 1, 1, 1), timestep)
    run.meter.advance(count * len(batch))
    if branches == 1:
        return noise.cpu()
    unconditional, conditional = noise.chunk(2)
    return torch.lerp(unconditional, conditional, run.request.guidance_scale).cpu()
