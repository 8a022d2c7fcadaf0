"""The picture that a strip is made of, before its transform puts it on the canvas."""

from __future__ import annotations

from bpy.types import Scene, Strip

from .compatibility import animated_paths, strip_paths

_POINTWISE_MODIFIERS = {
    "BRIGHT_CONTRAST",
    "COLOR_BALANCE",
    "CURVES",
    "HUE_CORRECT",
    "WHITE_BALANCE",
}
"""Modifiers that treat a pixel alike wherever it lies and whatever is around it."""

_FRAMING = ("transform.", "crop.", "use_flip_x", "use_flip_y")


def canvas_size(scene: Scene) -> tuple[int, int]:
    """Pixels of the scene's frame at 100 %."""
    return scene.render.resolution_x, scene.render.resolution_y


def own_picture_size(scene: Scene, strip: Strip) -> tuple[int, int] | None:
    """Pixels of the picture that the strip's transform moves, or None.

    None stands for a strip that only the scene's whole frame shows truly: effects, text and colour,
    which are made for that frame; animated framing; and modifiers that look beyond a pixel, since
    Blender applies them on the frame, after the transform.
    """
    size = _picture_size(scene, strip)
    if size is None or not all(size):
        return None
    if is_animated(scene, strip, *_FRAMING) or not _is_pointwise(strip):
        return None
    return size


def _picture_size(scene: Scene, strip: Strip) -> tuple[int, int] | None:
    if strip.type in ("MOVIE", "IMAGE"):
        # Only the first element's size is set by Blender; elements appended later hold noise.
        element = strip.elements[0]
        return element.orig_width, element.orig_height
    if strip.type == "SCENE" and strip.scene_input == "CAMERA":
        render = strip.scene.render
        share = render.resolution_percentage / 100
        return int(render.resolution_x * share), int(render.resolution_y * share)
    # These are made on a canvas as large as the frame, so that a smaller one would change them.
    if strip.type in ("META", "SCENE") and not _is_cropped(strip):
        return canvas_size(scene)
    return None


def _is_cropped(strip: Strip) -> bool:
    crop = strip.crop
    return any((crop.min_x, crop.max_x, crop.min_y, crop.max_y))


def _is_pointwise(strip: Strip) -> bool:
    return all(
        modifier.type in _POINTWISE_MODIFIERS
        and getattr(modifier, "input_mask_strip", None) is None
        and getattr(modifier, "input_mask_id", None) is None
        for modifier in strip.modifiers
        if not modifier.mute
    )


def is_animated(scene: Scene, strip: Strip, *properties: str) -> bool:
    """Whether a property of the strip, or one below such a name, has keys or a driver."""
    paths = tuple(start + name for start in strip_paths(strip) for name in properties)
    return any(path.startswith(paths) for path in animated_paths(scene))
