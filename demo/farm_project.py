"""Inside of Blender: a saved project with one image strip for each folder of pictures.

blender -b --factory-startup -P farm_project.py -- PICTURES PROJECT.blend
"""

import sys
from pathlib import Path

import bpy

APART = 10
"""Frames between two strips."""


def main(pictures: Path, project: Path) -> None:
    bpy.ops.wm.read_homefile(use_empty=True)
    scene = bpy.context.scene
    editor = scene.sequence_editor_create()
    bpy.context.preferences.filepaths.save_version = 0
    start = 1
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir()):
        files = sorted(folder.glob("*.png"))
        strip = editor.strips.new_image(folder.name, str(files[0]), 1, start, fit_method="ORIGINAL")
        for file in files[1:]:
            strip.elements.append(file.name)
        scene.render.resolution_x = strip.elements[0].orig_width
        scene.render.resolution_y = strip.elements[0].orig_height
        start += len(files) + APART
    scene.frame_end = start
    bpy.ops.wm.save_as_mainfile(filepath=str(project))


if __name__ == "__main__":
    main(*map(Path, sys.argv[-2:]))
