"""A temporary scene that shows one strip and nothing else.

The strip is rendered from a copy of its scene, so that trim, speed, frame rate, modifiers and
colour are Blender's own. Transform, crop, flip and opacity stay outside the pictures, and are given
to the result strip instead, so that an edit sees the strip in its own resolution; where one of them
is animated, the pictures are the scene's whole frame and hold them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import bpy
from bpy.types import Scene, Strip

from .compatibility import (
    animated_paths,
    content_start,
    drop_compositor,
    left_handle,
    right_handle,
    strip_paths,
    write_png,
)
from .framing import Crop, Placement, cropped_size, placement_on_own_canvas


@dataclass(frozen=True)
class StripFrames:
    """What is rendered from a strip.

    first, end: timeline frames, end exclusive.
    content_offset: frames from the content's start to `first`; finds the place again after the
        strip was moved or trimmed.
    picture_size: pixels of the strip's whole picture, (0, 0) if the scene's frame is rendered.
    crop: what is left out of that picture.
    size: pixels of each still.
    """

    first: int
    end: int
    content_offset: float
    picture_size: tuple[int, int]
    crop: Crop
    size: tuple[int, int]

    @property
    def count(self) -> int:
        return self.end - self.first

    @property
    def of_whole_canvas(self) -> bool:
        return self.picture_size == (0, 0)


def frames_of(scene: Scene, strip: Strip) -> StripFrames:
    """Measure the strip; nothing is changed."""
    size = _picture_size(strip)
    crop = Crop(strip.crop.min_x, strip.crop.max_x, strip.crop.min_y, strip.crop.max_y)
    first = left_handle(strip)
    whole_canvas = size == (0, 0) or _framing_is_animated(scene, strip)
    return StripFrames(
        first=first,
        end=right_handle(strip),
        content_offset=first - content_start(strip),
        picture_size=(0, 0) if whole_canvas else size,
        crop=Crop() if whole_canvas else crop,
        size=canvas_size(scene) if whole_canvas else cropped_size(size, crop),
    )


def canvas_size(scene: Scene) -> tuple[int, int]:
    """Pixels of the scene's frame at 100 %."""
    return scene.render.resolution_x, scene.render.resolution_y


def _picture_size(strip: Strip) -> tuple[int, int]:
    # Only the first element's size is set by Blender; elements appended later hold noise.
    element = strip.elements[0]
    return element.orig_width, element.orig_height


def _framing_is_animated(scene: Scene, strip: Strip) -> bool:
    framing = tuple(
        start + name
        for start in strip_paths(strip)
        for name in ("transform.", "crop.", "use_flip_x", "use_flip_y", "blend_alpha")
    )
    return any(path.startswith(framing) for path in animated_paths(scene))


@contextlib.contextmanager
def scene_of_strip_alone(scene: Scene, strip: Strip, frames: StripFrames) -> Iterator[Scene]:
    """A temporary scene that renders nothing but the strip, in neutral colour."""
    alone = scene.copy()
    try:
        _drop_everything_but_the_sequencer(alone)
        copied = _keep_only(alone, alone.sequence_editor.strips_all[strip.name])
        copied.blend_type = "REPLACE"
        if not frames.of_whole_canvas:
            _show_on_own_canvas(alone, copied, frames)
        _render_exactly(alone)
        yield alone
    finally:
        # Where another file was opened meanwhile, the scene went with the old one.
        with contextlib.suppress(ReferenceError):
            bpy.data.scenes.remove(alone)


def _drop_everything_but_the_sequencer(scene: Scene) -> None:
    """Unlink what a Sequencer render needs not, so that it is neither evaluated nor written."""
    for child in list(scene.collection.children):
        scene.collection.children.unlink(child)
    for thing in list(scene.collection.objects):
        scene.collection.objects.unlink(thing)
    scene.timeline_markers.clear()
    scene.camera = scene.world = scene.background_set = scene.active_clip = None
    drop_compositor(scene)


def _keep_only(scene: Scene, strip: Strip) -> Strip:
    editor = scene.sequence_editor
    name = strip.name
    while (meta := editor.strips_all[name].parent_meta()) is not None:
        meta.separate()
    strip = editor.strips_all[name]
    masks = {m.input_mask_strip.name for m in strip.modifiers if m.input_mask_strip is not None}
    for other in [s.name for s in editor.strips if s.name != name and s.name not in masks]:
        # Removing an input takes the effects that use it along.
        if (doomed := editor.strips.get(other)) is not None:
            editor.strips.remove(doomed)
    for kept in editor.strips:
        kept.mute = kept.name != name
        # Or the original would seem to be one of two duplicates.
        kept.tokenflow.uid = ""
    for channel in editor.channels:
        channel.mute = False
    return editor.strips_all[name]


def _show_on_own_canvas(scene: Scene, strip: Strip, frames: StripFrames) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y = frames.size
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    set_placement(strip, placement_on_own_canvas(frames.crop))
    strip.transform.filter = "NEAREST"
    strip.use_flip_x = strip.use_flip_y = False
    strip.blend_alpha = 1.0


def _render_exactly(scene: Scene) -> None:
    """No display transform, dither or stamp: 8-bit pictures come out as they went in."""
    render = scene.render
    render.resolution_percentage = 100
    render.use_sequencer = True
    render.use_compositing = False
    render.use_border = False
    render.use_stamp = False
    render.use_multiview = False
    render.dither_intensity = 0.0
    render.use_file_extension = True
    render.use_overwrite = True
    render.use_placeholder = False
    write_png(scene)
    view = scene.view_settings
    view.view_transform = "Standard"
    view.look = "None"
    view.exposure = 0.0
    view.gamma = 1.0
    view.use_curve_mapping = False
    view.use_white_balance = False
    scene.display_settings.display_device = "sRGB"


def placement_of(strip: Strip) -> Placement:
    """The strip's transform."""
    transform = strip.transform
    return Placement(
        offset=(transform.offset_x, transform.offset_y),
        scale=(transform.scale_x, transform.scale_y),
        rotation=transform.rotation,
        origin=(transform.origin[0], transform.origin[1]),
    )


def set_placement(strip: Strip, placement: Placement) -> None:
    """Give the strip a transform; its crop is cleared."""
    transform = strip.transform
    transform.offset_x, transform.offset_y = placement.offset
    transform.scale_x, transform.scale_y = placement.scale
    transform.rotation = placement.rotation
    transform.origin = placement.origin
    crop = strip.crop
    crop.min_x = crop.max_x = crop.min_y = crop.max_y = 0
