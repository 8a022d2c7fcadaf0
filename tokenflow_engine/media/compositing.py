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
ITERATIONS = 3
"""Of learning the colours and cutting; more change next to nothing."""
FINEST, COARSER = 8, 4
"""Pixels a cell at which a picture is cut: all that there are, and half of them."""
MOST_CELLS = 1600
"""Of a picture that is cut at the finest, 320x320 pixels; the time grows with the pixels."""
EDGE = 0.25
"""Cells around an edge over which its share is softened as the source's own colours are."""
SMOOTHNESS = 1e-3
"""Variance of colour, of [0, 1], that does not count as an edge yet."""
RAMP = (0.2, 0.6)
"""Shares that become 0 and 1, so that what is far from the region is left alone altogether. Not
symmetric: an edge's own pixels mix the colours of both sides, and the edit's mix the new ones."""


def share_of_edit(
    source: NDArray[np.uint8], inside: NDArray[np.bool_], *, band: int = BAND
) -> Floats:
    """How much of each pixel the edit gives, (H, W) in [0, 1].

    What lies well within a region or well outside of it is known. In between a pixel goes where its
    colour belongs, and the cut runs along the source's edges: GrabCut (Rother, Kolmogorov, Blake,
    SIGGRAPH 2004). The guided filter gives the cut the source's own soft edges.

    source: (H, W, 3) from 0 to 255. inside: (h, w), the cells of the region. band: cells.
    """
    size = source.shape[1], source.shape[0]
    if inside.all() or not inside.any():
        return np.full(source.shape[:2], inside.all(), np.float32)
    pixels = FINEST if inside.size <= MOST_CELLS else COARSER
    cut_size = inside.shape[1] * pixels, inside.shape[0] * pixels
    coarse = cv2.resize(source, cut_size, interpolation=cv2.INTER_AREA)
    cut = _cut(np.asarray(coarse, np.uint8), inside, band)
    share = guided_filter(
        np.asarray(coarse / 255, np.float32),
        cut,
        round(EDGE * pixels),
        SMOOTHNESS,
        fine=None if cut_size == size else np.asarray(source / 255, np.float32),
    )
    return sharpened(share)


def sharpened(share: Floats) -> Floats:
    """Shares (H, W) of which those near 0 and 1 are that; for what was filtered or averaged."""
    low, high = RAMP
    return np.asarray(np.clip((share - low) / (high - low), 0, 1), np.float32)


def cells_of(share: Floats, cells: tuple[int, int]) -> NDArray[np.bool_]:
    """The cells (h, w) of which the edit gives any pixel, for the most part; from shares (H, W)."""
    rows, columns = cells
    height, width = share.shape[0] // rows, share.shape[1] // columns
    return np.asarray(share.reshape(rows, height, columns, width).max((1, 3)) >= 0.5)


def _cut(picture: NDArray[np.uint8], inside: NDArray[np.bool_], band: int) -> Floats:
    """1 where the edit is, 0 elsewhere, (H, W)."""

    def pixels(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
        size = picture.shape[1], picture.shape[0]
        return cv2.resize(cells.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0

    sides = np.where(pixels(inside), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    sides[pixels(_known(inside, band))] = cv2.GC_FGD
    sides[pixels(_known(~inside, band))] = cv2.GC_BGD
    # The colours' first guess is drawn by chance.
    cv2.setRNGSeed(0)
    without, within = np.zeros((1, 65)), np.zeros((1, 65))
    anywhere = (0, 0, 1, 1)
    cv2.grabCut(picture, sides, anywhere, without, within, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((sides == cv2.GC_FGD) | (sides == cv2.GC_PR_FGD), np.float32)


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
    guide: Floats, values: Floats, radius: int, smoothness: float, fine: Floats | None = None
) -> Floats:
    """Values (H, W) with the edges of a colour picture (H, W, 3) in [0, 1]: the guided image filter
    (He, Sun, Tang, ECCV 2010, equations 19 to 21).

    radius: pixels. smoothness: its epsilon, a variance. fine: the guide at the resolution of the
        result, where that is another one (fast guided filter, He, Sun 2015, arXiv:1505.00996).
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
    offset = mean(value - (slope * colour).sum(-1))
    slope = mean(slope)
    if fine is not None:
        size = fine.shape[1], fine.shape[0]
        slope, offset = cv2.resize(slope, size), cv2.resize(offset, size)
    return np.asarray((slope * (guide if fine is None else fine)).sum(-1) + offset, np.float32)
