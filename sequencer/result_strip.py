"""Edited frames become an image strip above their source."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
from bpy.types import Scene, SequenceEditor, Strip

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.progress import EditResult
from .compatibility import (
    content_start,
    left_handle,
    parent_channels,
    parent_strips,
    right_handle,
)
from .framing import Placement, placement_of_result
from .prefetch import prefetch_silenced
from .settings import keep_request
from .stand_in import stand_in
from .strip_alone import StripFrames, placement_of, set_placement
from .strip_identity import strip_uid
from .strip_picture import canvas_size

_TOP_CHANNEL = 128


def free_channel(editor: SequenceEditor, source: Strip, first: int, end: int) -> int:
    """The lowest channel above the source that is empty over frames first ... end - 1.

    Muted and locked channels are left out: a result there would be invisible or stuck.

    Raises:
        TokenFlowError: code "bad_request", if there is none.
    """
    beside = (parent_strips(editor, source), parent_channels(editor, source))
    channel = _free_channel(*beside, source.channel + 1, first, end)
    if channel is not None:
        return channel
    raise TokenFlowError(
        "bad_request",
        f'There is no free channel above "{source.name}".',
        "Free one, or move the strip down.",
    )


def _free_channel(strips: Any, channels: Any, lowest: int, first: int, end: int) -> int | None:
    taken = {
        strip.channel
        for strip in strips
        if left_handle(strip) < end and right_handle(strip) > first
    }
    free = (
        channel
        for channel in range(lowest, _TOP_CHANNEL + 1)
        if channel not in taken and not channels[channel].mute and not channels[channel].lock
    )
    return next(free, None)


def add_result_strip(
    scene: Scene,
    source: Strip,
    frames: StripFrames,
    pictures: Sequence[Path],
    request: EditRequest,
    result: EditResult,
) -> Strip:
    """Put the pictures above the source: same start, length and framing, settings kept on them.

    scene, source: where the source strip is now.
    frames: what was read from the source when the edit began.
    pictures: one file for each frame edited, in one folder.

    Raises:
        TokenFlowError: code "bad_request", if no channel is free.
    """
    editor = scene.sequence_editor
    skipped = request.frames[0] if request.frames is not None else 0
    # Not the left handle: the source may have been trimmed since, and its content moved.
    first = round(content_start(source) + frames.content_offset) + skipped
    channel = free_channel(editor, source, first, first + len(pictures))
    with prefetch_silenced(editor):
        beside = parent_strips(editor, source)
        strip = _new_strip(
            beside, source.name, pictures, channel, first, "ORIGINAL", request, result
        )
        _frame_like(strip, scene, source, frames, (result.width, result.height))
    _keep(strip, request, result)
    strip.tokenflow.source_uid, strip.tokenflow.source_name = strip_uid(source), source.name
    return strip


def add_result_without_source(
    scene: Scene,
    source_name: str,
    frames: StripFrames,
    pictures: Sequence[Path],
    request: EditRequest,
    result: EditResult,
) -> Strip:
    """Put the pictures at the frames where their source was, fitted into the scene's frame.

    Raises:
        TokenFlowError: code "bad_request", if no channel is free.
    """
    editor = scene.sequence_editor or scene.sequence_editor_create()
    first = frames.first + (request.frames[0] if request.frames is not None else 0)
    end = first + len(pictures)
    channel = _free_channel(editor.strips, editor.channels, 1, first, end)
    if channel is None:
        raise TokenFlowError(
            "bad_request", f"There is no free channel at frame {first}.", "Free one."
        )
    with prefetch_silenced(editor):
        strip = _new_strip(
            editor.strips, source_name, pictures, channel, first, "FIT", request, result
        )
    _keep(strip, request, result)
    strip.tokenflow.source_name = source_name
    return strip


def _new_strip(
    strips: Any,
    source_name: str,
    pictures: Sequence[Path],
    channel: int,
    first: int,
    fit: str,
    request: EditRequest,
    result: EditResult,
) -> Strip:
    with stand_in((result.width, result.height)) as blank:
        strip = strips.new_image(
            name=f"{source_name} TokenFlow",
            filepath=str(blank),
            channel=channel,
            frame_start=first,
            fit_method=fit,
        )
    strip.directory = _as_saved(pictures[0].parent)
    strip.elements[0].filename = pictures[0].name
    for picture in pictures[1:]:
        strip.elements.append(picture.name)
    _interpret(strip, request.picture_format)
    strip.select = False
    return strip


def _interpret(strip: Strip, picture_format: str) -> None:
    """Say what the files hold, whatever this project takes new files for."""
    strip.alpha_mode = "PREMUL" if picture_format == "exr" else "STRAIGHT"
    # A studio's own colour configuration may know neither name.
    with contextlib.suppress(TypeError):
        strip.colorspace_settings.name = "Linear Rec.709" if picture_format == "exr" else "sRGB"


def _frame_like(
    strip: Strip, scene: Scene, source: Strip, frames: StripFrames, size: tuple[int, int]
) -> None:
    canvas = canvas_size(scene)
    if frames.of_whole_canvas:
        framing = (Placement(), frames.crop, frames.size)
    else:
        framing = (placement_of(source), frames.crop, frames.picture_size)
        strip.transform.filter = source.transform.filter
        strip.use_flip_x, strip.use_flip_y = source.use_flip_x, source.use_flip_y
    set_placement(strip, placement_of_result(*framing, result_size=size, canvas=canvas))
    strip.blend_type = source.blend_type
    if not frames.holds_opacity:
        strip.blend_alpha = source.blend_alpha


def _keep(strip: Strip, request: EditRequest, result: EditResult) -> None:
    kept = strip.tokenflow
    keep_request(kept, request)
    strip_uid(strip)
    kept.folder = _as_saved(Path(result.output))
    kept.request = json.dumps(request.to_json())
    kept.result = json.dumps(result.to_json())


def _as_saved(path: Path) -> str:
    """Relative to a saved .blend if the user's preferences want that, so that both can move."""
    if bpy.data.filepath and bpy.context.preferences.filepaths.use_relative_paths:
        # Another drive on Windows has no relative path.
        with contextlib.suppress(ValueError):
            return bpy.path.relpath(str(path))
    return str(path)
