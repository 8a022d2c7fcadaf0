"""Renders a scene's sequencer as numbered stills.

Imported by the add-on, and run as a program of its own by a second Blender:

    blender -b --factory-startup --python frame_renderer.py -- \
        JOB.blend SCENE META FIRST END STEP FOLDER

META names the meta strip whose inside is shown; empty for the whole scene.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator
from pathlib import Path

import bpy
import imbuf
from bpy.types import Scene


def still_path(folder: Path, index: int) -> Path:
    """File of the still with this index, counted from 0."""
    return folder / f"{index:05d}.png"


def render_stills(scene: Scene, frames: range, folder: Path) -> Generator[int, None, None]:
    """Render some of the timeline's frames; yield the number of stills after each.

    Raises:
        OSError, ValueError: an image of the strip cannot be read; Blender would show nothing there.
        RuntimeError: a still could not be rendered or written.
    """
    # Only an active dependency graph writes animated values back to the strips that are rendered.
    with bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
        bpy.context.evaluated_depsgraph_get()
    images, count = _image_files(scene), len(frames)
    for index, frame in enumerate(frames):
        part = images[index * len(images) // count : (index + 1) * len(images) // count]
        # A few frames of a long strip would not be there in seconds if all its images were tried.
        for image in part if frames.step == 1 else part[:1]:
            imbuf.load(image).free()
        path = still_path(folder, index)
        scene.frame_set(frame)
        scene.render.filepath = str(path)
        # The operator's own `scene` argument renders at the frame of the window's scene.
        with bpy.context.temp_override(scene=scene):
            bpy.ops.render.render(write_still=True)
        if not path.is_file():
            raise RuntimeError(f"{path} was not written")
        yield index + 1


def _image_files(scene: Scene) -> list[str]:
    return [
        str(Path(bpy.path.abspath(strip.directory)) / element.filename)
        for strip in scene.sequence_editor.strips_all
        if strip.type == "IMAGE" and not strip.mute
        for element in strip.elements
    ]


def main(arguments: list[str]) -> None:
    job, scene_name, meta, first, end, step, folder = arguments
    with bpy.data.libraries.load(job, link=False) as (_available, wanted):
        wanted.scenes = [scene_name]
    (scene,) = wanted.scenes
    if meta:
        # Which meta strip is open is not kept in a file.
        editor = scene.sequence_editor
        editor.display_stack(editor.strips_all[meta])
    for _count in render_stills(scene, range(int(first), int(end), int(step)), Path(folder)):
        pass


if __name__ == "__main__":
    try:
        main(sys.argv[sys.argv.index("--") + 1 :])
    except Exception:
        traceback.print_exc()
        sys.exit(4)
