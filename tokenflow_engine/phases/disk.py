"""How much disk an edit will take, before it starts."""

from __future__ import annotations

from typing import NamedTuple

from ..tokenflow.propagation import SIDES
from .run import EditRun


class BytesNeeded(NamedTuple):
    """pictures: in the output folder. cache: for the phases' results."""

    pictures: int
    cache: int


def bytes_needed(run: EditRun) -> BytesNeeded:
    """An upper estimate: uncompressed pictures, and every phase from its start."""
    width, height = run.size
    cells = width * height // 64
    config = run.model.unet.config
    latent_bytes = 8 if run.model.latent_dtype.itemsize == 8 else 4
    latents = 4 * cells * latent_bytes * (len(run.inversion_timesteps) + 2)

    # Tokens of all self-attention layers: each level halves both sides.
    down = config.layers_per_block
    tokens = sum(
        (cells >> (2 * level)) * (2 * down + 1)
        for level, kind in enumerate(config.down_block_types)
        if "CrossAttn" in kind
    )
    index_bytes = 2 if cells <= 2**16 else 4
    fields = (tokens + cells // 64) * SIDES * index_bytes * len(run.plan.timesteps)
    channels = config.block_out_channels[-1]
    features = channels * (cells // 16) * run.model.dtype.itemsize * run.plan.feature_steps
    # Keyframes have features of their own, also where they are propagated as well.
    again = 0 if run.rule.reuses_keyframes else len(run.keyframes[0])
    # A byte for each pixel says how much of it the edit gives.
    shares = width * height if run.request.finds_region else 0
    return BytesNeeded(
        pictures=run.frame_count * width * height * 3,
        cache=run.frame_count * (latents + fields + features + shares) + again * features,
    )
