"""Edited pictures laid over their source, along the source's own edges."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RADIUS = 16
"""Pixels around a point that decide how its share follows the picture: two cells."""
SMOOTHNESS = 1e-3
"""Variance of colour, of [0, 1], that does not count as an edge yet."""
RAMP = (0.4, 0.8)
"""Shares that become 0 and 1, so that what is far from the region is left alone altogether."""


def composite(source: NDArray[np.uint8], edited: Floats, weights: Floats) -> Floats:
    """The edit where `weights` say so, the source's own pixels elsewhere; (H, W, 3) from 0 to 255.

    source, edited: (H, W, 3) from 0 to 255. weights: (h, w) in [0, 1], one for each cell.
    """
    height, width = source.shape[:2]
    coarse = cv2.resize(weights, (width, height), interpolation=cv2.INTER_LINEAR)
    guide = np.asarray(source / 255, np.float32)
    low, high = RAMP
    fine = guided_filter(guide, np.asarray(coarse, np.float32), RADIUS, SMOOTHNESS)
    share = np.clip((fine - low) / (high - low), 0, 1)[..., None]
    return np.asarray(share * edited + (1 - share) * source, np.float32)


def guided_filter(guide: Floats, values: Floats, radius: int, smoothness: float) -> Floats:
    """Values (H, W) with the edges of a colour picture (H, W, 3) in [0, 1]: the guided image filter
    (He, Sun, Tang, ECCV 2010, equations 19 to 21).

    radius: pixels. smoothness: its epsilon, a variance.
    """

    def mean(x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.blur(x, (2 * radius + 1, 2 * radius + 1)))

    colour, value = mean(guide), mean(values)
    together = mean(guide * values[..., None]) - colour * value[..., None]
    spread = np.empty((*values.shape, 3, 3), np.float32)
    for row in range(3):
        products = mean(guide * guide[..., row : row + 1])
        spread[..., row, :] = products - colour * colour[..., row : row + 1]
    spread += smoothness * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, together[..., None])[..., 0]
    offset = value - (slope * colour).sum(-1)
    return np.asarray((mean(slope) * guide).sum(-1) + mean(offset), np.float32)
