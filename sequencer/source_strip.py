"""Which strips are meant, and whether they can be edited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.types import Context, Scene, Strip

from ..tokenflow_engine.client.errors import TokenFlowError
from .compatibility import left_handle, sequencer_scene
from .strip_inputs import inputs_of, needed_strips, unmuted_strips

_WITHOUT_PICTURES = {"SOUND"}


def active_strip(context: Context) -> Strip | None:
    """The selected strip that is meant: the active one, else the only one selected."""
    scene = sequencer_scene(context)
    editor = None if scene is None else scene.sequence_editor
    if editor is None:
        return None
    if editor.active_strip is not None and editor.active_strip.select:
        return editor.active_strip
    selected = [strip for strip in editor.strips_all if strip.select]
    return selected[0] if len(selected) == 1 else None


def strips_to_edit(context: Context) -> list[Strip]:
    """The selected strips in the order they play, the sound beside a picture left out.

    Only strips that the timeline shows count: all of them lie in the meta strip that is open.
    """
    scene = sequencer_scene(context)
    editor = None if scene is None else scene.sequence_editor
    if editor is None:
        return []
    stack = editor.meta_stack
    beside = stack[-1].strips if stack else editor.strips
    selected = [strip for strip in beside if strip.select]
    pictures = [strip for strip in selected if strip.type not in _WITHOUT_PICTURES]
    return sorted(pictures or selected, key=lambda strip: (left_handle(strip), strip.channel))


def named_strip(context: Context, name: str) -> tuple[Scene, Strip]:
    """Find a strip by its name, in the Sequencer's scene first, then in the others.

    Raises:
        TokenFlowError: code "bad_request", if no scene has such a strip.
    """
    first = sequencer_scene(context)
    others = [scene for scene in bpy.data.scenes if scene != first]
    names = []
    for scene in [first, *others]:
        if scene is None or scene.sequence_editor is None:
            continue
        strips = scene.sequence_editor.strips_all
        strip = strips.get(name)
        if strip is not None:
            return scene, strip
        names += [s.name for s in strips if s.type not in _WITHOUT_PICTURES]
    raise TokenFlowError(
        "bad_request",
        f'There is no strip named "{name}".',
        f"Choose one of: {', '.join(names)}." if names else "Add a movie or image strip first.",
    )


def obstacle(strip: Strip | None) -> TokenFlowError | None:
    """Why the strip cannot be edited, seen without a look at the disk; None if it can."""
    if strip is None:
        return _bad("No strip is selected.", "Select a strip that shows pictures.")
    if strip.type in _WITHOUT_PICTURES:
        return _bad(
            f'"{strip.name}" is a sound; only strips that show pictures can be edited.',
            "Select the movie or image strip that belongs to it.",
        )
    inside = unmuted_strips(strip.strips, strip) if strip.type == "META" else ()
    if strip.type == "META" and all(each.type in _WITHOUT_PICTURES for each in inside):
        return _bad(
            f'The meta strip "{strip.name}" shows no pictures.',
            "Select another strip, or enter it with Tab and unmute a strip.",
        )
    return _obstacle_of_scene(strip) if strip.type == "SCENE" else None


def _obstacle_of_scene(strip: Strip) -> TokenFlowError | None:
    scene = strip.scene
    if scene is None:
        return _bad(
            f'The scene of "{strip.name}" is gone.', "Choose one in the strip's Source panel."
        )
    if strip.scene_input == "SEQUENCER":
        if scene.sequence_editor is None or not scene.sequence_editor.strips:
            return _bad(
                f'"{strip.name}" shows the Sequencer of the scene "{scene.name}", which is empty.',
                "Set the strip's input to Camera, or add strips there.",
            )
        return None
    if strip.scene_camera is None and scene.camera is None:
        return _bad(
            f'The scene "{scene.name}" of "{strip.name}" has no camera.', "Add a camera there."
        )
    if scene.render.engine.startswith("BLENDER_EEVEE") and not bpy.app.binary_path:
        return _bad(
            f'"{strip.name}" shows the scene "{scene.name}", which is rendered by EEVEE; Blender '
            "as a Python module has no graphics card for it.",
            "Use the Blender program, or render the scene by Cycles.",
        )
    return None


def check(strip: Strip | None) -> Strip:
    """Return the strip if its pictures, and those of all that it is made from, can be opened.

    Raises:
        TokenFlowError: code "bad_request" for a wrong strip, "unreadable_source" for a missing or
            unreadable file.
    """
    found = obstacle(strip)
    if found is not None:
        raise found
    assert strip is not None
    needed = list(needed_strips(strip.id_data.sequence_editor, strip).values())
    inputs = {each.name for some in needed for each in inputs_of(some)}
    shown = {each.name for each in unmuted_strips(needed, strip)}
    for each in needed:
        if each == strip or each.name in shown or each.name in inputs:
            _check_sources(each)
    return strip


def _check_sources(strip: Strip) -> None:
    for path in _files(strip):
        if not path.is_file():
            raise TokenFlowError(
                "unreadable_source",
                f'"{strip.name}" needs the file {path}, which is missing.',
                "Put it back, or choose another file in the strip's Source panel.",
            )
    # Blender shows pink, not an error, for a movie that it cannot decode; its frame rate tells.
    if strip.type == "MOVIE" and not strip.fps > 0:
        raise TokenFlowError(
            "unreadable_source",
            f'"{strip.name}" needs {next(_files(strip))}, which cannot be read as a movie.',
            "Check that it plays elsewhere, or convert it to MP4.",
        )
    missing = _obstacle_of_scene(strip) if strip.type == "SCENE" else None
    if missing is not None:
        raise missing


def _files(strip: Strip) -> Iterator[Path]:
    if strip.type == "MOVIE":
        yield Path(bpy.path.abspath(strip.filepath))
    elif strip.type == "IMAGE":
        folder = Path(bpy.path.abspath(strip.directory))
        yield from (folder / element.filename for element in strip.elements)


def _bad(message: str, remedy: str) -> TokenFlowError:
    return TokenFlowError("bad_request", message, remedy)
