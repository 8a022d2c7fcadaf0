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
    box = edited_part((width, height), size, cell)
    picture = Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box=box)
    return np.asarray(picture)


def edited_part(
    source: tuple[int, int], size: tuple[int, int], cell: int = 8
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom, in pixels, of what an edit at `size` sees of its source."""
    width, height = source
    if _differs_by_rounding(source, size, cell):
        return (0.0, 0.0, float(width), float(height))
    part = min(width, height * size[0] / size[1]), min(height, width * size[1] / size[0])
    left, top = (width - part[0]) / 2, (height - part[1]) / 2
    return (left, top, left + part[0], top + part[1])


def result_size(
    source: tuple[int, int], edited: tuple[int, int], *, asked_for: bool
) -> tuple[int, int]:
    """(width, height) in pixels at which the edited part of a source has the source's resolution.

    edited: the size of the edit. It stays if it was asked for and is no smaller than that part.
    """
    left, top, right, bottom = edited_part(source, edited)
    part = max(1, round(right - left)), max(1, round(bottom - top))
    return edited if asked_for and edited[0] * edited[1] >= part[0] * part[1] else part


def resample(
    plane: NDArray[np.float32],
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """One plane of values (height, width), or the part of it in `box`, at `size` (width, height).

    Lanczos with three lobes: of Pillow's filters the one that keeps most detail when a picture
    grows, and the one that brought the source to the model's size. It overshoots at hard edges,
    which the caller clips.
    """
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS, box=box))


def _rounded(side: float, cell: int) -> int:
    smallest = -(-SMALLEST_SIDE // cell) * cell
    return max(smallest, int(side / cell + 0.5) * cell)


def _differs_by_rounding(source: tuple[int, int], size: tuple[int, int], cell: int) -> bool:
    """Whether some scale of `source` rounds to `size`."""
    lowest = max((to - cell / 2) / side for side, to in zip(source, size, strict=True))
    highest = min((to + cell / 2) / side for side, to in zip(source, size, strict=True))
    return lowest <= highest
