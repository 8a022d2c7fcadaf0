"""Transparent pictures: what the diffusion sees of them, and how their alpha comes back.

The model knows no alpha, so it sees the picture over mid-grey: the zero of its own input, on which
neither a light nor a dark subject is lost. Afterwards the grey is taken out again by inverting the
same compositing, so that soft edges carry no grey fringe over another background. Alpha itself is
never touched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BACKDROP = 128
"""Grey level of 255 that stands behind transparent pictures."""

OPAQUE = 65535


def over_backdrop(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) of a picture with straight alpha, uint8 (h, w, 4), over the backdrop."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb)
    share = alpha.astype(np.uint32)
    mixed = rgb * share + BACKDROP * (255 - share)
    return ((mixed + 127) // 255).astype(np.uint8)


def without_backdrop(levels: NDArray[np.float32], alpha: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Straight colours of a picture (h, w, 3), grey levels 0 ... 255, that lies over the backdrop.

    alpha: (h, w), 0 ... 65535. Where it is 0 the colours stay as they are. The error of a colour
        grows as alpha falls, and what is seen of it shrinks alike.
    """
    share = (alpha / np.float32(OPAQUE))[..., None]
    inverted = (levels - (1 - share) * BACKDROP) / np.maximum(share, 1 / OPAQUE)
    return np.where(share > 0, np.clip(inverted, 0, 255), levels).astype(np.float32)
