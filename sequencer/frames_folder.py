"""Where the edited frames of a strip go."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import bpy
from bpy.types import Scene

from ..installation.own_folders import own_folder, preferences


def new_frames_folder(scene: Scene, strip_name: str, taken: Container[Path]) -> Path:
    """A folder that does not exist yet: STRIP_1, STRIP_2, ... in the place the user chose.

    The place is the scene's setting, else the preferences', else SHOT_tokenflow beside SHOT.blend,
    else, while the .blend is not saved, a folder of the add-on's own.
    taken: folders that running edits will make.
    """
    return unused_folder(_place(scene) / f"{bpy.path.clean_name(strip_name)}_1", taken)


def unused_folder(wanted: Path, taken: Container[Path]) -> Path:
    """The wanted folder NAME_1, or the first of NAME_2, NAME_3 ... that nobody has or will make."""
    name, _, digits = wanted.name.rpartition("_")
    number = int(digits)
    while (folder := wanted.with_name(f"{name}_{number}")).exists() or folder in taken:
        number += 1
    return folder


def _place(scene: Scene) -> Path:
    chosen = preferences()
    for setting in (scene.tokenflow.frames_folder, chosen.frames_folder if chosen else ""):
        if setting:
            return Path(bpy.path.abspath(setting)).absolute()
    if bpy.data.filepath:
        shot = Path(bpy.data.filepath)
        return shot.with_name(f"{shot.stem}_tokenflow")
    return own_folder("frames")
