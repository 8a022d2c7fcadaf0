"""Optical flow of a clip: exact where a renderer knows it, estimated elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALL = 256
"""Pictures with a smaller short side are enlarged first; DIS needs some pixels to hold on to."""

CONSISTENT = 1.0
"""Pixels that flow and backward flow may differ by where a point is seen in both frames."""


@dataclass(frozen=True)
class SourceFlow:
    """fields: for each pair of neighbouring frames float32 (H, W, 2), where a pixel of the first
    lies in the second, less where it was, as (x, y) in pixels. visible: bool (H, W), whether it is
    seen there.
    """

    fields: Sequence[NDArray[np.float32]]
    visible: Sequence[NDArray[np.bool_]]


def estimated_flow(clip: Sequence[NDArray[np.uint8]]) -> SourceFlow:
    """Flow by DIS (Kroeger et al., ECCV 2016, as in OpenCV); a pixel counts as visible where
    forward and backward flow agree (Sundaram et al., ECCV 2010).

    clip: (H, W, 3) RGB frames.
    """
    fields, visible = [], []
    for first, second in pairwise(clip):
        forward, backward = dense_flow(first, second), dense_flow(second, first)
        fields.append(forward)
        visible.append(_agree(forward, backward))
    return SourceFlow(fields, visible)


def warp(
    picture: NDArray[Any], field: NDArray[np.float32], interpolation: int = cv2.INTER_LINEAR
) -> NDArray[Any]:
    """The picture as seen from where the flow starts: value at (x, y) + field(x, y).

    interpolation: OpenCV's, bilinear by default.
    """
    height, width = field.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    places = (grid + field).astype(np.float32)
    remap: Any = cv2.remap
    warped = remap(
        picture.astype(np.float32), places, None, interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped)


def dense_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where each pixel of the first picture lies in the second, less where it was: (H, W, 2).

    By DIS (Kroeger et al., ECCV 2016). Pictures are uint8 (H, W, 3) RGB.
    """
    height, width = first.shape[:2]
    scale = max(1, -(-SMALL // min(height, width)))
    grey = [
        cv2.resize(
            cv2.cvtColor(p, cv2.COLOR_RGB2GRAY),
            None,
            fx=scale,
            fy=scale,
            interpolation=cv2.INTER_CUBIC,
        )
        for p in (first, second)
    ]
    solver: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    field = solver.calc(grey[0], grey[1], None)
    small = cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA) / scale
    return np.asarray(small, np.float32)


def _agree(forward: NDArray[np.float32], backward: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = forward.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    target = grid + forward
    inside = (target >= 0).all(-1) & (target <= np.array([width - 1, height - 1])).all(-1)
    gap = np.linalg.norm(forward + warp(backward, forward), axis=-1)
    return np.asarray(inside & (gap < CONSISTENT))
