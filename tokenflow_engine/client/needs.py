"""What an edit will need of memory and disk, before anything is loaded.

Estimates by counting what is held at once; nothing is measured here. The engine's own estimate of
the disk (`phases.disk.bytes_needed`), made when the model is loaded, decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .edit_request import EditRequest

KEYFRAMES_AT_ONCE = 16
"""Keyframes that are denoised jointly; more are taken in windows."""

_SMALLEST_SIDE = 256
_SIDE_STEP = 64


@dataclass(frozen=True)
class ModelShape:
    """What of a Stable Diffusion model the estimate depends on.

    channels: of the UNet's levels, from the finest. layers: blocks for each level on the way down.
    parameters: of UNet and text encoder. vae_parameters: of the autoencoder, which stays in
        float32.
    vae_channels: at the picture's own resolution.
    """

    channels: tuple[int, ...]
    layers: int
    parameters: int
    vae_parameters: int
    vae_channels: int


STABLE_DIFFUSION = ModelShape((320, 640, 1280, 1280), 2, 983_000_000, 84_000_000, 128)
"""Stable Diffusion 1.5; 2.1 has 1.2 billion parameters and is alike otherwise."""

DEMONSTRATION = ModelShape((32, 64, 128, 192), 2, 13_000_000, 900_000, 32)
"""The embedded model."""


@dataclass(frozen=True)
class Needs:
    """Bytes. memory: of the device that computes. pictures, cache: on the disk."""

    memory: int
    pictures: int
    cache: int

    @property
    def disk(self) -> int:
        return self.pictures + self.cache


def needs_of(
    request: EditRequest, frames: int, size: tuple[int, int], *, half: bool, model: ModelShape
) -> Needs:
    """Estimate an edit's needs.

    Memory is the larger of two moments, beside the weights: the joint pass over up to
    `KEYFRAMES_AT_ONCE` keyframes, whose tokens (input and output of each self-attention layer, for
    the source and both branches of guidance) stay for the propagation of the others; and the
    autoencoder on a few frames in float32. Both grow with the number of pixels.

    frames: number of frames of the strip.
    size: (width, height) of the edited frames in pixels.
    half: numbers of 2 bytes (GPU), else of 4.
    """
    number = 2 if half else 4
    cells = math.ceil(size[0] / 8) * math.ceil(size[1] / 8)
    branches = 3 if request.guidance_scale != 1 else 2
    keyframes = math.ceil(frames / request.chunk)
    at_once = min(keyframes, KEYFRAMES_AT_ONCE)

    attention_values = sum(
        (cells >> (2 * level)) * width * (2 * model.layers + 1)
        for level, width in enumerate(model.channels[:-1])
    )
    kept = at_once * 2 * branches * attention_values * number
    # One UNet call holds about this many maps of its finest level for each frame, skips included.
    working = max(request.chunk, at_once) * branches * 16 * model.channels[0] * cells * number
    decoding = 4 * 4 * model.vae_channels * size[0] * size[1] * 4
    weights = model.parameters * number + model.vae_parameters * 4
    memory = weights + max(kept + working, decoding)

    latents = 4 * cells * 4 * (request.inversion_steps_taken + 2)
    tokens = sum(
        (cells >> (2 * level)) * (2 * model.layers + 1) for level in range(len(model.channels) - 1)
    )
    share = request.sdedit_start if request.editor == "sdedit" else 1
    steps = round(request.steps_taken * share)
    fields = (tokens + cells // 64) * 2 * (2 if cells <= 2**16 else 4) * steps
    feature_steps = round(request.pnp_features * steps) if request.editor == "pnp" else 0
    features = model.channels[-1] * (cells // 16) * number * feature_steps
    # Mode "smooth" propagates all frames but the keyframes; the others keep both kinds' features.
    again = 0 if request.mode == "smooth" else keyframes
    # A byte for each pixel says how much of it the edit gives.
    shares = size[0] * size[1] if request.finds_region else 0
    cache = frames * (latents + fields + features + shares) + again * features
    return Needs(memory, frames * size[0] * size[1] * 3, cache)


def smaller_plan(
    request: EditRequest,
    frames: int,
    size: tuple[int, int],
    available: int,
    *,
    half: bool,
    model: ModelShape,
) -> EditRequest | None:
    """The request with the largest size, then the largest chunk, whose memory fits.

    A smaller chunk comes first, since it costs time and not sharpness; then both sides shrink by
    the same factor, in steps of 64 pixels of the longer one. None where nothing fits, or the
    request fits as it is.

    available: bytes of the device that may be used.
    """

    def fits(plan: EditRequest, at: tuple[int, int]) -> bool:
        return needs_of(plan, frames, at, half=half, model=model).memory <= available

    if fits(request, size):
        return None
    longer = max(size)
    for side in [longer, *range((longer - 1) // _SIDE_STEP * _SIDE_STEP, 0, -_SIDE_STEP)]:
        at = (_scaled(size[0], side / longer), _scaled(size[1], side / longer))
        if side != longer and min(at) < min(_SMALLEST_SIDE, *size):
            break
        for chunk in (c for c in (request.chunk, 8, 4, 2) if c <= request.chunk):
            plan = replace(request, size=size if side == longer else at, chunk=chunk)
            if fits(plan, at):
                return plan
    return None


def _scaled(side: int, factor: float) -> int:
    return max(64, round(side * factor / 8) * 8)
