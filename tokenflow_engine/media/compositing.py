"""Edited pictures laid over their source, along the source's own edges."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BAND = 2
"""Cells on either side of a region's outline that may belong to either side: the denoiser's
prediction in a cell depends on its surroundings, so that the region reaches over the edges."""
DOUBT = 0.02
"""Weight of the band's cells beside the others."""
RADIUS = 32
"""Pixels around a point whose colours tell the two sides apart: the band and as much again."""
SMOOTHNESS = 1e-3
"""Variance of colour, of [0, 1], that does not count as an edge yet."""
RAMP = (0.3, 0.7)
"""Shares that become 0 and 1, so that what is far from the region is left alone altogether."""


def share_of_edit(
    source: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    *,
    band: int = BAND,
    radius: int = RADIUS,
    ramp: tuple[float, float] = RAMP,
) -> Floats:
    """How much of each pixel the edit gives, (H, W) in [0, 1].

    As in matting with three areas (Levin, Lischinski, Weiss, CVPR 2006): what lies well within a
    region or well outside of it is known; in between a pixel goes where its colour belongs.

    source: (H, W, 3) from 0 to 255. inside: (h, w), the cells of the region. band: cells; radius:
        pixels; ramp: shares.
    """
    size = source.shape[1], source.shape[0]
    trust = np.where(_known(inside, band) | _known(~inside, band), 1, DOUBT).astype(np.float32)
    fine = guided_filter(
        np.asarray(source / 255, np.float32),
        np.asarray(cv2.resize(inside.astype(np.float32), size), np.float32),
        radius,
        SMOOTHNESS,
        np.asarray(cv2.resize(trust, size, interpolation=cv2.INTER_NEAREST), np.float32),
    )
    low, high = ramp
    return np.asarray(np.clip((fine - low) / (high - low), 0, 1), np.float32)


def _known(cells: NDArray[np.bool_], band: int) -> NDArray[np.bool_]:
    """The cells (h, w) that are farther than the band from all others, and of connected cells that
    are narrower than that, the middle."""
    if not cells.any():
        return cells
    own = cells.astype(np.uint8)
    depth = cv2.distanceTransform(own, cv2.DIST_C, 3)
    count, found = cv2.connectedComponents(own, connectivity=4)
    labels = np.asarray(found, np.intp)
    deepest = np.zeros(count)
    np.maximum.at(deepest, labels, depth)
    return np.asarray(cells & (depth > np.minimum(band, deepest - 1)[labels]))


def composite(source: NDArray[np.uint8], edited: Floats, share: Floats) -> Floats:
    """The edit by its share, the source's own pixels for the rest; (H, W, 3) from 0 to 255.

    source, edited: (H, W, 3) from 0 to 255. share: (H, W) in [0, 1].
    """
    part = share[..., None]
    return np.asarray(part * edited + (1 - part) * source, np.float32)


def guided_filter(
    guide: Floats, values: Floats, radius: int, smoothness: float, trust: Floats | None = None
) -> Floats:
    """Values (H, W) with the edges of a colour picture (H, W, 3) in [0, 1]: the guided image filter
    (He, Sun, Tang, ECCV 2010, equations 19 to 21).

    radius: pixels. smoothness: its epsilon, a variance. trust: weights (H, W) above 0 of the pixels
        in the filter's regression, equal if None.
    """

    def mean(x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.blur(x, (2 * radius + 1, 2 * radius + 1)))

    weights = np.ones(values.shape, np.float32) if trust is None else trust
    total = mean(weights)

    def trusted(x: NDArray[Any]) -> NDArray[Any]:
        if x.ndim == 2:
            return np.asarray(mean(weights * x) / total)
        return np.asarray(mean(weights[..., None] * x) / total[..., None])

    colour, value = trusted(guide), trusted(values)
    together = trusted(guide * values[..., None]) - colour * value[..., None]
    spread = np.empty((*values.shape, 3, 3), np.float32)
    for row in range(3):
        products = trusted(guide * guide[..., row : row + 1])
        spread[..., row, :] = products - colour * colour[..., row : row + 1]
    spread += smoothness * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, together[..., None])[..., 0]
    offset = value - (slope * colour).sum(-1)
    return np.asarray((mean(slope) * guide).sum(-1) + mean(offset), np.float32)
