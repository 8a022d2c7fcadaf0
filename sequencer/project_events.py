"""What the queue does when a project is saved or another one is opened."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from .queue_timer import edit_queue, edits_so_far, redraw_sidebars
from .stage import Stage
from .strip_identity import is_open, known_uids


@persistent
def _saved(path: str, *_more: Any) -> None:
    # A copy that is saved elsewhere leaves the open project as it was.
    if not is_open(path) or not edits_so_far():
        return
    from .delivery import source_of

    uids = known_uids()
    here = [edit for edit in edits_so_far() if {edit.uid, edit.result_uid} & uids]
    for edit in here:
        edit.blend = bpy.data.filepath
        found = source_of(edit)
        if found is not None:
            scene, strip = found
            edit.scene_name, edit.strip_name = scene.name, strip.name
    edit_queue().settle([edit for edit in here if edit.result_uid in uids])


@persistent
def _loaded(*_arguments: Any) -> None:
    edits = edits_so_far()
    uids = known_uids() if edits else set()
    for edit in edits:
        # Reverted to a state before the result: the frames are there, the strip is not.
        if edit.stage is Stage.DONE and edit.is_kept and edit.result_uid not in uids:
            edit.stage = Stage.UNPLACED
    redraw_sidebars()


_HANDLERS = (
    (bpy.app.handlers.save_post, _saved),
    (bpy.app.handlers.load_post, _loaded),
)


def register() -> None:
    for handlers, handler in _HANDLERS:
        handlers.append(handler)


def unregister() -> None:
    for handlers, handler in _HANDLERS:
        handlers.remove(handler)
