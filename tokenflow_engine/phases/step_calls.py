"""The UNet calls of one denoising step, whole or in the pieces that memory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ..diffusion.schedule import ddim_step
from ..tokenflow.attention import (
    EditedFrames,
    EditedKeyframes,
    InjectionSource,
    KeyframeOutputs,
    KeysAndValues,
    PropagatedFrames,
    UNetPass,
)
from ..tokenflow.windows import FrameBatch
from ..tokenflow.wiring import Wiring
from .correspond import Correspondences, FramesOfStep
from .invert import Inversion
from .latent_rows import LatentRows
from .memory_plan import MemoryPlan
from .rates import KEYFRAMES, OTHERS
from .run import EditRun

Pass = TypeVar("Pass", bound=EditedFrames)


class JointEdit(NamedTuple):
    """What a call has made of K keyframes.

    noise: (K, 4, h, w), guided, on the CPU. outputs: for each layer (branches, K, S, C).
    seen: for each layer keys and values, (branches, K, S, C), where they were asked for.
    """

    noise: Tensor
    outputs: dict[str, Tensor]
    seen: KeysAndValues


@dataclass(frozen=True)
class StepCalls:
    """Everything that the calls of one step share."""

    run: EditRun
    wiring: Wiring
    inversion: Inversion
    correspondences: Correspondences
    step: int
    latents: LatentRows
    keyframe_pass: type[EditedKeyframes] = EditedKeyframes

    def joint(
        self, slots: Sequence[int], context: KeysAndValues | None = None, sees: bool = False
    ) -> JointEdit:
        """Edit keyframes together; `context` is attended to as well.

        slots: their places in the step's list of keyframes.
        """
        run, timestep = self.run, self.run.plan.timesteps[self.step]
        frames = [run.keyframes[self.step][slot] for slot in slots]
        whole = pass_of_step(run, self.wiring, self.step, self.keyframe_pass)
        if whole.source and not whole.inject_attention:
            known = self.correspondences.keyframe_features(self.step, slots)
            whole = replace(whole, source=False, donor=InjectionSource(kept_features=known))
        latents = self.latents[frames]
        source = self.inversion.at(timestep, frames) if whole.source else None

        def together() -> JointEdit:
            call = replace(whole, outputs={}, context=context or {}, sees=sees, seen={})
            noise = guided_noise(run, self.wiring, call, latents, timestep, source)
            return JointEdit(noise, call.outputs, call.seen)

        def apart() -> JointEdit:
            donor = whole.donor
            if source is not None:
                donor = InjectionSource(layers=whole.injected_layers)
                embeddings = run.source_embedding.expand(len(frames), -1, -1)
                self.wiring.see(donor, source.to(run.model.dtype), timestep, embeddings)
                run.meter.advance(len(frames), KEYFRAMES)
            calls, noise = [], []
            for number in range(whole.branches):
                own = slice(number, number + 1)
                part = {k: (x[0][own], x[1][own]) for k, x in (context or {}).items()}
                one = replace(
                    whole,
                    branches=1,
                    source=False,
                    donor=donor,
                    outputs={},
                    context=part,
                    sees=sees,
                    seen={},
                )
                noise.append(branch_noise(run, self.wiring, one, latents, timestep, None, number))
                calls.append(one)
            outputs = {k: torch.cat([c.outputs[k] for c in calls]) for k in calls[0].outputs}
            sides = {k: zip(*(c.seen[k] for c in calls), strict=True) for k in calls[0].seen}
            seen = {k: (torch.cat(next(x)), torch.cat(next(x))) for k, x in sides.items()}
            return JointEdit(guided(run, torch.cat(noise)), outputs, seen)

        def work(plan: MemoryPlan) -> JointEdit:
            self.wiring.query_rows = plan.query_rows
            return apart() if plan.branches_apart else together()

        return run.memory.attempt(work)

    def reads(self, frames: Sequence[int]) -> FramesOfStep:
        """What is read of the correspondences to propagate frames."""
        return FramesOfStep(self.step, tuple(frames), self.run.plan.injects_features(self.step))

    def propagated(self, batch: FrameBatch, kept: KeyframeOutputs) -> Tensor:
        """Noise (n, 4, h, w), guided, on the CPU, in frames propagated from keyframes."""
        run, timestep = self.run, self.run.plan.timesteps[self.step]
        branches = len(run.edit_embeddings)

        def piece(rows: slice) -> Tensor:
            frames = list(batch.frames[rows])
            fields, features = self.correspondences.of(self.reads(frames))
            latents, blends = self.latents[frames], batch.blends[rows]
            self.wiring.query_rows = run.memory.plan.query_rows
            if not run.memory.plan.branches_apart:
                call = PropagatedFrames(kept, blends, fields, features)
                return guided_noise(run, self.wiring, call, latents, timestep, None)
            noise = []
            for number in range(branches):
                call = PropagatedFrames(kept.branch(number), blends, fields, features)
                noise.append(branch_noise(run, self.wiring, call, latents, timestep, None, number))
            return guided(run, torch.cat(noise))

        return torch.cat(run.memory.pieces(len(batch.frames), piece))


def pass_of_step(run: EditRun, wiring: Wiring, step: int, kind: Callable[..., Pass]) -> Pass:
    """A pass over edited frames with the injections that the plan has for a step."""
    return kind(
        branches=len(run.edit_embeddings),
        source=run.plan.injects(step),
        inject_attention=run.plan.injects_attention(step),
        inject_features=run.plan.injects_features(step),
        injected_layers=wiring.injected_layers,
        thinned=run.thinned,
    )


def denoised(run: EditRun, step: int, latents: Tensor, noise: Tensor) -> Tensor:
    """Latents after one denoising step, from those before it and the noise found in them."""
    level = run.model.schedule.level
    return ddim_step(latents, noise, level(run.plan.timesteps[step]), level(run.after(step)))


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
    return guided(run, branch_noise(run, wiring, unet_pass, latents, timestep, source))


def guided(run: EditRun, noise: Tensor) -> Tensor:
    """Guided noise (n, 4, h, w), on the CPU, from that of the branches end to end."""
    if len(run.edit_embeddings) == 1:
        return noise.cpu()
    unconditional, conditional = noise.chunk(2)
    return torch.lerp(unconditional, conditional, run.guidance_scale).cpu()


def branch_noise(
    run: EditRun,
    wiring: Wiring,
    unet_pass: UNetPass,
    latents: Tensor,
    timestep: int,
    source: Tensor | None,
    only: int | None = None,
) -> Tensor:
    """Noise (branches * n, 4, h, w) in latents (n, 4, h, w), of one call of the UNet.

    source: see `guided_noise`. only: the one branch that the pass is about, all if None.
    """
    model = run.model
    embeddings = run.edit_embeddings if only is None else run.edit_embeddings[only : only + 1]
    branches, count = len(embeddings), len(latents)
    latents = latents.to(model.device)
    batch = [latents] * branches
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
    kind = OTHERS if isinstance(unet_pass, PropagatedFrames) else KEYFRAMES
    run.meter.advance(count * len(batch), kind)
    return noise
