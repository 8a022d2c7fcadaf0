"""From the source's size to one the model can take, and back to pictures of that size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALLEST_SIDE = 64
"""Pixels. Smaller pictures leave the UNet's lowest level without a cell."""


def fit_size(
    source: tuple[int, int],
    requested: tuple[int, int] | None,
    cell: int = 8,
    native: int | None = None,
) -> tuple[int, int]:
    """(width, height) in pixels that an edit runs at, each a multiple of `cell`.

    source: (width, height) of the source's pictures.
    requested: taken as it is.
    cell: pixels a latent cell covers in each direction.
    native: side in pixels of the pictures the model was trained on. A source of more than four
        times that area is scaled down until its short side is `native`; None never scales down.
    """
    if requested is not None:
        return requested
    width, height = source
    short = min(width, height)
    scale = 1.0
    if native is not None and width * height > 4 * native**2:
        scale = native / short
    if short * scale < SMALLEST_SIDE:
        scale = SMALLEST_SIDE / short
    return _rounded(width * scale, cell), _rounded(height * scale, cell)


def fit_frame(frame: NDArray[np.uint8], size: tuple[int, int], cell: int = 8) -> NDArray[np.uint8]:
    """A frame (height, width, 3) at `size` (width, height).

    The same frame when it has that size. When the aspect differs by no more than rounding to whole
    cells explains, the whole picture is resampled, so that its framing stays; else its centre is
    cropped to the new aspect first. Lanczos as Pillow does it.
    """
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    box = (0.0, 0.0, float(width), float(height))
    if not _differs_by_rounding((width, height), size, cell):
        crop_width = min(width, height * size[0] / size[1])
        crop_height = min(height, width * size[1] / size[0])
        left, top = (width - crop_width) / 2, (height - crop_height) / 2
        box = (left, top, left + crop_width, top + crop_height)
    picture = Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box=box)
    return np.asarray(picture)


def _rounded(side: float, cell: int) -> int:
    smallest = -(-SMALLEST_SIDE // cell) * cell
    return max(smallest, int(side / cell + 0.5) * cell)


def _differs_by_rounding(source: tuple[int, int], size: tuple[int, int], cell: int) -> bool:
    """Whether some scale of `source` rounds to `size`."""
    lowest = max((to - cell / 2) / side for side, to in zip(source, size, strict=True))
    highest = min((to + cell / 2) / side for side, to in zip(source, size, strict=True))
    return lowest <= highest
