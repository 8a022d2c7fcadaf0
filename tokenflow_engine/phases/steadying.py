"""Edited frames made steadier along the source's motion.

Denoiser and decoder draw each frame's finest detail anew, which flickers. Here each pixel is
averaged with the same point of the neighbouring frames, found by the *source's* optical flow, and
only as far as the source itself agrees that it is the same point (the assumption of blind temporal
consistency: Bonneel et al., SIGGRAPH Asia 2015; Lai et al., ECCV 2018).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from ..evaluation.optical_flow import dense_flow, warp
from .beside import by_all_cores

Picture = NDArray[np.uint8]
Levels = NDArray[np.float32]
Window = tuple[tuple[Picture, Levels], ...]

AGREEMENT = 10.0
"""Grey levels between the source's two views of a point at which its weight has fallen to 1/e."""

DETAIL = 17
"""Pixels around a point over which its contrast is measured."""

MOST_GAIN = 2.0
"""How far the contrast that averaging takes is given back, as a factor."""

_NOISE = 1.0
"""Variance in grey levels that counts as no contrast."""

_BLUR = 5
"""Pixels over which the agreement is averaged, so that a point is judged by its surroundings."""


def steadied(edited: Iterable[Levels], source: Iterable[Picture], radius: int) -> Iterator[Levels]:
    """The edited frames, each averaged with up to `radius` frames before and after it.

    edited: (H, W, 3 or more); the first three are colours from 0 to 255, planes beyond them, as of
        a mask, are averaged alone. source: as many frames, (H, W, 3) from 0 to 255. 2 * radius + 1
        of each are held at a time, and one for each thread of `by_all_cores`.
    """
    return by_all_cores(_steady, _windows(edited, source, radius))


def _windows(
    edited: Iterable[Levels], source: Iterable[Picture], radius: int
) -> Iterator[tuple[Window, int]]:
    """For each frame those around it, itself too, and its place among them."""
    pairs = zip(source, edited, strict=True)
    window = deque(islice(pairs, radius + 1))
    place = 0
    while place < len(window):
        yield tuple(window), place
        if (following := next(pairs, None)) is not None:
            window.append(following)
        if place == radius:
            window.popleft()
        else:
            place += 1


def _steady(around: tuple[Window, int]) -> Levels:
    window, place = around
    source, edited = window[place]
    total = edited.astype(np.float32)
    weights = np.ones(edited.shape[:2], np.float32)
    for other, (other_source, other_edited) in enumerate(window):
        if other == place:
            continue
        field = dense_flow(source, other_source)
        weight = agreement(source, warp(other_source, field))
        total += weight[..., None] * warp(other_edited, field, cv2.INTER_CUBIC)
        weights += weight
    mean = total / weights[..., None]
    mean[..., :3] = np.clip(with_contrast(mean[..., :3], edited[..., :3]), 0, 255)
    return np.asarray(mean, np.float32)


def with_contrast(averaged: Levels, single: Levels) -> Levels:
    """An averaged picture with the local contrast of a single one; both (H, W, 3), grey levels.

    Averaging what lies elsewhere in each frame, as the veins of a marble, leaves a weak trace of
    it; this makes the trace as strong as it was, and it stays as steady as the average.
    """

    def mean(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(x, (DETAIL, DETAIL)), np.float32)

    base = mean(averaged)
    detail, wanted = averaged - base, single - mean(single)
    ratio = (mean((wanted**2).sum(-1)) + _NOISE) / (mean((detail**2).sum(-1)) + _NOISE)
    gain = np.clip(np.sqrt(ratio), 1, MOST_GAIN)[..., None]
    return np.asarray(base + gain * detail, np.float32)


def agreement(first: NDArray[np.generic], second: NDArray[np.generic]) -> NDArray[np.float32]:
    """Weights (H, W) in [0, 1] from how alike two views (H, W, 3) are around each pixel."""
    apart = np.abs(first.astype(np.float32) - second.astype(np.float32)).max(-1)
    around = cv2.blur(apart, (_BLUR, _BLUR))
    return np.asarray(np.exp(-((around / AGREEMENT) ** 2)), np.float32)
