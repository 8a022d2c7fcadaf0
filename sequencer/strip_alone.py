"""A temporary scene that shows one strip and nothing else.

The strip is rendered from a copy of its scene, so that trim, speed, frame rate, modifiers and
colour are Blender's own. Transform, crop, flip and opacity stay outside the pictures, and are given
to the result strip instead, so that an edit sees the strip in its own resolution. Where that cannot
be had, the pictures are the scene's whole frame and hold them all: see `strip_picture`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import bpy
from bpy.types import Scene, SequenceEditor, Strip

from .compatibility import (
    content_start,
    drop_compositor,
    left_handle,
    parent_channels,
    parent_strips,
    right_handle,
    write_png,
)
from .framing import Crop, Placement, cropped_size, placement_on_own_canvas
from .strip_inputs import READS_BELOW, enclosing_metas, needed_strips, strips_below
from .strip_picture import canvas_size, is_animated, own_picture_size


@dataclass(frozen=True)
class StripFrames:
    """What is rendered from a strip.

    first, end: timeline frames, end exclusive.
    content_offset: frames from the content's start to `first`; finds the place again after the
        strip was moved or trimmed.
    picture_size: pixels of the strip's whole picture, (0, 0) if the scene's frame is rendered.
    crop: what is left out of that picture.
    size: pixels of each still.
    holds_opacity: whether the pictures' alpha holds the strip's opacity, because it is animated.
    """

    first: int
    end: int
    content_offset: float
    picture_size: tuple[int, int]
    crop: Crop
    size: tuple[int, int]
    holds_opacity: bool = False
    step: int = 1

    def sampled(self, wanted: int) -> StripFrames:
        """`wanted` frames of these, in even steps from the first to the last part of the strip.

        All of them where there are fewer.
        """
        step = max(1, self.count // wanted)
        first = self.first + max(0, self.count - 1 - step * (wanted - 1)) // 2
        return replace(self, first=first, end=min(self.end, first + step * wanted), step=step)

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def numbers(self) -> range:
        """The timeline frames that are rendered."""
        return range(self.first, self.end, self.step)

    @property
    def of_whole_canvas(self) -> bool:
        return self.picture_size == (0, 0)


def frames_of(scene: Scene, strip: Strip) -> StripFrames:
    """Measure the strip; nothing is changed."""
    first = left_handle(strip)
    size = own_picture_size(scene, strip)
    crop = Crop(strip.crop.min_x, strip.crop.max_x, strip.crop.min_y, strip.crop.max_y)
    if size is None:
        crop = Crop()
    return StripFrames(
        first=first,
        end=right_handle(strip),
        content_offset=first - content_start(strip),
        picture_size=size or (0, 0),
        crop=crop,
        size=canvas_size(scene) if size is None else cropped_size(size, crop),
        holds_opacity=is_animated(scene, strip, "blend_alpha"),
    )


@contextlib.contextmanager
def scene_of_strip_alone(
    scene: Scene, strip: Strip, frames: StripFrames, depth: int = 8
) -> Iterator[Scene]:
    """A temporary scene that renders nothing but the strip, in neutral colour.

    Of a strip in a meta strip it shows that meta strip's inside; `displayed_meta` says which.
    depth: bits of each colour, 8 or 16.
    """
    alone = scene.copy()
    try:
        _drop_everything_but_the_sequencer(alone)
        copied = _keep_only(alone.sequence_editor, strip.name)
        if frames.holds_opacity:
            copied.blend_type = "ALPHA_OVER"
        else:
            # Blender darkens what replaces by its opacity, and leaves its alpha.
            copied.blend_type, copied.blend_alpha = "REPLACE", 1.0
        if not frames.of_whole_canvas:
            _show_on_own_canvas(alone, copied, frames)
        _render_exactly(alone, depth)
        yield alone
    finally:
        # Where another file was opened meanwhile, the scene went with the old one.
        with contextlib.suppress(ReferenceError):
            bpy.data.scenes.remove(alone)


def displayed_meta(scene: Scene) -> str:
    """Name of the meta strip whose inside the scene shows, empty where it shows all."""
    stack = scene.sequence_editor.meta_stack
    return stack[-1].name if stack else ""


def _drop_everything_but_the_sequencer(scene: Scene) -> None:
    """Unlink what a Sequencer render needs not, so that it is neither evaluated nor written."""
    for child in list(scene.collection.children):
        scene.collection.children.unlink(child)
    for thing in list(scene.collection.objects):
        scene.collection.objects.unlink(thing)
    scene.timeline_markers.clear()
    scene.camera = scene.world = scene.background_set = scene.active_clip = None
    drop_compositor(scene)


def _keep_only(editor: SequenceEditor, name: str) -> Strip:
    strip = editor.strips_all[name]
    metas = enclosing_metas(strip)
    needed = needed_strips(editor, strip)
    spared = {*needed, *(meta.name for meta in metas)}
    for other in [s.name for s in editor.strips_all]:
        # Removing a strip takes along what is made from it or lies in it.
        doomed = None if other in spared else editor.strips_all.get(other)
        if doomed is not None:
            parent_strips(editor, doomed).remove(doomed)

    # Taken again, since what was removed moved the others in memory.
    strip = editor.strips_all[name]
    below = {s.name for s in strips_below(editor, strip)} if strip.type in READS_BELOW else set()
    for beside in parent_strips(editor, strip):
        beside.mute = beside.mute if beside.name in below else True
    for kept in editor.strips_all:
        # Or the original would seem to be one of two duplicates.
        kept.tokenflow.uid = ""
    for shown in (strip, *enclosing_metas(strip)):
        shown.mute = False
    parent_channels(editor, strip)[strip.channel].mute = False
    if metas:
        editor.display_stack(strip.parent_meta())
    return strip


def _show_on_own_canvas(scene: Scene, strip: Strip, frames: StripFrames) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y = frames.size
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    set_placement(strip, placement_on_own_canvas(frames.crop))
    strip.transform.filter = "NEAREST"
    strip.use_flip_x = strip.use_flip_y = False


def _render_exactly(scene: Scene, depth: int) -> None:
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
    write_png(scene, depth)
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
