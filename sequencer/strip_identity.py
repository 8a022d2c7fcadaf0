"""A mark on a strip that finds it again after it was renamed, moved, duplicated or undone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import bpy
from bpy.types import Scene, Strip


def strip_uid(strip: Strip) -> str:
    """The strip's mark; made when first asked for."""
    if not strip.tokenflow.uid:
        strip.tokenflow.uid = uuid.uuid4().hex
    return strip.tokenflow.uid


def unique_strip_uid(strip: Strip) -> str:
    """The strip's mark; a new one if the strip is a duplicate, which has its original's."""
    uid = strip.tokenflow.uid
    if uid and sum(other.tokenflow.uid == uid for _scene, other in _all_strips()) > 1:
        strip.tokenflow.uid = ""
    return strip_uid(strip)


def locate(
    uid: str, scene_uid: int, name: str, scene_name: str = "", blend: str = ""
) -> tuple[Scene, Strip] | None:
    """Find a strip wherever it is by now; None if it was deleted.

    scene_uid, name: the scene's session-wide id and the strip's name when last seen; they choose
        among duplicates, and find a strip whose mark was undone or never saved.
    scene_name, blend: the scene's name and the project's file; they stand for the id, which ends
        with Blender and with each reload.
    """
    same_project = bool(blend) and is_open(blend)

    def likeness(candidate: tuple[Scene, Strip]) -> tuple[bool, bool]:
        scene, strip = candidate
        same_scene = scene.session_uid == scene_uid or (same_project and scene.name == scene_name)
        return same_scene, strip.name == name

    strips = list(_all_strips())
    marked = [candidate for candidate in strips if candidate[1].tokenflow.uid == uid]
    if marked:
        return max(marked, key=likeness)
    unmarked = (c for c in strips if not c[1].tokenflow.uid and all(likeness(c)))
    return next(unmarked, None)


def is_open(blend: str) -> bool:
    """Whether this project's file is the one that is open."""
    return bpy.path.native_pathsep(blend) == bpy.path.native_pathsep(bpy.data.filepath)


def known_uids() -> set[str]:
    """The marks of all strips of the open project."""
    return {strip.tokenflow.uid for _scene, strip in _all_strips()} - {""}


def _all_strips() -> Iterator[tuple[Scene, Strip]]:
    for scene in bpy.data.scenes:
        if scene.sequence_editor is not None:
            for strip in scene.sequence_editor.strips_all:
                yield scene, strip
