"""What becomes of an edit's frames when the engine has made them, by the kind of edit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.errors import TokenFlowError
from .result_strip import add_result_strip
from .strip_edit import StripEdit
from .strip_identity import locate
from .takes import show_only, takes_of


def place_result(edit: StripEdit) -> None:
    """Put the edited frames above their source, in one undo step.

    Raises:
        TokenFlowError: they have no place in the project that is open; they stay where they are.
    """
    result = edit.result
    assert result is not None
    found = locate(edit.uid, edit.scene_uid, edit.strip_name)
    if found is None:
        raise TokenFlowError(
            "bad_request",
            f'The strip "{edit.strip_name}" is gone, so its edit has no place.',
            f"The edited frames are in {result.output}.",
        )
    pictures = [Path(result.output) / f"{n:05d}.png" for n in range(result.frame_count)]
    try:
        scene, source = found
        # Undo may have taken the mark off.
        source.tokenflow.uid = edit.uid
        strip = add_result_strip(scene, source, edit.frames, pictures, edit.request, result)
    except TokenFlowError as error:
        error.remedy += f" The edited frames are in {result.output}."
        raise
    _show_alone(scene, strip)
    edit.result_name, edit.channel = strip.name, strip.channel
    _push_undo_step()


def _show_alone(scene: Scene, strip: Strip) -> None:
    """Of several takes the newest shows, as if it had been switched to."""
    takes = takes_of(scene, strip)
    if takes is not None:
        show_only(takes, takes.find(strip.tokenflow.uid))


DELIVERIES: dict[str, Callable[[StripEdit], None]] = {"edit": place_result}
"""By `StripEdit.kind`. Each is called once the frames are there and the Sequencer is free, and may
raise a TokenFlowError, after which the edit stands as not placed."""


_HANDS = ("TRANSFORM_OT_", "SEQUENCER_OT_", "TOKENFLOW_OT_compare_takes")
"""Operators that hold on to strips while they run."""


def sequencer_is_occupied() -> bool:
    """Whether a render or the user's hand holds on to the strips just now."""
    if bpy.app.is_job_running("RENDER"):
        return True
    return any(
        operator.bl_idname.startswith(_HANDS)
        for window in bpy.context.window_manager.windows
        for operator in window.modal_operators
    )


def _push_undo_step() -> None:
    """Make the new strip one step of its own; without a window there is no undo."""
    windows = bpy.context.window_manager.windows
    if bpy.app.background or not windows:
        return
    with bpy.context.temp_override(window=windows[0]):
        bpy.ops.ed.undo_push(message="TokenFlow Edit")
