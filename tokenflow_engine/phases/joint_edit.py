"""Phase 3: the edit itself, all frames from the noisiest step down to clean latents.

Each step goes over the clip once, and its latents take the place of the older ones as they come, so
that no more than a window of keyframes and a batch of frames is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..diffusion.schedule import add_noise, noise_in
from ..tokenflow.attention import AnchorTokens, EditedKeyframes, KeyframeOutputs, blended
from ..tokenflow.keyframes import chunks
from ..tokenflow.windows import FrameBatch, Window, anchors_of, sweep, windows
from ..tokenflow.wiring import Wiring
from .cache import key_of
from .correspond import Correspondences, correspondence_key
from .edit_region import REGION_FORMAT, EditRegion
from .invert import Inversion
from .latent_rows import LatentRows
from .rates import KEYFRAMES, OTHERS
from .run import EditRun
from .step_calls import StepCalls, denoised
from .variation import varied

FINAL = "final"

StepCallback = Callable[[int, Tensor], None]
"""(denoising step, latents (F, 4, h, w) after it)."""

Windowing = Callable[[int, int, int], list[Window]]
"""(keyframes, window size, denoising step) -> windows in order."""


def edit_key(run: EditRun) -> str:
    request = run.request
    return key_of(
        {
            "correspondence": correspondence_key(run),
            "prompts": [request.prompt, request.negative_prompt],
            "guidance_scale": run.guidance_scale,
            "attention_steps": run.plan.attention_steps,
            "window": run.window(0),
            "region": REGION_FORMAT if request.finds_region else None,
            "pieces": request.piece_frames,
            "variation": [request.variation, request.seed] if request.variation else None,
            **({"thinned": run.thinned} if run.thinned else {}),
        }
    )


def edit_units(run: EditRun) -> dict[str, int]:
    """Branches times frames that the phase sends through the UNet, without finding the region."""
    branches = len(run.edit_embeddings)
    return {
        KEYFRAMES: sum(
            _jointly_edited(run, step) * (branches + run.plan.injects_attention(step))
            for step in range(len(run.keyframes))
        ),
        OTHERS: sum(len(run.propagated(step)) for step in range(len(run.keyframes))) * branches,
    }


def edit_latents(
    run: EditRun,
    wiring: Wiring,
    inversion: Inversion,
    correspondences: Correspondences,
    after_step: StepCallback | None = None,
    keyframe_pass: type[EditedKeyframes] = EditedKeyframes,
    windowing: Windowing = windows,
    region: EditRegion | None = None,
) -> Tensor:
    """Clean latents (F, 4, h, w) of the edited clip, on the CPU.

    keyframe_pass, windowing: what the keyframes attend to, and in which windows; ablations give
        others.
    region: the cells that may change, all if None.

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """
    latents = initial_latents(run, inversion)
    kinds = keyframe_pass, windowing, region
    edit_in_place(run, wiring, inversion, correspondences, latents, after_step, *kinds)
    return latents


def edit_in_place(
    run: EditRun,
    wiring: Wiring,
    inversion: Inversion,
    correspondences: Correspondences,
    latents: LatentRows,
    after_step: StepCallback | None = None,
    keyframe_pass: type[EditedKeyframes] = EditedKeyframes,
    windowing: Windowing = windows,
    region: EditRegion | None = None,
) -> None:
    """All denoising steps, from `initial_rows` to clean latents; see `edit_latents`."""
    for step in range(len(run.plan.timesteps)):
        kinds = keyframe_pass, windowing, region
        edit_step(run, wiring, inversion, correspondences, step, latents, *kinds)
        if after_step:
            after_step(step, latents[list(run.frames)])


def initial_rows(run: EditRun, inversion: Inversion) -> Iterator[tuple[list[int], Tensor]]:
    """Some frames at a time and their latents at the plan's first timestep, noised with the noise
    that the inversion ended in.

    The same as the inverted latents where the inversion ends at that timestep, and the request
    wants no variation.
    """
    schedule, top = run.model.schedule, inversion.noisiest
    start = run.plan.timesteps[0]
    for some in chunks(run.frames, run.request.chunk):
        frames = list(some)
        clean = inversion.clean(frames)
        noise = noise_in(inversion.at(top, frames), clean, schedule.level(top))
        noise = varied(noise, run.request.variation, run.request.seed)
        yield frames, add_noise(clean, noise, schedule.level(start)).cpu()


def initial_latents(run: EditRun, inversion: Inversion) -> Tensor:
    """All of `initial_rows`, (F, 4, h, w)."""
    return torch.cat([rows for _, rows in initial_rows(run, inversion)])


def edit_step(
    run: EditRun,
    wiring: Wiring,
    inversion: Inversion,
    correspondences: Correspondences,
    step: int,
    latents: LatentRows,
    keyframe_pass: type[EditedKeyframes] = EditedKeyframes,
    windowing: Windowing = windows,
    region: EditRegion | None = None,
) -> None:
    """One denoising step; the latents after it take the place of those before it."""
    keyframes = run.keyframes[step]
    calls = StepCalls(run, wiring, inversion, correspondences, step, latents, keyframe_pass)

    def advance(frames: list[int], noise: Tensor) -> None:
        after = denoised(run, step, latents[frames], noise)
        latents[frames] = region.blended(frames, after, run.after(step)) if region else after

    parts = windowing(len(keyframes), run.window(step), step)
    blend, chunk = partial(run.blend, step), run.request.chunk
    order = list(sweep(parts, run.propagated(step), blend, chunk))
    batches = [list(part.frames) for part in order if isinstance(part, FrameBatch)]
    own = (frames for number, frames in enumerate(batches) if run.ranks.owns(number))
    correspondences.expect(map(calls.reads, own))
    kept = KeyframeOutputs()
    seen: AnchorTokens | None = None
    if slots := anchors_of(len(keyframes), run.window(step)):
        joint = calls.joint(slots, sees=True)
        seen = AnchorTokens(slots, joint.seen)
    waiting: Tensor | None = None
    finished = 0
    number = 0
    for part in order:
        if isinstance(part, FrameBatch):
            kept.forget_before(part.first)
            frames = list(part.frames)
            if run.ranks.owns(number):
                advance(frames, calls.propagated(part, kept))
            number += 1
            continue
        context = seen.of(part.anchors) if seen else {}
        joint = calls.joint(part.slots, context)
        kept.add(joint.outputs, part)
        if run.rule.reuses_keyframes:
            # Their latents stay until the last window that holds them has seen them.
            every = blended(waiting, joint.noise, part, finished)
            count = part.final - finished
            advance(list(keyframes[finished : part.final]), every[:count])
            waiting, finished = every[count:], part.final
    if run.ranks.count > 1:
        _share(run, latents, batches)


def _share(run: EditRun, latents: LatentRows, batches: list[list[int]]) -> None:
    """Every process gets the frames that others have propagated."""
    branches = len(run.edit_embeddings)
    for number, frames in enumerate(batches):
        rows = run.ranks.share(number, latents[frames])
        if not run.ranks.owns(number):
            latents[frames] = rows
            run.meter.advance(len(frames) * branches, OTHERS)


def _jointly_edited(run: EditRun, step: int) -> int:
    """Keyframes in a step's joint calls; beyond the limit most are in two of them."""
    count, size = len(run.keyframes[step]), run.window(step)
    return len(anchors_of(count, size)) + sum(len(w.slots) for w in windows(count, size, step))
