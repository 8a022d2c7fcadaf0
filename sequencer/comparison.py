"""Two strips side by side in the preview, parted by a wipe.

The wipe is Blender's own effect on the uppermost free channel. It is there only while the operator
runs, in which Blender saves nothing and makes no undo step, so that nothing of it can stay.
"""

from __future__ import annotations

import math

import bpy
from bpy.app.handlers import persistent
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.errors import TokenFlowError
from .compatibility import left_handle, new_wipe, parent_strips, right_handle
from .prefetch import prefetch_silenced

MARK = "tokenflow comparison"
"""In place of a uid, on the effect."""

_TOP_CHANNEL = 128


def begin_comparison(scene: Scene, left: Strip, right: Strip) -> None:
    """Show `left` on the left of the wipe and `right` on its right, muted or not.

    Raises:
        TokenFlowError: code "bad_request", if the two are never seen at the same time.
    """
    end_comparison(scene)
    first = max(left_handle(left), left_handle(right))
    end = min(right_handle(left), right_handle(right))
    if first >= end:
        raise TokenFlowError(
            "bad_request",
            f'"{left.name}" and "{right.name}" lie at different times.',
            "Move one over the other to compare them.",
        )
    strips = parent_strips(scene.sequence_editor, left)
    if right.name not in strips:
        raise TokenFlowError(
            "bad_request",
            f'"{left.name}" and "{right.name}" lie in different meta strips.',
            "Move both into one to compare them.",
        )
    channel = 1 + max(
        strip.channel
        for strip in strips
        if left_handle(strip) < end and right_handle(strip) > first
    )
    if channel > _TOP_CHANNEL:
        raise TokenFlowError(
            "bad_request", "There is no free channel above the two.", "Move them down."
        )
    with prefetch_silenced(scene.sequence_editor):
        wipe = new_wipe(strips, "Comparison", channel, (first, end), (right, left))
        wipe.tokenflow.uid = MARK
        wipe.select = False
        wipe.transition_type = "SINGLE"
        wipe.direction = "IN"
        wipe.angle = math.pi / 2
        wipe.use_default_fade = False
        wipe.effect_fader = 0.5


def set_position(scene: Scene, position: float) -> bool:
    """Part the two at a share of the picture's width; False if there is no comparison."""
    wipe = _wipe(scene)
    if wipe is None:
        return False
    wipe.effect_fader = min(1.0, max(0.0, position))
    return True


def end_comparison(scene: Scene) -> None:
    """Take the wipe away."""
    while (wipe := _wipe(scene)) is not None:
        with prefetch_silenced(scene.sequence_editor):
            parent_strips(scene.sequence_editor, wipe).remove(wipe)


def _wipe(scene: Scene) -> Strip | None:
    editor = scene.sequence_editor
    strips = () if editor is None else editor.strips_all
    return next((s for s in strips if s.type == "WIPE" and s.tokenflow.uid == MARK), None)


@persistent
def _end_after_crash(_file: str) -> None:
    """What Blender writes in its last moments may hold the wipe of a comparison it died in."""
    for scene in bpy.data.scenes:
        end_comparison(scene)


def register() -> None:
    bpy.app.handlers.load_post.append(_end_after_crash)


def unregister() -> None:
    bpy.app.handlers.load_post.remove(_end_after_crash)
