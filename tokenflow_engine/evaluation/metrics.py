"""Metrics of pictures and clips. Each has a known answer on simple cases (tests/test_metrics.py).

Pictures are uint8 (H, W, 3) RGB; clips are (F, H, W, 3). Masks are bool (H, W) or (F, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .optical_flow import SourceFlow, warp

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

IDENTICAL_PSNR = 100.0
"""dB reported for equal pictures, whose PSNR is infinite, so that a mean stays finite."""

AGREEING = 1.0
"""Pixels between two motions that count as the same."""


def psnr(first: NDArray[Any], second: NDArray[Any], mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, at most `IDENTICAL_PSNR`, over a mask or everything.

    NaN where the mask is empty.
    """
    error = (first.astype(np.float64) - second.astype(np.float64)) ** 2
    selected = error if mask is None else error[mask]
    if not selected.size:
        return math.nan
    mean = float(selected.mean())
    if mean == 0:
        return IDENTICAL_PSNR
    return min(IDENTICAL_PSNR, 10 * math.log10(255**2 / mean))


def ssim(first: Picture, second: Picture, mask: Mask | None = None) -> float:
    """Structural similarity of the luma, [-1, 1] (Wang et al., IEEE TIP 2004: 11-pixel Gaussian
    window of 1.5 pixels, K = 0.01 and 0.03), averaged over a mask or the whole picture."""
    x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (first, second))

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(similarity.mean() if mask is None else similarity[mask].mean())


def warp_error(clip: Sequence[Picture], flow: SourceFlow) -> float:
    """Mean absolute difference, in grey levels of 255, between each frame and the next one warped
    back onto it, over pixels that the source's flow says are seen in both.

    The flow is the *source's*: an edit is stable where it moves as the source does (Lai et al.,
    ECCV 2018, section 4). An unedited clip has the least, so read it beside the rows "copy" and
    "vae".
    """
    pairs = zip(pairwise(clip), flow.fields, flow.visible, strict=True)
    errors = [pair_warp_error(*pair, field, visible) for pair, field, visible in pairs]
    return finite_mean(errors)


def pair_warp_error(
    here: Picture, there: Picture, field: NDArray[np.float32], visible: Mask
) -> float:
    """The warp error of one pair of frames; NaN where nothing is seen in both."""
    if not visible.any():
        return math.nan
    difference = np.abs(here.astype(np.float64) - warp(there, field)).mean(-1)
    return float(difference[visible].mean())


def finite_mean(values: Iterable[float]) -> float:
    """Mean of the values that are numbers; NaN where there are none."""
    numbers = [value for value in values if math.isfinite(value)]
    return float(np.mean(numbers)) if numbers else math.nan


def flow_agreement(edited: SourceFlow, source: SourceFlow) -> float:
    """Share, [0, 1], of the pixels seen in both frames whose motion in the edit is within
    `AGREEING` pixels of the source's."""
    shares = [
        float((np.linalg.norm(ours - theirs, axis=-1)[visible] < AGREEING).mean())
        for ours, theirs, visible in zip(edited.fields, source.fields, source.visible, strict=True)
        if visible.any()
    ]
    return finite_mean(shares)


def flow_disagreement(edited: SourceFlow, source: SourceFlow) -> float:
    """Mean end-point distance in pixels between the motion of the edit and of the source, over
    pixels that the source's flow says are seen in both frames."""
    distances = [
        float(np.linalg.norm(ours - theirs, axis=-1)[visible].mean())
        for ours, theirs, visible in zip(edited.fields, source.fields, source.visible, strict=True)
        if visible.any()
    ]
    return finite_mean(distances)


def stability(warp_error_of_edit: float, warp_error_of_source: float) -> str:
    """A pair of warp errors in words, as the panel shows them."""
    excess = warp_error_of_edit - warp_error_of_source
    if excess < 1.0:
        return "as stable as the source"
    if excess < 2.5:
        return "very stable"
    if excess < 5.0:
        return "flickers a little more than the source"
    return "flickers more than the source"
