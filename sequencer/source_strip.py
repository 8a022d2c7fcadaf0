"""Which strip is meant, and whether it can be edited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.types import Context, Scene, Strip

from ..tokenflow_engine.client.errors import TokenFlowError
from .compatibility import sequencer_scene

EDITABLE = {"MOVIE", "IMAGE"}

_REMEDIES = {
    "SOUND": "Select the movie or image strip that belongs to it.",
    "SCENE": "Render the scene to a movie first, then edit that.",
    "META": "Enter the meta strip with Tab and select a movie or image strip.",
}


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
        strip = scene.sequence_editor.strips_all.get(name)
        if strip is not None:
            return scene, strip
        names += [s.name for s in scene.sequence_editor.strips_all if s.type in EDITABLE]
    raise TokenFlowError(
        "bad_request",
        f'There is no strip named "{name}".',
        f"Choose one of: {', '.join(names)}." if names else "Add a movie or image strip first.",
    )


def obstacle(strip: Strip | None) -> TokenFlowError | None:
    """Why the strip cannot be edited, seen without a look at the disk; None if it can."""
    if strip is None:
        return TokenFlowError(
            "bad_request", "No strip is selected.", "Select a movie or image strip."
        )
    if strip.type not in EDITABLE:
        kind = strip.bl_rna.properties["type"].enum_items[strip.type].name.lower()
        return TokenFlowError(
            "bad_request",
            f'"{strip.name}" is a strip of type {kind}; only movies and images can be edited.',
            _REMEDIES.get(strip.type, "Select a movie or image strip."),
        )
    return None


def check(strip: Strip | None) -> Strip:
    """Return the strip if its pictures are there and can be opened.

    Raises:
        TokenFlowError: code "bad_request" for a wrong strip, "unreadable_source" for a missing or
            unreadable file.
    """
    found = obstacle(strip)
    if found is not None:
        raise found
    assert strip is not None
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
    return strip


def _files(strip: Strip) -> Iterator[Path]:
    if strip.type == "MOVIE":
        yield Path(bpy.path.abspath(strip.filepath))
        return
    folder = Path(bpy.path.abspath(strip.directory))
    yield from (folder / element.filename for element in strip.elements)
