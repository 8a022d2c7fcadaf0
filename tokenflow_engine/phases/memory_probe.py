"""How large an edit's calls may be, measured on two small ones before the first large one.

Without it a run begins with its largest calls, and learns what fits by running out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..client.errors import is_out_of_memory
from ..diffusion.residence import free_bytes
from ..tokenflow.attention import EditedKeyframes
from ..tokenflow.wiring import tokenflow
from .memory_plan import PLANS, level_for
from .resources import peak_beside
from .run import EditRun

Work = Callable[[], None]
PeakOf = Callable[[Work], int]
"""Bytes of the device that some work takes at its highest, beside what was there before."""


def start_where_it_fits(run: EditRun) -> None:
    """Let a run on a GPU start with calls that fit; on a CPU nothing is measured or changed."""
    device = run.model.device
    free = free_bytes(device)
    if free is None:
        return
    # Its weights would be counted as the call's, or taken for free.
    run.model.bring("unet")
    free = free_bytes(device) or 0
    run.memory.level = fitting_level(run, free, lambda work: peak_beside(device, work))


def fitting_level(run: EditRun, free: int, peak_of: PeakOf) -> int:
    """The first of `PLANS` whose calls are expected to fit, from two calls of the UNet.

    An estimate: the plans' other ways to save are not counted, and a call that does not fit all the
    same is made again in smaller pieces.

    free: bytes of the device.
    """
    try:
        # In this order, since the first call also takes what later ones find there: that makes
        # frames look larger, not smaller.
        for_two = peak_of(lambda: _joint_call(run, 2))
        for_one = peak_of(lambda: _joint_call(run, 1))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return len(PLANS) - 1
    return level_for(free, for_one, for_two, largest_call(run))


def largest_call(run: EditRun) -> int:
    """Frames times branches of the largest call of the UNet that the run will make."""
    request = run.request
    if request.last_phase == "invert":
        return request.chunk
    branches = len(run.edit_embeddings)
    steps = range(len(run.keyframes))
    joint = (run.window(step) * (branches + run.plan.injects_attention(step)) for step in steps)
    return max(request.chunk * branches, *joint)


def _joint_call(run: EditRun, frames: int) -> None:
    """One call like the joint edit's, which also keeps its tokens, by one branch."""
    model, shape = run.model, (frames, 4, *run.cells)
    latents = torch.zeros(shape, device=model.device, dtype=model.dtype)
    joint = EditedKeyframes(1, False, False, False, frozenset(), thinned=run.thinned)
    with tokenflow(model.unet) as wiring, torch.inference_mode():
        embeddings = run.source_embedding.expand(frames, -1, -1)
        wiring.run(joint, latents, run.plan.timesteps[0], embeddings)
