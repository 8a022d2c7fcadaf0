"""Where a strip's picture lies on the canvas, and how another picture gets to the same place.

Blender puts a picture of W x H pixels on a canvas of X x Y by

    place(q) = trunc((X - W) / 2) + offset + pivot + rotate(scale * (q - pivot))

with pivot = W * origin, for a point q counted from the picture's lower left corner. It masks what
the crop leaves out and flips the whole canvas last (`sequencer_image_crop_transform_matrix` in
Blender's `source/blender/sequencer/intern/render.cc`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Pair = tuple[float, float]

_CELL = 8
"""The engine edits at multiples of this many pixels."""


@dataclass(frozen=True)
class Crop:
    """Pixels of the picture that are not shown, from each side."""

    left: int = 0
    right: int = 0
    bottom: int = 0
    top: int = 0


@dataclass(frozen=True)
class Placement:
    """A strip's transform: offset in canvas pixels, scale, rotation in radians, relative origin."""

    offset: Pair = (0.0, 0.0)
    scale: Pair = (1.0, 1.0)
    rotation: float = 0.0
    origin: Pair = (0.5, 0.5)


def cropped_size(size: tuple[int, int], crop: Crop) -> tuple[int, int]:
    """Pixels left of a picture, at least 1 x 1."""
    return (
        max(1, size[0] - crop.left - crop.right),
        max(1, size[1] - crop.bottom - crop.top),
    )


def placement_on_own_canvas(crop: Crop) -> Placement:
    """The transform that puts a picture's cropped part exactly on a canvas of that size."""
    # The centring truncates, so a sum of odd pixels would land half a pixel off and be filtered.
    return Placement(
        offset=(
            (crop.left + crop.right) // 2 - crop.left,
            (crop.bottom + crop.top) // 2 - crop.bottom,
        )
    )


def placement_of_result(
    source: Placement,
    crop: Crop,
    source_size: tuple[int, int],
    result_size: tuple[int, int],
    canvas: tuple[int, int],
) -> Placement:
    """The transform that shows a picture where the source shows its cropped part.

    source, crop, source_size: the source strip's transform, crop and picture size in pixels.
    result_size: pixels of the picture that replaces the cropped part; may be of another size.
    canvas: pixels of the scene's frame.
    """
    part = cropped_size(source_size, crop)
    seen = _edited_part(part, result_size)
    corner = (
        crop.left + (part[0] - seen[0]) / 2,
        crop.bottom + (part[1] - seen[1]) / 2,
    )
    offset, scale, origin = [], [], []
    for axis in (0, 1):
        grown = result_size[axis] / seen[axis]
        pivot = source_size[axis] * source.origin[axis]
        own_pivot = grown * (pivot - corner[axis])
        centred = int((canvas[axis] - source_size[axis]) / 2)
        own_centred = int((canvas[axis] - result_size[axis]) / 2)
        offset.append(source.offset[axis] + centred - own_centred + pivot - own_pivot)
        scale.append(source.scale[axis] / grown)
        origin.append(own_pivot / result_size[axis])
    return replace(
        source,
        offset=(offset[0], offset[1]),
        scale=(scale[0], scale[1]),
        origin=(origin[0], origin[1]),
    )


def _edited_part(size: tuple[int, int], result: tuple[int, int]) -> Pair:
    """Pixels of the centred part of a picture that an edit at another size shows.

    The engine resamples the whole picture if rounding to cells explains the new aspect; else it
    cuts the picture to that aspect first.
    """
    lowest = max((to - _CELL / 2) / side for side, to in zip(size, result, strict=True))
    highest = min((to + _CELL / 2) / side for side, to in zip(size, result, strict=True))
    if lowest <= highest:
        return size
    return (
        min(size[0], size[1] * result[0] / result[1]),
        min(size[1], size[0] * result[1] / result[0]),
    )
