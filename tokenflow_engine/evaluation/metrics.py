"""Image metrics with known answers."""

from __future__ import annotations

import math

import numpy as np


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures of one shape.

    Infinite for equal ones is replaced by 100, so that a mean stays finite.
    """
    error = float(np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2))
    return 100.0 if error == 0 else min(100.0, 10 * math.log10(255**2 / error))
