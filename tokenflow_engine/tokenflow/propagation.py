"""Which keyframes a frame takes its tokens from, with which weights (section 4.2, eq. 4)."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

SIDES = 2
"""A frame blends the tokens of at most two keyframes."""


class Blend(NamedTuple):
    """What one frame is made of.

    slots: two places in the step's list of keyframes. weights: their shares, which add up to 1; a
    share of 0 needs no search.
    """

    slots: tuple[int, int]
    weights: tuple[float, float]


def copy_of(slot: int) -> Blend:
    """One keyframe alone."""
    return Blend((slot, slot), (1.0, 0.0))


class PropagationRule(Protocol):
    """How a mode chooses neighbours, and what it spends on the keyframes and the source."""

    @property
    def propagates_source(self) -> bool:
        """Whether the source's own features are propagated too, as in the released code, instead
        of being computed exactly."""

    @property
    def reuses_keyframes(self) -> bool:
        """Whether a keyframe keeps the prediction of the keyframe pass instead of being propagated
        from itself."""

    def blend(self, frame: int, keyframes: Sequence[int], chunk: int) -> Blend:
        """keyframes: ascending frame indices of one step, one for each chunk of frames."""


@dataclass(frozen=True)
class PreviousChunk:
    """As the authors' released code: this chunk's keyframe and the previous chunk's, weighted by
    the distances to the two chunks' centre frames."""

    propagates_source: bool = True
    reuses_keyframes: bool = False

    def blend(self, frame: int, keyframes: Sequence[int], chunk: int) -> Blend:
        slot = frame // chunk
        if slot == 0:
            return copy_of(0)
        centre = slot * chunk + chunk // 2
        here, before = abs(frame - centre), abs(frame - centre + chunk)
        weight = sigmoid(before / (here + before))
        return Blend((slot, slot - 1), (weight, 1 - weight))


@dataclass(frozen=True)
class SurroundingKeyframes:
    """As the paper: the nearest keyframe from the frame on and the nearest one up to it.

    weight: share of the later one, from the way between the two that lies behind, in [0, 1].
    """

    weight: Callable[[float], float]
    propagates_source: bool
    reuses_keyframes: bool

    def blend(self, frame: int, keyframes: Sequence[int], chunk: int) -> Blend:
        before, after = surrounding(frame, keyframes)
        if before == after:
            return copy_of(after)
        way = (frame - keyframes[before]) / (keyframes[after] - keyframes[before])
        weight = self.weight(way)
        return Blend((after, before), (weight, 1 - weight))


def sigmoid(value: float) -> float:
    """The blend of eq. 4."""
    return 1 / (1 + math.exp(-value))


def linear(value: float) -> float:
    """A keyframe keeps its own tokens, and nothing jumps: the sigmoid goes from 0.5 to 0.73."""
    return value


RULES: dict[str, PropagationRule] = {
    "smooth": SurroundingKeyframes(linear, propagates_source=False, reuses_keyframes=True),
    "paper": SurroundingKeyframes(sigmoid, propagates_source=True, reuses_keyframes=False),
    "reference": PreviousChunk(),
}
"""One rule for each mode of an `EditRequest`."""


def surrounding(frame: int, keyframes: Sequence[int]) -> tuple[int, int]:
    """Places of the last keyframe up to `frame` and of the first one from it on.

    Both are the same at a keyframe, before the first one and after the last one.
    """
    before, after = bisect_right(keyframes, frame) - 1, bisect_left(keyframes, frame)
    if before < 0:
        return after, after
    if after == len(keyframes):
        return before, before
    return before, after


def propagate(tokens: Tensor, fields: Tensor, blends: Sequence[Blend]) -> Tensor:
    """Tokens of frames, gathered from the keyframes' along the fields and blended.

    tokens: (branches, keyframes, S, C). fields: int64 (n, 2, S), for each frame and side the
    nearest neighbour in [0, S). Returns (branches, n, S, C).
    """
    branches, keyframes, size, channels = tokens.shape
    frames = len(fields)
    slots = torch.tensor([blend.slots for blend in blends], device=tokens.device)
    places = (fields + slots[..., None] * size).permute(1, 0, 2).reshape(SIDES, -1)
    pool = tokens.reshape(branches, keyframes * size, channels)
    near = pool[:, places[0]].reshape(branches, frames, size, channels)
    shares = [blend.weights[1] for blend in blends]
    if not any(shares):
        return near
    far = pool[:, places[1]].reshape(branches, frames, size, channels)
    weights = torch.tensor(shares, device=tokens.device, dtype=tokens.dtype)
    return torch.lerp(near, far, weights[:, None, None])
