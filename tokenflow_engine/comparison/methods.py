"""Every method by its name, behind one signature: a trial in, edited pictures out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffusion.autoencoder import decode, encode
from ..evaluation.metrics import Picture
from ..phases.correspond import correspond
from ..phases.decode import DECODED_AT_ONCE, edited_levels
from ..phases.edit_region import find_region
from ..phases.invert import Inversion
from ..phases.joint_edit import edit_latents
from ..phases.preview import edit_every_frame
from ..phases.run import EditRun
from ..tokenflow.attention import EditedFrames, EditedKeyframes
from ..tokenflow.keyframes import KeyframeSchedule, chunks
from ..tokenflow.wiring import tokenflow
from .baselines import tuned_on
from .passes import FirstFrameAttention, KeyframesAlone, SparseCausalAttention

DEFAULT_MODE = "smooth"


@dataclass(frozen=True)
class Trial:
    """One clip and one seed: the same run, inverted latents and settings for every method.

    run: its keyframes are drawn with the seed; its cache is the method's own.
    source: the fitted frames. tuning_steps: of Tune-A-Video.
    """

    run: EditRun
    inversion: Inversion
    source: list[Picture]
    tuning_steps: int


@dataclass(frozen=True)
class Method:
    """title: as tables show it. edit: the edited pictures, in order.
    inverts: whether it starts from the inverted latents. seeded: whether the seed changes it.
    ablation: whether it is TokenFlow with a part left out.
    """

    title: str
    edit: Callable[[Trial], list[Picture]]
    inverts: bool = True
    seeded: bool = False
    ablation: bool = False


def fixed_schedule(frame_count: int, chunk: int, steps: int) -> KeyframeSchedule:
    """The middle frame of each chunk in every step."""
    row = tuple(part[len(part) // 2] for part in chunks(range(frame_count), chunk))
    return (row,) * steps


def decoded(run: EditRun, latents: Tensor) -> list[Picture]:
    """Pictures of latents (F, 4, h, w)."""
    parts = chunks(run.frames, DECODED_AT_ONCE)
    return [picture for part in parts for picture in decode(run.model, latents[list(part)])]


def _copy(trial: Trial) -> list[Picture]:
    return list(trial.source)


def _round_trip(trial: Trial) -> list[Picture]:
    run = trial.run
    parts = chunks(run.frames, DECODED_AT_ONCE)
    latents = [encode(run.model, np.stack([trial.source[i] for i in part])) for part in parts]
    return decoded(run, torch.cat(latents))


def _every_frame(kind: type[EditedFrames]) -> Callable[[Trial], list[Picture]]:
    def edit(trial: Trial) -> list[Picture]:
        return decoded(trial.run, edit_every_frame(trial.run, trial.inversion, kind))

    return edit


def _joint(trial: Trial) -> list[Picture]:
    run = trial.run
    every = edit_every_frame(run, trial.inversion, EditedKeyframes, run.frame_count)
    return decoded(run, every)


def _tune_a_video(trial: Trial) -> list[Picture]:
    run = tuned_on(trial.run, trial.inversion, trial.tuning_steps, trial.run.request.seed)
    return decoded(run, edit_every_frame(run, trial.inversion, SparseCausalAttention))


def _tokenflow(
    mode: str,
    schedule: Callable[[EditRun], KeyframeSchedule] = lambda run: run.keyframes,
    keyframe_pass: type[EditedKeyframes] = EditedKeyframes,
    **changes: Any,
) -> Callable[[Trial], list[Picture]]:
    def edit(trial: Trial) -> list[Picture]:
        run = replace(
            trial.run,
            request=replace(trial.run.request, mode=mode, **changes),
            keyframes=schedule(trial.run),
        )
        with tokenflow(run.model.unet) as wiring, torch.inference_mode():
            fields = correspond(run, wiring, trial.inversion)
            region = find_region(run, wiring, trial.inversion)
            latents = edit_latents(
                run,
                wiring,
                trial.inversion,
                fields,
                keyframe_pass=keyframe_pass,
                region=region,
            )
        levels = edited_levels(run, latents, region)
        return [np.rint(picture).astype(np.uint8) for picture in levels]

    return edit


def _fixed(run: EditRun) -> KeyframeSchedule:
    return fixed_schedule(run.frame_count, run.request.chunk, len(run.plan.timesteps))


METHODS: dict[str, Method] = {
    "copy": Method("Unedited copy", _copy, inverts=False),
    "vae": Method("VAE round trip", _round_trip, inverts=False),
    "pnp-per-frame": Method("Plug-and-Play per frame", _every_frame(EditedFrames)),
    "text2video-zero": Method("Text2Video-Zero", _every_frame(FirstFrameAttention)),
    "tune-a-video": Method("Tune-A-Video", _tune_a_video, seeded=True),
    "reference": Method("TokenFlow, reference", _tokenflow("reference"), seeded=True),
    "paper": Method("TokenFlow, paper", _tokenflow("paper"), seeded=True),
    "smooth": Method("TokenFlow, smooth", _tokenflow("smooth"), seeded=True),
    "joint": Method("Joint attention, no propagation", _joint, ablation=True),
    "fixed-keyframes": Method(
        "Smooth, fixed keyframes", _tokenflow(DEFAULT_MODE, _fixed), ablation=True
    ),
    "no-extended-attention": Method(
        "Smooth, no extended attention",
        _tokenflow(DEFAULT_MODE, keyframe_pass=KeyframesAlone),
        seeded=True,
        ablation=True,
    ),
    "whole-picture": Method(
        "Smooth, edited everywhere",
        _tokenflow(DEFAULT_MODE, region="everywhere"),
        seeded=True,
        ablation=True,
    ),
    "unsteadied": Method(
        "Smooth, not steadied", _tokenflow(DEFAULT_MODE, steadying=0), seeded=True, ablation=True
    ),
}
"""In the order of the tables."""

ALWAYS = ("copy", "vae")
"""An unedited clip has the best warp error, so that no table is read without these."""
